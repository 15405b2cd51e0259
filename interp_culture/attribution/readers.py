"""Which attentions and MLPs read a steering vector: the gain, split by its first readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.coupling.gain import steps
from interp_culture.coupling.steered import check_axes
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.writers import MIDDLE
from interp_culture.readout.formats import Readout, ReadoutFormat
from interp_culture.readout.sensitivity import Sensitivity, sensitivity
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import Estimate, bootstrap_weights, mean_samples
from interp_culture.steering.edits import steer
from interp_culture.steering.vectors import SteeringVectors, check_held_out

COLUMNS = ["steered", "axis", "component", "layer", "kind", "read", "low", "high"]

_Reads = Float[np.ndarray, " scenario"]


def read_effects(
    model: LanguageModel,
    scenarios: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, Sequence[int]],
    *,
    readout: Readout | ReadoutFormat = "letters",
    seed: int = 42,
) -> pd.DataFrame:
    """How much of each gain starts with each attention and MLP that reads the vector.

    A vector that is added to the residual stream stays there, and all later blocks read it. With
    g_l the gradient of axis j's P+ at stream l, `<g_l - g_{l+1}, v>` is the part of the gain that
    block l makes of the vector itself, and `<g_end, v>` the part that reaches the unembedding as it
    is. The gradient between attention and MLP splits a block's part likewise. What later blocks do
    with a block's output counts for the block that read the vector first. So the parts add up to
    the gain (`gain_matrix`) exactly.

    Args:
        scenarios: of every axis to be read; held out.
        vectors: by steered axis.
        layers: by steered axis, those that are steered together.
        readout: a name or a `ReadoutFormat`.
        seed: of the bootstrap.

    Returns:
        steered, axis (read), component, layer, kind ("attn", "mlp"; "block" where both read the
        stream at once, so that their parts cannot be told apart; or "unembedding"), read (change of
        P+ per unit of alpha, to first order), low and high (95%, bootstrap by item; NaN for fewer
        than 6 scenarios).

    Raises:
        InputError: an axis without layers, vectors of another model, or scenarios from which a
            vector was made.

    >>> table = read_effects(model, test, vectors, layers, readout="continuation")
    >>> table[(table.steered == "X") & (table.axis == "Y")].component.tolist()
    ['L2.attn', 'L2.mlp', 'L3.attn', 'L3.mlp', 'unembedding']
    """
    check_axes(vectors, layers)
    for axis, of_axis in vectors.items():
        model.check_edits(steer(of_axis, layers[axis], 1.0))
        check_held_out(of_axis, scenarios)
    steered = {axis: steps(layers, axis, model.n_layers)[-1] for axis in vectors}
    first = 1 + min(layer for of_axis in steered.values() for layer in of_axis)
    found = sensitivity(
        model,
        scenarios,
        range(first, model.n_layers + 1),
        readout=readout,
        points=_middles(model, first),
    )
    frame = scenarios.frame()
    axes = frame["axis"].to_numpy(str)
    weights = bootstrap_weights(axes, frame["item"].to_numpy(str), seed=seed)
    rows = []
    for axis, of_axis in vectors.items():
        for (kind, layer), read in _parts(model, found, of_axis, steered[axis]).items():
            for axis_read in sorted(set(axes)):
                part = Estimate.of_samples(mean_samples(weights, read, axes == axis_read))
                about = (axis, axis_read, _name(kind, layer), layer, kind)
                rows.append((*about, part.value, part.low, part.high))
    return pd.DataFrame(rows, columns=COLUMNS)


def _middles(model: LanguageModel, first: int) -> list[str]:
    names = [f"blocks.{layer}.{MIDDLE}" for layer in range(first, model.n_layers)]
    return [name for name in names if name in model.bridge.hook_dict]


def _parts(
    model: LanguageModel, found: Sensitivity, vectors: SteeringVectors, layers: Sequence[int]
) -> dict[tuple[str, int], _Reads]:
    """What each component reads of the vectors at all steered layers, by kind and block."""
    parts: dict[tuple[str, int], _Reads] = {}

    def along(gradient: Float[np.ndarray, "scenario d_model"], layer: int) -> _Reads:
        return found.slope * (gradient @ vectors.direction[layer].double().numpy())

    def add(kind: str, layer: int, read: _Reads) -> None:
        parts[kind, layer] = parts.get((kind, layer), 0) + read

    for steered in layers:
        for block in range(steered + 1, model.n_layers):
            before, after = found.gradient[block], found.gradient[block + 1]
            middle = found.at_point.get(f"blocks.{block}.{MIDDLE}")
            if middle is None:
                add("block", block, along(before - after, steered))
            else:
                add("attn", block, along(before - middle, steered))
                add("mlp", block, along(middle - after, steered))
        add("unembedding", model.n_layers, along(found.gradient[model.n_layers], steered))
    # Of several steered layers, the blocks of the first may come after those of the second.
    return dict(sorted(parts.items(), key=lambda part: (part[0][1], part[0][0])))


def _name(kind: str, layer: int) -> str:
    return {"unembedding": kind, "block": f"L{layer}"}.get(kind, f"L{layer}.{kind}")
