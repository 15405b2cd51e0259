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
from .edits import steer
from .extraction import extract
from .fluency import BudgetError, calibrate, kl_on_neutral, perplexity
from .layer_choice import choice_overlap, choice_stability, top_layers
from .optimised import Training
from .readout_gradient import readout_gradient
from .sites import Site
from .sweep import SweepWarning, layer_sweep, summarise_sweep, sweep_agreement, sweep_null
from .vector_files import load_vectors, save_vectors
from .vectors import Provenance, SteeringVectors, norm_matched, random_like

__all__ = [
    "Activations",
    "BudgetError",
    "Provenance",
    "Site",
    "SteeringVectors",
    "SweepWarning",
    "Training",
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
    "readout_gradient",
    "sample_answers",
    "save_vectors",
    "situation_prompts",
    "steer",
    "summarise_sweep",
    "sweep_agreement",
    "sweep_null",
    "top_layers",
]
