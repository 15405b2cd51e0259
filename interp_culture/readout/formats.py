"""How a scenario is put to a model, and how what the model gives to tokens becomes a choice between two poles."""

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
from interp_culture.engine.prompt import Prompt, system_text
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
class Form:
    """How a scenario is put to the model."""

    readout: Readout
    order: Order = "both"
    system: str | None = None
    seed: int = 0
    labels: Labels = "A/B"
    template: Template = "paper"

    def __post_init__(self) -> None:
        check_known("readout", self.readout, READOUTS)
        check_known("order", self.order, get_args(Order))
        check_known("labels", self.labels, LABELS)
        check_known("template", self.template, LETTER_TEMPLATES)
        object.__setattr__(self, "system", system_text(self.system))

    def prompts(self, scenario: Scenario) -> list[Prompt]:
        if self.readout == "letters":
            return [p.prompt for p in self.lettered(scenario)]
        return list(continuation_prompts(scenario, self.system))

    def lettered(self, scenario: Scenario) -> list[LetterPrompt]:
        return letter_prompts(
            scenario, self.order, self.seed, self.system, self.labels, self.template
        )


def token_groups(
    model: LanguageModel, scenarios: ScenarioSet, form: Form
) -> tuple[list[list[TokenSequence]], Score]:
    if not len(scenarios):
        raise InputError("no scenario to read")
    prompts = [form.prompts(s) for s in scenarios]
    names = [
        f"scenario {s.id}" for s, members in zip(scenarios, prompts, strict=True) for _ in members
    ]
    sequences = iter(model.tokenise_all([p for members in prompts for p in members], names))
    groups = [list(islice(sequences, len(members))) for members in prompts]
    if form.readout == "letters":
        return groups, next_token_logits(_letter_tokens(model, form.labels, prompts[0][0]))
    _check_distinct(model, scenarios, groups)
    return groups, answer_logprob


def _letter_tokens(model: LanguageModel, labels: Labels, prompt: Prompt) -> list[int]:
    """Token ids of A, B, then of " A", " B"; a spelling that is not one token each repeats the other one.

    They are those that the model would write after `prompt`; all prompts of a readout end alike.
    """
    spelled = [space + label for space in ("", " ") for label in LABELS[labels]]
    tried = dict(zip(spelled, model.answers_after(prompt, spelled), strict=True))
    found: dict[str, list[int]] = {}
    for space in ("", " "):
        ids = [tried[space + x] for x in LABELS[labels]]
        if all(len(i) == 1 for i in ids) and ids[0] != ids[1]:
            found[space] = [i[0] for i in ids]
    if not found:
        raise InputError(
            f"the labels {labels} are not single, different tokens of {model.name}'s tokenizer ({tried}); "
            "use other labels or readout='continuation'"
        )
    return found.get("", found.get(" ", [])) + found.get(" ", found.get("", []))


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
                f"scenario {scenario.id}: both options are the same tokens {list(positive.answer)} for "
                f"{model.name}; word them differently"
            )


def raw_values(
    model: LanguageModel, scenarios: ScenarioSet, form: Form, runs: Mapping[Any, Sequence[Edit]]
) -> dict[Any, Float[np.ndarray, "scenario member value"]]:
    """Raw values of every prompt under every run: see `next_token_logits` and `answer_logprob`."""
    groups, score = token_groups(model, scenarios, form)
    return score_runs(model, groups, runs, score, f"reading {form.readout}")
