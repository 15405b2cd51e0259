"""Reliability and agreement: planted directions, groups and slopes, each compared with noise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from interp_culture.coupling.reliability import (
    cluster_order,
    scenario_agreement,
    spearman_brown,
    split_half,
    within_and_between,
)
from interp_culture.steering.activations import Activations


def activations(signal: float, n: int = 40, d: int = 64) -> Activations:
    """Normal noise, and at layer 1 a common direction of length `signal`."""
    noise = torch.randn((n, 2, d), generator=torch.Generator().manual_seed(0))
    common = torch.zeros(2, d)
    common[1, 0] = signal
    return Activations(tuple(f"s{i}" for i in range(n)), noise + common, torch.zeros_like(noise))


def test_halves_agree_on_a_planted_direction_and_not_on_noise() -> None:
    planted = split_half(activations(20.0), [1])
    noise = split_half(activations(20.0), [0])
    assert planted.value > 0.9
    assert planted.low > 0.8
    assert abs(noise.value) < 0.2
    both = split_half(activations(20.0), [0, 1])
    assert both.value == pytest.approx((planted.value + noise.value) / 2, abs=1e-5)


def test_the_reliability_of_the_whole_is_that_of_twice_as_many_scenarios() -> None:
    half = split_half(activations(1.0, 200), [1])
    twice = split_half(activations(1.0, 400), [1])
    assert spearman_brown(half.value) == pytest.approx(twice.value, abs=0.06)
    assert spearman_brown(-0.2) == 0


def test_fewer_than_four_scenarios_have_no_halves() -> None:
    assert np.isnan(split_half(activations(5.0, 3), [0]).value)
    assert np.isnan(spearman_brown(np.nan))


def similarity(within: float) -> pd.DataFrame:
    names = [f"{g}{i}" for i in range(5) for g in "ab"]
    noise = np.random.default_rng(1).normal(0, 0.05, (10, 10))
    same = np.equal.outer([n[0] for n in names], [n[0] for n in names])
    return pd.DataFrame(np.where(np.eye(10), 1, within * same + noise), index=names, columns=names)


def test_groups_differ_from_noise_and_are_put_next_to_one_another() -> None:
    grouped = similarity(0.5)
    noise = similarity(0.0)
    groups = [name[0] for name in grouped.index]
    within, between, p = within_and_between(grouped.to_numpy(), groups)
    assert within - between == pytest.approx(0.5, abs=0.05)
    assert p < 0.05
    assert within_and_between(noise.to_numpy(), groups)[2] > 0.05
    order = "".join(name[0] for name in cluster_order(grouped))
    assert order in ("aaaaabbbbb", "bbbbbaaaaa")
    assert sorted(cluster_order(grouped)) == sorted(grouped.index)
    assert cluster_order(grouped.iloc[:2, :2]) == ["a0", "b0"]
    assert np.isnan(within_and_between(noise.to_numpy(), ["a"] * 10)).all()


def test_agreement_over_scenarios_is_pearsons_r_on_the_steered_axis() -> None:
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(30)]
    frame = pd.DataFrame(
        {"id": ids, "axis": ["X"] * 20 + ["Y"] * 10, "item": [f"i{k % 5}" for k in range(30)]}
    )
    first = rng.normal(size=30)
    third = rng.normal(size=30)
    ways = {"one": first, "other": first + 0.3 * rng.normal(size=30), "third": third}
    table = pd.concat([frame.assign(variant=w, steered="X", slope=v) for w, v in ways.items()])
    agreement = scenario_agreement(table, "variant").set_index(["a", "b"])
    assert list(agreement.index) == [("one", "other"), ("one", "third"), ("other", "third")]
    for a, b in agreement.index:
        expected = np.corrcoef(ways[a][:20], ways[b][:20])[0, 1]
        assert agreement.effect[a, b] == pytest.approx(expected)
    assert agreement.low["one", "other"] > 0
    assert agreement.low["one", "third"] < 0 < agreement.high["one", "third"]
