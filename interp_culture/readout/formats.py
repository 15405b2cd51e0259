"""The prompt format of a readout, and the token sequences and raw values that it leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import Score, answer_logprob, next_token_logits, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt, System, system_text
from interp_culture.engine.token_tree import TokenSequence
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
from interp_culture.scenarios.scenario import Scenario, ScenarioSet

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
        system: the system message before the situation: a text, or a Persona.
        seed: of the random order.

    Raises:
        InputError: an unknown readout, order, label pair or template, or a system message that is
            neither a text nor a Persona.

    >>> ReadoutFormat("letters", order="random", seed=7).order
    'random'
    """

    readout: Readout
    order: Order = "both"
    labels: Labels = "A/B"
    template: Template = "paper"
    system: System = None
    seed: int = 42

    def __post_init__(self) -> None:
        check_known("readout", self.readout, READOUTS)
        check_known("order", self.order, get_args(Order))
        check_known("labels", self.labels, LABELS)
        check_known("template", self.template, LETTER_TEMPLATES)
        object.__setattr__(self, "system", system_text(self.system))

    def prompts(self, scenario: Scenario) -> list[Prompt]:
        """The prompts of one scenario: one for each order, or one for each pole's words."""
        if self.readout == "letters":
            return [lettered.prompt for lettered in self.letter_prompts(scenario)]
        return list(continuation_prompts(scenario, system_text(self.system)))

    def letter_prompts(self, scenario: Scenario) -> list[LetterPrompt]:
        """The prompts of Eq. 1, each with the place of the positive pole."""
        return letter_prompts(
            scenario,
            self.order,
            self.seed,
            system_text(self.system),
            self.labels,
            self.template,
        )


def as_format(readout: Readout | ReadoutFormat) -> ReadoutFormat:
    """The format that a name stands for; a format is returned as it is.

    >>> as_format("continuation").order
    'both'
    """
    return readout if isinstance(readout, ReadoutFormat) else ReadoutFormat(readout)


def token_groups(
    model: LanguageModel, scenarios: ScenarioSet, form: ReadoutFormat
) -> tuple[list[list[TokenSequence]], Score]:
    """The token sequences of each scenario, and the score that reads them.

    Raises InputError for no scenario, labels that are not one token each, options without a token
    and options that are the same tokens.
    """
    if not len(scenarios):
        raise InputError("no scenario to read")
    prompts = [form.prompts(scenario) for scenario in scenarios]
    names = [
        f"scenario {scenario.id}"
        for scenario, members in zip(scenarios, prompts, strict=True)
        for _ in members
    ]
    flat = [prompt for members in prompts for prompt in members]
    sequences = iter(model.tokenise_all(flat, names))
    groups = [list(islice(sequences, len(members))) for members in prompts]
    if form.readout == "letters":
        return groups, next_token_logits(_letter_tokens(model, form.labels, prompts[0][0]))
    _check_distinct(model, scenarios, groups)
    return groups, answer_logprob


def raw_values(
    model: LanguageModel,
    scenarios: ScenarioSet,
    form: ReadoutFormat,
    runs: Mapping[Any, Sequence[Edit]],
) -> dict[Any, Float[np.ndarray, "scenario member value"]]:
    """The values of every prompt under every run; `choices` names their columns."""
    groups, score = token_groups(model, scenarios, form)
    return score_runs(model, groups, runs, score, f"reading {form.readout}")


def _letter_tokens(model: LanguageModel, labels: Labels, prompt: Prompt) -> list[int]:
    """Token ids of both labels without a space before them, then with one.

    They are the tokens that the model would write after `prompt`; all prompts of a format end
    alike. A spelling in which a label is not one token is replaced by the other spelling.
    """
    spellings = [space + label for space in ("", " ") for label in LABELS[labels]]
    tokens = dict(zip(spellings, model.answers_after(prompt, spellings), strict=True))
    usable: dict[str, list[int]] = {}
    for space in ("", " "):
        first, second = (tokens[space + label] for label in LABELS[labels])
        if len(first) == len(second) == 1 and first != second:
            usable[space] = [first[0], second[0]]
    if not usable:
        raise InputError(
            f"the labels {labels} are not single, different tokens of {model.name}'s tokenizer "
            f"({tokens}); use other labels or readout='continuation'"
        )
    # Always four tokens, since the columns of `LetterValue` are fixed.
    bare = usable.get("", usable.get(" ", []))
    spaced = usable.get(" ", usable.get("", []))
    return bare + spaced


def _check_distinct(
    model: LanguageModel, scenarios: ScenarioSet, groups: list[list[TokenSequence]]
) -> None:
    for scenario, (positive, negative) in zip(scenarios, groups, strict=True):
        for name, sequence in (("positive", positive), ("negative", negative)):
            if not sequence.answer:
                raise InputError(
                    f"scenario {scenario.id}: field '{name}' is no token for {model.name}"
                )
        if positive.answer == negative.answer:
            raise InputError(
                f"scenario {scenario.id}: both options are the same tokens "
                f"{list(positive.answer)} for {model.name}; word them differently"
            )
