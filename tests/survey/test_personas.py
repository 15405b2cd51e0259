"""Personas against the figures they are built from; unknown facts are left out and named."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from interp_culture.errors import InputError
from interp_culture.survey.personas import (
    RESPONDENTS,
    advanced_persona,
    basic_persona,
    nearest_answer,
    parse_persona,
    respondent_persona,
)
from interp_culture.survey.wvs import TARGETS, Facts, load_facts, questions, survey_items


def test_the_basic_persona_is_the_papers() -> None:
    assert basic_persona("india").text == "You are a person living in India."


@pytest.mark.parametrize(
    ("item", "mean", "answer"),
    [("Y01", 8.585, 9), ("Y01", 6.021, 6), ("Y02", -0.31, 0), ("Y02", -0.785, -1),
     ("Y02", 0.391, 0), ("Y04", 1.46, 1), ("X04", 2.717, 3), ("X05", 1.54, 2),
     ("X05", 1.259, 1), ("Y05", 1.5, 2)],
)  # fmt: skip
def test_the_answer_nearest_to_the_mean(item: str, mean: float, answer: int) -> None:
    assert nearest_answer(item, mean) == answer


def test_mexico_by_hand() -> None:
    """Means 8.585, -0.31, 3.29, 1.385, 1.472, 1.923, 1.496, 4.388, 2.44, 1.895."""
    persona = advanced_persona("Mexico")
    assert persona.answers == {
        "Y01": 9, "Y02": 0, "Y03": 3, "Y04": 1, "Y05": 1,
        "X01": 2, "X02": 1, "X03": 4, "X04": 2, "X05": 2,
    }  # fmt: skip
    assert persona.text.startswith(
        "You are Guadalupe, a person living in Mexico. On a scale from 1 (not at all important)"
    )
    for words in (
        "the importance of God in your life is 9.",
        "very proud",
        "very happy",
        "you might do it",
        "careful",
    ):
        assert words in persona.text
    assert persona.missing == ()


@pytest.mark.parametrize("iso3", list(TARGETS))
def test_every_known_item_of_the_targets_is_stated_once(iso3: str) -> None:
    persona = advanced_persona(iso3)
    known = load_facts().of(iso3)
    assert set(persona.answers or {}) == set(known)
    assert set(persona.missing) == set(survey_items().index) - set(known)
    assert TARGETS[iso3] in persona.text
    assert persona.notes == ()
    # One sentence introduces the persona, and one states each answer.
    assert persona.text.count(". ") == len(known)


def test_missing_facts_are_left_out_and_named() -> None:
    persona = advanced_persona("DNK")
    assert persona.missing == ("Y02", "Y03", "Y04", "Y05", "X01", "X02", "X03", "X04")
    assert "proud" not in persona.text
    germany = advanced_persona("Germany")
    assert germany.text.startswith("You are a person living in Germany.")
    assert "no frequent name is known" in germany.notes[0]


def test_a_users_figures_fill_missing_items(tmp_path: Path) -> None:
    row = {"iso3": "DNK", "year": 2017, "item": "Y04", "mean": 1.7, "source": "mine"}
    facts = Facts(pd.concat([load_facts().means, pd.DataFrame([row])]))
    persona = advanced_persona("DNK", facts)
    assert "You are quite proud of your nationality." in persona.text
    assert "Y04" not in persona.missing


def test_countries_without_facts_raise_with_the_fix() -> None:
    with pytest.raises(
        InputError, match=r"no item means are known for France \(FRA\).*interp-culture wvs"
    ):
        advanced_persona("France")


def test_words_of_the_indices_have_the_right_ends() -> None:
    asked = questions()
    assert "order and steady prices" in asked["X01"].describe(1)
    assert "free speech" in asked["X01"].describe(3)
    assert asked["Y02"].describe(2).endswith("rather than obedience and religious faith.")


def test_the_ten_respondents_differ_only_in_who_they_are() -> None:
    texts = [respondent_persona(n, "VNM").text for n in range(1, 11)]
    assert len(set(texts)) == len(RESPONDENTS) == 10
    rest = {t.replace(who, "WHO", 1) for t, who in zip(texts, RESPONDENTS, strict=True)}
    assert len(rest) == 1
    assert "born in Vietnam" in texts[0]
    assert "born" not in respondent_persona(1).text


@pytest.mark.parametrize(
    ("text", "kind", "iso3"),
    [("basic:India", "basic", "IND"), ("advanced:vnm", "advanced", "VNM"),
     ("respondent:3", "respondent", None), ("respondent:10:Mexico", "respondent", "MEX")],
)  # fmt: skip
def test_personas_by_name(text: str, kind: str, iso3: str | None) -> None:
    persona = parse_persona(text)
    assert (persona.kind, persona.iso3) == (kind, iso3)


@pytest.mark.parametrize(
    "text", ["", "basic", "basic:", "respondent:x", "respondent:11", "expert:India"]
)
def test_unknown_personas_raise(text: str) -> None:
    with pytest.raises(InputError, match=r"unknown persona|from 1 to 10"):
        parse_persona(text)
