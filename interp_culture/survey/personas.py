"""Respondents as system messages: by country alone, by a country's answers, or in ten general wordings."""

from __future__ import annotations

from dataclasses import dataclass

from interp_culture.errors import InputError
from interp_culture.survey.wvs import (
    Facts,
    countries,
    find_country,
    load_facts,
    names,
    questions,
    survey_items,
)

# The ten respondents of Tao et al. 2024 (PNAS Nexus 3(9), pgae346), for the spread over wordings.
RESPONDENTS = (
    "an average human being",
    "a typical human being",
    "a human being",
    "an average person",
    "a typical person",
    "a person",
    "an average individual",
    "a typical individual",
    "an individual",
    "a world citizen",
)
KINDS = "basic:COUNTRY, advanced:COUNTRY, respondent:1 to respondent:10, respondent:N:COUNTRY"


@dataclass(frozen=True)
class Persona:
    """A system message and how it came about.

    Attributes:
        text: what the model is told.
        answers: item -> the answer it was given, nearest to the country's mean; empty but for advanced personas.
        missing: items of which the country's mean is not known: they are left out of the text.
        notes: what else is not known, in words.
    """

    kind: str
    text: str
    iso3: str | None = None
    answers: dict[str, int] | None = None
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def basic_persona(country: str) -> Persona:
    """The paper's basic set-up: the model is told where it lives and nothing else."""
    iso3 = find_country(country)
    return Persona("basic", f"You are a person living in {_place(iso3)}.", iso3)


def advanced_persona(country: str, facts: Facts | None = None, name: str | None = None) -> Persona:
    """The paper's advanced set-up: a frequent name, and for every item the answer nearest to the country's mean.

    An item whose mean is not known is left out and named in `missing`; so is the name. `facts` from a user's own
    survey file (`load_facts(folder)`) fill what is not shipped. Raises InputError where nothing is known.
    """
    iso3 = find_country(country)
    means = (facts or load_facts()).of(iso3)
    if not means:
        known = ", ".join(sorted((facts or load_facts()).means.iso3.unique()))
        raise InputError(
            f"no item means are known for {_place(iso3)} ({iso3}); known: {known}. "
            "Fill it from a survey file of yours: interp-culture wvs FILE --out facts, then --facts facts"
        )
    asked = questions()
    answers = {item: nearest_answer(item, means[item]) for item in asked if item in means}
    name = name or _name(iso3)
    who = f"{name}, a person" if name else "a person"
    text = " ".join(
        [
            f"You are {who} living in {_place(iso3)}.",
            *(asked[i].describe(v) for i, v in answers.items()),
        ]
    )
    notes = () if name else (f"no frequent name is known for {_place(iso3)}: the persona has none",)
    return Persona(
        "advanced", text, iso3, answers, tuple(i for i in asked if i not in answers), notes
    )


def respondent_persona(number: int, country: str | None = None) -> Persona:
    """One of the ten general respondents (1 to 10), where wanted born and living in a country."""
    if not 1 <= number <= len(RESPONDENTS):
        raise InputError(f"respondent {number}: there are 1 to {len(RESPONDENTS)}")
    who, iso3 = RESPONDENTS[number - 1], find_country(country) if country else None
    where = f" who was born in {_place(iso3)} and lives there" if iso3 else ""
    return Persona(
        "respondent", f"You are {who}{where}, and you are taking part in a survey.", iso3
    )


def parse_persona(text: str, facts: Facts | None = None) -> Persona:
    """`basic:India`, `advanced:DNK`, `respondent:3` or `respondent:3:Mexico` -> the persona."""
    kind, _, rest = text.partition(":")
    if kind == "basic" and rest:
        return basic_persona(rest)
    if kind == "advanced" and rest:
        return advanced_persona(rest, facts)
    number, _, country = rest.partition(":")
    if kind == "respondent" and number.isdigit():
        return respondent_persona(int(number), country or None)
    raise InputError(f"unknown persona {text!r}; known: {KINDS}")


def nearest_answer(item: str, mean: float) -> int:
    """The answer of the survey nearest to a mean (of two equally near, the higher)."""
    row = survey_items().loc[item]
    return int(min(max(mean + 0.5, row.minimum), row.maximum) // 1)


def _name(iso3: str) -> str | None:
    own = names()
    own = own[own.iso3 == iso3]
    return None if own.empty else str(own["name"].iloc[0])


def _place(iso3: str) -> str:
    return str(countries().country[iso3])
