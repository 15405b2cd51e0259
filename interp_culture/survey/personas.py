"""Personas as system messages: a country, a country's survey answers, or a general respondent."""

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

# The ten respondents of Tao et al. 2024 (PNAS Nexus 3(9), pgae346); they show the spread of
# results over wordings.
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
    """A system message and the facts it was built from.

    Attributes:
        kind: basic, advanced or respondent.
        text: the system message.
        iso3: the country, if the persona has one.
        answers: item -> the survey answer in the text; None except for advanced personas.
        missing: items left out of the text because the country's mean is unknown.
        notes: other facts that are unknown, in sentences.
    """

    kind: str
    text: str
    iso3: str | None = None
    answers: dict[str, int] | None = None
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def basic_persona(country: str) -> Persona:
    """The paper's basic persona, which states only a country of residence.

    Args:
        country: a name or iso3 code of the 2023 map.

    >>> basic_persona("Mexico").text
    'You are a person living in Mexico.'
    """
    iso3 = find_country(country)
    return Persona("basic", f"You are a person living in {_place(iso3)}.", iso3)


def advanced_persona(country: str, facts: Facts | None = None, name: str | None = None) -> Persona:
    """The paper's advanced persona: a frequent name and the country's survey answers.

    The answer to each item is the one nearest to the country's mean.

    Args:
        country: a name or iso3 code of the 2023 map.
        facts: the shipped ones by default; those of a user's own survey file
            (`load_facts(folder)`) can cover more countries and items.
        name: the person's name; the country's first frequent name by default.

    Returns:
        The persona. Items without a known mean are left out of the text and named in `missing`;
        an unknown name is left out too and mentioned in `notes`.

    Raises:
        InputError: if the country is unknown or has no known mean.

    >>> advanced_persona("Denmark").answers
    {'Y01': 4, 'X05': 1}
    """
    iso3 = find_country(country)
    known_facts = facts or load_facts()
    means = known_facts.of(iso3)
    if not means:
        known = ", ".join(sorted(known_facts.means.iso3.unique()))
        raise InputError(
            f"no item means are known for {_place(iso3)} ({iso3}); known: {known}. "
            "Compute them from your own survey file: "
            "interp-culture wvs FILE --out facts, then --facts facts"
        )
    items = questions()
    answers = {item: nearest_answer(item, means[item]) for item in items if item in means}
    name = name or _frequent_name(iso3)
    notes: tuple[str, ...] = ()
    if name is None:
        notes = (f"no frequent name is known for {_place(iso3)}, so the persona has no name",)
    who = f"{name}, a person" if name else "a person"
    sentences = [f"You are {who} living in {_place(iso3)}."]
    sentences += [items[item].describe(answer) for item, answer in answers.items()]
    missing = tuple(item for item in items if item not in answers)
    return Persona("advanced", " ".join(sentences), iso3, answers, missing, notes)


def respondent_persona(number: int, country: str | None = None) -> Persona:
    """One of the ten general respondents, optionally born and living in a country.

    Args:
        number: 1 to 10.
        country: a name or iso3 code of the 2023 map.

    >>> respondent_persona(1).text
    'You are an average human being, and you are taking part in a survey.'
    """
    if not 1 <= number <= len(RESPONDENTS):
        raise InputError(f"respondent {number}: give a number from 1 to {len(RESPONDENTS)}")
    who = RESPONDENTS[number - 1]
    iso3 = find_country(country) if country else None
    where = f" who was born in {_place(iso3)} and lives there" if iso3 else ""
    text = f"You are {who}{where}, and you are taking part in a survey."
    return Persona("respondent", text, iso3)


def parse_persona(text: str, facts: Facts | None = None) -> Persona:
    """The persona named by `basic:India`, `advanced:DNK`, `respondent:3` or `respondent:3:Mexico`.

    Raises:
        InputError: if the text has another form, or the country or number is unknown.
    """
    kind, _, rest = text.partition(":")
    if kind == "basic" and rest:
        return basic_persona(rest)
    if kind == "advanced" and rest:
        return advanced_persona(rest, facts)
    number, _, country = rest.partition(":")
    # "²" is a digit that `int` does not read, and there are ten respondents.
    if kind == "respondent" and number.isdecimal() and len(number) <= 9:
        return respondent_persona(int(number), country or None)
    raise InputError(f"unknown persona {text[:80]!r}; known: {KINDS}")


def nearest_answer(item: str, mean: float) -> int:
    """The answer on the item's scale nearest to a mean; the higher of two equally near ones.

    >>> nearest_answer("Y01", 3.5)
    4
    """
    row = survey_items().loc[item]
    # round() would take the even one of two equally near answers.
    return int(min(max(mean + 0.5, row.minimum), row.maximum) // 1)


def _frequent_name(iso3: str) -> str | None:
    table = names()
    of_country = table[table.iso3 == iso3]
    return None if of_country.empty else str(of_country["name"].iloc[0])


def _place(iso3: str) -> str:
    return str(countries().country[iso3])
