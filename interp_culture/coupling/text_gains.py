"""Which training texts a gain comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.coupling.gain import check_steered_here, steps
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.activations import Activations
from interp_culture.steering.readout_gradients import ReadoutGradients
from interp_culture.steering.vectors import SteeringVectors, check_by_axis

# Training scenarios and held-out ones of two axes, whose numbers may differ.
Rows = Float[np.ndarray, "_ d_model"]
# The largest angle between a vector and the mean of its contrasts, as 1 - cosine: rounding alone.
LARGEST_ANGLE = 1e-6


def gains_of_texts(
    gradients: ReadoutGradients,
    scenarios: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    contrasts: Activations,
    train: ScenarioSet,
    *,
    layers: Mapping[str, Sequence[int]],
) -> pd.DataFrame:
    """What the difference of every training scenario would move, were it the steering vector.

    The mean over the scenarios of an axis is its gain, so that the table shows which texts a
    coupling comes from, by item and domain.

    Args:
        gradients, scenarios, vectors, contrasts, train: as for `gain_causes`.
        layers: by axis, those that are steered together.

    Returns:
        steered, axis (read), id, item, domain (of the training scenario), gain (change of P+ per
        unit of alpha).

    Raises:
        InputError: see `gain_causes`.

    >>> gradients = ic.steering.readout_gradients(model, test, "continuation")
    >>> contrasts = ic.read_activations(model, train)
    >>> table = gains_of_texts(gradients, test, vectors, contrasts, train, layers=layers)
    >>> gains = ic.coupling.gain_matrix(gradients, test, vectors, layers=layers)
    >>> means = table.groupby(["steered", "axis"]).gain.mean()
    >>> bool(np.allclose(means, gains.gain))
    True
    """
    check_by_axis(vectors=vectors, layers=layers)
    for of_axis in vectors.values():
        check_steered_here(of_axis, gradients, scenarios)
    moves = {
        axis: gradients.mean_of_p_positive([s.id for s in scenarios if s.axis == axis]).numpy()
        for axis in sorted(scenarios.axes)
    }
    tables = []
    for steered, of_axis in vectors.items():
        frame = train.filter(axis=steered).frame()[["id", "item", "domain"]]
        (together,) = steps(layers, steered, gradients.gradient.shape[1]).values()
        rows = {
            layer: contrasts_at(contrasts, layer, frame.id.tolist(), of_axis) for layer in together
        }
        for axis, mean in moves.items():
            gain = np.sum([rows[layer] @ mean[layer] for layer in together], axis=0)
            tables.append(frame.assign(steered=steered, axis=axis, gain=gain))
    columns = ["steered", "axis", "id", "item", "domain", "gain"]
    return pd.concat(tables, ignore_index=True)[columns]


def contrasts_at(
    contrasts: Activations, layer: int, ids: Sequence[str], vectors: SteeringVectors
) -> Rows:
    """The differences between the poles, scaled so that their mean is the steering vector."""
    # The layer first: `select` copies what it selects from.
    of_axis = contrasts.at_layers([layer]).select(ids)
    rows = (of_axis.positive[:, 0].double() - of_axis.negative[:, 0].double()).numpy()
    mean = rows.mean(0)
    vector = vectors.direction[layer].double().numpy()
    lengths = np.linalg.norm(mean) * np.linalg.norm(vector)
    if not np.linalg.norm(vector):
        raise InputError(
            f"the vector of {vectors.axis} at layer {layer} is 0; give layers at which it is not"
        )
    if not lengths or mean @ vector / lengths < 1 - LARGEST_ANGLE:
        raise InputError(
            f"the vector of {vectors.axis} at layer {layer} (method {vectors.method}) is not the "
            "mean difference of these contrasts; give the contrasts that it was made from, and "
            "vectors of the method mean_diff or gradient"
        )
    return rows * (mean @ vector / (mean @ mean))


def gradients_at(gradients: ReadoutGradients, layer: int, ids: Sequence[str]) -> Rows:
    return gradients.at_layers([layer]).select(ids).of_p_positive[:, 0].numpy()
