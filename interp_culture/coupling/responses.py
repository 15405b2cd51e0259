"""The response of every axis to steering one: by strength, per unit of alpha, and by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from interp_culture.coupling.multiple_testing import with_claims
from interp_culture.coupling.null import beside_random, one_sided, random_reach
from interp_culture.coupling.ratio import Entanglement, entanglement_of
from interp_culture.coupling.steered import VALUES, shifts, slopes
from interp_culture.errors import check_known
from interp_culture.stats import (
    LEVEL,
    Estimate,
    NullBand,
    detectable,
    interval_words,
    means_by_axis,
)

NO_RATIO = Estimate(np.nan, np.nan, np.nan)
# The effects of no random vectors.
NO_NULL = np.empty(0)


def response(
    readouts: pd.DataFrame, value: str = "shift", seed: int = 42, even: float = 0.0
) -> pd.DataFrame:
    """The effect of every steered axis and alpha on every axis, with interval and null.

    Args:
        readouts: what `steered_readouts` returned.
        value: "shift" (change of p_positive) or "logit_shift" (change of logit_diff, nats).
        seed: of the bootstrap.
        even: for predicted random vectors, the share of their effects that does not depend on the
            sign (`NullAgreement.even`). Predictions lack it, and effects at one sign have it, so
            that the band is wider by sqrt(1 + even²).

    Returns:
        steered, alpha, axis (read), effect (mean change), low and high (95% interval, bootstrap by
        item); at the largest |alpha|, where random vectors are measured, also null_low and
        null_high (the 95% band of their effects, see `NullBand`), p_null and outside_null (p_null
        <= 0.05: larger than random vectors' effects in either direction). Without an interval or
        without random vectors p_null is NaN and outside_null is False.

    >>> table = response(readouts)
    >>> table[["steered", "alpha", "axis"]].head(2)
      steered  alpha axis
    0       X   -1.0    X
    1       X   -1.0    Y
    """
    check_known("value", value, VALUES)
    table = shifts(readouts)
    random = table[table.method == "random"]
    steered_rows = table[table.method != "random"]
    largest = table.alpha.abs().max()
    rows = []
    for (steered, alpha), part in steered_rows.groupby(["steered", "alpha"], sort=True):
        is_measured = abs(alpha) == largest
        # In one order of the scenarios, so that all alphas share the bootstrap samples.
        for axis, estimate in _estimates(part.sort_values("id"), value, seed).items():
            # Measured at +alpha alone; they serve -alpha too, each being as likely as its opposite.
            same = random[(random.steered == steered) & (random.axis == axis)]
            null = same.groupby("draw")[value].mean().to_numpy() * one_sided(even)
            run = {"steered": steered, "alpha": alpha, "axis": axis}
            rows.append(
                run | _effect(estimate) | _null(estimate, null if is_measured else null[:0])
            )
    return pd.DataFrame(rows)


def _estimates(part: pd.DataFrame, value: str, seed: int) -> dict[str, Estimate]:
    """The mean of `value` by axis, with its interval."""
    means = means_by_axis(
        part[value].to_numpy(), part.axis.to_numpy(), part["item"].to_numpy(), seed
    )
    return {axis: Estimate.of_samples(samples) for axis, samples in means.items()}


def _effect(estimate: Estimate) -> dict[str, float]:
    return {"effect": estimate.value, "low": estimate.low, "high": estimate.high}


def _null(estimate: Estimate, effects: np.ndarray) -> dict[str, float | bool]:
    """The band of random vectors, and the place of an estimate in it."""
    band = NullBand.of(effects)
    p = p_of(estimate, band)
    return {
        "null_low": band.low,
        "null_high": band.high,
        "p_null": p,
        "outside_null": bool(p <= LEVEL),
    }


def p_of(estimate: Estimate, band: NullBand) -> float:
    """The p value of an estimate; NaN for one without an interval, of which nothing is claimed."""
    return np.nan if np.isnan(estimate.low) else band.p(estimate.value)


def response_matrix(readouts: pd.DataFrame, value: str = "shift", seed: int = 42) -> pd.DataFrame:
    """D[i, j]: the change of axis j per unit of alpha on axis i, with intervals and ratios.

    D is the central difference over the two signs of the largest alpha, so that effects which do
    not depend on the sign cancel: `D = (effect(+alpha) - effect(-alpha)) / (2 alpha)`.

    Args:
        readouts: what `steered_readouts` returned.
        value: "shift" (change of p_positive) or "logit_shift" (change of logit_diff, nats).
        seed: of the bootstrap.

    Returns:
        steered, axis, D, low, high (95% interval), null_low and null_high (the 95% band of the
        random vectors' effects per unit of alpha; NaN without them), p_null (of D among those
        effects), detectable (the smallest |D| that this run would have
        found in 80% of cases, see `detectable`), ratio, ratio_low, ratio_high (Eq. 5 from D; NaN on
        the diagonal), defined (whether the interval of the steered axis' own D excludes 0), q and
        shown (for all entries of one axis on another, see `with_claims`).

    >>> matrix = response_matrix(readouts)
    >>> matrix.pivot(index="steered", columns="axis", values="D").shape
    (2, 2)
    """
    check_known("value", value, VALUES)
    rows = []
    bands = null_slopes(readouts, value)
    by_scenario = slopes(readouts, ["steered"], value)
    for steered, part in by_scenario.groupby("steered", sort=True):
        # The ratio of slopes is that of shifts: the factor 1 / (2 alpha) cancels.
        result = entanglement_of(
            part.slope.to_numpy(),
            part.axis.to_numpy(),
            part["item"].to_numpy(),
            str(steered),
            seed,
        )
        for axis in result.shift:
            rows.append(_matrix_row(result, axis, NullBand.of(bands.get((steered, axis), NO_NULL))))
    return with_claims(pd.DataFrame(rows), "D")


def null_slopes(readouts: pd.DataFrame, value: str = "shift") -> dict[tuple[str, str], np.ndarray]:
    """The effects of random vectors per unit of alpha, by steered axis and axis read."""
    table = shifts(readouts)
    random = table[table.method == "random"]
    if random.empty:  # such a table may lack the number of the draw
        return {}
    per_alpha = random.assign(slope=random[value] / random.alpha)
    means = per_alpha.groupby(["steered", "axis", "draw"]).slope.mean()
    groups = means.groupby(["steered", "axis"])
    return {(str(steered), str(axis)): m.to_numpy() for (steered, axis), m in groups}


def _matrix_row(result: Entanglement, axis: str, band: NullBand) -> dict[str, object]:
    d = result.shift[axis]
    ratio = result.ratio.get(axis, NO_RATIO)
    return {
        "steered": result.target,
        "axis": axis,
        "D": d.value,
        "low": d.low,
        "high": d.high,
        "null_low": band.low,
        "null_high": band.high,
        "p_null": p_of(d, band),
        "detectable": detectable(d.low, d.high, band.reach),
        "ratio": ratio.value,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "defined": result.defined,
    }


def moved_alone(matrix: pd.DataFrame) -> list[str]:
    """Sentences on axes that are shown to move although the steered axis does not move.

    Args:
        matrix: what `response_matrix` returned.

    >>> pair = {"steered": ["X"], "axis": ["Y"], "defined": False, "shown": True}
    >>> print(*moved_alone(pd.DataFrame(pair | {"D": 0.02, "low": 0.01, "high": 0.03})))
    Steering X moves Y by +0.020 [+0.010, +0.030] per unit alpha, beyond random vectors,
    although X itself does not move beyond its interval: an effect on Y, no coupling.
    """
    is_other = matrix.steered != matrix.axis
    return [
        f"Steering {row.steered} moves {row.axis} by "
        f"{interval_words(row.D, row.low, row.high)} per unit alpha, beyond random vectors, "
        f"although {row.steered} itself does not move beyond its interval: an effect on "
        f"{row.axis}, no coupling."
        for row in matrix[is_other & ~matrix.defined & matrix.shown].itertuples()
    ]


def effects(
    shifted: pd.DataFrame, by: Sequence[str], value: str = "shift", seed: int = 42
) -> pd.DataFrame:
    """The mean of `value` in every group of `by`, for each axis read.

    Returns:
        *by, axis, effect, low and high (95% interval, bootstrap by item; NaN for fewer than six
        scenarios), n (scenarios).

    >>> shifted = ic.coupling.shifts(readouts)
    >>> effects(shifted[shifted.method != "random"], ["steered", "alpha"]).columns.tolist()
    ['steered', 'alpha', 'axis', 'effect', 'low', 'high', 'n']
    """
    for name in (*by, value):
        check_known("column", name, shifted.columns)
    rows = []
    for keys, part in shifted.groupby(list(by), sort=True):
        group = dict(zip(by, keys, strict=True))
        for axis, estimate in _estimates(part, value, seed).items():
            n = int((part.axis == axis).sum())
            rows.append(group | {"axis": axis} | _effect(estimate) | {"n": n})
    return pd.DataFrame(rows, columns=[*by, "axis", "effect", "low", "high", "n"])


def effects_by_readout(
    readouts: Mapping[str, pd.DataFrame], by: Sequence[str], seed: int = 42
) -> pd.DataFrame:
    """The effects by each readout, in logits per unit of alpha, from both signs of the largest.

    P+ of two readouts are no common unit, since one may be sure of itself where the other is not.

    Args:
        readouts: the same runs by each readout, as for `slopes`.
        by: the columns that tell the runs apart, except alpha.

    Returns:
        readout and the columns of `effects`, in nats (continuation: per token).

    >>> table = effects_by_readout({"continuation": readouts}, ["steered"])
    >>> table[["readout", "steered", "axis"]].head(2)
            readout steered axis
    0  continuation       X    X
    1  continuation       X    Y
    """
    tables = []
    for readout, table in readouts.items():
        by_scenario = slopes(table, by, "logit_shift")
        of_readout = effects(by_scenario, by, "slope", seed)
        tables.append(of_readout.assign(readout=readout))
    return pd.concat(tables, ignore_index=True)


def domain_shifts(readouts: pd.DataFrame, seed: int = 42, even: float = 0.0) -> pd.DataFrame:
    """Effects at the largest alpha by steered axis, domain and axis read, with the random band.

    Args:
        even: see `response`.

    Returns:
        steered, domain and the columns of `effects` and `beside_random`.

    >>> domain_shifts(readouts).domain.unique().tolist() == sorted(test.domains)
    True
    """
    table = shifts(readouts)
    steered = table[table.method != "random"]
    largest = steered[steered.alpha == steered.alpha.max()]
    by_domain = effects(largest, ["steered", "domain"], seed=seed)
    reach = random_reach(table, ["steered", "domain", "axis"])
    reach[["null_low", "null_high"]] *= one_sided(even)
    return beside_random(by_domain, reach)
