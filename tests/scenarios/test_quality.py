"""The checks pass on the shipped set and fail on sets with planted faults."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from interp_culture.reporting.scenario_page import quality_page
from interp_culture.scenarios.files import load_scenarios
from interp_culture.scenarios.measures import (
    is_bare_negation,
    keyword_shares,
    nearest_pairs,
    reading_grade,
    shared_by_halves,
)
from interp_culture.scenarios.quality import check_quality
from interp_culture.scenarios.scenario import Scenario, ScenarioSet


def checks_after(
    scenarios: ScenarioSet, change: Callable[[Scenario], dict[str, str]]
) -> dict[str, bool]:
    """Whether each check passes after `change` has been applied to every scenario."""
    changed = tuple(s.model_copy(update=change(s)) for s in scenarios)
    return {c.name: c.ok for c in check_quality(ScenarioSet(changed, scenarios.catalogue))}


@pytest.mark.parametrize("name", ["culture", "selfhood", "tone"])
def test_a_shipped_set_keeps_every_range(name: str) -> None:
    checks = check_quality(load_scenarios(name, faults="refuse"))
    assert [c.name for c in checks if not c.ok] == []
    assert len(checks) == 14


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (
            lambda s: {"positive": s.positive + " And more."},
            {"length difference, mean", "guessed from length"},
        ),
        (
            lambda s: {"positive": "Freely, " + s.positive, "negative": "Duly, " + s.negative},
            {"guessed from words"},
        ),
        (lambda s: {"positive": s.negative.replace(" ", " not ", 1)}, {"bare negations"}),
        (
            lambda s: {"situation": "The vote on the new bridge is tonight."},
            {"nearest pair", "same opening", "shared by the halves"},
        ),
        (lambda s: {"positive": s.positive + " What a wonderful joy!"}, {"tone"}),
        (
            lambda s: {"situation": s.situation + " It is a question of abortion."},
            {"stray keyword", "item keyword"},
        ),
        (
            lambda s: {"situation": "Notwithstanding internationalisation, " * 9 + s.situation},
            {"reading grade"},
        ),
    ],
)
def test_faults_are_found(shipped: ScenarioSet, change: Callable, failing: set[str]) -> None:
    passes = checks_after(shipped.sample(4), change)
    assert failing <= {name for name, ok in passes.items() if not ok}


def test_an_empty_cell_is_out_of_range(shipped: ScenarioSet) -> None:
    rest = ScenarioSet(tuple(s for s in shipped if s.cell != "Y01/legal"), shipped.catalogue)
    (cells,) = (c for c in check_quality(rest) if c.name == "cell sizes")
    assert cells.value == 20
    assert not cells.ok


def test_bare_negation() -> None:
    assert is_bare_negation("She signs the list.", "She does not sign the list.")
    # "didn't" is not among the negations.
    assert not is_bare_negation("She signed the list.", "She didn\u2019t sign the list.")
    assert is_bare_negation("Sign the list.", "Do not sign the list.")
    assert not is_bare_negation("Sign the list.", "Walk past the list.")


def test_keywords_by_hand(shipped: ScenarioSet) -> None:
    """Keywords are beginnings of words; those of another item of the same axis are not stray."""
    base = next(s for s in shipped if s.item == "X05")
    texts = [
        {"situation": "She rings a stranger.", "positive": "Yes.", "negative": "No."},
        {"situation": "She rings.", "positive": "He prays.", "negative": "No."},
        {"situation": "She rings.", "positive": "Yes.", "negative": "A petition, then."},
        {"situation": "A good sofa.", "positive": "Yes.", "negative": "No."},
    ]
    made = tuple(base.model_copy(update={"id": str(i), **t}) for i, t in enumerate(texts))
    (row,) = keyword_shares(ScenarioSet(made, shipped.catalogue)).itertuples()
    assert (row.item, row.own, row.other_axes) == ("X05", 0.25, 0.25)


def test_reading_grade_by_hand(shipped: ScenarioSet) -> None:
    """0.0588 L - 0.296 S - 15.8 with letters and sentences per 100 words."""
    s = shipped.scenarios[0].model_copy(
        update={
            "situation": "The cat sat on the mat. It purred!",
            "positive": "Feed it now.",
            "negative": "Let it be.",
        }
    )
    words = 14
    letters = 41
    sentences = 4
    expected = 0.0588 * 100 * letters / words - 0.296 * 100 * sentences / words - 15.8
    assert reading_grade(ScenarioSet((s,), shipped.catalogue))[s.id] == pytest.approx(expected)


def test_nearest_pairs_by_hand(shipped: ScenarioSet) -> None:
    one = shipped.scenarios[0]
    two = shipped.scenarios[40]
    twin = two.model_copy(update={"id": "twin", "situation": one.situation})
    pairs = nearest_pairs(ScenarioSet((one, *shipped.scenarios[1:9], twin), shipped.catalogue), 2)
    assert {pairs["first"][0], pairs["second"][0]} == {one.id, "twin"}
    assert pairs.similarity[0] == pytest.approx(1)
    assert pairs.similarity[1] < 0.9


def test_page_names_what_it_measured(shipped: ScenarioSet) -> None:
    page = quality_page(shipped.sample(2))
    assert "| guessed from words | 0." in page
    assert "| Y01 | God is important (F063) | 2 | 2 | 2 |" in page


def few(shipped: ScenarioSet, n: int) -> ScenarioSet:
    """n scenarios of one item and domain."""
    return ScenarioSet(shipped.filter(item="X05", domain="family").scenarios[:n], shipped.catalogue)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 19])
def test_a_small_set_can_pass_every_check(shipped: ScenarioSet, n: int) -> None:
    """A few scenarios whose openings all differ are within the range for openings."""
    words = "One Two Red Blue Far Near Old New Up Down In Out On Off Hot Cold Wet Dry Now"
    openings = words.split()
    varied = tuple(
        s.model_copy(update={"situation": f"{openings[i]} thing. {s.situation}"})
        for i, s in enumerate(few(shipped, n))
    )
    checks = {c.name: c for c in check_quality(ScenarioSet(varied, shipped.catalogue))}
    assert checks["same opening"].ok
    assert ("nearest pair" in checks) is (n > 1)
    assert ("shared by the halves" in checks) is (n > 1)


def test_equal_openings_fail_in_a_small_set(shipped: ScenarioSet) -> None:
    alike = tuple(
        s.model_copy(update={"situation": f"A clerk {s.situation}"}) for s in few(shipped, 5)
    )
    (opening,) = (
        c for c in check_quality(ScenarioSet(alike, shipped.catalogue)) if c.name == "same opening"
    )
    assert not opening.ok


def test_the_nearest_pair_is_never_a_scenario_with_itself(shipped: ScenarioSet) -> None:
    """Situations without a word in common: every similarity is 0."""
    texts = ["Apples ripen.", "Engines stall.", "Violins squeak.", "Deserts bloom."]
    made = tuple(
        s.model_copy(update={"situation": t}) for s, t in zip(few(shipped, 4), texts, strict=True)
    )
    pairs = nearest_pairs(ScenarioSet(made, shipped.catalogue))
    assert len(pairs) == 6
    assert (pairs["first"] != pairs["second"]).all()
    assert len({frozenset(pair) for pair in zip(pairs["first"], pairs["second"], strict=True)}) == 6
    assert nearest_pairs(ScenarioSet(made[:1], shipped.catalogue)).empty


def test_a_set_that_cannot_be_split_has_no_shared_situations(shipped: ScenarioSet) -> None:
    assert np.isnan(shared_by_halves(few(shipped, 1)))
    assert shared_by_halves(few(shipped, 4)) == 0


def test_texts_without_a_word_have_no_grade(shipped: ScenarioSet) -> None:
    wordless = {"situation": "…?!", "positive": "👍", "negative": "👎"}
    made = tuple(s.model_copy(update=wordless) for s in shipped.filter(item="X05").scenarios[:21])
    mixed = ScenarioSet((*made, *few(shipped, 3)), shipped.catalogue)
    assert reading_grade(mixed).notna().sum() == 3
    checks = {c.name for c in check_quality(ScenarioSet(made, shipped.catalogue))}
    assert not {"reading grade", "guessed from words"} & checks
    assert "reading grade" in {c.name for c in check_quality(mixed)}


def test_bare_pairs_are_checked_by_their_texts_alone(shipped: ScenarioSet) -> None:
    pairs = ScenarioSet(
        tuple(s.model_copy(update={"situation": ""}) for s in few(shipped, 6)), shipped.catalogue
    )
    names = {c.name for c in check_quality(pairs)}
    assert "length difference, mean" in names
    assert not {"same opening", "shared by the halves", "nearest pair"} & names
    assert "Quality of the set" in quality_page(pairs)
