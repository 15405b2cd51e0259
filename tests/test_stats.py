"""The bootstrap covers, respects clusters and strata; ranks among the null are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from interp_culture.stats import (
    LEVEL,
    Estimate,
    bootstrap_weights,
    free_values,
    null_reach,
    p_of_null,
    weighted_means,
)


def test_every_stratum_keeps_its_size() -> None:
    strata = np.array(["X"] * 6 + ["Y"] * 4)
    clusters = np.array(["a", "a", "b", "b", "c", "c", "d", "d", "e", "e"])
    weights = bootstrap_weights(strata, clusters, draws=200, seed=0)
    assert (weights[:, :6].sum(1) == 6).all()
    assert (weights[:, 6:].sum(1) == 4).all()
    assert np.array_equal(weights, bootstrap_weights(strata, clusters, draws=200, seed=0))
    np.testing.assert_allclose(weights.mean(0), 1, atol=0.25)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    items, per_item, hits, trials = 12, 6, 0, 150
    clusters = np.repeat(np.arange(items).astype(str), per_item)
    strata = np.full(len(clusters), "X")
    for trial in range(trials):
        values = np.repeat(rng.normal(0, 1, items), per_item) + rng.normal(0, 1, len(clusters))
        weights = bootstrap_weights(strata, clusters, draws=300, seed=trial)
        found = Estimate.of(
            values.mean(), weighted_means(weights, values, np.full(len(values), True))
        )
        hits += found.low <= 0 <= found.high
    assert 0.87 <= hits / trials <= 0.99


def test_clustering_widens_the_interval() -> None:
    rng = np.random.default_rng(2)
    values = np.repeat(rng.normal(0, 1, 8), 10)
    strata = np.full(80, "X")
    everything = np.full(80, True)
    clustered = weighted_means(
        bootstrap_weights(strata, np.repeat(np.arange(8), 10)), values, everything
    ).std()
    loose = weighted_means(bootstrap_weights(strata, np.arange(80)), values, everything).std()
    assert clustered > 2 * loose


def test_p_of_null_counts_both_sides_and_the_observed_one() -> None:
    null = np.tile([-3.0, -1.0, 0.5, 2.0], 5)
    assert p_of_null(2.5, null) == pytest.approx(6 / 21)
    assert p_of_null(-10.0, null) == pytest.approx(1 / 21)
    assert p_of_null(0.0, null) == 1.0


def test_fewer_random_vectors_show_nothing() -> None:
    assert np.isnan(p_of_null(9.0, np.arange(19.0)))
    assert np.isnan(null_reach(np.arange(19.0)))


@pytest.mark.parametrize("n", [20, 39, 50, 100])
def test_an_effect_is_beyond_the_reach_exactly_where_p_is_small(n: int) -> None:
    rng = np.random.default_rng(n)
    null = rng.normal(-0.5, 1, n)
    reach = null_reach(null)
    for effect in [*rng.normal(0, 2, 50), reach + 1e-9, -reach - 1e-9, reach]:
        assert (p_of_null(effect, null) <= LEVEL) == (abs(effect) > reach)


@pytest.mark.parametrize(("n", "known"), [(1, False), (5, False), (6, True)])
def test_few_values_have_no_interval(n: int, known: bool) -> None:
    values, one = np.linspace(0.2, 0.4, n), np.zeros(n, dtype=int)
    draws = weighted_means(bootstrap_weights(one, one), values, one == 0)
    found = Estimate.of(values.mean(), draws)
    assert found.excludes_zero == known
    assert np.isfinite([found.low, found.high]).all() == known
    assert ("no interval: fewer than 6 values" in str(found)) != known


def test_values_of_fixed_strata_vary_within_them_alone() -> None:
    assert free_values(np.array(["a"] * 3 + ["b"] * 4)) == 6
    assert free_values(np.array(["a"] * 9 + ["b"])) == 1


def test_estimate_says_whether_it_excludes_zero() -> None:
    assert Estimate(0.2, 0.1, 0.3).excludes_zero
    assert not Estimate(0.2, -0.1, 0.3).excludes_zero
    assert str(Estimate(0.2, -0.1, 0.3)) == "+0.200 [-0.100, +0.300]"
