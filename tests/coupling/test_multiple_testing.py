"""Claims on many pairs: adjusted p values by hand, and no false claim where nothing is planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from interp_culture.coupling import with_claims


def entries(z: list[float], p_null: list[float], axes: list[tuple[str, str]]) -> pd.DataFrame:
    """Effects that are z standard errors of 0.01 from 0."""
    effect = 0.01 * np.array(z)
    ends = {"low": effect - 0.0196, "high": effect + 0.0196}
    pairs = {"steered": [a for a, _ in axes], "axis": [b for _, b in axes]}
    return pd.DataFrame(pairs | {"D": effect, "p_null": p_null} | ends)


def test_p_values_are_adjusted_for_all_pairs() -> None:
    """By hand: sorted p times n / rank, and never below that of a smaller p."""
    cross = [("X", "Y"), ("Y", "X"), ("X", "Z")]
    table = with_claims(entries([9, 9, 9], [0.01, 0.04, 0.03], cross), "D")
    np.testing.assert_allclose(table.q, [0.03, 0.04, 0.04])
    assert table.shown.all()


def test_both_tests_must_pass() -> None:
    """Far beyond random vectors, but 2 standard errors from 0; and the other way round."""
    table = with_claims(entries([2, 9], [1e-9, 0.2], [("X", "Y"), ("Y", "X")]), "D")
    assert table.q[0] == pytest.approx(min(2 * 2 * norm.sf(2), 0.2), rel=1e-3)
    assert table.shown.tolist() == [False, False]


def test_an_axis_itself_is_not_counted() -> None:
    """Its own effect has no q, and is shown by its own two tests."""
    axes = [("X", "X"), ("X", "Y"), ("Y", "Y")]
    table = with_claims(entries([3, 3, 3], [0.01, 0.01, 0.2], axes), "D")
    assert table.q.isna().tolist() == [True, False, True]
    assert table.q[1] == pytest.approx(0.01)
    assert table.shown.tolist() == [True, True, False]


def test_nothing_is_claimed_without_an_interval_or_without_random_vectors() -> None:
    table = entries([9, 9, 9], [0.001, np.nan, 0.001], [("X", "Y"), ("Y", "X"), ("X", "Z")])
    table.loc[0, ["low", "high"]] = np.nan
    claims = with_claims(table, "D")
    assert claims.shown.tolist() == [False, False, True]
    assert claims.q[2] == pytest.approx(0.001)  # one entry is judged


def test_twenty_pairs_of_nothing_are_seldom_claimed() -> None:
    """Without adjustment half of such matrices would have a claim."""
    rng = np.random.default_rng(0)
    axes = [(a, b) for a in "VWXYZ" for b in "VWXYZ" if a != b]
    any_claim = []
    for _ in range(200):
        z = rng.normal(size=len(axes))
        p_null = 2 * norm.sf(np.abs(rng.normal(size=len(axes)) + 5))
        any_claim.append(with_claims(entries(z.tolist(), p_null.tolist(), axes), "D").shown.any())
    assert np.mean(any_claim) < 0.09
