"""What is known of the World Values Survey: its ten map questions, and what countries answered.

Figures only, each with its source; no answers of single persons. Answers are on the survey's own scales.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict

from interp_culture.errors import InputError
from interp_culture.resources import DATA

SURVEY = DATA / "survey"
TARGETS = {"IND": "India", "VNM": "Vietnam", "MEX": "Mexico", "DNK": "Denmark"}
MEANS_COLUMNS = ["iso3", "year", "item", "mean", "source"]


class Question(BaseModel):
    """How an item is asked and how its answer is put into a persona (our paraphrase of the survey's wording).

    Attributes:
        ask: the question; `ask_second` the follow-up, where the item takes two choices.
        answers: code -> label, where every answer has one.
        scale: the labels of the two ends, where only these have one; every whole number between is an answer.
        qualities: Y003 is an index of four yes/no questions: quality -> its sign in the sum.
        neutral: codes of the answers that take no side.
        materialist: Y002 is an index of two choices: the codes that count as materialist.
        profile, words: what a persona is told of an answer; `words` stands in for the labels where an index has none.
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
        """The allowed answers: those with a label, or every whole number of the scale."""
        return list(self.answers) or list(range(min(self.scale), max(self.scale) + 1))

    def describe(self, value: int) -> str:
        """The profile's sentence for one answer."""
        return self.profile.format(
            value=value, words=self.words.get(value, self.answers.get(value, ""))
        )


@dataclass(frozen=True)
class Facts:
    """What is known of countries: shipped figures, over them those of a user's own survey file.

    Attributes:
        means: iso3, year, item, mean, source; one row a country and item.
        notes: whose figures replaced which.
    """

    means: pd.DataFrame
    notes: tuple[str, ...] = ()

    def of(self, iso3: str) -> dict[str, float]:
        """Item -> mean of a country, for the items that are known."""
        own = self.means[self.means.iso3 == iso3]
        return dict(zip(own["item"], own["mean"].astype(float), strict=True))


@cache
def survey_items() -> pd.DataFrame:
    """The ten survey items by scenario item (Y01 ... X05): scale, direction, moments, weights, source."""
    return pd.read_csv(SURVEY / "items.csv").set_index("item")


@cache
def questions() -> dict[str, Question]:
    """The ten questions by scenario item, in the order of `survey_items`."""
    raw = yaml.safe_load((SURVEY / "questions.yaml").read_text(encoding="utf-8"))
    return {item: Question.model_validate(raw[item]) for item in survey_items().index}


@cache
def countries() -> pd.DataFrame:
    """115 countries and territories by iso3: country, survey_year, x, y, source (coordinates of the 2023 map)."""
    return pd.read_csv(SURVEY / "map_2023.csv").set_index("iso3")


@cache
def answer_shares() -> pd.DataFrame:
    """Percentages behind the shipped means: iso3, year, item, part (of an index), value, percent, source."""
    return pd.read_csv(SURVEY / "answer_shares.csv", keep_default_na=False)


@cache
def names() -> pd.DataFrame:
    """Frequent names: iso3, name, gender, scope, source; a country's first row is the one that personas take."""
    return pd.read_csv(SURVEY / "names.csv")


def find_country(text: str) -> str:
    """The iso3 code of a country given by code or name (any case). Raises InputError with near matches."""
    known = countries()
    by_name = {name.casefold(): iso3 for iso3, name in known.country.items()}
    wanted = text.strip().casefold()
    if wanted.upper() in known.index:
        return wanted.upper()
    if wanted in by_name:
        return by_name[wanted]
    near = get_close_matches(wanted, by_name, n=3) or get_close_matches(
        wanted.upper(), list(known.index), n=3
    )
    hint = ", ".join(f"{known.country[by_name.get(n, n)]} ({by_name.get(n, n)})" for n in near)
    raise InputError(
        f"unknown country {text!r}: give a name or iso3 code of the 2023 map"
        + (f"; near: {hint}" if hint else "")
    )


def load_facts(folder: str | Path | None = None) -> Facts:
    """The shipped item means; with `folder` (written by `interp-culture wvs`) its figures go before them.

    A country and item that the folder knows takes the folder's mean of the latest year, so that a persona is not
    blended from two surveys of one question. Raises InputError for a folder without item_means.csv.
    """
    shipped = pd.read_csv(SURVEY / "item_means.csv")
    if folder is None:
        return Facts(shipped)
    own = _own_means(Path(folder))
    keys = ["iso3", "item"]
    merged = pd.concat([own, shipped]).drop_duplicates(keys).sort_values(keys, ignore_index=True)
    note = f"{len(own)} item means of {own.iso3.nunique()} countries from {folder} go before the shipped ones"
    return Facts(merged, (note,))


def fact_table(facts: Facts, chosen: list[str] | None = None) -> pd.DataFrame:
    """One row a country: iso3, country, published x and y, then the mean of every item, NaN where it is not known."""
    codes = sorted(facts.means.iso3.unique()) if chosen is None else chosen
    known = countries().reindex(codes)  # a survey may hold countries that the map has not
    rows = [
        {"iso3": c, "country": known.country[c], "x": known.x[c], "y": known.y[c]}
        | {item: facts.of(c).get(item, float("nan")) for item in survey_items().index}
        for c in codes
    ]
    return pd.DataFrame(rows)


def _own_means(folder: Path) -> pd.DataFrame:
    path = folder / "item_means.csv"
    fix = f"write it with `interp-culture wvs FILE --out {folder}`"
    if not (folder / "manifest.json").exists():
        raise InputError(f"{folder}: no manifest.json, so nothing finished there; {fix}")
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable ({error}); {fix}") from error
    missing = sorted(set(MEANS_COLUMNS) - set(table.columns))
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; {fix}")
    items = survey_items()
    for number, row in enumerate(table.itertuples(), start=2):
        if row.item not in items.index:
            raise InputError(
                f"{path}:{number}: field 'item': unknown item {row.item!r}; known: {', '.join(items.index)}"
            )
        low, high = items.minimum[row.item], items.maximum[row.item]
        if not isinstance(row.mean, int | float) or not low <= row.mean <= high:
            scale = f"{low} to {high}, the scale of {row.item}"
            raise InputError(
                f"{path}:{number}: field 'mean': {row.mean!r} is no number from {scale}"
            )
    return (
        table[MEANS_COLUMNS].sort_values("year", ascending=False).drop_duplicates(["iso3", "item"])
    )
