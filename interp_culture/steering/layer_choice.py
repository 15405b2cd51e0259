"""The choice of an intervention's layers from a layer sweep, and how stable this choice is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from interp_culture.errors import InputError, check_known
from interp_culture.stats import item_weights

# What ranks layers. The differential is the paper's: |shift|, which a layer has also where it moves
# half of the scenarios one way and half the other. The effect is the shift in the direction of
# alpha, so that opposite shifts cancel.
Ranking = Literal["differential", "effect"]
RANKINGS: tuple[Ranking, ...] = ("differential", "effect")
# A layer is dear if its effect per root KL is less than this share of the median layer's.
DEAR = 0.5
# What dear layers count as in a ranking: less than any change of P+.
BELOW_ALL = -2.0


def top_layers(
    sweep: pd.DataFrame,
    axis: str,
    k: int = 4,
    by: Ranking = "differential",
    costs: pd.DataFrame | None = None,
) -> list[int]:
    """The k layers that move `axis` most when it is steered, in ascending order.

    Predicted layers count only in a sweep without a measured one.

    Args:
        by: what is largest, in the mean: "differential" (the change of P+ without its sign, as in
            the paper) or "effect" (the change in the direction of alpha).
        costs: the table of `layer_costs`. With it, layers without a cost and dear ones come after
            all others, see `dear_layers`.

    >>> effects = {"layer": [0, 1, 2], "differential": [0.1, 0.3, 0.2]}
    >>> sweep = pd.DataFrame({"steered": "X", "axis": "X", "method": "exact", **effects})
    >>> top_layers(sweep, "X", k=2)
    [1, 2]
    """
    of_axis = sweep[(sweep.steered == axis) & (sweep.axis == axis)]
    if of_axis.empty:
        raise InputError(
            f"no sweep over axis {axis!r}; swept: {', '.join(sorted(sweep.steered.unique()))}"
        )
    return best_layers(_measured_or_predicted(of_axis), k, by, _of_axis(costs, axis))


def dear_layers(means: pd.Series, kl: pd.Series) -> list[int]:
    """The layers that cost much for what they move, and those without a cost.

    KL grows as alpha squared, so that mean / sqrt(kl) compares layers at equal cost. A layer is
    dear if this is less than half of the median.

    Args:
        means: the effect of steering each layer alone, by layer.
        kl: the cost of some of the layers, by layer.

    >>> means = pd.Series([0.03, 0.02, 0.02, 0.01])
    >>> dear_layers(means, pd.Series([0.4, 0.01, 0.01]))
    [0, 3]
    """
    at_equal_cost = means / np.sqrt(kl.reindex(means.index))
    median = at_equal_cost.median()
    # Where the median layer moves nothing toward the pole, no cost is too much for what it moves.
    fair = at_equal_cost >= DEAR * median if median > 0 else at_equal_cost.notna()
    return [int(layer) for layer in means.index[~fair]]


def spread_layers(n_layers: int, wanted: int) -> list[int]:
    """About `wanted` layers, spread evenly over the model; all of them if it has fewer.

    >>> spread_layers(30, 5)
    [3, 9, 15, 21, 27]
    >>> spread_layers(4, 10)
    [0, 1, 2, 3]
    """
    step = max(1, n_layers // wanted)
    # Half a step in, so that both ends of the model are equally far.
    return list(range(n_layers // wanted // 2, n_layers, step))


def choice_stability(
    sweep: pd.DataFrame,
    k: int = 4,
    seed: int = 42,
    by: Ranking = "differential",
    costs: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Whether other scenarios of the same items would lead to the same best layers.

    Predicted layers count only in a sweep without a measured one.

    Args:
        k: how many layers are chosen.
        seed: of the bootstrap.
        by, costs: what ranks layers, see `top_layers`.

    Returns:
        One row a steered axis and layer: steered, layer, share (of 2000 bootstrap samples,
        clustered by item, in which the layer is among the best k) and chosen (whether it is among
        the best k of all scenarios, as in `top_layers`).

    >>> stability = choice_stability(sweep, k=2)
    >>> stability.groupby("steered").chosen.sum().to_dict()
    {'X': 2, 'Y': 2}
    """
    check_k(k)
    tables = []
    for axis, grid in _profiles(sweep, by, costs):
        items = grid.index.get_level_values("item").to_numpy(str)
        values = grid.to_numpy()
        # Totals rank the layers as means do, since a sample has the same scenarios at each layer.
        totals = item_weights(items, seed=seed) @ values
        table = pd.DataFrame(
            {
                "steered": axis,
                "layer": grid.columns,
                "share": _among_best(totals, k).mean(0),
                "chosen": _among_best(values.sum(0), k),
            }
        )
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def choice_overlap(
    sweep: pd.DataFrame,
    k: int = 4,
    halvings: int = 50,
    seed: int = 42,
    by: Ranking = "differential",
    costs: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """How many of the best k layers two random halves of the scenarios share.

    The halves are drawn within items, so that both have the same items. Which layers are dear is
    not decided anew: it comes from all scenarios.

    Args:
        k: how many layers are chosen.
        halvings: random splits into halves.
        seed: of the splits.
        by, costs: what ranks layers, see `top_layers`.

    Returns:
        One row a steered axis and split: steered, draw, overlap (0 to k) and chance (the expected
        overlap of two independent choices).

    >>> choice_overlap(sweep, k=1, halvings=1)[["steered", "draw", "chance"]]
      steered  draw  chance
    0       X     0    0.25
    1       Y     0    0.25
    """
    check_k(k)
    rows = []
    for axis, grid in _profiles(sweep, by, costs):
        # The mean of the hypergeometric distribution: k drawn from n layers, k of which count.
        # Dear layers are never drawn as long as there are others.
        eligible = max(k, int((grid > BELOW_ALL).any().sum()))
        chance = k * k / eligible
        for draw in range(halvings):
            shuffled = grid.sample(frac=1, random_state=seed + draw)
            # Every other row of the scenarios in the order of their items is half of each item.
            values = shuffled.sort_index(level="item", sort_remaining=False).to_numpy()
            first_half = _among_best(values[0::2].mean(0), k)
            second_half = _among_best(values[1::2].mean(0), k)
            overlap = int((first_half & second_half).sum())
            rows.append((axis, draw, overlap, chance))
    return pd.DataFrame(rows, columns=["steered", "draw", "overlap", "chance"])


def _profiles(
    sweep: pd.DataFrame, by: Ranking, costs: pd.DataFrame | None
) -> Iterator[tuple[str, pd.DataFrame]]:
    """What ranks the layers of each axis, mean over alphas: a row a scenario, a column a layer.

    Dear layers are below any change of P+.
    """
    for axis, of_axis in sweep.groupby("steered"):
        rows = _measured_or_predicted(of_axis)
        grid = rows.assign(ranked=ranked(rows, by)).pivot_table(
            index=["item", "id"], columns="layer", values="ranked"
        )
        if costs is not None:
            grid[dear_layers(grid.mean(), _of_axis(costs, str(axis)))] = BELOW_ALL
        yield str(axis), grid


def _of_axis(costs: pd.DataFrame | None, axis: str) -> pd.Series | None:
    """The costs of the layers of an axis, by layer."""
    return None if costs is None else costs[costs.steered == axis].set_index("layer").kl


def _measured_or_predicted(sweep: pd.DataFrame) -> pd.DataFrame:
    """The measured rows of a sweep; all rows if none is measured."""
    measured = sweep[sweep.method == "exact"]
    return measured if len(measured) else sweep


def _among_best(
    totals: Float[np.ndarray, "*draw layer"], k: int
) -> Bool[np.ndarray, "*draw layer"]:
    """Whether each layer is among the k with the largest total. Of equal layers the first wins."""
    # The argsort of an argsort gives each layer its rank.
    rank = (-totals).argsort(axis=-1, kind="stable").argsort(axis=-1)
    return rank < k


def check_k(k: int) -> None:
    """Raise InputError unless k, a number of layers to choose, is 1 or more.

    >>> check_k(0)
    Traceback (most recent call last):
    interp_culture.errors.InputError: k is 0: give the number of layers to choose, 1 or more
    """
    if k < 1:
        raise InputError(f"k is {k}: give the number of layers to choose, 1 or more")


def ranked(table: pd.DataFrame, by: Ranking) -> pd.Series:
    """What ranks layers, for every row of a sweep."""
    check_known("ranking", by, RANKINGS)
    if by == "differential":
        return table.differential
    return table["shift"] * np.sign(table.alpha)


def mean_by_layer(table: pd.DataFrame, by: Ranking = "differential") -> pd.Series:
    """The mean of each layer."""
    return ranked(table, by).groupby(table.layer).mean()


def best_layers(
    table: pd.DataFrame, k: int, by: Ranking = "differential", kl: pd.Series | None = None
) -> list[int]:
    """The k layers with the largest mean, see `largest`.

    Raises InputError unless k is between 1 and the number of layers.
    """
    check_k(k)
    means = mean_by_layer(table, by)
    if k > len(means):
        raise InputError(f"k is {k}: the sweep has {len(means)} layers; give 1 to {len(means)}")
    return largest(means, k, kl)


def largest(means: pd.Series, k: int, kl: pd.Series | None = None) -> list[int]:
    """The k layers with the largest mean, in ascending order; dear ones only if others are too few.

    >>> largest(pd.Series([0.03, 0.02, 0.02, 0.01]), 2, pd.Series([0.4, 0.01, 0.01]))
    [1, 2]
    """
    dear = [] if kl is None else dear_layers(means, kl)
    fair = means.drop(dear).nlargest(k)
    rest = means[dear].nlargest(k - len(fair))
    return sorted(int(layer) for layer in [*fair.index, *rest.index])
