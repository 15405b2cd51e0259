# The public names of this room; each is imported when it is first used.
from .activations import (
    Activations,
    cache_activations,
    contrastive_activations,
    load_activations,
    read_activations,
)
from .directions import direction
from .fluency import BudgetError, calibrate, kl_on_neutral, perplexity
from .sweep import (
    SweepWarning,
    choice_overlap,
    choice_stability,
    layer_sweep,
    summarise_sweep,
    sweep_agreement,
    sweep_null,
    top_layers,
)
from .vectors import (
    SteeringVectors,
    extract,
    load_vectors,
    norm_matched,
    random_like,
    save_vectors,
    steer,
)

__all__ = [
    "Activations",
    "BudgetError",
    "SteeringVectors",
    "SweepWarning",
    "cache_activations",
    "calibrate",
    "choice_overlap",
    "choice_stability",
    "contrastive_activations",
    "direction",
    "extract",
    "kl_on_neutral",
    "layer_sweep",
    "load_activations",
    "load_vectors",
    "norm_matched",
    "perplexity",
    "random_like",
    "read_activations",
    "save_vectors",
    "steer",
    "summarise_sweep",
    "sweep_agreement",
    "sweep_null",
    "top_layers",
]
