"""What agrees: directions of halves, of items, of axes; and ways to read with one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp_culture.coupling.responses import effects
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import LEAST_N, Estimate
from interp_culture.steering.activations import Activations
from interp_culture.steering.directions import direction
from interp_culture.steering.vectors import SteeringVectors


def mean_cosine(
    one: Float[Tensor, "layer d_model"],
    other: Float[Tensor, "layer d_model"],
    layers: Sequence[int],
) -> float:
    """The cosine between two directions, mean over these layers."""
    return float(torch.cosine_similarity(one[layers], other[layers], dim=-1).mean())


def split_half(
    activations: Activations,
    layers: Sequence[int],
    method: str = "mean_diff",
    draws: int = 20,
    seed: int = 42,
) -> Estimate:
    """`mean_cosine` between the directions of two random halves of the scenarios: its mean over draws, and their 95%.

    What a cosine to any other direction is to be held against: texts that do not agree with themselves agree with
    no others. NaN for fewer than four scenarios, no interval for fewer than six.
    """
    here = Activations(
        activations.ids, activations.positive[:, layers], activations.negative[:, layers]
    )
    n, rng = len(here.ids), np.random.default_rng(seed)
    if n < 4:
        return Estimate(np.nan, np.nan, np.nan)
    cosines = []
    for _ in range(draws):
        shuffled = rng.permutation(here.ids).tolist()
        one, other = (
            direction(here.select(half), method)
            for half in (shuffled[: n // 2], shuffled[n // 2 :])
        )
        cosines.append(mean_cosine(one, other, range(len(layers))))
    return Estimate.of(float(np.mean(cosines)), np.array(cosines if n >= LEAST_N else []))


def spearman_brown(half: float) -> float:
    """Reliability of the direction of all scenarios from that of half of them; not below 0."""
    return 2 * max(half, 0.0) / (1 + max(half, 0.0))


def item_reliability(
    activations: Activations,
    scenarios: ScenarioSet,
    layers: Mapping[str, Sequence[int]],
    method: str = "mean_diff",
) -> pd.DataFrame:
    """Whether each item has a direction, and whether it points with the rest of its axis, at that axis' layers.

    Returns:
        item, axis, cosine, low, high (`split_half` of its scenarios), whole (reliability of the direction of all of
        them) and loo (cosine between it and the direction of the axis' other items; NaN where there are none).
    """
    rows = []
    for item in scenarios.items:
        axis = scenarios.catalogue.items[item].axis
        own = activations.select([s.id for s in scenarios.filter(item=item)])
        rest = [s.id for s in scenarios.filter(axis=axis) if s.item != item]
        half, loo = split_half(own, layers[axis], method), np.nan
        if rest:
            loo = mean_cosine(
                direction(own, method), direction(activations.select(rest), method), layers[axis]
            )
        rows.append((item, axis, half.value, half.low, half.high, spearman_brown(half.value), loo))
    return pd.DataFrame(rows, columns=["item", "axis", "cosine", "low", "high", "whole", "loo"])


def item_cosines(
    vectors: Mapping[str, SteeringVectors], layers: Mapping[str, Sequence[int]]
) -> pd.DataFrame:
    """a, b (names of two vectors), cosine: mean over the layers of a's axis, so that it need not be symmetric."""
    pairs = product(vectors.items(), repeat=2)
    rows = [
        (a, b, mean_cosine(v.direction, w.direction, layers[v.axis])) for (a, v), (b, w) in pairs
    ]
    return pd.DataFrame(rows, columns=["a", "b", "cosine"])


def within_and_between(
    similarity: Float[np.ndarray, "item item"],
    groups: Sequence[str],
    draws: int = 999,
    seed: int = 42,
) -> tuple[float, float, float]:
    """(mean similarity of two items of one group, mean of two items of two groups, p of their difference).

    One-sided, over permutations of the groups among the items: cells of one item share its noise, so that they are not
    independent. NaN where there is no pair of the one or of the other kind.
    """
    labels, others = np.asarray(groups), ~np.eye(len(groups), dtype=bool)

    def means(of: np.ndarray) -> tuple[float, float]:
        same = of[:, None] == of[None, :]
        return float(similarity[same & others].mean()), float(similarity[~same].mean())

    if len(set(groups)) in (1, len(groups)):
        return np.nan, np.nan, np.nan
    within, between = means(labels)
    rng = np.random.default_rng(seed)
    null = [np.subtract(*means(rng.permutation(labels))) for _ in range(draws)]
    # Equal splits add up in another order: what differs by rounding counts as equal.
    return (
        within,
        between,
        float((1 + sum(n >= within - between - 1e-12 for n in null)) / (1 + draws)),
    )


def scenario_agreement(slopes: pd.DataFrame, variant: str, seed: int = 42) -> pd.DataFrame:
    """Whether the same scenarios of an axis move when they are read in other ways.

    Args:
        slopes: what `coupling.slopes` returned, with the columns steered and `variant`.

    Returns:
        a, b (variants), steered, effect (Pearson's r over the steered axis' scenarios), low, high (95%, bootstrap by
        item of the mean product of z scores, which r is) and n.
    """
    own = slopes[slopes.axis == slopes.steered]
    of = own.groupby([variant, "steered"]).slope
    z = own.assign(
        z=(own.slope - of.transform("mean")) / of.transform("std", ddof=0), a=own[variant]
    )
    pairs = z.merge(
        z.rename(columns={"a": "b"}), on=["steered", "id", "axis", "item"], suffixes=("", "_b")
    )
    pairs = pairs[pairs.a < pairs.b].assign(product=lambda pair: pair.z * pair.z_b)
    return effects(pairs, ["a", "b", "steered"], "product", seed).drop(columns="axis")


def cluster_order(similarity: pd.DataFrame) -> list[str]:
    """The names of a square frame as its tree orders them: average linkage on 1 - mean of both triangles."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(similarity) < 3:
        return list(similarity.index)
    values = similarity.loc[:, similarity.index].to_numpy()
    distances = np.clip(1 - (values + values.T) / 2, 0, None)  # a cosine of 1 may round above it
    tree = linkage(squareform(distances, checks=False), "average", optimal_ordering=True)
    return [str(name) for name in similarity.index[leaves_list(tree)]]
