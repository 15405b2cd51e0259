"""The bootstrap covers, respects clusters and strata; the null band is what it says."""

from __future__ import annotations

import numpy as np
import pytest

from interp_culture.stats import (
    LEVEL,
    TESTED,
    Estimate,
    NullBand,
    bootstrap_weights,
    detectable,
    free_values,
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


def test_the_band_holds_as_many_new_effects_as_it_says() -> None:
    """Also that of few vectors, which is wider; and p is uniform where there is no effect."""
    rng = np.random.default_rng(4)
    for n in (3, 10, 200):
        inside, p_small = [], []
        for _ in range(1500):
            band = NullBand.of(rng.normal(0, 2, n))
            effect = rng.normal(0, 2)
            inside.append(band.low <= effect <= band.high)
            p_small.append(band.p(effect) <= 0.2)
        assert np.mean(inside) == pytest.approx(0.95, abs=0.02)
        assert np.mean(p_small) == pytest.approx(0.2, abs=0.04)
    wide, narrow = (np.mean([NullBand.of(rng.normal(0, 1, n)).reach for _ in range(300)])
                    for n in (3, 200))  # fmt: skip
    assert wide > 1.3 * narrow


def test_a_band_of_a_thousand_agrees_with_ranks() -> None:
    """Projections of a fixed vector on random directions, as effects are to first order."""
    rng = np.random.default_rng(5)
    directions = rng.normal(size=(2000, 576))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    effects = directions @ rng.normal(size=576)
    band = NullBand.of(effects[:1000])
    assert band.reach == pytest.approx(np.quantile(np.abs(effects), 0.95), rel=0.08)
    for share in (0.3, 0.1, 0.01):
        effect = np.quantile(np.abs(effects), 1 - share)
        assert band.p(effect) == pytest.approx(share, rel=0.2, abs=0.01)


def test_a_quantity_without_a_sign_has_a_band_around_its_mean() -> None:
    rng = np.random.default_rng(6)
    inside = []
    for _ in range(1500):
        band = NullBand.of(rng.normal(9, 1, 8), centre=None)
        inside.append(band.low <= rng.normal(9, 1) <= band.high)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


def test_an_effect_is_beyond_the_reach_exactly_where_p_is_small() -> None:
    rng = np.random.default_rng(7)
    band = NullBand.of(rng.normal(-0.5, 1, 20))
    for effect in [*rng.normal(0, 2, 50), band.reach + 1e-9, -band.reach - 1e-9]:
        assert (band.p(effect) <= LEVEL) == (abs(effect) > band.reach)


def test_no_random_vectors_show_nothing() -> None:
    band = NullBand.of(np.empty(0))
    assert np.isnan([band.low, band.high, band.p(9.0)]).all()
    assert np.isnan(NullBand.of(np.ones(1), centre=None).reach)
    assert NullBand.of(np.zeros(5)).p(0.1) == 0


@pytest.mark.parametrize("reach", [0.0, 3.0])
def test_the_detectable_effect_is_found_in_four_of_five_runs(reach: float) -> None:
    rng = np.random.default_rng(8)
    effect = detectable(-TESTED, TESTED, reach)
    estimates = effect + rng.normal(0, 1, 20000)
    found = (np.abs(estimates) > TESTED) & (np.abs(estimates) > reach)
    assert found.mean() == pytest.approx(0.8, abs=0.01)
    assert effect >= reach
    assert np.isnan(detectable(np.nan, np.nan, reach))


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
