"""The components of a study on a model in which one MLP carries the drag of X on Y."""

from __future__ import annotations

import pytest
from declared_tables import check_captions, check_tables
from planted import add_carrier, planted_study

import interp_culture as ic
from analyses.components import ANALYSIS, NONE, largest_carriers, sections
from interp_culture.study.analysis import Tables

CARRIER = 2


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ic.Study:
    study = planted_study(
        tmp_path_factory.mktemp("study"), brief=True, alphas=[0.2], layers={"X": [0], "Y": [0]}
    )
    add_carrier(study.model, CARRIER)
    return study


@pytest.fixture(scope="module")
def tables(study: ic.Study) -> Tables:
    return study.measure(ANALYSIS)


def test_the_carrier_is_found_on_both_halves_and_its_set_takes_the_drag_away(
    tables: Tables,
) -> None:
    check_tables(ANALYSIS, tables)
    carried = tables["carried"]
    pair = carried[(carried.steered == "X") & (carried.axis == "Y")]
    for _, rows in pair.groupby("half"):
        assert rows.set_index("component").carried.abs().idxmax() == f"L{CARRIER}.mlp"
    sets = tables["sets"]
    chosen = sets[(sets.steered == "X") & (sets.method == "carriers:Y")].component
    assert chosen.iloc[0] == f"L{CARRIER}.mlp"
    effects = tables["effects"].set_index(["by", "method", "steered", "axis"]).effect
    before = effects["plain", NONE, "X", "Y"]
    assert effects["plain", "carriers:Y", "X", "Y"] < 0.5 * before
    assert effects["plain", "random set 0", "X", "Y"] == pytest.approx(before, rel=0.05)
    kept = tables["kept"].set_index(["by", "method", "steered"]).multiple
    assert kept["plain", "carriers:Y", "X"] > 0.9


def test_findings_and_figures(study: ic.Study, tables: Tables) -> None:
    of_read, of_carried, of_restored = made = sections(tables, study.about)
    check_captions(ANALYSIS, made)
    assert "X is read most by unembedding" in of_read.title
    assert "X → Y" in of_read.text[2]
    assert f"L{CARRIER}.mlp +" in of_read.text[2]
    assert of_carried.title.startswith(
        "The largest carrier of an axis' own effect that is shown: X "
    )
    assert "X → Y, in all +" in of_carried.text[2]
    assert len(of_carried.figure.data) == 4
    assert of_restored.title.startswith("X keeps 1.0")
    assert "carriers:X" in of_restored.text[0]


def test_no_more_than_half_of_a_kind_is_put_back(tables: Tables) -> None:
    carried = tables["carried"]
    rows = carried[(carried.half == "train") & (carried.steered == "X") & (carried.axis == "Y")]
    names = largest_carriers(rows, 15)
    assert sum(name.endswith("mlp") for name in names) == 1
    assert len(names) == 1 + 6
