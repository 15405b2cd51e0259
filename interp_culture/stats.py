"""Intervals by a bootstrap that respects items, and the rank of an effect among random vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

DRAWS = 2000
# The least number of values that has an interval. All of n values have the same sign by chance with
# probability 2 / 2^n, and a percentile bootstrap then excludes 0 whatever their size. That is 6%
# for n = 5 and 3% for n = 6, the first below 5%.
LEAST_N = 6
# The least number of random vectors that can show an effect at LEVEL: the smallest p of n vectors
# is 1 / (n + 1), which is 0.048 for 20.
LEAST_RANDOM = 20
LEVEL = 0.05

Samples = Float[np.ndarray, " sample"]


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


def means_by_axis(
    change: Float[np.ndarray, " scenario"], axes: np.ndarray, items: np.ndarray, seed: int
) -> dict[str, Samples]:
    """The mean of `change` by axis: the observed one first, then those of the bootstrap."""
    weights = bootstrap_weights(axes, items, seed=seed)
    means = {}
    for axis in sorted(set(axes)):
        is_here = axes == axis
        drawn = weighted_means(weights, change, is_here)
        means[axis] = np.append(change[is_here].mean(), drawn)
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


def p_of_null(observed: float, null: Float[np.ndarray, " draw"]) -> float:
    """Monte-Carlo p value of the size of an effect, among the effects of random vectors.

    It is the share of vectors, the observed one included, whose effect is at least as large in
    either direction. NaN for fewer than `LEAST_RANDOM` vectors, which cannot show anything.
    """
    if len(null) < LEAST_RANDOM:
        return float("nan")
    return float((1 + (np.abs(null) >= abs(observed)).sum()) / (1 + len(null)))


def null_reach(null: Float[np.ndarray, " draw"]) -> float:
    """The size beyond which an effect has `p_of_null <= LEVEL`: the largest |effect| of 20 vectors.

    NaN for fewer than `LEAST_RANDOM` vectors.
    """
    if len(null) < LEAST_RANDOM:
        return float("nan")
    rank = int(LEVEL * (len(null) + 1))
    return float(np.sort(np.abs(null))[-rank])
