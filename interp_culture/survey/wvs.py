"""Facts of the World Values Survey: its ten map questions, and country figures with their sources.

The package has weighted figures only, no answers of single persons. Answers are on the survey's
own scales.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict

from interp_culture.artifacts.files import file_checksum, read_json
from interp_culture.errors import InputError
from interp_culture.resources import DATA

SURVEY = DATA / "survey"
# The four countries of the paper's personas.
TARGETS = {"IND": "India", "VNM": "Vietnam", "MEX": "Mexico", "DNK": "Denmark"}
MEANS_COLUMNS = ["iso3", "year", "item", "mean", "source"]


class Question(BaseModel):
    """The wording of an item as a question and in a persona (our paraphrase of the survey's).

    Attributes:
        ask: the question.
        ask_second: the follow-up question, for the item that takes two choices.
        answers: code -> label, if every answer has a label.
        scale: the two ends, code -> label, if only these have labels; the answers are all whole
            numbers from one to the other.
        qualities: for Y003, an index of four yes/no questions: quality -> its sign in the sum.
        neutral: codes of the answers that take no side.
        materialist: for Y002, an index of two choices: the codes that count as materialist.
        profile: the sentence of a persona about its answer.
        words: code -> label in `profile`, for an index, whose values have no label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ask: str
    ask_second: str | None = None
    answers: dict[int, str] = {}
    scale: dict[int, str] = {}
    qualities: dict[str, int] = {}
    neutral: list[int] = []
    materialist: list[int] = []
    profile: str
    words: dict[int, str] = {}

    @property
    def codes(self) -> list[int]:
        """The allowed answers: the labelled ones, or every whole number of the scale."""
        return list(self.answers) or list(range(min(self.scale), max(self.scale) + 1))

    def describe(self, value: int) -> str:
        """The persona's sentence for one answer."""
        words = self.words.get(value, self.answers.get(value, ""))
        return self.profile.format(value=value, words=words)


@dataclass(frozen=True)
class Facts:
    """Item means of countries: the shipped ones, or a user's own where these exist.

    Attributes:
        means: iso3, year, item, mean, source; one row per country and item.
        notes: which figures replace the shipped ones.
    """

    means: pd.DataFrame
    notes: tuple[str, ...] = ()

    def of(self, iso3: str) -> dict[str, float]:
        """Item -> mean of a country, for the items with a known mean."""
        rows = self.means[self.means.iso3 == iso3]
        return dict(zip(rows["item"], rows["mean"].astype(float), strict=True))


# Callers share the cached tables below and must not change them in place.
@cache
def survey_items() -> pd.DataFrame:
    """The ten survey items, indexed Y01 to X05: scale, direction, moments, weights, source."""
    return pd.read_csv(SURVEY / "items.csv").set_index("item")


@cache
def questions() -> dict[str, Question]:
    """The ten questions by item, in the order of `survey_items`."""
    raw = yaml.safe_load((SURVEY / "questions.yaml").read_text(encoding="utf-8"))
    return {item: Question.model_validate(raw[item]) for item in survey_items().index}


@cache
def countries() -> pd.DataFrame:
    """The 115 countries and territories of the 2023 map, indexed by iso3.

    Columns: country, survey_year, x, y (published coordinates), source.

    >>> countries().loc[["DNK", "MEX"], ["country", "survey_year"]]
          country  survey_year
    iso3
    DNK   Denmark         2017
    MEX    Mexico         2018
    """
    return pd.read_csv(SURVEY / "map_2023.csv").set_index("iso3")


@cache
def answer_shares() -> pd.DataFrame:
    """Percentages behind the shipped means.

    Columns: iso3, year, item, part (of an index), value, percent, source.
    """
    # Without this option, pandas reads an empty part as NaN.
    return pd.read_csv(SURVEY / "answer_shares.csv", keep_default_na=False)


@cache
def names() -> pd.DataFrame:
    """Frequent names: iso3, name, gender, scope, source. Personas take a country's first row."""
    return pd.read_csv(SURVEY / "names.csv")


def find_country(text: str) -> str:
    """The iso3 code of a country given by code or name, in any case.

    Raises:
        InputError: if the map does not have it; the message lists near matches.

    >>> find_country("mexico")
    'MEX'
    """
    known = countries()
    code_of_name = {name.casefold(): iso3 for iso3, name in known.country.items()}
    name = text.strip().casefold()
    # The longest name has 32 letters; a search for names near a long text would take minutes.
    if len(name) > 100:
        raise InputError(f"unknown country {name[:60]!r}...: give a name or iso3 code of the map")
    code = name.upper()
    if code in known.index:
        return code
    if name in code_of_name:
        return code_of_name[name]
    near_names = get_close_matches(name, code_of_name, n=3)
    near_codes = [code_of_name[near] for near in near_names]
    near_codes = near_codes or get_close_matches(code, list(known.index), n=3)
    hint = ", ".join(f"{known.country[near]} ({near})" for near in near_codes)
    raise InputError(
        f"unknown country {text.strip()!r}: give a name or iso3 code of the 2023 map"
        + (f"; near: {hint}" if hint else "")
    )


def load_facts(folder: str | Path | None = None) -> Facts:
    """The shipped item means, or those of `folder` where it has them.

    Args:
        folder: written by `interp-culture wvs`. For a country and item in it, the folder's mean
            of the latest year replaces the shipped one, so that one figure never mixes two surveys.

    Raises:
        InputError: if the folder is unfinished, or its item_means.csv is absent or wrong.

    >>> load_facts().of("DNK")
    {'Y01': 3.503, 'X05': 1.259}
    """
    shipped = pd.read_csv(SURVEY / "item_means.csv")
    if folder is None:
        return Facts(shipped)
    folder_means = _folder_means(Path(folder))
    keys = ["iso3", "item"]
    # drop_duplicates keeps the first row of a key, which is the folder's.
    means = pd.concat([folder_means, shipped]).drop_duplicates(keys)
    n_countries = folder_means.iso3.nunique()
    note = (
        f"{len(folder_means)} item means of {n_countries} countries from {folder} "
        "replace or extend the shipped ones"
    )
    return Facts(means.sort_values(keys, ignore_index=True), (note,))


def fact_table(facts: Facts, chosen: list[str] | None = None) -> pd.DataFrame:
    """One row per country: iso3, country, published x and y, and the mean of every item.

    Unknown values are NaN.

    Args:
        chosen: iso3 codes; all countries with a known mean by default.
    """
    codes = sorted(facts.means.iso3.unique()) if chosen is None else chosen
    # A survey may have countries that the map does not; reindex gives them NaN.
    on_map = countries().reindex(codes)
    table = on_map[["country", "x", "y"]].reset_index(names="iso3")
    means_of = [facts.of(code) for code in codes]
    for item in survey_items().index:
        table[item] = [means.get(item, float("nan")) for means in means_of]
    return table


def _folder_means(folder: Path) -> pd.DataFrame:
    """The checked item means of a folder, of the latest year for each country and item."""
    path = folder / "item_means.csv"
    fix = f"write it with `interp-culture wvs FILE --out {folder}`"
    # Unlike `Path.exists`, it takes a name that is too long.
    if not os.path.exists(folder / "manifest.json"):
        raise InputError(f"{folder}: no manifest.json, so the folder is unfinished; {fix}")
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError, ArithmeticError) as error:
        raise InputError(f"{path}: not readable ({error}); {fix}") from error
    checksums = read_json(folder / "manifest.json").get("checksums")
    checksum = checksums.get(path.name) if isinstance(checksums, dict) else None
    if checksum is not None and checksum != file_checksum(path):
        raise InputError(f"{path}: not as it was written, by the checksum in manifest.json; {fix}")
    missing = sorted(set(MEANS_COLUMNS) - set(table.columns))
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; {fix}")
    _check_means(path, table)
    latest_first = table[MEANS_COLUMNS].sort_values("year", ascending=False)
    return latest_first.drop_duplicates(["iso3", "item"])


def _short(value: object) -> str:
    return repr(value)[:60]


def _is_year(value: object) -> bool:
    # A column with a text in it holds texts only.
    return isinstance(value, int | float) and 1900 <= value <= 2100 and value % 1 == 0


def _check_means(path: Path, table: pd.DataFrame) -> None:
    items = survey_items()
    # The header is line 1.
    for line, row in enumerate(table.itertuples(), start=2):
        if not isinstance(row.iso3, str) or not row.iso3.strip():
            raise InputError(f"{path}:{line}: field 'iso3': {_short(row.iso3)} is not an iso3 code")
        if not _is_year(row.year):
            raise InputError(f"{path}:{line}: field 'year': {_short(row.year)} is not a year")
        if row.item not in items.index:
            raise InputError(
                f"{path}:{line}: field 'item': unknown item {_short(row.item)}; "
                f"known: {', '.join(items.index)}"
            )
        low = items.minimum[row.item]
        high = items.maximum[row.item]
        is_number = isinstance(row.mean, int | float) and not isinstance(row.mean, bool)
        if not is_number or not low <= row.mean <= high:
            raise InputError(
                f"{path}:{line}: field 'mean': {_short(row.mean)} is not a number from {low} to "
                f"{high}, the scale of {row.item}"
            )
