# The public names of this room; each is imported when it is first used.
from .activations import (
    Activations,
    cache_activations,
    contrastive_activations,
    load_activations,
    read_activations,
)
from .answers import answer_perplexities, mean_intervals, sample_answers, situation_prompts
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
    "answer_perplexities",
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
    "mean_intervals",
    "norm_matched",
    "perplexity",
    "random_like",
    "read_activations",
    "sample_answers",
    "save_vectors",
    "situation_prompts",
    "steer",
    "summarise_sweep",
    "sweep_agreement",
    "sweep_null",
    "top_layers",
]
