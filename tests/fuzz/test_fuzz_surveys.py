"""Survey files of respondents, folders of country figures, personas and replies."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.contract import cases, read_or_refuse
from fuzz.mutations import any_bytes, damaged, odd_texts
from interp_culture.errors import InputError
from interp_culture.survey.microdata import SurveySummary, read_survey, write_survey
from interp_culture.survey.personas import Persona, parse_persona
from interp_culture.survey.reply_parsing import read_reply
from interp_culture.survey.wvs import Facts, find_country, load_facts, questions, survey_items

pyreadstat = pytest.importorskip("pyreadstat")

# The columns of a WVS wave 7 file and a respondent of each of two countries.
COLUMNS = [
    *("B_COUNTRY", "B_COUNTRY_ALPHA", "A_YEAR", "W_WEIGHT", "Q164", "Y003", "Q184", "Q254"),
    *("Q45", "Y002", "Q46", "Q182", "Q209", "Q57"),
]
ROWS = [
    ["208", "DNK", "2018", "1.0", "3", "1", "8", "2", "2", "2", "1", "9", "1", "1"],
    ["208", "DNK", "2018", "0.5", "5", "-1", "7", "1", "1", "3", "2", "8", "2", "2"],
    ["484", "MEX", "2018", "1.5", "9", "0", "2", "1", "3", "1", "1", "4", "3", "2"],
]
# Cells that a survey file may have, and some that none should.
CELLS = [
    *("", " ", ".", "NA", "-5", "-99", "1e999", "-inf", "nan", "NaN", "0x10", "1_000", "1,5"),
    *("2018.5", "99999999999999999999", "1e200", "1e-320", "True", "٣", "\u200b3", "DK", "XXX"),
    *("=1+1", "3\x00", '3"', "'3'", "a\nb", "a\r\nb", "\ufeff3", "١٢", "x" * 200_000, "²", "00208"),
]


def as_csv(rows: list[list[str]], **options: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, **options).writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


SURVEY = as_csv([COLUMNS, *ROWS])


def check_summary(summary: SurveySummary) -> None:
    """Figures that can be published: every mean is on the scale of its item."""
    means = summary.means.join(survey_items()[["minimum", "maximum"]], on="item")
    assert len(means) > 0
    # Means are weighted sums, which rounding moves a little.
    assert means["mean"].between(means.minimum - 1e-9, means.maximum + 1e-9).all()
    assert (means.n > 0).all()
    assert summary.shares.percent.between(0, 100 + 1e-9).all()
    assert (
        np.isfinite(summary.places[["x", "y"]]).all(axis=1).eq(summary.places.missing == "").all()
    )
    for years in (means.year, summary.places.year):
        assert years.between(1900, 2100).all()


def read(path: Path) -> SurveySummary | None:
    return read_or_refuse("survey files (csv)", lambda: read_survey(path), path).value


@cases(quick=12, torture=500)
@given(content=any_bytes(SURVEY))
@example(content=SURVEY.decode().encode("utf-16"))
@example(content=SURVEY + b"\xff")
@example(content=SURVEY.replace(b"\n", b"\n\n"))
@example(content=SURVEY.replace(b"Q164", b"Y003"))
@example(content=SURVEY.replace(b"Q164", b"x" * 200_000))
@example(content=b'"' + SURVEY)
@example(content=b"")
@example(content=b"\xef\xbb\xbf")
@example(content=b"\n")
def test_damaged_survey_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "wave7.csv"
    path.write_bytes(content)
    summary = read(path)
    if summary is not None:
        check_summary(summary)


def rows_with_a_cell(row: int, column: int, cell: str) -> list[list[str]]:
    rows = [list(each) for each in [COLUMNS, *ROWS]]
    rows[row][column] = cell
    return rows


@cases(quick=8, torture=400)
@given(
    row=st.integers(0, 3),
    column=st.integers(0, len(COLUMNS) - 1),
    cell=st.sampled_from(CELLS) | odd_texts(),
    options=st.sampled_from([{}, {"delimiter": ";"}, {"delimiter": "\t"}, {"quoting": 1}]),
)
@example(row=1, column=2, cell="2018.5", options={})
@example(row=1, column=3, cell="1e200", options={})
@example(row=3, column=3, cell="1e-320", options={})
@example(row=0, column=4, cell="Q184", options={})
@example(row=1, column=4, cell="1_0", options={})
def test_odd_cells_of_survey_files(
    row: int, column: int, cell: str, options: Any, tmp_path: Path
) -> None:
    path = tmp_path / "wave7.csv"
    try:
        path.write_bytes(as_csv(rows_with_a_cell(row, column, cell), **options))
    except csv.Error:
        return  # a character that no file of this kind can hold
    summary = read(path)
    if summary is not None:
        check_summary(summary)
        # The respondent in the other country is read whatever the cell is.
        others = {"MEX"} if row in (1, 2) else {"DNK"}
        assert row == 0 or others <= set(summary.places.iso3)


@pytest.mark.parametrize(("column", "cell"), [(2, "2018.5"), (3, "1e200"), (3, "1e-320")])
def test_a_respondent_of_no_year_or_weight_is_left_out(
    column: int, cell: str, tmp_path: Path
) -> None:
    path = tmp_path / "wave7.csv"
    path.write_bytes(as_csv(rows_with_a_cell(1, column, cell)))
    summary = read_survey(path)
    assert set(summary.means[summary.means.iso3 == "DNK"].n) == {1}
    assert any(note.startswith("1 row") and "dropped" in note for note in summary.notes)


def test_encodings_and_line_ends_of_survey_files(tmp_path: Path) -> None:
    path = tmp_path / "wave7.csv"
    path.write_bytes(SURVEY)
    plain = read_survey(path).means.drop(columns="source")
    for ending in (b"\n", b"\r\n", b"\r"):
        for mark in (b"", b"\xef\xbb\xbf"):
            path.write_bytes(mark + SURVEY.replace(b"\r\n", ending))
            again = read_survey(path).means.drop(columns="source")
            pd.testing.assert_frame_equal(again, plain)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of the same respondents as an SPSS and as a Stata file."""
    folder = tmp_path_factory.mktemp("labelled")
    table = pd.DataFrame(ROWS, columns=COLUMNS)
    numeric = [name for name in COLUMNS if name != "B_COUNTRY_ALPHA"]
    table[numeric] = table[numeric].astype(float)
    pyreadstat.write_sav(table, folder / "wave7.sav")
    pyreadstat.write_dta(table, folder / "wave7.dta")
    return {suffix: (folder / f"wave7{suffix}").read_bytes() for suffix in (".sav", ".dta")}


@pytest.mark.parametrize("suffix", [".sav", ".dta"])
@cases(quick=15, torture=300)
@given(data=st.data())
def test_damaged_labelled_files(
    suffix: str, data: st.DataObject, labelled: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / f"wave7{suffix}"
    path.write_bytes(data.draw(any_bytes(labelled[suffix])))
    outcome = read_or_refuse(f"survey files ({suffix[1:]})", lambda: read_survey(path), path)
    if outcome.value is not None:
        check_summary(outcome.value)


@pytest.mark.parametrize("suffix", [".csv", ".sav", ".dta", ".zsav", ".zip", ""])
def test_places_without_survey_files(suffix: str, tmp_path: Path) -> None:
    for name in ("nowhere", "a\x00b", "x" * 5_000):
        with pytest.raises(InputError, match="no such file"):
            read_survey(tmp_path / f"{name}{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(InputError, match="no such file"):
        read_survey(tmp_path / f"folder{suffix}")


@pytest.mark.parametrize("suffix", [".csv", ".sav", ".dta"])
def test_a_survey_file_without_permission(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"wave7{suffix}"
    path.write_bytes(SURVEY)

    def denied(self: Path, *args: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(InputError, match=rf"wave7{suffix}: cannot be read \(Permission denied\)"):
        read_survey(path)


# -- country figures ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files that `interp-culture wvs` writes."""
    folder = tmp_path_factory.mktemp("figures")
    (folder / "wave7.csv").write_bytes(SURVEY)
    write_survey(folder / "facts", read_survey(folder / "wave7.csv"))
    return {path.name: path.read_bytes() for path in (folder / "facts").iterdir()}


def facts_of(figures: dict[str, bytes], folder: Path) -> Facts | None:
    for name, content in figures.items():
        (folder / name).write_bytes(content)
    return read_or_refuse("country figures", lambda: load_facts(folder), folder).value


@pytest.mark.parametrize("name", ["item_means.csv", "manifest.json"])
@cases(quick=8, torture=300)
@given(data=st.data())
def test_damaged_country_figures(
    name: str, data: st.DataObject, figures: dict[str, bytes], tmp_path: Path
) -> None:
    """Damaged figures are refused; nothing but the notes of a manifest may differ."""
    intact = facts_of(figures, tmp_path)
    assert intact is not None
    content = data.draw(damaged(figures[name]))
    facts = facts_of(figures | {name: content}, tmp_path)
    if facts is not None:
        pd.testing.assert_frame_equal(facts.means, intact.means)


HEADER = "iso3,year,item,mean,source"


@cases(quick=30, torture=600)
@given(
    column=st.integers(0, 4),
    cell=st.sampled_from([*CELLS, "Y02", "-1", "DNK", "2017"]) | odd_texts(),
)
@example(column=0, cell="")
@example(column=1, cell="abc")
@example(column=3, cell="True")
@example(column=3, cell="nan")
def test_odd_cells_of_country_figures(column: int, cell: str, tmp_path: Path) -> None:
    """Figures that a user wrote by hand, with a manifest that says nothing."""
    rows = [HEADER.split(","), ["MEX", "2018", "Y01", "2.5", "mine"]]
    odd = ["DNK", "2017", "Y01", "3.5", "mine"]
    odd[column] = cell
    try:
        content = as_csv([*rows, odd])
    except csv.Error:
        return
    facts = facts_of({"item_means.csv": content, "manifest.json": b"{}"}, tmp_path)
    if facts is None:
        return
    assert facts.of("MEX")["Y01"] == 2.5
    assert all(isinstance(code, str) and code.strip() for code in facts.means.iso3)
    assert pd.to_numeric(facts.means.year).between(1900, 2100).all()
    scale = survey_items().loc[facts.means["item"]]
    assert facts.means["mean"].between(scale.minimum.to_numpy(), scale.maximum.to_numpy()).all()


def test_places_without_country_figures(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "item_means.csv").mkdir()
    for folder in (tmp_path, tmp_path / "nowhere", "a\x00b", "x" * 5_000):
        with pytest.raises(InputError):
            load_facts(folder)


# -- personas and replies -------------------------------------------------------------------------


def personas() -> st.SearchStrategy[str]:
    kind = st.sampled_from(["basic", "advanced", "respondent", "other", ""])
    rest = st.sampled_from(["DNK", "India", "3", "3:Mexico", "²", "٣", "9" * 5_000, "-1", "1.0"])
    return st.builds("{}:{}".format, kind, rest | odd_texts()) | odd_texts()


@cases(quick=30, torture=500)
@given(text=personas())
@example(text="respondent:²")
@example(text="respondent:" + "9" * 5_000)
@example(text="respondent:٣")
def test_odd_personas(text: str) -> None:
    outcome = read_or_refuse("personas", lambda: parse_persona(text))
    assert outcome.refused or isinstance(outcome.value, Persona)


@cases(quick=15, torture=300)
@given(text=odd_texts())
def test_odd_countries(text: str) -> None:
    outcome = read_or_refuse("countries", lambda: find_country(text))
    assert outcome.refused or len(str(outcome.value)) >= 3


@cases(quick=20, torture=400)
@given(reply=odd_texts(), item=st.sampled_from(["Y01", "Y02", "X01", "X05"]))
@example(reply="9" * 5_000, item="Y01")
@example(reply="²", item="Y01")
@example(reply="from " * 20_000, item="Y01")
def test_odd_replies(reply: str, item: str) -> None:
    question = questions()[item]
    outcome = read_or_refuse("replies", lambda: read_reply(reply, question))
    assert outcome.value is not None
    assert outcome.value.value is None or outcome.value.value in question.codes
