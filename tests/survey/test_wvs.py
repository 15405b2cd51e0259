"""The shipped facts, and a user's own facts that replace them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interp_culture.errors import InputError
from interp_culture.survey.wvs import (
    TARGETS,
    answer_shares,
    fact_table,
    find_country,
    load_facts,
    names,
    questions,
    survey_items,
)


def test_every_item_has_a_question_with_the_scale_of_the_survey() -> None:
    items = survey_items()
    assert list(questions()) == list(items.index)
    for item, question in questions().items():
        low = items.minimum[item]
        high = items.maximum[item]
        codes = question.words or question.answers or question.scale
        assert (min(codes), max(codes)) == (low, high), item
        assert question.describe(int(low)) != question.describe(int(high))


def test_shares_give_the_means() -> None:
    """The shipped means are those of the shipped percentages, for items of one question."""
    shares = answer_shares()
    single = shares[shares.part == ""]
    means = load_facts().means.set_index(["iso3", "item"])["mean"]
    checked = 0
    for key, group in single.groupby(["iso3", "item"]):
        mean = np.average(group["value"], weights=group.percent)
        # Percentages are rounded and leave out refusals, so they sum to less than 100.
        assert mean == pytest.approx(means[key], abs=0.02), key
        checked += 1
    assert checked == 9 * 8 + 1


def test_facts_of_the_targets_with_their_sources() -> None:
    facts = load_facts()
    assert facts.means.source.str.len().min() > 10
    for iso3 in ("IND", "VNM", "MEX"):
        assert set(facts.of(iso3)) == set(survey_items().index)
    assert facts.of("DNK") == {"Y01": 3.503, "X05": 1.259}
    assert set(names().iso3) == set(TARGETS)
    assert names().source.notna().all()


@pytest.mark.parametrize("text", ["MEX", "mex", "Mexico", " mexico "])
def test_countries_by_code_or_name(text: str) -> None:
    assert find_country(text) == "MEX"


def test_unknown_countries_are_named_with_near_ones() -> None:
    with pytest.raises(InputError, match=r"unknown country 'Danmark': .*near: Denmark \(DNK\)"):
        find_country("Danmark")


def write_means(folder: Path, *rows: str) -> Path:
    (folder / "item_means.csv").write_text("\n".join(["iso3,year,item,mean,source", *rows]) + "\n")
    (folder / "manifest.json").write_text("{}")
    return folder


def test_countries_absent_from_the_map_are_kept(tmp_path: Path) -> None:
    facts = load_facts(write_means(tmp_path, "SLV,2020,Y01,9.1,mine"))
    table = fact_table(facts).set_index("iso3")
    assert table.Y01["SLV"] == 9.1
    assert np.isnan(table.x["SLV"])
    assert table.x["MEX"] == 0.2260


def test_a_users_figures_replace_the_shipped_ones(tmp_path: Path) -> None:
    folder = write_means(
        tmp_path, "DNK,2017,Y03,8.1,mine", "DNK,2008,Y03,7.0,mine", "MEX,2018,Y01,2.5,mine"
    )
    facts = load_facts(folder)
    assert facts.of("DNK") == {"Y01": 3.503, "Y03": 8.1, "X05": 1.259}
    assert facts.of("MEX")["Y01"] == 2.5
    assert facts.of("MEX")["Y02"] == load_facts().of("MEX")["Y02"]
    assert "replace or extend the shipped ones" in facts.notes[0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["DNK,2017,Y09,8.1,mine"], r"item_means.csv:2: field 'item': unknown item 'Y09'"),
        (
            ["DNK,2017,Y01,3,m", "DNK,2017,Y03,11,m"],
            r"item_means.csv:3: field 'mean': 11\.?0? is not a number from 1 to 10",
        ),
        (
            ["DNK,2017,Y01,x,m"],
            r"item_means.csv:2: field 'mean': 'x' is not a number from 1 to 10, the scale of Y01",
        ),
    ],
)
def test_bad_figures_are_named(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_facts(write_means(tmp_path, *rows))


def test_folders_that_are_not_facts(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"no manifest.json, so the folder is unfinished; write it with `interp-culture",
    ):
        load_facts(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(
        InputError, match=r"item_means.csv: not readable .* write it with `interp-culture wvs"
    ):
        load_facts(tmp_path)
    (tmp_path / "item_means.csv").write_text("iso3,item\nDNK,Y01\n")
    with pytest.raises(InputError, match="no column mean, source, year"):
        load_facts(tmp_path)
