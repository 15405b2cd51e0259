"""The prompt format of a readout: how a scenario is put to the model, and what is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from interp_culture.engine.prompt import Prompt, System, Thinking, system_text
from interp_culture.errors import InputError, check_known
from interp_culture.readout.prompts import (
    LABELS,
    LETTER_TEMPLATES,
    Labels,
    LetterPrompt,
    Order,
    Template,
    continuation_prompts,
    letter_prompts,
)
from interp_culture.scenarios.scenario import Scenario

Readout = Literal["letters", "continuation"]
READOUTS: tuple[Readout, ...] = ("letters", "continuation")


@dataclass(frozen=True)
class ReadoutFormat:
    """How a scenario is put to the model, and which tokens of the answer are read.

    Wherever a function takes `readout`, the name alone stands for the format with these defaults.

    Attributes:
        readout: "letters" compares the logits of the options' letters after the prompt of Eq. 1.
            "continuation" compares the mean log-probability per token of the two options' words,
            each given as the answer to a prompt without options.
        order: "both" shows the options in both orders and averages the logit difference, which
            cancels any preference for a letter. "random" is the paper's: one order a scenario,
            drawn with `seed`. Letters only.
        labels: the options' names. "1/2" and "X/Y" are controls for "A/B". Letters only.
        template: the wording of the prompt, one of `LETTER_TEMPLATES`. Letters only.
        prefix: what the assistant's answer begins with; the label is read after it. "" is the
            paper's. None lets `resolve_format` choose one of `PREFIXES` on control items, once per
            model. Letters only: a continuation is the whole answer.
        think: None begins the answer as the chat template does with thinking switched off. 0 reads
            it after an empty think block. N reads it after the model's own thoughts, greedy and at
            most N tokens, which it writes anew under the edits of each run.
        system: the system message before the situation: a text, or a Persona.
        seed: of the random order.

    Raises:
        InputError: an unknown readout, order, label pair or template, a prefix that is no text or
            that a continuation cannot have, a negative think, or a system message that is neither a
            text nor a Persona.

    >>> ReadoutFormat("letters", order="random", seed=7).order
    'random'
    """

    readout: Readout
    order: Order = "both"
    labels: Labels = "A/B"
    template: Template = "paper"
    prefix: str | None = None
    think: int | None = None
    system: System = None
    seed: int = 42

    def __post_init__(self) -> None:
        check_known("readout", self.readout, READOUTS)
        check_known("order", self.order, get_args(Order))
        check_known("labels", self.labels, LABELS)
        check_known("template", self.template, LETTER_TEMPLATES)
        _check_prefix(self.readout, self.prefix)
        if self.readout == "continuation":
            object.__setattr__(self, "prefix", "")
        if self.think is not None and self.think < 0:
            raise InputError(f"think is {self.think}: give the largest number of tokens, 0 or more")
        object.__setattr__(self, "system", system_text(self.system))

    @property
    def thinking(self) -> Thinking:
        """The think block of its prompts, before any thoughts."""
        return "template" if self.think is None else "closed"

    def prompts(self, scenario: Scenario) -> list[Prompt]:
        """The prompts of one scenario: one for each order, or one for each pole's words."""
        if self.readout == "letters":
            return [lettered.prompt for lettered in self.letter_prompts(scenario)]
        return list(continuation_prompts(scenario, system_text(self.system), self.thinking))

    def letter_prompts(self, scenario: Scenario) -> list[LetterPrompt]:
        """The prompts of Eq. 1, each with the place of the positive pole.

        Raises InputError for a format whose prefix is not chosen yet.
        """
        if self.prefix is None:
            raise InputError(
                "the answer prefix of this format is not chosen yet; choose it with "
                "resolve_format(model, form), or give one: ReadoutFormat('letters', prefix='')"
            )
        return letter_prompts(
            scenario,
            self.order,
            self.seed,
            system_text(self.system),
            self.labels,
            self.template,
            self.prefix,
            self.thinking,
        )


def _check_prefix(readout: Readout, prefix: Any) -> None:
    if prefix is None or prefix == "":
        return
    if not isinstance(prefix, str):
        raise InputError(f"prefix is a {type(prefix).__name__}; give the answer's first words")
    if readout != "letters":
        raise InputError(
            f"prefix {prefix!r}: only the letters readout has one; a continuation scores the whole "
            "answer, so leave the prefix out"
        )
    if prefix.endswith(" "):
        # Tokenizers join a space to the word after it: nothing natural follows a lone space.
        raise InputError(
            f"prefix {prefix!r} ends with a space, which belongs to the letter's token; give "
            f"{prefix.rstrip(' ')!r}"
        )


def as_format(readout: Readout | ReadoutFormat) -> ReadoutFormat:
    """The format that a name stands for; a format is returned as it is.

    >>> as_format("continuation").order
    'both'
    """
    return readout if isinstance(readout, ReadoutFormat) else ReadoutFormat(readout)
