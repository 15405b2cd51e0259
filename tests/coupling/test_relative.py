"""Effects relative to a reference: paired by scenario, from the same bootstrap samples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import interp_culture as ic
from interp_culture.coupling import minus_reference, multiples
from interp_culture.errors import InputError


@pytest.fixture
def slopes() -> pd.DataFrame:
    """A method with three times the slope of the reference, on scenarios of both axes."""
    rng = np.random.default_rng(0)
    axes = np.repeat(["X", "Y"], 12)
    table = pd.DataFrame({"axis": axes, "id": [f"s{i}" for i in range(24)]})
    table = table.assign(item=[f"{axis}{i % 3}" for i, axis in enumerate(axes)], steered="X")
    paper = table.assign(method="paper", slope=1 + 0.3 * rng.normal(size=24))
    # In another order, which must not matter.
    other = paper.assign(method="other", slope=3 * paper.slope)[::-1]
    return pd.concat([paper, other], ignore_index=True)


def test_the_difference_is_paired_by_scenario(slopes: pd.DataFrame) -> None:
    less = minus_reference(slopes, "paper")
    paper = slopes[slopes.method == "paper"].set_index("id").slope
    assert set(less.method) == {"other"}
    assert less.set_index("id").slope.to_numpy() == pytest.approx(2 * paper[less.id].to_numpy())


def test_an_exact_multiple_has_an_interval_of_no_width(slopes: pd.DataFrame) -> None:
    table = multiples(slopes, "paper").set_index("method")
    assert table.loc["other", ["multiple", "multiple_low", "multiple_high"]].tolist() == (
        pytest.approx([3, 3, 3])
    )
    # By itself, without pairing, the effect has one.
    effect = ic.coupling.effects(slopes, ["method"], "slope").set_index(["method", "axis"])
    assert effect.high["other", "X"] - effect.low["other", "X"] > 0.2


def test_no_multiple_where_the_reference_may_be_zero(slopes: pd.DataFrame) -> None:
    centred = slopes.assign(slope=slopes.slope - slopes.groupby("method").slope.transform("mean"))
    assert multiples(centred, "paper").empty
    with pytest.raises(InputError, match="unknown reference 'papr'"):
        multiples(slopes, "papr")
