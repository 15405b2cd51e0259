# The public names of this room; each is imported when it is first used.
from .activations import (
    Activations,
    cache_activations,
    contrastive_activations,
    load_activations,
    read_activations,
)
from .answers import answer_perplexities, mean_intervals, sample_answers, situation_prompts
from .atoms import direction_atoms
from .direction_choice import (
    Candidate,
    TrainingReadings,
    best_candidate,
    compare_directions,
    cross_fitted_effects,
)
from .directions import direction
from .edits import steer
from .equal_kl import equal_kl_strengths
from .exports import (
    export_control_vector,
    export_lm_eval,
    export_tensors,
    remote_interventions,
)
from .extraction import extract
from .fluency import BudgetError, calibrate, kl_on_neutral, mean_kl, perplexity
from .gradient_sweep import gradient_sweep
from .layer_choice import choice_overlap, choice_stability, spread_layers, top_layers
from .layer_cost import layer_costs
from .likeness import direction_cosines, half_cosines
from .optimised import Training
from .readout_gradients import ReadoutGradients, cache_gradients, readout_gradients
from .sites import Site
from .sparse_features import sae_features
from .sweep import SweepWarning, layer_sweep, summarise_sweep, sweep_agreement, sweep_null
from .vector_files import load_vectors, save_vectors
from .vectors import Provenance, SteeringVectors, norm_matched, random_like
from .vocabulary import direction_tokens, token_projections

__all__ = [
    "Activations",
    "BudgetError",
    "Candidate",
    "Provenance",
    "ReadoutGradients",
    "Site",
    "SteeringVectors",
    "SweepWarning",
    "Training",
    "TrainingReadings",
    "answer_perplexities",
    "best_candidate",
    "cache_activations",
    "cache_gradients",
    "calibrate",
    "choice_overlap",
    "choice_stability",
    "compare_directions",
    "contrastive_activations",
    "cross_fitted_effects",
    "direction",
    "direction_atoms",
    "direction_cosines",
    "direction_tokens",
    "equal_kl_strengths",
    "export_control_vector",
    "export_lm_eval",
    "export_tensors",
    "extract",
    "gradient_sweep",
    "half_cosines",
    "kl_on_neutral",
    "layer_costs",
    "layer_sweep",
    "load_activations",
    "load_vectors",
    "mean_intervals",
    "mean_kl",
    "norm_matched",
    "perplexity",
    "random_like",
    "read_activations",
    "readout_gradients",
    "remote_interventions",
    "sae_features",
    "sample_answers",
    "save_vectors",
    "situation_prompts",
    "spread_layers",
    "steer",
    "summarise_sweep",
    "sweep_agreement",
    "sweep_null",
    "token_projections",
    "top_layers",
]
