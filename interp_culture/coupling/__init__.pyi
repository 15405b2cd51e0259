# The public names of this room; each is imported when it is first used.
from .alignment import Alignment, align
from .answer_encoding import reading_effects, reading_shifts, reading_slopes
from .causes import gain_causes
from .control import planted_growth, planted_response
from .decoupling import DECOUPLINGS, Decoupling, decouple
from .explanation import Explanation, explain
from .gain import gain_agreement, gain_matrix
from .gain_split import CAUSES
from .geometry import axis_cosines, cross_responses, layer_coupling, prediction
from .leace import ErasureWarning
from .multiple_testing import with_claims
from .null import beside_random, one_sided, random_effects, random_range, random_reach
from .planted import leak_of_size, predicted_coupling
from .purity import axis_purity
from .random_vectors import NullAgreement, null_check, predicted_random
from .ratio import Entanglement, entanglement
from .relative import equal_effect_strengths, minus_reference, multiples
from .reliability import (
    cluster_order,
    item_cosines,
    item_reliability,
    mean_cosine,
    scenario_agreement,
    spearman_brown,
    split_half,
    within_and_between,
)
from .responses import (
    domain_shifts,
    effects,
    effects_by_readout,
    moved_alone,
    response,
    response_matrix,
)
from .steered import shifts, slopes, steered_readouts
from .steered_scores import axis_scores, target_distances
from .text_gains import gains_of_texts

__all__ = [
    "CAUSES",
    "DECOUPLINGS",
    "Alignment",
    "Decoupling",
    "Entanglement",
    "ErasureWarning",
    "Explanation",
    "NullAgreement",
    "align",
    "axis_cosines",
    "axis_purity",
    "axis_scores",
    "beside_random",
    "cluster_order",
    "cross_responses",
    "decouple",
    "domain_shifts",
    "effects",
    "effects_by_readout",
    "entanglement",
    "equal_effect_strengths",
    "explain",
    "gain_agreement",
    "gain_causes",
    "gain_matrix",
    "gains_of_texts",
    "item_cosines",
    "item_reliability",
    "layer_coupling",
    "leak_of_size",
    "mean_cosine",
    "minus_reference",
    "moved_alone",
    "multiples",
    "null_check",
    "one_sided",
    "planted_growth",
    "planted_response",
    "predicted_coupling",
    "predicted_random",
    "prediction",
    "random_effects",
    "random_range",
    "random_reach",
    "reading_effects",
    "reading_shifts",
    "reading_slopes",
    "response",
    "response_matrix",
    "scenario_agreement",
    "shifts",
    "slopes",
    "spearman_brown",
    "split_half",
    "steered_readouts",
    "target_distances",
    "with_claims",
    "within_and_between",
]
