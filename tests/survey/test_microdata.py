"""Survey files with the real column names and made-up respondents.

At every trap, a naive reader would get another number.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import fails, run

from interp_culture.errors import InputError
from interp_culture.survey import microdata
from interp_culture.survey.microdata import SurveySummary, read_survey, write_survey
from interp_culture.survey.microdata_files import kinds
from interp_culture.survey.projection import project
from interp_culture.survey.valid_answers import autonomy, postmaterialism
from interp_culture.survey.wvs import countries, survey_items

pyreadstat = pytest.importorskip("pyreadstat")

WAVE7 = {
    "B_COUNTRY": 208, "B_COUNTRY_ALPHA": "DNK", "A_YEAR": 2018, "W_WEIGHT": 1.0,
    "Q164": 3, "Y003": 1, "Q184": 8, "Q254": 2, "Q45": 2,
    "Y002": 2, "Q46": 1, "Q182": 9, "Q209": 1, "Q57": 1,
}  # fmt: skip
JOINT = {
    "cntry": 208, "cntry_AN": "DK", "year": 2017, "gwght": 1.0,
    "F063": 3, "F120": 8, "G006": 2, "E018": 2,
    "Y002": 2, "A008": 1, "F118": 9, "E025": 1, "A165": 1,
    "A029": 1, "A039": 0, "A040": 0, "A042": 0,
}  # fmt: skip
INTEGRATED = {
    "S002VS": 7, "S003": 208, "COUNTRY_ALPHA": "DNK", "S020": 2017, "S017": 1.0,
    "F063": 3, "Y003": 1, "F120": 8, "G006": 2, "E018": 2,
    "Y002": 2, "A008": 1, "F118": 9, "E025": 1, "A165": 1,
}  # fmt: skip
# The answers above, in the order of `survey_items`.
ANSWERS = [3, 1, 8, 2, 2, 2, 1, 9, 1, 1]


def people(base: dict[str, Any], *changes: dict[str, Any]) -> pd.DataFrame:
    """One respondent for each dict of changes to the base."""
    return pd.DataFrame([base | change for change in changes])


def column(base: dict[str, Any], name: str, values: list[Any]) -> pd.DataFrame:
    return people(base, *({name: value} for value in values))


def save(table: pd.DataFrame, path: Path, **options: Any) -> Path:
    if path.suffix == ".csv":
        table.to_csv(path, index=False, **options)
    else:
        (pyreadstat.write_dta if path.suffix == ".dta" else pyreadstat.write_sav)(
            table, path, **options
        )
    return path


@pytest.fixture
def wave7(tmp_path: Path) -> Any:
    return lambda table, **options: save(table, tmp_path / "wave7.csv", **options)


@pytest.fixture
def joint(tmp_path: Path) -> Any:
    return lambda table, **options: save(table, tmp_path / "ZA7505_v5-0-0.sav", **options)


def mean_of(summary: SurveySummary, item: str, iso3: str = "DNK") -> pd.Series:
    table = summary.means.set_index(["iso3", "item"])
    return table.loc[(iso3, item)]


def noted(summary: SurveySummary, words: str) -> bool:
    return any(words in note for note in summary.notes)


@pytest.mark.parametrize("suffix", [".csv", ".sav", ".dta"])
@pytest.mark.parametrize(
    ("kind", "base", "year"),
    [("wvs7", WAVE7, 2018), ("joint", JOINT, 2017), ("integrated", INTEGRATED, 2017)],
)
def test_each_kind_is_recognised_by_its_columns(
    tmp_path: Path, suffix: str, kind: str, base: Any, year: int
) -> None:
    summary = read_survey(save(people(base, {}, {}), tmp_path / f"anything{suffix}"))
    assert summary.kind == kind
    assert summary.means["item"].tolist() == list(survey_items().index)
    assert summary.means["mean"].tolist() == ANSWERS
    assert set(summary.means["n"]) == {2}
    place = summary.places.iloc[0]
    assert (place.iso3, place.country, place.year, place["n"], place.missing) == (
        "DNK",
        "Denmark",
        year,
        2,
        "",
    )


def test_the_columns_are_those_of_the_item_table() -> None:
    items = survey_items()
    kind = kinds()[0]
    assert items.wvs7["Y02"].split(";") == list(kind.qualities)
    assert items.wvs7["X01"].split(";") == list(kind.aims)


def test_weighted_mean_error_and_shares_by_hand(wave7: Any) -> None:
    table = people(
        WAVE7,
        {"Q164": 2, "W_WEIGHT": 1.0},
        {"Q164": 6, "W_WEIGHT": 3.0},
        {"Q164": -1, "W_WEIGHT": 9.0},
    )
    summary = read_survey(wave7(table))
    mean = mean_of(summary, "Y01")
    # Weighted variance (1 * 9 + 3 * 1) / 4 = 3; n_eff = 4^2 / (1 + 9) = 1.6.
    assert mean["mean"] == pytest.approx(5)
    assert mean["se"] == pytest.approx(np.sqrt(3 / 0.6))
    assert mean["n"] == 2
    shares = summary.shares[summary.shares["item"] == "Y01"].set_index("value").percent
    assert shares.to_dict() == {v: {2: 25.0, 6: 75.0}.get(v, 0.0) for v in range(1, 11)}


@pytest.mark.parametrize(
    ("item", "name", "values", "mean", "n"),
    [
        ("Y01", "Q164", [9, 7, -1, -2, -3, -4, -5, "", -99], 8, 2),
        ("Y02", "Y003", [-1, -2, 2, -5, -4, -3, ""], -1 / 3, 3),
        ("Y04", "Q254", [1, 4, 5, 5], 2.5, 2),
        ("X04", "Q209", [1, 3, 7, 0, 1.5], 2, 2),
        ("X02", "Q46", ["1", " 4 ", "NA", "."], 2.5, 2),
    ],
)
def test_codes_that_are_missing_and_codes_that_are_not(
    wave7: Any, item: str, name: str, values: list[Any], mean: float, n: int
) -> None:
    row = mean_of(read_survey(wave7(column(WAVE7, name, values))), item)
    assert row["mean"] == pytest.approx(mean)
    assert row["n"] == n


def test_values_off_the_scale_are_counted_and_not_of_this_nation_is_not(wave7: Any) -> None:
    summary = read_survey(
        wave7(people(WAVE7, {"Q254": 5, "Q209": 7}, {"Q254": 6, "Q209": 0}, {"Q254": 1}))
    )
    assert noted(
        summary, "Warning: Q209: values that are not answers from 1 to 3, counted as missing: 2."
    )
    assert noted(summary, "Q254: values that are not answers from 1 to 4, counted as missing: 1.")


def test_autonomy_is_rebuilt_from_its_parts(wave7: Any) -> None:
    base = {k: v for k, v in WAVE7.items() if k != "Y003"}
    parts = ("Q8", "Q14", "Q15", "Q17")
    rows = [(1, 1, 2, 2), (1, 2, 2, 2), (1, 2, 2, 1), (1, 1, 2, -2), (2, 2, 1, 2)]
    summary = read_survey(
        wave7(people(base, *(dict(zip(parts, row, strict=True)) for row in rows)))
    )
    # 2, 1, 0, missing, -1. Other numbers result if codes are added up as they are, or if a gap
    # counts as not mentioned.
    assert mean_of(summary, "Y02")["mean"] == pytest.approx(0.5)
    assert mean_of(summary, "Y02")["n"] == 4
    assert noted(summary, "Y02 (Y003): 4 answers rebuilt from Q8, Q14, Q15, Q17")
    shares = summary.shares[summary.shares["item"] == "Y02"].set_index("value").percent
    assert shares.to_dict() == {-2: 0, -1: 25, 0: 25, 1: 25, 2: 25}


def test_autonomy_is_completed_where_the_derived_column_is_missing(tmp_path: Path) -> None:
    parts = {"A029": 0, "A039": 0, "A040": 1, "A042": 1}
    table = people(INTEGRATED | parts, {"Y003": 2}, {"Y003": -5}, {"Y003": np.nan, "A042": -1})
    row = mean_of(read_survey(save(table, tmp_path / "ivs.dta")), "Y02")
    assert (row["mean"], row["n"]) == (0, 2)


def test_not_mentioned_is_0_or_2_and_anything_else_missing() -> None:
    parts = pd.DataFrame(
        {"A029": [1, 1, 1], "A039": [0, 2, 1], "A040": [0, 2, 0], "A042": [1, 1, np.nan]}
    )
    assert autonomy(parts).tolist()[:2] == [0, 0]
    assert np.isnan(autonomy(parts)[2])


def test_postmaterialism_by_its_definition() -> None:
    pairs = {
        (1, 3): 1,
        (3, 1): 1,
        (2, 4): 3,
        (4, 2): 3,
        (1, 2): 2,
        (4, 3): 2,
        (2, 2): None,
        (1, np.nan): None,
    }
    first = pd.Series([pair[0] for pair in pairs], dtype=float)
    second = pd.Series([pair[1] for pair in pairs], dtype=float)
    index = postmaterialism(first, second)
    assert [None if np.isnan(v) else v for v in index] == list(pairs.values())


def test_aims_replace_a_missing_index(wave7: Any) -> None:
    base = {k: v for k, v in WAVE7.items() if k != "Y002"}
    rows = [(1, 3), (1, 3), (4, 2), (4, 4), (1, -1), (5, 1)]
    summary = read_survey(wave7(people(base, *({"Q154": a, "Q155": b} for a, b in rows))))
    assert mean_of(summary, "X01")["mean"] == pytest.approx(5 / 3)
    assert mean_of(summary, "X01")["n"] == 3
    assert noted(summary, "Q154: values that are not answers from 1 to 4, counted as missing: 1.")


def test_user_missing_values_but_not_of_the_autonomy_index(tmp_path: Path) -> None:
    table = people(
        INTEGRATED,
        {"Y003": -1.0, "F063": 3.0},
        {"Y003": -2.0, "F063": 9.0},
        {"Y003": -5.0, "F063": 5.0},
    )
    ranges = {"Y003": [{"lo": -5, "hi": -1}], "F063": [{"lo": -5, "hi": -1}, 9]}
    summary = read_survey(save(table, tmp_path / "ivs.sav", missing_ranges=ranges))
    assert mean_of(summary, "Y02")["mean"] == pytest.approx(-1.5)
    assert mean_of(summary, "Y01")["mean"] == pytest.approx(4)


def test_rows_without_a_positive_weight_are_dropped(wave7: Any) -> None:
    table = people(WAVE7, {"Q164": 2}, *({"Q164": 10, "W_WEIGHT": w} for w in (0, -1, "", "inf")))
    summary = read_survey(wave7(table))
    assert mean_of(summary, "Y01")["mean"] == 2
    assert noted(summary, "4 rows without a positive weight (W_WEIGHT) dropped")
    assert summary.provenance["rows"] == {"read": 5, "used": 1}


def test_without_a_weight_column_all_count_the_same(wave7: Any) -> None:
    table = column(WAVE7, "Q164", [2, 3, 7, 10])
    weighted = read_survey(wave7(table.assign(W_WEIGHT=0.37)))
    plain = read_survey(wave7(table.drop(columns="W_WEIGHT")))
    assert noted(plain, "No column W_WEIGHT")
    assert plain.means.source[0].endswith("unweighted")
    pd.testing.assert_frame_equal(
        plain.means.drop(columns="source"), weighted.means.drop(columns="source")
    )
    assert mean_of(plain, "Y01")["mean"] == pytest.approx(table.Q164.mean())
    assert mean_of(plain, "Y01")["se"] == pytest.approx(table.Q164.sem())


def sample(seed: int = 0, n: int = 300) -> pd.DataFrame:
    """Random respondents of three countries in two years, with gaps."""
    rng = np.random.default_rng(seed)
    table = people(WAVE7, *[{}] * n)
    for item, scale in survey_items().iterrows():
        values = rng.integers(scale.minimum, scale.maximum + 1, n)
        table[kinds()[0].items[str(item)]] = np.where(rng.random(n) < 0.1, -5, values)
    where = rng.integers(3, size=n)
    table["B_COUNTRY_ALPHA"] = np.array(["DNK", "MEX", "VNM"])[where]
    table["B_COUNTRY"] = np.array([208, 484, 704])[where]
    return table.assign(A_YEAR=rng.choice([2017, 2020], n), W_WEIGHT=rng.uniform(0.2, 3, n))


def test_order_of_rows_does_not_matter_and_shares_sum_to_100(wave7: Any) -> None:
    table = sample()
    first = read_survey(wave7(table), years="all")
    second = read_survey(wave7(table.sample(frac=1, random_state=1)), years="all")
    for name in ("means", "shares", "places"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name))
    assert first.shares.groupby(["iso3", "year", "item"]).percent.sum().to_numpy() == pytest.approx(
        100
    )
    weighted = (first.shares.value * first.shares.percent / 100).groupby(
        [first.shares[c] for c in ("iso3", "year", "item")], sort=False
    )
    assert weighted.sum().to_numpy() == pytest.approx(first.means["mean"].to_numpy())


def test_standard_error_is_that_of_repeated_samples(wave7: Any) -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(1, 11, 400)
    weights = rng.uniform(0.2, 3, 400)
    table = column(WAVE7, "Q164", list(values)).assign(W_WEIGHT=weights)
    row = mean_of(read_survey(wave7(table)), "Y01")
    draws = rng.integers(400, size=(4000, 400))
    means = (values[draws] * weights[draws]).sum(1) / weights[draws].sum(1)
    assert row["se"] == pytest.approx(means.std(), rel=0.1)


def test_places_are_the_projection_of_planted_means(wave7: Any) -> None:
    planted = {"DNK": [0.1, 0.2, 0.3, 0.4], "MEX": [0.7, 0.1, 0.1, 0.1]}
    rng = np.random.default_rng(7)
    tables = []
    for number, (iso3, shares) in enumerate(planted.items()):
        table = people(WAVE7, *[{"B_COUNTRY_ALPHA": iso3, "B_COUNTRY": 0}] * 4000)
        for item, scale in survey_items().iterrows():
            span = np.linspace(scale.minimum, scale.maximum, 4).round()
            table[kinds()[0].items[str(item)]] = rng.choice(
                span, 4000, p=shares if number else shares[::-1]
            )
        tables.append(table)
    summary = read_survey(wave7(pd.concat(tables)))
    for number, (iso3, shares) in enumerate(planted.items()):
        spans = [np.linspace(s.minimum, s.maximum, 4).round() for s in survey_items().itertuples()]
        expected = np.array(spans) @ (shares if number else shares[::-1])
        place = summary.places.set_index("iso3").loc[iso3]
        assert [place.x, place.y] == pytest.approx(project(expected), abs=0.05)
        means = summary.means[summary.means.iso3 == iso3]["mean"].to_numpy()
        assert [place.x, place.y] == pytest.approx(project(means))
        official = countries().loc[iso3]
        assert (place.map_x, place.map_y, place.map_year) == (
            official.x,
            official.y,
            official.survey_year,
        )
        assert place.distance == pytest.approx(np.hypot(place.x - official.x, place.y - official.y))


def test_a_missing_item_leaves_no_coordinates_and_is_named(wave7: Any) -> None:
    mexico = {"B_COUNTRY_ALPHA": "MEX", "B_COUNTRY": 484}
    table = people(WAVE7, {}, mexico | {"Q182": -4, "Q57": -4}, mexico | {"Q182": -4, "Q57": ""})
    summary = read_survey(wave7(table.drop(columns="Q46")))
    places = summary.places.set_index("iso3")
    assert places.missing.to_dict() == {"DNK": "X02", "MEX": "X02, X03, X05"}
    assert places[["x", "y", "distance"]].isna().all(axis=None)
    assert "X02" not in set(summary.means["item"]) | set(summary.shares["item"])
    assert noted(summary, "X02 (Q46) is not in the file")


def test_the_latest_year_of_each_country_or_all(tmp_path: Path) -> None:
    mexico = {"COUNTRY_ALPHA": "MEX", "S003": 484}
    table = people(
        INTEGRATED,
        {"S020": 1990, "F063": 10},
        {"F063": 1},
        mexico | {"S020": 2012},
        mexico | {"S020": -4},
    )
    path = save(table, tmp_path / "ivs.sav")
    latest = read_survey(path)
    assert dict(zip(latest.places.iso3, latest.places.year, strict=True)) == {
        "DNK": 2017,
        "MEX": 2012,
    }
    assert mean_of(latest, "Y01")["mean"] == 1
    assert noted(latest, "1 row of earlier years left out (DNK 1990)")
    assert noted(latest, "1 row without a year (S020) dropped")
    assert read_survey(path, years="all").places.year.tolist() == [1990, 2017, 2012]


def test_codes_that_iso_does_not_have(joint: Any) -> None:
    codes = {
        "DK": (208, "DNK"), "GB-NIR": (909, "GBR-NIR"), "NIR": (909, "GBR-NIR"),
        "XK": (915, "XKX"), "NA": (516, "NAM"), "GB-GBN": (900, "GBR"), "": (8, "ALB"),
        "??": (40, "AUT"), "ZZ": (999, None), "SV": (222, "SLV"),
    }  # fmt: skip
    summary = read_survey(
        joint(people(JOINT, *({"cntry_AN": c, "cntry": n} for c, (n, _) in codes.items())))
    )
    assert set(summary.places.iso3) == {iso3 for _, iso3 in codes.values() if iso3}
    assert noted(summary, "1 row of unknown country code skipped: ZZ (1)")
    names = summary.places.set_index("iso3")
    assert names.country[["NAM", "SLV", "GBR-NIR"]].tolist() == [
        "Namibia",
        "El Salvador",
        "Northern Ireland",
    ]
    assert np.isnan(names.map_x["SLV"])


def test_a_lone_country_column_is_enough(tmp_path: Path, wave7: Any) -> None:
    by_number = save(people(JOINT, {}).drop(columns="cntry_AN"), tmp_path / "n.dta")
    assert read_survey(by_number).places.iso3.tolist() == ["DNK"]
    assert read_survey(wave7(people(WAVE7, {}).drop(columns="B_COUNTRY"))).places.iso3.tolist() == [
        "DNK"
    ]
    assert read_survey(
        wave7(people(WAVE7, {}).drop(columns="B_COUNTRY_ALPHA"))
    ).places.iso3.tolist() == ["DNK"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_labelled_headers_separators_and_byte_order_mark(wave7: Any, separator: str) -> None:
    table = people(WAVE7, {"Q164": 4}).assign(Q16=9, Q1640=9)
    table = table.rename(columns={"Q46": "q46 Happiness"})
    table.insert(0, "Q164: Importance of God, in life", table.pop("Q164"))
    table["notes"] = "said, in two\nlines; and on"
    summary = read_survey(wave7(table, sep=separator, encoding="utf-8-sig"))
    assert mean_of(summary, "Y01")["mean"] == 4
    assert mean_of(summary, "X02")["mean"] == 1


def test_an_exact_column_name_is_preferred_to_a_labelled_one(wave7: Any) -> None:
    table = people(WAVE7, {"Q164": 4})
    table.insert(0, "Q164: recoded", 9)
    assert mean_of(read_survey(wave7(table)), "Y01")["mean"] == 4


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_survey(path, **options)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_file_that_is_not_a_survey_file(tmp_path: Path, wave7: Any) -> None:
    assert "no such file" in refused(tmp_path / "none.csv")
    assert "no such file" in refused(tmp_path)
    (tmp_path / "a.zip").write_bytes(b"PK")
    assert "only .csv, .sav and .dta can be read, not .zip; unpack" in refused(tmp_path / "a.zip")
    message = refused(save(people(WAVE7, {}).drop(columns="A_YEAR"), tmp_path / "t.csv"))
    assert (
        "WVS wave 7: looked for B_COUNTRY_ALPHA or B_COUNTRY, A_YEAR, any of Q164, Y003" in message
    )
    assert "missing: A_YEAR\n" in message
    assert message.endswith("missing: COUNTRY_ALPHA or S003, S020")
    message = refused(save(pd.DataFrame({"a": [1], "Q1": [2]}), tmp_path / "other.csv"))
    assert "judging by its 2 columns" in message
    assert "missing: cntry_AN or cntry, year, any of F063" in message
    (tmp_path / "empty.csv").write_bytes(b"")
    assert "not a known survey file" in refused(tmp_path / "empty.csv")
    assert "column names only" in refused(wave7(people(WAVE7, {}).iloc[:0]))
    assert "unknown country code skipped: QQQ (1)" in refused(
        wave7(people(WAVE7, {"B_COUNTRY_ALPHA": "QQQ", "B_COUNTRY": 0}))
    )
    nothing = dict.fromkeys(kinds()[0].items.values(), -4) | {"Y003": -5}
    assert "no valid answer to any of the ten items" in refused(wave7(people(WAVE7, nothing)))


@pytest.mark.parametrize("suffix", [".sav", ".dta"])
def test_broken_files(tmp_path: Path, suffix: str) -> None:
    whole = save(people(JOINT, *[{}] * 50), tmp_path / f"whole{suffix}").read_bytes()
    broken = tmp_path / f"broken{suffix}"
    for content in (
        whole[: len(whole) // 2],
        whole[:-200],
        b"not a survey file at all, but text" * 50,
        b"",
    ):
        broken.write_bytes(content)
        assert f"not readable as {suffix}" in refused(broken)


def test_cells_that_are_not_numbers_are_named_by_line_and_column(
    tmp_path: Path, wave7: Any
) -> None:
    path = wave7(column(WAVE7, "Q164", [3, 4, "Very important"]))
    path.write_text(path.read_text().replace("\n", "\n\n", 1))
    assert ":5: field 'Q164': not a number: 'Very important'; export the codes" in refused(path)
    path = wave7(people(WAVE7, {}).assign(W_WEIGHT="0,93"), sep=";")
    assert ":2: field 'W_WEIGHT': not a number: '0,93'; this looks like a decimal comma" in refused(
        path
    )
    labelled = save(people(JOINT, {}).assign(F063="none"), tmp_path / "text.sav")
    assert "row 1: field 'F063': not a number: 'none'" in refused(labelled)


def test_bare_decimal_commas_do_not_shift_the_columns(wave7: Any) -> None:
    path = wave7(people(WAVE7, {}, {}))
    path.write_text(path.read_text().replace(",1.0,", ",1,5,"))
    message = refused(path)
    assert "line 2: 14 values expected, as in the header, but 15 present" in message
    assert "decimal points" in message


def test_latin_1_is_refused_with_its_line(wave7: Any) -> None:
    path = wave7(people(WAVE7, {}, {}).assign(town=["Roskilde", "Ærø"]), encoding="latin-1")
    assert ":3: byte" in refused(path)
    assert "not UTF-8; save the file as UTF-8" in refused(path)


def test_unknown_countries_are_named_with_those_of_the_file(wave7: Any) -> None:
    path = wave7(people(WAVE7, {}, {"B_COUNTRY_ALPHA": "MEX"}))
    assert "--countries: QQQ, SWE not in" in refused(path, countries=["SWE", "DNK", "QQQ"])
    assert "its countries: DNK, MEX" in refused(path, countries=["SWE"])
    assert read_survey(path, countries=["MEX"]).places.iso3.tolist() == ["MEX"]


def test_a_missing_package_is_named_with_its_command(
    joint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = joint(people(JOINT, {}))
    monkeypatch.setitem(sys.modules, "pyreadstat", None)
    with pytest.raises(InputError, match="pip install pyreadstat"):
        read_survey(path)


def test_wave7_csv_needs_no_further_package(wave7: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyreadstat", None)
    monkeypatch.setitem(sys.modules, "pycountry", None)
    nir = {"B_COUNTRY_ALPHA": "NIR", "B_COUNTRY": 909}
    assert read_survey(wave7(people(WAVE7, {}, nir))).places.iso3.tolist() == ["DNK", "GBR-NIR"]


def test_the_verb_writes_tables_and_a_manifest_last(tmp_path: Path, wave7: Any) -> None:
    path = wave7(sample())
    out = tmp_path / "out"
    done = run("wvs", path, "--out", out, "--countries", "dnk, MEX", "--all-years")
    assert done.returncode == 0, done.stderr
    assert "Denmark" in done.stdout
    assert "Fewer than 100 valid answers to some item: DNK 2017" in done.stdout
    assert sorted(p.name for p in out.iterdir()) == [
        "answer_shares.csv", "item_means.csv", "manifest.json", "places.csv",
    ]  # fmt: skip
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["file"] == "wave7.csv"
    assert (manifest["kind"], manifest["rows"]["read"], len(manifest["sha256"])) == (
        "wvs7",
        300,
        64,
    )
    assert str(tmp_path) not in "".join(p.read_text() for p in out.iterdir())
    assert manifest["tables"]["item_means.csv"] == len(pd.read_csv(out / "item_means.csv")) == 40
    summary = read_survey(path, years="all", countries=["DNK", "MEX"])
    pd.testing.assert_frame_equal(
        pd.read_csv(out / "item_means.csv"), summary.means, rtol=1e-5, check_dtype=False
    )


def test_an_interrupted_write_leaves_no_manifest(
    tmp_path: Path, wave7: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = read_survey(wave7(people(WAVE7, {})))
    write_survey(tmp_path / "out", summary)

    def fail(*args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(microdata, "replacing", fail)
    with pytest.raises(OSError, match="disk full"):
        write_survey(tmp_path / "out", summary)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_bad_input_on_the_command_line(tmp_path: Path, wave7: Any) -> None:
    path = wave7(people(WAVE7, {}))
    assert "no such file" in fails("wvs", tmp_path / "none.sav", "--out", tmp_path / "o")
    assert "--countries: XXX not in" in fails(
        "wvs", path, "--countries", "XXX", "--out", tmp_path / "o"
    )
    (tmp_path / "file").write_text("x")
    assert "cannot write there" in fails("wvs", path, "--out", tmp_path / "file" / "o")
