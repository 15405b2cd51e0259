"""The gain matrix: what steering does to every readout, to first order, from one backward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.coupling.multiple_testing import with_claims
from interp_culture.coupling.steered import VALUES
from interp_culture.errors import InputError, check_known
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import (
    Estimate,
    NullBand,
    bootstrap_weights,
    mean_samples,
)
from interp_culture.steering.readout_gradients import ReadoutGradients
from interp_culture.steering.vectors import SteeringVectors, check_by_axis, check_held_out

# Where the vectors of `readout_gradients` act.
GRADIENTS_AT = "hook_resid_post"
# Pairs of effects below which there is no correlation.
LEAST_PAIRS = 3


def gain_matrix(
    gradients: ReadoutGradients,
    scenarios: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    *,
    layers: Mapping[str, Sequence[int]] | None = None,
    value: str = "shift",
    seed: int = 42,
) -> pd.DataFrame:
    """G[i, j] = <g_j, v_i>: the change of axis j per unit of alpha on axis i, to first order.

    g_j is the mean gradient of the readout over the scenarios of axis j, with respect to a vector
    that is added at every token of the residual stream; v_i is the steering vector of axis i. G is
    the limit of the measured D (`response_matrix`) for small alpha.

    Args:
        gradients: of (at least) these scenarios, see `readout_gradients`.
        scenarios: of every axis to be read; held out, as for D.
        vectors: by steered axis.
        layers: by steered axis, those that are steered together: their gains add up. By default
            every layer is taken alone.
        value: "shift" (P+) or "logit_shift" (logit difference, nats).
        seed: of the bootstrap.

    Returns:
        layer (-1 for layers that are steered together), steered, axis (read), gain (change per unit
        of alpha), low, high (95% interval, bootstrap by item; NaN for fewer than 6 scenarios), n
        (scenarios), null_low and null_high (the 95% band of random vectors of the same norm, which
        follows from the length of g_j), p_null (of the gain among them; NaN without an interval),
        q and shown (for all entries of one axis on another in this table, see `with_claims`).

    Raises:
        InputError: an unknown value, scenarios without a gradient, scenarios from which a vector
            was made, or vectors of another model.

    >>> gradients = ic.steering.readout_gradients(model, test, "continuation")
    >>> gains = gain_matrix(gradients, test, vectors)
    >>> gains[["layer", "steered", "axis"]].head(2)
       layer steered axis
    0      0       X    X
    1      0       X    Y
    """
    check_known("value", value, VALUES)
    check_by_axis(vectors=vectors)
    gradients = gradients.select([scenario.id for scenario in scenarios])
    by_scenario = gradients.of_p_positive if value == "shift" else gradients.gradient.double()
    frame = scenarios.frame()
    axes = frame["axis"].to_numpy(str)
    # In one draw for all entries, so that entries of one scenario vary together.
    weights = bootstrap_weights(axes, frame["item"].to_numpy(str), seed=seed)
    rows: list[dict[str, Any]] = []
    for steered, of_axis in vectors.items():
        check_steered_here(of_axis, gradients, scenarios)
        direction = of_axis.direction.double()
        at_layer = (by_scenario * direction).sum(-1).numpy()
        for layer, together in steps(layers, steered, len(direction)).items():
            change = at_layer[:, together].sum(1)
            norms = direction[together].norm(dim=-1).numpy()
            for axis in sorted(set(axes)):
                read = axes == axis
                lengths = by_scenario[read][:, together].mean(0).norm(dim=-1).numpy()
                band = _random_band(lengths * norms, direction.shape[1])
                row = {"layer": layer, "steered": steered, "axis": axis}
                rows.append(row | _entry(change, read, weights, band))
    return with_claims(pd.DataFrame(rows), "gain")


def gain_agreement(gains: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """How well gains predict measured effects per unit of alpha, over layers.

    Args:
        gains: what `gain_matrix` returned.
        measured: layer, steered, axis and effect (per unit of alpha), such as the means of `slopes`
            at single layers.

    Returns:
        One row for each steered axis and axis read, and one for all entries ("all", "all"):
        steered, axis, n (layers), r (Pearson's correlation over them) and slope (of the regression
        of measured effects on gains, through 0). Both are NaN for fewer than three layers.

    Raises:
        InputError: no layer that both tables have.

    >>> gradients = ic.steering.readout_gradients(model, test, "continuation")
    >>> gains = gain_matrix(gradients, test, vectors)
    >>> gain_agreement(gains, gains.rename(columns={"gain": "effect"})).slope.round(3).unique()
    array([1.])
    """
    keys = ["layer", "steered", "axis"]
    pairs = gains[[*keys, "gain"]].merge(measured[[*keys, "effect"]], on=keys)
    if pairs.empty:
        raise InputError("no layer has both a gain and a measured effect; measure single layers")
    groups = [(names, part) for names, part in pairs.groupby(["steered", "axis"])]
    rows = [
        {"steered": steered, "axis": axis, "n": len(part), **_agreement(part.gain, part.effect)}
        for (steered, axis), part in [*groups, (("all", "all"), pairs)]
    ]
    return pd.DataFrame(rows)


def check_steered_here(
    vectors: SteeringVectors, gradients: ReadoutGradients, scenarios: ScenarioSet
) -> None:
    """Raise InputError unless gradients of these held-out scenarios tell what the vectors move."""
    check_held_out(vectors, scenarios)
    shape, expected = tuple(vectors.direction.shape), tuple(gradients.gradient.shape[1:])
    if shape != expected:
        raise InputError(
            f"vectors of {vectors.axis} are {shape} (layer, d_model), gradients {expected}; give "
            "vectors of the same model"
        )
    place = vectors.provenance.get("hook_point", GRADIENTS_AT)
    if place != GRADIENTS_AT:
        raise InputError(
            f"vectors of {vectors.axis} act at {place}, and gradients are taken at {GRADIENTS_AT}; "
            "give vectors of that hook point"
        )
    if not gradients.gradient.isfinite().all():
        raise InputError(
            "some gradients are not finite numbers; compute them in float32 (load_model(..., "
            "dtype='float32'))"
        )


def steps(
    layers: Mapping[str, Sequence[int]] | None, steered: str, n_layers: int
) -> dict[int, list[int]]:
    """The layers that are steered together, by the number of the row: each alone, or all as -1.

    >>> steps(None, "X", 2)
    {0: [0], 1: [1]}
    >>> steps({"X": [3, 4]}, "X", 30)
    {-1: [3, 4]}
    """
    if layers is None:
        return {layer: [layer] for layer in range(n_layers)}
    check_known("axis", steered, layers)
    together = list(layers[steered])
    if not together or len(set(together)) < len(together):
        raise InputError(f"layers of {steered}: {together}; give one or more, each once")
    if wrong := [layer for layer in together if not 0 <= layer < n_layers]:
        raise InputError(
            f"layers of {steered}: {', '.join(map(str, wrong))} out of range; the model has layers "
            f"0 to {n_layers - 1}"
        )
    return {-1: together}


def _entry(
    change: Float[np.ndarray, " scenario"],
    read: np.ndarray,
    weights: Float[np.ndarray, "draw scenario"],
    band: NullBand,
) -> dict[str, Any]:
    gain = Estimate.of_samples(mean_samples(weights, change, read))
    return {
        "gain": gain.value,
        "low": gain.low,
        "high": gain.high,
        "n": int(read.sum()),
        "null_low": band.low,
        "null_high": band.high,
        "p_null": np.nan if np.isnan(gain.low) else band.p(gain.value),
    }


def _random_band(products: Float[np.ndarray, " layer"], d_model: int) -> NullBand:
    """The band of <g, r> over random directions r: no vector has to be drawn.

    Args:
        products: |g| |r| at each layer.
    """
    # A coordinate of a random unit vector has the variance 1 / d_model.
    return NullBand.of_scale(float(np.sqrt((products**2).sum() / d_model)))


def _agreement(gain: pd.Series, effect: pd.Series) -> dict[str, float]:
    if len(gain) < LEAST_PAIRS or not (gain.std() and effect.std()):
        return {"r": np.nan, "slope": np.nan}
    slope = float((gain * effect).sum() / (gain**2).sum())
    return {"r": float(gain.corr(effect)), "slope": slope}
