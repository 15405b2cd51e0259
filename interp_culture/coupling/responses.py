"""How far steering one axis moves every axis: responses by strength, the response matrix, effects by group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from interp_culture.coupling.null import beside_random, random_reach
from interp_culture.coupling.ratio import entanglement_of
from interp_culture.coupling.steered import VALUES, shifts, slopes
from interp_culture.errors import check_known
from interp_culture.stats import (
    LEVEL,
    Estimate,
    interval_words,
    means_by_axis,
    p_of_null,
)


def response(readouts: pd.DataFrame, value: str = "shift", seed: int = 42) -> pd.DataFrame:
    """Every axis' response to every steered axis and alpha, with interval and null.

    Args:
        readouts: what `steered_readouts` returned.
        value: "shift" (change of p_positive) or "logit_shift" (change of logit_diff, nats).

    Returns:
        steered, alpha, axis, effect (mean change), low, high (95%, bootstrap), null_low, null_high (2.5% and 97.5%
        quantiles of the random vectors' effects at the largest alpha: what they do), p_null (the rank of |effect|
        among theirs; only at the largest |alpha|, where they were measured) and outside_null (p_null <= 0.05: the
        effect is larger than what random vectors do in either direction). Without an interval, or with fewer than
        20 random vectors, p_null is NaN and outside_null False.
    """
    check_known("value", value, VALUES)
    table = shifts(readouts)
    random = table[table.method == "random"]
    own = table[table.method != "random"]
    top = table.alpha.abs().max()
    rows = []
    for (steered, alpha), run in own.groupby(["steered", "alpha"], sort=True):
        run = run.sort_values("id")  # noqa: PLW2901
        found = means_by_axis(
            run[value].to_numpy(), run.axis.to_numpy(), run["item"].to_numpy(), seed
        )
        for axis, means in found.items():
            estimate = Estimate.of(means[0], means[1:])
            null = (
                random[(random.steered == steered) & (random.axis == axis)]
                .groupby("draw")[value]
                .mean()
            )
            rows.append(
                _response_row(
                    steered, alpha, axis, estimate, null.to_numpy(), bool(abs(alpha) == top)
                )
            )
    return pd.DataFrame(rows)


def _response_row(
    steered: str, alpha: float, axis: str, estimate: Estimate, null: np.ndarray, at_top: bool
) -> dict[str, object]:
    measured = at_top and len(null) > 0
    low, high = np.percentile(null, [2.5, 97.5]) if measured else (np.nan, np.nan)
    p = p_of_null(estimate.value, null) if measured and not np.isnan(estimate.low) else np.nan
    return {
        "steered": steered,
        "alpha": alpha,
        "axis": axis,
        "effect": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "null_low": low,
        "null_high": high,
        "p_null": p,
        "outside_null": bool(p <= LEVEL),
    }


def response_matrix(readouts: pd.DataFrame, value: str = "shift", seed: int = 42) -> pd.DataFrame:
    """D[i, j]: change of axis j per unit of alpha on axis i, as a tidy table with intervals and the ratio.

    The central difference over the two signs of the largest alpha, so that what a vector does whatever its
    sign cancels: `D = (effect(+alpha) - effect(-alpha)) / (2 alpha)`.

    Returns:
        steered, axis, D, low, high, ratio, ratio_low, ratio_high (Eq. 5 from D; NaN on the diagonal) and defined
        (whether the interval of the steered axis' own D excludes 0).
    """
    check_known("value", value, VALUES)
    rows = []
    for (steered,), own in slopes(readouts, ["steered"], value).groupby(["steered"], sort=True):
        found = entanglement_of(
            own.slope.to_numpy(), own.axis.to_numpy(), own["item"].to_numpy(), str(steered), seed
        )
        for axis, d in found.shift.items():
            ratio = found.ratio.get(axis, Estimate(np.nan, np.nan, np.nan))
            rows.append(
                {
                    "steered": steered,
                    "axis": axis,
                    "D": d.value,
                    "low": d.low,
                    "high": d.high,
                    "ratio": ratio.value,
                    "ratio_low": ratio.low,
                    "ratio_high": ratio.high,
                    "defined": found.defined,
                }
            )
    return pd.DataFrame(rows)


def moved_alone(matrix: pd.DataFrame, responses: pd.DataFrame) -> list[str]:
    """In words, where steering an axis moves another beyond random vectors but not itself beyond its interval.

    Args:
        matrix: what `response_matrix` returned.
        responses: what `response` returned of the same readouts.
    """
    outside = responses[responses.outside_null].groupby(["steered", "axis"]).size()
    other = matrix[
        (matrix.steered != matrix.axis) & ~matrix.defined & (matrix.low * matrix.high > 0)
    ]
    return [
        f"Steering {r.steered} moves {r.axis} by {interval_words(r.D, r.low, r.high)} per unit alpha, beyond random "
        f"vectors, although {r.steered} itself does not move beyond its interval: an effect on {r.axis}, no coupling."
        for r in other.itertuples()
        if (r.steered, r.axis) in outside.index
    ]


def effects(
    shifted: pd.DataFrame, by: Sequence[str], value: str = "shift", seed: int = 42
) -> pd.DataFrame:
    """The mean of `value` in every group of `by` and axis read: effect, low, high (95%, bootstrap by item; NaN
    for fewer than six scenarios) and n."""
    for name in (*by, value):
        check_known("column", name, shifted.columns)
    rows = []
    for keys, part in shifted.groupby(list(by), sort=True):
        found = means_by_axis(
            part[value].to_numpy(), part.axis.to_numpy(), part["item"].to_numpy(), seed
        )
        for axis, means in found.items():
            n = int((part.axis == axis).sum())
            e = Estimate.of(means[0], means[1:])
            rows.append((*keys, axis, e.value, e.low, e.high, n))
    return pd.DataFrame(rows, columns=[*by, "axis", "effect", "low", "high", "n"])


def domain_shifts(readouts: pd.DataFrame, seed: int = 42) -> pd.DataFrame:
    """`effects` at the largest alpha by steered axis, domain and axis read, as `beside_random`."""
    table = shifts(readouts)
    largest = table[(table.method != "random") & (table.alpha == table.alpha.max())]
    found = effects(largest, ["steered", "domain"], seed=seed)
    return beside_random(found, random_reach(table, ["steered", "domain", "axis"]))
