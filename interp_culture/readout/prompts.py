"""Prompts and contrastive texts of a scenario, as plain text (paper, equations 1 and 4)."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from interp_culture.engine.prompt import Prompt, Thinking
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import Scenario

Order = Literal["both", "random"]

Labels = Literal["A/B", "1/2", "X/Y"]

# The labels of the two poles. The paper uses A/B. The other two are the label control: a value that
# the model holds does not depend on the labels.
LABELS: dict[Labels, tuple[str, str]] = {"A/B": ("A", "B"), "1/2": ("1", "2"), "X/Y": ("X", "Y")}
# The labels of further choices, in the order of the text.
FURTHER_LABELS: dict[Labels, str] = {
    "A/B": "CDEFGHIJKLMNOPQRSTUVWXYZ",
    "1/2": "3456789",
    "X/Y": "ZWVUTSRQPONMLKJIHGFEDCBA",
}
# Eq. 1. The paper's text gives the words of the options; the last line is our reading, since the
# formula was lost.
LETTER_TEMPLATE = (
    "{situation}\n\nOption {x}: {first}\nOption {y}: {second}\n\nAnswer with {x} or {y}."
)
Template = Literal["paper", "question", "bare"]
# Eq. 1 in other words: the control for the wording.
LETTER_TEMPLATES: dict[Template, str] = {
    "paper": LETTER_TEMPLATE,
    "question": (
        "{situation}\n\nWhat is the best choice here?\n{x}) {first}\n{y}) {second}\n\n"
        "Reply with {x} or {y}, nothing else."
    ),
    "bare": "{situation}\n{x}. {first}\n{y}. {second}\nAnswer:",
}
# What the assistant's answer may begin with, before the letter. The paper's answer begins with the
# letter. The shortest comes first, since ties in the choice of a prefix go to the first.
PREFIXES = ("", "Answer:", "The answer is (", "My answer is option")
CONTINUATION_TEMPLATE = "{situation}\n\nWhat is the best choice here? Answer in one sentence."


@dataclass(frozen=True)
class LetterPrompt:
    """A dilemma with lettered options.

    Attributes:
        prompt: the user message with the spans of both poles' texts, and the system message.
        positive: 0 if the first label names the positive pole, 1 if the second does.
    """

    prompt: Prompt
    positive: Literal[0, 1]


def letter_prompts(
    scenario: Scenario,
    order: Order = "both",
    seed: int = 42,
    system: str | None = None,
    labels: Labels = "A/B",
    template: Template = "paper",
    prefix: str = "",
    thinking: Thinking = "template",
) -> list[LetterPrompt]:
    """The prompts of Eq. 1: both orders of the poles, or one order drawn at random as in the paper.

    With `order="both"` the mean of the two logit differences is free of any preference for a
    letter. With `order="random"` the draw depends only on `seed` and the scenario's id, so that
    steered and plain readouts share it.

    A scenario with more than two choices shows all of them in their places. The poles have the
    first two labels and change places with each other. The other choices keep their places and
    have the labels C, D and so on. So the letters that are read are the same in every scenario.

    Args:
        system: the system message; None for none.
        labels: the labels of the two poles, a key of `LABELS`.
        template: the wording, a key of `LETTER_TEMPLATES`.
        prefix: what the assistant's answer begins with, before the letter.
        thinking: the think block before it, as in `Prompt`.

    Returns:
        Two prompts for "both": the positive pole with the first label, then with the second. One
        prompt for "random".

    Raises:
        InputError: a bare pair of texts, or more choices than labels.

    >>> names = {"id": "t", "axis": "mint", "item": "mint", "domain": "all"}
    >>> teas = ("Green", "Black", "Mint")
    >>> tea = Scenario(
    ...     **names, situation="Which tea?", positive="Mint", negative="Green", choices=teas
    ... )
    >>> print(letter_prompts(tea)[0].prompt.user)
    Which tea?
    <BLANKLINE>
    Option A: Mint
    Option C: Black
    Option B: Green
    <BLANKLINE>
    Answer with A, B or C.
    """
    _check_question(scenario)
    places: tuple[Literal[0, 1], ...] = (0, 1)
    if order == "random":
        # Drawn from the id, so that a scenario has the same order in every subset.
        places = (0,) if random.Random(f"{seed}:{scenario.id}").random() < 0.5 else (1,)
    frame = Prompt("", system=system, prefix=prefix, thinking=thinking)
    return [
        _letter_prompt(scenario, positive, labels, LETTER_TEMPLATES[template], frame)
        for positive in places
    ]


def continuation_prompts(
    scenario: Scenario, system: str | None = None, thinking: Thinking = "template"
) -> tuple[Prompt, Prompt]:
    """The dilemma without options, answered with the positive and with the negative option's words.

    Raises InputError for a bare pair of texts.

    >>> names = {"id": "t", "axis": "mint", "item": "mint", "domain": "all"}
    >>> tea = Scenario(**names, situation="Which tea?", positive="Mint.", negative="Green.")
    >>> [prompt.answer for prompt in continuation_prompts(tea)]
    ['Mint.', 'Green.']
    """
    _check_question(scenario)
    user = CONTINUATION_TEMPLATE.format(situation=scenario.situation)
    question = Prompt(user, system=system, thinking=thinking)
    positive = replace(question, answer=scenario.positive)
    return positive, replace(question, answer=scenario.negative)


def contrastive_texts(scenario: Scenario) -> tuple[str, str]:
    """(x+, x-) of Eq. 4: the situation followed by the positive and by the negative option.

    A bare pair of texts is returned unchanged.

    >>> names = {"id": "t", "axis": "mint", "item": "mint", "domain": "all"}
    >>> contrastive_texts(Scenario(**names, situation="Tea?", positive="Mint.", negative="Green."))
    ('Tea? Mint.', 'Tea? Green.')
    """
    if scenario.is_bare_pair:
        return scenario.positive, scenario.negative
    return f"{scenario.situation} {scenario.positive}", f"{scenario.situation} {scenario.negative}"


def template_hash() -> str:
    """A hash of the default wording, for manifests. Tables of another wording name its template."""
    wording = "".join([LETTER_TEMPLATE, CONTINUATION_TEMPLATE, *PREFIXES])
    return hashlib.sha256(wording.encode()).hexdigest()[:12]


def _check_question(scenario: Scenario) -> None:
    if scenario.is_bare_pair:
        raise InputError(
            f"scenario {scenario.id}: a bare pair of texts has no question, so there is no choice "
            "to read. You can extract vectors from it; for readouts, sweeps and steering give a "
            "file with questions and two options."
        )


def _letter_prompt(
    scenario: Scenario,
    positive: Literal[0, 1],
    labels: Labels,
    template: str,
    frame: Prompt,
) -> LetterPrompt:
    """The prompt of one order; `frame` holds what is around the user's text."""
    poles = (scenario.positive, scenario.negative)
    if positive == 1:
        poles = poles[::-1]
    head, option_line, tail = _parts(template)
    user = head.format(situation=scenario.situation)
    spans = {}
    for number, (label, text) in enumerate(_labelled_choices(scenario, poles, labels)):
        separator = "\n" if number else ""
        user += separator + option_line.format(label=label, text="")
        spans[label] = (len(user), len(user) + len(text))
        user += text
    user += _instruction(tail, sorted(spans, key=_label_order(labels).index))
    options = tuple(spans[label] for label in LABELS[labels])
    return LetterPrompt(replace(frame, user=user, options=options), positive)


def _labelled_choices(
    scenario: Scenario, poles: tuple[str, str], labels: Labels
) -> list[tuple[str, str]]:
    """(label, text) of every choice, in the order of the prompt; `poles` in the order to show."""
    labelled_poles = list(zip(LABELS[labels], poles, strict=True))
    if not scenario.choices:
        return labelled_poles
    further_labels = FURTHER_LABELS[labels]
    pole_texts = {scenario.positive, scenario.negative}
    if len(scenario.choices) - len(pole_texts) > len(further_labels):
        raise InputError(
            f"scenario {scenario.id}: {len(scenario.choices)} choices, but the labels {labels} "
            f"go up to {len(further_labels) + 2}; use other labels"
        )
    next_pole = iter(labelled_poles)
    next_label = iter(further_labels)
    return [
        next(next_pole) if text in pole_texts else (next(next_label), text)
        for text in scenario.choices
    ]


def _parts(template: str) -> tuple[str, str, str]:
    """The text before the options, the line of one option, and the text after the options.

    The text of an option ends its line.
    """
    lines = template.split("\n")
    first = next(i for i, line in enumerate(lines) if "{first}" in line)
    head = "\n".join(lines[:first]) + "\n"
    option_line = lines[first].replace("{x}", "{label}").replace("{first}", "{text}")
    tail = "\n" + "\n".join(lines[first + 2 :])
    return head, option_line, tail


def _instruction(tail: str, shown_labels: Sequence[str]) -> str:
    """The instruction with every label that is shown: "A or B", "A, B or C"."""
    *others, last = shown_labels
    return tail.replace("{x} or {y}", f"{', '.join(others)} or {last}")


def _label_order(labels: Labels) -> str:
    return "".join(LABELS[labels]) + FURTHER_LABELS[labels]
