"""Prompts of scenarios with more than two choices against prompts written by hand; bare pairs."""

from __future__ import annotations

import pytest

from interp_culture.errors import InputError
from interp_culture.readout.prompts import (
    Labels,
    Template,
    continuation_prompts,
    contrastive_texts,
    letter_prompts,
)
from interp_culture.scenarios.scenario import Scenario

NAMES = {"id": "paint-1", "axis": "diy", "item": "diy", "domain": "all"}
PAINT = Scenario(
    **NAMES,
    situation="The paint is sold out.",
    positive="I mix it",
    negative="Another blue",
    choices=("Another blue", "I wait", "I mix it", "I ask"),
)


def users(scenario: Scenario, labels: Labels = "A/B", template: Template = "paper") -> list[str]:
    return [p.prompt.user for p in letter_prompts(scenario, labels=labels, template=template)]


def test_all_choices_keep_their_places_but_the_poles_swap() -> None:
    positive_first = (
        "The paint is sold out.\n\n"
        "Option A: I mix it\nOption C: I wait\nOption B: Another blue\nOption D: I ask\n\n"
        "Answer with A, B, C or D."
    )
    negative_first = (
        "The paint is sold out.\n\n"
        "Option A: Another blue\nOption C: I wait\nOption B: I mix it\nOption D: I ask\n\n"
        "Answer with A, B, C or D."
    )
    assert users(PAINT) == [positive_first, negative_first]
    assert [p.positive for p in letter_prompts(PAINT)] == [0, 1]


def test_further_choices_in_other_words_and_with_other_labels() -> None:
    assert users(PAINT, template="question")[0] == (
        "The paint is sold out.\n\nWhat is the best choice here?\n"
        "A) I mix it\nC) I wait\nB) Another blue\nD) I ask\n\n"
        "Reply with A, B, C or D, nothing else."
    )
    assert users(PAINT, template="bare")[1] == (
        "The paint is sold out.\nA. Another blue\nC. I wait\nB. I mix it\nD. I ask\nAnswer:"
    )
    assert (
        "Option 1: I mix it\nOption 3: I wait\nOption 2: Another blue\nOption 4: I ask"
        in users(PAINT, "1/2")[0]
    )
    assert (
        "Option X: I mix it\nOption Z: I wait\nOption Y: Another blue\nOption W: I ask"
        in users(PAINT, "X/Y")[0]
    )
    assert users(PAINT, "X/Y")[0].endswith("Answer with X, Y, Z or W.")


@pytest.mark.parametrize("labels", ["A/B", "1/2", "X/Y"])
@pytest.mark.parametrize("template", ["paper", "question", "bare"])
def test_spans_are_those_of_the_first_and_the_second_pole(
    labels: Labels, template: Template
) -> None:
    prompts = letter_prompts(PAINT, labels=labels, template=template)
    poles_shown = [("I mix it", "Another blue"), ("Another blue", "I mix it")]
    for prompt, poles in zip(prompts, poles_shown, strict=True):
        spans = prompt.prompt.options
        assert tuple(prompt.prompt.user[start:stop] for start, stop in spans) == poles


def test_a_random_order_is_one_of_the_two_orders() -> None:
    (drawn,) = letter_prompts(PAINT, "random", seed=1)
    assert drawn in letter_prompts(PAINT)


def test_more_choices_than_labels_raise() -> None:
    many = Scenario(
        **NAMES,
        situation="Pick.",
        positive="p0",
        negative="p1",
        choices=tuple(f"p{i}" for i in range(12)),
    )
    assert len(users(many)) == 2
    with pytest.raises(InputError, match="12 choices, but the labels 1/2 go up to 9"):
        letter_prompts(many, labels="1/2")


def test_continuations_and_contrastive_texts_leave_out_the_further_choices() -> None:
    assert "I wait" not in "".join(prompt.user for prompt in continuation_prompts(PAINT))
    assert contrastive_texts(PAINT) == (
        "The paint is sold out. I mix it",
        "The paint is sold out. Another blue",
    )


def test_a_bare_pair_has_contrastive_texts_but_no_prompt() -> None:
    pair = Scenario(**NAMES, situation="", positive="I folded it.", negative="I crumpled it.")
    assert contrastive_texts(pair) == ("I folded it.", "I crumpled it.")
    for make_prompts in (letter_prompts, continuation_prompts):
        with pytest.raises(
            InputError, match=r"scenario paint-1: a bare pair of texts has no question"
        ):
            make_prompts(pair)


def test_choices_include_both_poles_and_are_written_only_if_given() -> None:
    two = Scenario(**NAMES, situation="Pick.", positive="p", negative="n")
    assert "choices" not in two.model_dump()
    assert Scenario.model_validate_json(PAINT.model_dump_json()) == PAINT
    for choices in (("p", "x", "y"), ("p", "n", "N"), ("p", "p", "n")):
        with pytest.raises(ValueError, match="both poles must be among them"):
            Scenario(**NAMES, situation="Pick.", positive="p", negative="n", choices=choices)
