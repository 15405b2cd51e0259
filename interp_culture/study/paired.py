"""Differences between models, paired by scenario: position, steering effect, place on the map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from interp_culture.coupling.steered import slopes
from interp_culture.stats import Estimate, means_by_axis
from interp_culture.survey import culture_map

DIFFERENCE_COLUMNS = [
    "first", "second", "quantity", "steered", "axis", "difference", "low", "high", "shown", "n",
]  # fmt: skip


def paired_differences(readouts: Mapping[str, pd.DataFrame], seed: int = 42) -> pd.DataFrame:
    """What the first model of each pair has more than the second, on the scenarios of both.

    The difference is taken within each scenario and then averaged. Its interval is a bootstrap
    over items and their scenarios, in which both models always have the same scenarios.

    Args:
        readouts: what `steered_readouts` returned, by model; scenarios that only one model of a
            pair has are left out.
        seed: of the bootstrap.

    Returns:
        first, second, quantity, steered, axis, difference (first minus second), low, high (95%
        interval), shown (whether it excludes 0) and n (scenarios). The quantity is score (mean P+
        of the plain model), D (change of P+ per unit of alpha, see `response_matrix`) or place (a
        coordinate of the plain model on the cultural map, for the items of the map).

    >>> table = paired_differences({"one": readouts, "other": readouts})
    >>> table.groupby("quantity").difference.max()
    quantity
    D        0.0
    place    0.0
    score    0.0
    Name: difference, dtype: float64
    """
    rows: list[dict[str, Any]] = []
    for first, second in combinations(readouts, 2):
        one, other = shared_scenarios([readouts[first], readouts[second]])
        for row in _pair(one, other, seed):
            rows.append({"first": first, "second": second, **row})
    return pd.DataFrame(rows, columns=DIFFERENCE_COLUMNS)


def shared_scenarios(readouts: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """The rows of the scenarios that all tables have, in one order."""
    shared = set.intersection(*(set(table.id) for table in readouts))
    # Sorted, since draws of the map are paired by the order of the scenarios.
    return [
        table[table.id.isin(shared)].sort_values("id", kind="stable", ignore_index=True)
        for table in readouts
    ]


def _pair(one: pd.DataFrame, other: pd.DataFrame, seed: int) -> Iterator[dict[str, Any]]:
    plain, other_plain = (table[table.method == "plain"] for table in (one, other))
    for axis, row in _by_axis(plain, other_plain, "p_positive", seed):
        yield {"quantity": "score", "steered": "", "axis": axis, **row}
    slope, other_slope = (slopes(table, ["steered"]) for table in (one, other))
    for steered in sorted(set(slope.steered)):
        of_axis = slope[slope.steered == steered]
        other_of_axis = other_slope[other_slope.steered == steered]
        for axis, row in _by_axis(of_axis, other_of_axis, "slope", seed):
            yield {"quantity": "D", "steered": steered, "axis": axis, **row}
    if culture_map.covers(set(plain["item"])):
        # The change from the second model to the first is first minus second.
        shift = culture_map.displacements(other_plain, plain, seed)
        for column, axis in enumerate("xy"):
            estimate = Estimate.of_samples(shift[:, column])
            row = _row(estimate, len(plain))
            yield {"quantity": "place", "steered": "", "axis": axis, **row}


def _by_axis(
    one: pd.DataFrame, other: pd.DataFrame, value: str, seed: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The mean difference of `value` by axis, over the scenarios of two tables."""
    both = one.merge(other[["id", value]], on="id", suffixes=("", "_other"), validate="one_to_one")
    change = (both[value] - both[f"{value}_other"]).to_numpy()
    axes = both.axis.to_numpy(str)
    for axis, samples in means_by_axis(change, axes, both["item"].to_numpy(str), seed).items():
        yield str(axis), _row(Estimate.of_samples(samples), int(np.sum(axes == axis)))


def _row(estimate: Estimate, n: int) -> dict[str, Any]:
    return {
        "difference": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "shown": estimate.excludes_zero,
        "n": n,
    }
