"""Normalised texts, groups of near-identical ones, and splits that keep groups together."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from interp_culture.errors import InputError
from interp_culture.scenarios.catalogue import Catalogue
from interp_culture.scenarios.files import load_scenarios, shipped_sets
from interp_culture.scenarios.repeats import grouped_halves, near_identical
from interp_culture.scenarios.scenario import Scenario, ScenarioSet
from interp_culture.scenarios.wording import comparable, word_sequence

# Digests of (training half, held-out half). Every published number depends on them.
PUBLISHED = {
    ("controls", 42): ("0a8c7b9cc14c178d", "d82c4c5272a43665"),
    ("controls", 7): ("5960c5cdd7eab309", "ef4e7429c2da406d"),
    ("culture", 42): ("44914622e4ea5007", "a64e154ca747e0de"),
    ("culture", 7): ("4a3e35581b83feb1", "1000bbee694423f4"),
    ("selfhood", 42): ("bce64251e14d05f8", "0f3ec46a73b5ca2f"),
    ("selfhood", 7): ("390d86758737b391", "8d0cb1b235e0ca9e"),
    ("tone", 42): ("7374d70396afb5b7", "f46796e16473a3fc"),
    ("tone", 7): ("ce5dfe6b80883d36", "5be3ca854b876544"),
}
SETS = {
    "controls": "5df4aeab495389aa",
    "culture": "c8cbdcccd055d817",
    "selfhood": "4756706f7c0d7aee",
    "tone": "21bd5c8fbbc3315f",
}


@pytest.mark.parametrize(("name", "seed"), PUBLISHED)
def test_the_shipped_sets_and_their_halves_are_those_of_the_published_numbers(
    name: str, seed: int
) -> None:
    scenarios = load_scenarios(name, faults="refuse")
    assert scenarios.digest == SETS[name]
    assert tuple(half.digest for half in scenarios.split(seed)) == PUBLISHED[name, seed]


def test_every_shipped_set_is_pinned() -> None:
    assert set(SETS) == set(shipped_sets())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Caf\u00e9", "Cafe\u0301"),
        ("no\u200bw", "now"),
        ("\ufeffYes", "yes"),
        ("Stra\u00dfe", "STRASSE"),
        (" a  b\n", "A B"),
    ],
)
def test_invisible_differences(one: str, other: str) -> None:
    assert comparable(one) == comparable(other)


def test_visible_differences_count() -> None:
    assert comparable("resume") != comparable("r\u00e9sum\u00e9")
    assert comparable("m2") != comparable("m\u00b2")
    assert word_sequence("Go, or stay?!") == ("go", "or", "stay")
    assert word_sequence("?!") == ()


SENTENCE = "the baker sells warm bread at the old market"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (SENTENCE.upper() + "!", True),
        (SENTENCE.replace("warm", "cold"), True),
        (SENTENCE.replace("old ", ""), True),
        (SENTENCE + " today", True),
        (SENTENCE.replace("baker", "farmer").replace("bread", "milk"), False),
        ("at the old market the baker sells warm bread", False),
    ],
)
def test_near_identical_texts_differ_by_one_word_at_most(text: str, same: bool) -> None:
    groups = near_identical([SENTENCE, text])
    assert (groups[0] == groups[1]) is same


def test_numbers_and_short_texts_are_different() -> None:
    numbered = [f"{SENTENCE} number {i}" for i in range(5)]
    assert len(set(near_identical(numbered))) == 5
    assert len(set(near_identical(["take the bus", "take the tram"]))) == 2
    assert near_identical(["?", "!", "?"]) == [0, 1, 0]


def test_groups_are_transitive_and_do_not_depend_on_the_order() -> None:
    chain = [
        SENTENCE,
        SENTENCE.replace("warm", "cold"),
        SENTENCE.replace("warm", "cold").replace("baker", "clerk"),
    ]
    assert near_identical(chain) == [0, 0, 0]
    assert near_identical([chain[0], chain[2]]) == [0, 1]
    assert near_identical([chain[0], "another one", chain[2], chain[1]]) == [0, 1, 0, 0]


@pytest.mark.parametrize("seed", range(25))
def test_grouped_halves_keep_groups_whole_and_cells_balanced(seed: int) -> None:
    """Every group stays whole, and cells are uneven by at most the size of the largest group."""
    rng = random.Random(seed)
    n = rng.randint(8, 60)
    cells = [rng.choice("abc") for _ in range(n)]
    groups = [f"{cell}{rng.randint(0, 12)}" for cell in cells]
    train, test = grouped_halves(cells, groups, 0.5, seed)
    assert sorted(train + test) == list(range(n))
    assert not {groups[i] for i in train} & {groups[i] for i in test}
    largest = Counter(groups).most_common(1)[0][1]
    for cell in set(cells):
        difference = sum(cells[i] == cell for i in train) - sum(cells[i] == cell for i in test)
        assert abs(difference) <= largest
    assert grouped_halves(cells, groups, 0.5, seed) == (train, test)


CATALOGUE = Catalogue.model_validate(
    {
        "name": "tea",
        "axes": {"T": {"negative": "black", "positive": "green"}},
        "domains": ["home", "work"],
        "items": {"T1": {"axis": "T", "label": "tea"}},
    }
)


def tea(
    number: int,
    situation: str,
    domain: str = "home",
    positive: str = "Green",
    negative: str = "Black",
) -> Scenario:
    names = {"id": f"tea-{number}", "axis": "T", "item": "T1", "domain": domain}
    return Scenario(**names, situation=situation, positive=positive, negative=negative)


def tea_set(*scenarios: Scenario) -> ScenarioSet:
    return ScenarioSet(scenarios, CATALOGUE)


def test_a_situation_in_two_cells_is_in_one_half() -> None:
    shared = [tea(i, f"Guest {i} asks", domain) for i in range(10) for domain in ("home", "work")]
    scenarios = tea_set(*(s.model_copy(update={"id": f"tea-{n}"}) for n, s in enumerate(shared)))
    for seed in range(10):
        train, test = scenarios.split(seed)
        assert not {s.situation for s in train} & {s.situation for s in test}
        assert Counter(s.domain for s in train) == {"home": 5, "work": 5}


def test_a_set_phrase_is_not_a_repeat() -> None:
    """If all scenarios share one question, their options are compared."""
    asked = "Which of these two would you say?"
    scenarios = tea_set(
        *(tea(i, asked, positive=f"Green {i}", negative=f"Black {i}") for i in range(8))
    )
    train, test = scenarios.split()
    assert (len(train), len(test)) == (4, 4)


@pytest.mark.parametrize(
    ("scenarios", "train_share", "message"),
    [
        (
            [tea(1, "Guests?"), tea(2, "Alone?", "work")],
            0.5,
            r"2 item x domain \(T1/home, T1/work\) with one scenario",
        ),
        (
            [tea(1, "Guests?"), tea(2, "guests")],
            0.5,
            r"1 item x domain \(T1/home\): its scenarios are repeats",
        ),
        (
            [tea(1, "Guests?"), tea(2, "Alone?")],
            0.1,
            "a half would have fewer scenarios than there are",
        ),
        (
            [tea(1, "Guests?"), tea(2, "Alone?")],
            1.5,
            "train_share 1.5: give a share between 0 and 1",
        ),
        ([], 0.5, "no scenario to split"),
    ],
)
def test_sets_that_cannot_be_split(
    scenarios: list[Scenario], train_share: float, message: str
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        tea_set(*scenarios).split(train_share=train_share)
    assert "least populated class" not in str(raised.value)
