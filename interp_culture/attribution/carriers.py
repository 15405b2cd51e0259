"""How much of what steering does passes through each attention head and MLP, to first order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import expit

from interp_culture.coupling.steered import check_axes
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.node_effects import NodeEffects, restoring_effects
from interp_culture.engine.nodes import Node
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format
from interp_culture.readout.probing import logit_diff_score
from interp_culture.readout.validity import warn_of
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import Estimate, bootstrap_weights, mean_samples
from interp_culture.steering.edits import check_strength, steer
from interp_culture.steering.vectors import SteeringVectors

COLUMNS = ["steered", "axis", "component", "layer", "kind", "head"]
COLUMNS += ["effect", "carried", "low", "high"]


def carried_effects(
    model: LanguageModel,
    scenarios: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, Sequence[int]],
    *,
    alpha: float = 1.0,
    readout: Readout | ReadoutFormat = "letters",
    seed: int = 42,
) -> pd.DataFrame:
    """What each component carries of the effect of steering, on every axis.

    A component (a head or an MLP) carries what would be lost if it put out what it does in the
    plain run of the same prompt, token by token, while all else is steered. That loss is estimated
    for all components at once by the gradient of the steered run (attribution patching); measure
    the largest with `restored_readouts`. What later components do with its output counts for it
    too, so that the components of one path count the same effect several times, and the column does
    not add up to the effect.

    Args:
        scenarios: of every axis to be read.
        vectors, layers: by steered axis, as for `steered_readouts`.
        alpha: strength; both signs are run, and the effects are averaged per unit of alpha.
        readout: a name or a `ReadoutFormat`.
        seed: of the bootstrap.

    Returns:
        steered, axis (read), component, layer, kind ("head", "mlp", or "attn" for a whole attention
        whose heads cannot be told apart), head (-1 for the others), effect (measured change of P+
        per unit of alpha, of all the model), carried (of it, in the same unit), low and high (95%
        of carried, bootstrap by item; NaN for fewer than 6 scenarios). Components of all blocks
        after the first steered one.

    Raises:
        InputError: an axis without layers, alpha 0, vectors that do not fit the model, no block
            after the steered ones, or a model without hook points for its components.

    >>> table = carried_effects(model, test, vectors, layers, readout="continuation")
    >>> table[(table.steered == "X") & (table.axis == "Y")].component.tolist()[:5]
    ['L2.H0', 'L2.H1', 'L2.H2', 'L2.H3', 'L2.mlp']
    """
    check_axes(vectors, layers)
    check_strength(alpha)
    form = as_format(readout)
    warn_of(model, form)
    groups, score, weights = logit_diff_score(model, scenarios, form)
    frame = scenarios.frame()
    axes = frame["axis"].to_numpy(str)
    drawn = bootstrap_weights(axes, frame["item"].to_numpy(str), seed=seed)
    runs = [
        steer(of_axis, layers[steered], signed)
        for steered, of_axis in vectors.items()
        for signed in (alpha, -alpha)
    ]
    found = restoring_effects(model, groups, score, weights, runs, "components under steering")
    tables = []
    for number, steered in enumerate(vectors):
        up, down = found[2 * number : 2 * number + 2]
        # Restoring takes away what a component carries.
        carried = (_of_p_positive(down) - _of_p_positive(up)) / (2 * alpha)
        change = (expit(up.score) - expit(down.score)) / (2 * alpha)
        for axis in sorted(set(axes)):
            read = axes == axis
            rows = _rows(up.nodes, carried, read, drawn)
            tables.append(rows.assign(steered=steered, axis=axis, effect=change[read].mean()))
    return pd.concat(tables, ignore_index=True)[COLUMNS]


def _of_p_positive(found: NodeEffects) -> Float[np.ndarray, "scenario node"]:
    """The changes of P+ from those of the logit difference."""
    p_positive = expit(found.score)
    return (p_positive * (1 - p_positive))[:, None] * found.effect


def _rows(
    nodes: Sequence[Node],
    carried: Float[np.ndarray, "scenario node"],
    read: np.ndarray,
    drawn: Float[np.ndarray, "draw scenario"],
) -> pd.DataFrame:
    rows = []
    for place, node in enumerate(nodes):
        estimate = Estimate.of_samples(mean_samples(drawn, carried[:, place], read))
        about = {"layer": node.layer, "kind": node.kind, "head": node.head}
        interval = {"carried": estimate.value, "low": estimate.low, "high": estimate.high}
        rows.append({"component": node.name, **about, **interval})
    return pd.DataFrame(rows)
