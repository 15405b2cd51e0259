"""Scenario -> prompts and contrastive texts (paper, equations 1 and 4). Text only: no tokens, no model."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from interp_culture.engine.prompt import Prompt
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import Scenario

Order = Literal["both", "random"]

Labels = Literal["A/B", "1/2", "X/Y"]

# What the options are called. The paper's is A/B; the others are the label control: a value does not hang on them.
LABELS: dict[Labels, tuple[str, str]] = {"A/B": ("A", "B"), "1/2": ("1", "2"), "X/Y": ("X", "Y")}
# What further choices are called, in the order in which they stand: the two poles always have the two labels above.
FURTHER_LABELS: dict[Labels, str] = {
    "A/B": "CDEFGHIJKLMNOPQRSTUVWXYZ",
    "1/2": "3456789",
    "X/Y": "ZWVUTSRQPONMLKJIHGFEDCBA",
}
# Eq. 1 with the words that the paper's text gives; the wording of the last line is our reading.
LETTER_TEMPLATE = (
    "{situation}\n\nOption {x}: {first}\nOption {y}: {second}\n\nAnswer with {x} or {y}."
)
Template = Literal["paper", "question", "bare"]
# Eq. 1 in other words: the control for its wording.
LETTER_TEMPLATES: dict[Template, str] = {
    "paper": LETTER_TEMPLATE,
    "question": (
        "{situation}\n\nWhat is the best choice here?\n{x}) {first}\n{y}) {second}\n\n"
        "Reply with {x} or {y}, nothing else."
    ),
    "bare": "{situation}\n{x}. {first}\n{y}. {second}\nAnswer:",
}
CONTINUATION_TEMPLATE = "{situation}\n\nWhat is the best choice here? Answer in one sentence."


@dataclass(frozen=True)
class LetterPrompt:
    """A dilemma with lettered options; `positive` tells which option, 0 or 1, stands for the positive pole."""

    prompt: Prompt
    positive: Literal[0, 1]


def letter_prompts(
    scenario: Scenario,
    order: Order = "both",
    seed: int = 42,
    system: str | None = None,
    labels: Labels = "A/B",
    template: Template = "paper",
) -> list[LetterPrompt]:
    """The prompts of Eq. 1: the positive pole as A and as B, or one of the two at random as in the paper.

    With `order="both"` the mean of the two logit differences is free of any preference for a letter. With
    `order="random"` the draw depends on the seed and the scenario's id alone, so that steered and plain
    readouts share it.

    A scenario with more than two choices shows all of them in their places. The two poles have the two labels and
    change places with each other; the further choices keep their places and have the labels C, D and so on. So the
    letters that are read are the same for every scenario of a set.

    >>> tea = {"id": "t", "axis": "mint", "item": "mint", "domain": "all", "situation": "Which tea?"}
    >>> tea = Scenario(**tea, positive="Mint", negative="Green", choices=("Green", "Black", "Mint"))
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
        places = (0,) if random.Random(f"{seed}:{scenario.id}").random() < 0.5 else (1,)
    return [
        _letter_prompt(scenario, positive, system, labels, LETTER_TEMPLATES[template])
        for positive in places
    ]


def continuation_prompts(scenario: Scenario, system: str | None = None) -> tuple[Prompt, Prompt]:
    """The dilemma without options, answered in the words of the positive and of the negative one."""
    _check_question(scenario)
    user = CONTINUATION_TEMPLATE.format(situation=scenario.situation)
    return Prompt(user, scenario.positive, system), Prompt(user, scenario.negative, system)


def contrastive_texts(scenario: Scenario) -> tuple[str, str]:
    """(x+, x-) of Eq. 4: the situation linearised with the positive and with the negative option.

    A bare pair of texts is its two texts as they are.
    """
    if scenario.is_bare_pair:
        return scenario.positive, scenario.negative
    return f"{scenario.situation} {scenario.positive}", f"{scenario.situation} {scenario.negative}"


def template_hash() -> str:
    """Identifies the default wording in manifests; a table read in other words names its template."""
    return hashlib.sha256((LETTER_TEMPLATE + CONTINUATION_TEMPLATE).encode()).hexdigest()[:12]


def _check_question(scenario: Scenario) -> None:
    if scenario.is_bare_pair:
        raise InputError(
            f"scenario {scenario.id}: a bare pair of texts has no question, so there is no choice to read. Vectors can "
            "be extracted from it; for readouts, sweeps and steering give a file with questions and two options."
        )


def _letter_prompt(
    scenario: Scenario, positive: Literal[0, 1], system: str | None, labels: Labels, template: str
) -> LetterPrompt:
    poles = (scenario.positive, scenario.negative)
    first_second = poles if positive == 0 else poles[::-1]
    rows = _rows(scenario, first_second, labels)
    head, line, tail = _parts(template)
    user = head.format(situation=scenario.situation)
    spans = {}
    for number, (label, text) in enumerate(rows):
        user += ("\n" if number else "") + line.format(label=label, text="")
        spans[label] = len(user), len(user) + len(text)
        user += text
    user += _ending(tail, sorted(spans, key=_label_order(labels).index))
    options = tuple(spans[label] for label in LABELS[labels])
    return LetterPrompt(Prompt(user, system=system, options=options), positive)


def _rows(scenario: Scenario, poles: tuple[str, str], labels: Labels) -> list[tuple[str, str]]:
    """(label, text) of every choice in its place; the poles, in the order given, stand where the two poles stand."""
    if not scenario.choices:
        return list(zip(LABELS[labels], poles, strict=True))
    further = iter(FURTHER_LABELS[labels])
    own = iter(zip(LABELS[labels], poles, strict=True))
    named = {scenario.positive, scenario.negative}
    if len(scenario.choices) - len(named) > len(FURTHER_LABELS[labels]):
        raise InputError(
            f"scenario {scenario.id}: {len(scenario.choices)} choices, but the labels {labels} go up to "
            f"{len(FURTHER_LABELS[labels]) + 2}; use other labels"
        )
    return [next(own) if text in named else (next(further), text) for text in scenario.choices]


def _parts(template: str) -> tuple[str, str, str]:
    """What stands before the options, the line of one option (its text ends it), and what stands after them."""
    lines = template.split("\n")
    first = next(i for i, line in enumerate(lines) if "{first}" in line)
    option = lines[first].replace("{x}", "{label}").replace("{first}", "{text}")
    head, tail = "\n".join(lines[:first]) + "\n", "\n" + "\n".join(lines[first + 2 :])
    return head, option, tail


def _ending(tail: str, shown: Sequence[str]) -> str:
    """The instruction, with all the labels that are shown: "A or B", "A, B or C"."""
    *others, last = shown
    return tail.replace("{x} or {y}", f"{', '.join(others)} or {last}")


def _label_order(labels: Labels) -> str:
    return "".join(LABELS[labels]) + FURTHER_LABELS[labels]
