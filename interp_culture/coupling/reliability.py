"""Do directions and effects agree with themselves and with one another?

Covers halves of the texts, items of an axis, and scenarios under different readouts.
"""

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

# Fewer scenarios than this cannot give two directions that are each a mean.
LEAST_TO_HALVE = 4


def mean_cosine(
    one: Float[Tensor, "layer d_model"],
    other: Float[Tensor, "layer d_model"],
    layers: Sequence[int],
) -> float:
    """The cosine between two directions, mean over these layers.

    >>> mean_cosine(torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]]), layers=[0, 1])
    0.5
    """
    return float(torch.cosine_similarity(one[layers], other[layers], dim=-1).mean())


def split_half(
    activations: Activations,
    layers: Sequence[int],
    method: str = "mean_diff",
    draws: int = 20,
    seed: int = 42,
) -> Estimate:
    """`mean_cosine` between the directions of two random halves of the scenarios.

    It bounds every other cosine of the direction: texts that do not agree with themselves cannot
    agree with others.

    Returns:
        The mean over `draws` halvings, and the middle 95% of them. NaN for fewer than four
        scenarios, no interval for fewer than six.

    >>> texts = torch.ones(8, 1, 3)  # scenario, layer, d_model
    >>> ids = tuple("abcdefgh")
    >>> print(split_half(Activations(ids, positive=texts, negative=-texts), layers=[0]))
    +1.000 [+1.000, +1.000]
    """
    # Cut first, so that no direction is computed at other layers.
    at_layers = Activations(
        activations.ids, activations.positive[:, layers], activations.negative[:, layers]
    )
    n = len(at_layers.ids)
    if n < LEAST_TO_HALVE:
        return Estimate(np.nan, np.nan, np.nan)
    rng = np.random.default_rng(seed)
    cosines = []
    for _ in range(draws):
        shuffled = rng.permutation(at_layers.ids).tolist()
        one = direction(at_layers.select(shuffled[: n // 2]), method)
        other = direction(at_layers.select(shuffled[n // 2 :]), method)
        cosines.append(mean_cosine(one, other, range(len(layers))))
    return Estimate.of(float(np.mean(cosines)), np.array(cosines if n >= LEAST_N else []))


def spearman_brown(half: float) -> float:
    """Reliability of the direction of all scenarios from that of half of them: 2 r / (1 + r).

    Negative r count as 0.

    >>> spearman_brown(0.5)
    0.6666666666666666
    """
    return 2 * max(half, 0.0) / (1 + max(half, 0.0))


def item_reliability(
    activations: Activations,
    scenarios: ScenarioSet,
    layers: Mapping[str, Sequence[int]],
    method: str = "mean_diff",
) -> pd.DataFrame:
    """Whether each item has a direction, and whether it agrees with the rest of its axis.

    Args:
        activations: of (at least) these scenarios.
        layers: by axis.

    Returns:
        item, axis, cosine, low, high (`split_half` of the item's scenarios), whole (reliability of
        the direction of all of them) and loo ("leave one out": its cosine with the direction of the
        axis' other items; NaN where there are none).

    >>> table = item_reliability(ic.read_activations(model, train), train, layers)
    >>> table.columns.tolist()
    ['item', 'axis', 'cosine', 'low', 'high', 'whole', 'loo']
    """
    rows = []
    for item in scenarios.items:
        axis = scenarios.catalogue.items[item].axis
        of_item = activations.select([s.id for s in scenarios.filter(item=item)])
        half = split_half(of_item, layers[axis], method)
        to_rest = np.nan
        rest = [s.id for s in scenarios.filter(axis=axis) if s.item != item]
        if rest:
            of_rest = direction(activations.select(rest), method)
            to_rest = mean_cosine(direction(of_item, method), of_rest, layers[axis])
        whole = spearman_brown(half.value)
        rows.append((item, axis, half.value, half.low, half.high, whole, to_rest))
    return pd.DataFrame(rows, columns=["item", "axis", "cosine", "low", "high", "whole", "loo"])


def item_cosines(
    vectors: Mapping[str, SteeringVectors], layers: Mapping[str, Sequence[int]]
) -> pd.DataFrame:
    """Cosine between every two vectors.

    Args:
        vectors: by name.
        layers: by axis.

    Returns:
        a, b (names), cosine: mean over the layers of a's axis, so that it need not be symmetric.

    >>> item_cosines(vectors, layers).pivot(index="a", columns="b", values="cosine").shape
    (2, 2)
    """
    rows = []
    for (a, one), (b, other) in product(vectors.items(), repeat=2):
        cosine = mean_cosine(one.direction, other.direction, layers[one.axis])
        rows.append((a, b, cosine))
    return pd.DataFrame(rows, columns=["a", "b", "cosine"])


def within_and_between(
    similarity: Float[np.ndarray, "item item"],
    groups: Sequence[str],
    draws: int = 999,
    seed: int = 42,
) -> tuple[float, float, float]:
    """Whether items of one group are more alike than items of two groups.

    Args:
        similarity: of every two items.
        groups: the group of each item.
        draws: how many times groups are permuted among the items.

    Returns:
        Mean similarity within groups, mean similarity between groups, and p of their difference
        (one-sided, permutation of items: cells that share an item are not independent). All NaN
        where every item has a group of its own, or all share one.

    >>> alike = np.kron(np.eye(2), np.ones((3, 3)))  # two groups of three items
    >>> within, between, p = within_and_between(alike, list("aaabbb"))
    >>> within, between
    (1.0, 0.0)
    """
    labels = np.asarray(groups)
    not_self = ~np.eye(len(groups), dtype=bool)

    def means(of: np.ndarray) -> tuple[float, float]:
        same = of[:, None] == of[None, :]
        return float(similarity[same & not_self].mean()), float(similarity[~same].mean())

    if len(set(groups)) in (1, len(groups)):
        return np.nan, np.nan, np.nan
    within, between = means(labels)
    rng = np.random.default_rng(seed)
    null = [np.subtract(*means(rng.permutation(labels))) for _ in range(draws)]
    # A permutation that gives the observed split may differ from it by rounding.
    observed = within - between - 1e-12
    at_least = sum(difference >= observed for difference in null)
    # The observed split is one of the permutations, so that p is never 0.
    return within, between, float((1 + at_least) / (1 + draws))


def scenario_agreement(slopes: pd.DataFrame, variant: str, seed: int = 42) -> pd.DataFrame:
    """Whether the same scenarios of an axis move under two ways of reading them.

    Args:
        slopes: what `coupling.slopes` returned, with the columns steered and `variant`.
        variant: the column that names the way of reading.

    Returns:
        a, b (variants), steered, effect (Pearson's r over the steered axis' scenarios), low, high
        (95%, bootstrap by item) and n.

    >>> letters = ic.coupling.slopes(readouts, ["steered"]).assign(readout="letters")
    >>> words = letters.assign(slope=-letters.slope, readout="words")
    >>> table = scenario_agreement(pd.concat([letters, words]), "readout")
    >>> table[["a", "b", "steered", "effect"]].round(2)
             a      b steered  effect
    0  letters  words       X    -1.0
    1  letters  words       Y    -1.0
    """
    target = slopes[slopes.axis == slopes.steered]
    by_run = target.groupby([variant, "steered"]).slope
    # ddof 0: only then is the mean product of z scores exactly r.
    z = (target.slope - by_run.transform("mean")) / by_run.transform("std", ddof=0)
    scores = target.assign(z=z, a=target[variant])
    others = scores.rename(columns={"a": "b"})
    same_scenario = ["steered", "id", "axis", "item"]
    pairs = scores.merge(others, on=same_scenario, suffixes=("", "_b"))
    pairs = pairs[pairs.a < pairs.b]
    # Pearson's r is the mean product of z scores, so that its bootstrap is that of a mean.
    products = pairs.assign(product=pairs.z * pairs.z_b)
    return effects(products, ["a", "b", "steered"], "product", seed).drop(columns="axis")


def cluster_order(similarity: pd.DataFrame) -> list[str]:
    """The names of a square frame in the order of a tree, similar ones next to one another.

    Average linkage on 1 minus the mean of both triangles.

    >>> names = ["tea", "map", "cup"]
    >>> table = [[1.0, 0.0, 0.9], [0.0, 1.0, 0.1], [0.9, 0.1, 1.0]]
    >>> cluster_order(pd.DataFrame(table, names, names))[1]  # tea and map are the least alike
    'cup'
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(similarity) < 3:
        return list(similarity.index)
    values = similarity.loc[:, similarity.index].to_numpy()
    distances = np.clip(1 - (values + values.T) / 2, 0, None)  # a cosine of 1 may round above it
    tree = linkage(squareform(distances, checks=False), "average", optimal_ordering=True)
    return [str(name) for name in similarity.index[leaves_list(tree)]]
