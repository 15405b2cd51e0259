"""Intervals by a bootstrap that respects items, and the band of random vectors' effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float

DRAWS = 2000
# The least number of values that has an interval. All of n values have the same sign by chance with
# probability 2 / 2^n, and a percentile bootstrap then excludes 0 whatever their size. That is 6%
# for n = 5 and 3% for n = 6, the first below 5%.
LEAST_N = 6
# The least number of random vectors in a study. The spread of their effects is then known to about
# 1 / sqrt(2 n) of itself, which is 16% for 20.
LEAST_RANDOM = 20
LEVEL = 0.05
# Standard errors that a two-sided test at LEVEL wants, and those by which a true effect must be
# larger, so that 80% of its estimates pass.
TESTED = 1.960
POWER = 0.842

Samples = Float[np.ndarray, " sample"]
# One interval or many.
Ends = TypeVar("Ends", float, np.ndarray)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; low and high are NaN for fewer than `LEAST_N` values."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, draws: Float[np.ndarray, " draw"]) -> Estimate:
        """The interval is the middle 95% of the bootstrap draws, without undefined ones (0/0).

        Where all draws are NaN, as those of `weighted_means` are below `LEAST_N`, there is no
        interval.
        """
        defined = draws[~np.isnan(draws)]
        low, high = np.percentile(defined, [2.5, 97.5]) if len(defined) else (np.nan, np.nan)
        return cls(float(value), float(low), float(high))

    @classmethod
    def of_samples(cls, samples: Samples) -> Estimate:
        """The first sample is the observed value, the others are bootstrap draws."""
        return cls.of(samples[0], samples[1:])

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 is outside the interval; False where there is no interval."""
        return excludes_zero(self.low, self.high)

    def __str__(self) -> str:
        return interval_words(self.value, self.low, self.high)


def excludes_zero(low: float, high: float) -> bool:
    """Whether 0 is outside the interval; False where there is none (NaN)."""
    return bool(low > 0 or high < 0)


def interval_words(
    value: float | int, low: float | int, high: float | int, digits: int = 3, sign: str = "+"
) -> str:
    """A value with its interval, as it is written everywhere.

    >>> interval_words(0.0123, 0.004, 0.02)
    '+0.012 [+0.004, +0.020]'
    >>> interval_words(0.0123, float("nan"), float("nan"))
    '+0.012 [no interval: fewer than 6 values]'
    """
    if np.isnan(low) or np.isnan(high):
        return f"{value:{sign}.{digits}f} [no interval: fewer than {LEAST_N} values]"
    return f"{value:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def bootstrap_weights(
    strata: np.ndarray, clusters: np.ndarray, draws: int = DRAWS, seed: int = 42
) -> Float[np.ndarray, "draw scenario"]:
    """How often each scenario is in each bootstrap sample.

    There are two stages within each stratum (axis). Clusters (items) are drawn with replacement,
    then scenarios within each drawn cluster. Scenarios of one item share wording and topic, so that
    drawing them alone would make intervals too narrow. In a stratum of one cluster (an axis with
    one item) scenarios are all that can be drawn.

    Args:
        strata: the axis of each scenario.
        clusters: the item of each scenario.
    """
    rng = np.random.default_rng(seed)
    weights = np.zeros((draws, len(clusters)))
    for stratum in np.unique(strata):
        names = np.unique(clusters[strata == stratum])
        members = [np.flatnonzero((clusters == name) & (strata == stratum)) for name in names]
        picks = rng.integers(len(names), size=(draws, len(names)))
        for cluster, inside in enumerate(members):
            times = (picks == cluster).sum(1)
            # An item that is drawn twice gets two independent samples of its scenarios.
            for time in range(1, times.max() + 1):
                rows = np.flatnonzero(times >= time)
                chosen = inside[rng.integers(len(inside), size=(len(rows), len(inside)))]
                # `+=` would count a scenario once that is drawn several times.
                np.add.at(weights, (rows[:, None], chosen), 1)
    return weights


def item_weights(
    items: np.ndarray, draws: int = DRAWS, seed: int = 42
) -> Float[np.ndarray, "draw scenario"]:
    """`bootstrap_weights` of scenarios of one axis, which are one stratum."""
    return bootstrap_weights(np.full(len(items), ""), items, draws, seed)


def weighted_means(
    weights: Float[np.ndarray, "draw scenario"],
    values: Float[np.ndarray, " scenario"],
    mask: np.ndarray,
    n: int | None = None,
) -> Float[np.ndarray, " draw"]:
    """The mean of the masked values in every bootstrap sample; NaN below `LEAST_N` values.

    This is the one place where `LEAST_N` acts: whatever is computed from NaN draws has no interval.

    Args:
        n: how many values vary freely, by default the number of masked ones; for strata see
            `free_values`.
    """
    n_free = int(mask.sum()) if n is None else n
    if n_free < LEAST_N:
        return np.full(len(weights), np.nan)
    inside = weights[:, mask]
    return inside @ values[mask] / inside.sum(1)


def mean_samples(
    weights: Float[np.ndarray, "draw scenario"],
    values: Float[np.ndarray, " scenario"],
    mask: np.ndarray | None = None,
) -> Samples:
    """The mean of the masked values, or of all: the observed one, then `weighted_means`."""
    mask = np.full(len(values), True) if mask is None else mask
    return np.append(values[mask].mean(), weighted_means(weights, values, mask))


def means_by_axis(
    change: Float[np.ndarray, " scenario"], axes: np.ndarray, items: np.ndarray, seed: int
) -> dict[str, Samples]:
    """The mean of `change` by axis: the observed one first, then those of the bootstrap."""
    weights = bootstrap_weights(axes, items, seed=seed)
    means = {}
    for axis in sorted(set(axes)):
        means[axis] = mean_samples(weights, change, axes == axis)
    return means


def free_values(strata: np.ndarray) -> int:
    """How many values vary freely in a bootstrap within fixed strata.

    That is one, and one for each value beyond the first of a stratum. It is 1 where any stratum has
    a single value, since nothing of it can be drawn.

    >>> free_values(np.array(["a", "a", "a", "b", "b"]))
    4
    """
    sizes = np.unique(strata, return_counts=True)[1]
    return 1 if sizes.min() < 2 else int(1 + (sizes - 1).sum())


@dataclass(frozen=True)
class NullBand:
    """The 95% band of random vectors' effects on one quantity. The only such rule of the toolkit.

    The effects of random directions on a mean are normal to good approximation: to first order they
    are projections of a fixed gradient of hundreds of dimensions on random directions. Their centre
    is 0, since a direction is as likely as its opposite. So their spread is their root mean square
    r over n vectors, the band is `0 ± t r` with Student's t at n degrees of freedom, and the p of
    an effect is that of `|effect| / r`. In this way a few measured vectors serve, at the price of
    a wider band, and p is not limited to 1 / (n + 1) as a rank would be.

    Attributes:
        centre: of the band; not 0 for a quantity that has no sign.
        scale: the spread of one effect, the root mean square around the centre.
        freedom: degrees of freedom of Student's t; infinite for a spread that is known.
        reach: half of the width of the band; an effect further from the centre has p < 0.05.
    """

    centre: float
    scale: float
    freedom: float | int
    reach: float

    @classmethod
    def of(cls, effects: Float[np.ndarray, " vector"], centre: float | None = 0.0) -> NullBand:
        """The band of these effects, one for each random vector; NaN where there are too few.

        Args:
            centre: None estimates it by the mean, for a quantity without a sign, such as a mean
                |effect|; the band then holds 95% of further vectors.

        >>> round(NullBand.of(np.array([0.01, -0.01, 0.01])).reach, 3)
        0.032
        """
        # Imported here: scipy.stats takes half a second.
        from scipy.stats import t

        estimated = centre is None
        freedom = len(effects) - estimated
        if freedom < 1:
            return cls(np.nan, np.nan, 0, np.nan)
        middle = float(np.mean(effects)) if centre is None else centre
        scale = np.sqrt(((effects - middle) ** 2).sum() / freedom)
        if estimated:
            # The mean is as uncertain as any mean of n values.
            scale = scale * np.sqrt(1 + 1 / len(effects))
        return cls(middle, float(scale), freedom, float(t.ppf(1 - LEVEL / 2, freedom) * scale))

    @classmethod
    def of_scale(cls, scale: float) -> NullBand:
        """The band around 0 of effects whose spread is known, not estimated from a few vectors.

        >>> round(NullBand.of_scale(0.01).reach, 4)
        0.0196
        """
        return cls(0.0, scale, np.inf, TESTED * scale)

    @property
    def low(self) -> float:
        """The lower end of the band."""
        return self.centre - self.reach

    @property
    def high(self) -> float:
        """The upper end of the band."""
        return self.centre + self.reach

    def p(self, effect: float) -> float:
        """The two-sided p value of an effect; NaN without random vectors."""
        from scipy.stats import t

        if np.isnan(self.scale) or np.isnan(effect):
            return float("nan")
        distance = abs(effect - self.centre)
        if self.scale == 0:
            return float(distance == 0)
        return float(2 * t.sf(distance / self.scale, self.freedom))


def _standard_error(low: Ends, high: Ends) -> Ends:
    """By the width of a 95% bootstrap interval, which is 3.92 of them."""
    return (high - low) / (2 * TESTED)


def interval_p(
    value: Float[np.ndarray, " entry"],
    low: Float[np.ndarray, " entry"],
    high: Float[np.ndarray, " entry"],
) -> Float[np.ndarray, " entry"]:
    """The two-sided p of effects beside 0, by the widths of their 95% intervals.

    Shares of bootstrap draws beyond
    0 would end at 1 / (draws + 1), too coarse where many effects are adjusted together. NaN without
    an interval.

    >>> interval_p(np.array([0.0196]), np.array([0.0]), np.array([0.0392])).round(3)
    array([0.05])
    """
    from scipy.stats import norm

    error = _standard_error(low, high)
    # An interval of no width is that of equal values: 0 itself, or surely not 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where((error == 0) & (value == 0), 0.0, np.abs(value) / error)
    return 2 * norm.sf(distance)


def detectable(low: float, high: float, reach: float = float("nan")) -> float:
    """The smallest true effect that 80% of such runs would find, at the 5% level.

    An effect is found where its 95% interval excludes 0 and it is beyond the random vectors. The
    first needs 2.8 standard errors (1.96 for the level, 0.84 for the power), the second the reach
    of the random vectors and 0.84 standard errors.

    Args:
        low, high: the 95% interval of the effect.
        reach: of the random vectors' band; NaN without random vectors.

    >>> round(detectable(-0.010, 0.010), 4)
    0.0143
    >>> round(detectable(-0.010, 0.010, reach=0.03), 4)
    0.0343
    """
    error = _standard_error(low, high)
    # `fmax` leaves out a reach of NaN; an interval of NaN makes both NaN.
    return float(np.fmax((TESTED + POWER) * error, reach + POWER * error))
