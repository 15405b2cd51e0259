"""Scenario -> prompts and contrastive texts (paper, equations 1 and 4). Text only: no tokens, no model."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Literal

from interp_culture.scenarios import Scenario

Order = Literal["both", "random"]

LETTERS = ("A", "B")
# Eq. 1 with the words that the paper's text gives; the wording of the last line is our reading.
LETTER_TEMPLATE = "{situation}\n\nOption A: {a}\nOption B: {b}\n\nAnswer with A or B."
CONTINUATION_TEMPLATE = "{situation}\n\nWhat is the best choice here? Answer in one sentence."


@dataclass(frozen=True)
class Prompt:
    """What is asked, before tokenisation. `answer` is text whose probability is read, or empty."""

    user: str
    answer: str = ""
    system: str | None = None


@dataclass(frozen=True)
class LetterPrompt:
    """A dilemma with lettered options; `positive` is the letter that stands for the positive pole."""

    prompt: Prompt
    positive: Literal["A", "B"]


def letter_prompts(
    scenario: Scenario, order: Order = "both", seed: int = 42, system: str | None = None
) -> list[LetterPrompt]:
    """The prompts of Eq. 1: the positive pole as A and as B, or one of the two at random as in the paper.

    With `order="both"` the mean of the two logit differences is free of any preference for a letter. With
    `order="random"` the draw depends on the seed and the scenario's id alone, so that steered and plain
    readouts share it.
    """
    if order == "both":
        letters: tuple[Literal["A", "B"], ...] = ("A", "B")
    else:
        letters = ("A",) if random.Random(f"{seed}:{scenario.id}").random() < 0.5 else ("B",)
    return [_letter_prompt(scenario, positive, system) for positive in letters]


def continuation_prompts(scenario: Scenario, system: str | None = None) -> tuple[Prompt, Prompt]:
    """The dilemma without options, answered in the words of the positive and of the negative one."""
    user = CONTINUATION_TEMPLATE.format(situation=scenario.situation)
    return Prompt(user, scenario.positive, system), Prompt(user, scenario.negative, system)


def contrastive_texts(scenario: Scenario) -> tuple[str, str]:
    """(x+, x-) of Eq. 4: the situation linearised with the positive and with the negative option."""
    return f"{scenario.situation} {scenario.positive}", f"{scenario.situation} {scenario.negative}"


def template_hash() -> str:
    """Identifies the wording of all templates in manifests."""
    return hashlib.sha256((LETTER_TEMPLATE + CONTINUATION_TEMPLATE).encode()).hexdigest()[:12]


def _letter_prompt(scenario: Scenario, positive: Literal["A", "B"], system: str | None) -> LetterPrompt:
    options = (scenario.positive, scenario.negative)
    a, b = options if positive == "A" else options[::-1]
    user = LETTER_TEMPLATE.format(situation=scenario.situation, a=a, b=b)
    return LetterPrompt(Prompt(user, system=system), positive)
