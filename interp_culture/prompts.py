"""Scenario -> prompts and contrastive texts (paper, equations 1 and 4). Text only: no tokens, no model."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from interp_culture.errors import InputError
from interp_culture.scenarios import Scenario

Order = Literal["both", "random"]

Labels = Literal["A/B", "1/2", "X/Y"]

# What the options are called. The paper's is A/B; the others are the label control: a value does not hang on them.
LABELS: dict[Labels, tuple[str, str]] = {"A/B": ("A", "B"), "1/2": ("1", "2"), "X/Y": ("X", "Y")}
# Eq. 1 with the words that the paper's text gives; the wording of the last line is our reading.
LETTER_TEMPLATE = "{situation}\n\nOption {x}: {first}\nOption {y}: {second}\n\nAnswer with {x} or {y}."
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
class Prompt:
    """What is asked, before tokenisation. `answer` is text whose probability is read, or empty.

    `options` are (start, stop) of the options' words in `user`, in characters, where they are part of it. `system`
    may be a Persona too, whose text it becomes.

    >>> Prompt("Is it late?", system="Answer in one word.").system
    'Answer in one word.'
    """

    user: str
    answer: str = ""
    system: str | None = None
    options: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.user, str):
            raise InputError(f"a prompt's user is a {type(self.user).__name__}; give the question as text")
        object.__setattr__(self, "system", system_text(self.system))


@runtime_checkable
class HasText(Protocol):
    """What can stand for a system message: a Persona."""

    @property
    def text(self) -> str: ...


System = str | HasText | None


def system_text(system: Any) -> str | None:
    """A system message as text: a Persona's is its `text`. Raises InputError for anything else.

    >>> system_text("You live in India.")
    'You live in India.'
    """
    if system is None or isinstance(system, str):
        return system
    text = getattr(system, "text", None)
    if not isinstance(text, str):
        raise InputError(f"system is a {type(system).__name__}; give the message as text, or a Persona")
    return text


def as_prompts(prompts: Iterable[Prompt | str]) -> list[Prompt]:
    """Prompts, of which some may be given as mere text: the question.

    >>> as_prompts(["Is it late?"])
    [Prompt(user='Is it late?', answer='', system=None, options=())]
    """
    if isinstance(prompts, str | Prompt):
        raise InputError("prompts is one prompt; give a list of them: prompts=[...]")
    return [prompt if isinstance(prompt, Prompt) else _question(prompt) for prompt in prompts]


def _question(text: Any) -> Prompt:
    if not isinstance(text, str):
        raise InputError(f"prompts holds a {type(text).__name__}; give texts, or Prompt(user=...)")
    return Prompt(text)


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
    """
    places: tuple[Literal[0, 1], ...] = (0, 1)
    if order == "random":
        places = (0,) if random.Random(f"{seed}:{scenario.id}").random() < 0.5 else (1,)
    return [_letter_prompt(scenario, positive, system, labels, LETTER_TEMPLATES[template]) for positive in places]


def continuation_prompts(scenario: Scenario, system: str | None = None) -> tuple[Prompt, Prompt]:
    """The dilemma without options, answered in the words of the positive and of the negative one."""
    user = CONTINUATION_TEMPLATE.format(situation=scenario.situation)
    return Prompt(user, scenario.positive, system), Prompt(user, scenario.negative, system)


def contrastive_texts(scenario: Scenario) -> tuple[str, str]:
    """(x+, x-) of Eq. 4: the situation linearised with the positive and with the negative option."""
    return f"{scenario.situation} {scenario.positive}", f"{scenario.situation} {scenario.negative}"


def template_hash() -> str:
    """Identifies the default wording in manifests; a table read in other words names its template."""
    return hashlib.sha256((LETTER_TEMPLATE + CONTINUATION_TEMPLATE).encode()).hexdigest()[:12]


def _letter_prompt(
    scenario: Scenario, positive: Literal[0, 1], system: str | None, labels: Labels, template: str
) -> LetterPrompt:
    options = (scenario.positive, scenario.negative)
    first, second = options if positive == 0 else options[::-1]
    x, y = LABELS[labels]
    words = {"situation": scenario.situation, "first": first, "second": second, "x": x, "y": y}
    spans = tuple(_span(template, name, words) for name in ("first", "second"))
    return LetterPrompt(Prompt(template.format(**words), system=system, options=spans), positive)


def _span(template: str, name: str, words: dict[str, str]) -> tuple[int, int]:
    """Where in the filled letter template the text for a name stands."""
    start = len(template.partition(f"{{{name}}}")[0].format(**words))
    return start, start + len(words[name])
