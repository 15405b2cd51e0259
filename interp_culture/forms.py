"""How a scenario is put to a model, and how what the model gives to tokens becomes a choice between two poles."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.errors import InputError, check_known
from interp_culture.model import LanguageModel
from interp_culture.prompts import (
    LABELS,
    LETTER_TEMPLATES,
    Labels,
    LetterPrompt,
    Order,
    Prompt,
    Template,
    continuation_prompts,
    letter_prompts,
    system_text,
)
from interp_culture.scenarios import Scenario, ScenarioSet
from interp_culture.scores import Score, answer_logprob, next_token_logits
from interp_culture.token_tree import TokenSequence

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
        return letter_prompts(scenario, self.order, self.seed, self.system, self.labels, self.template)


def token_groups(model: LanguageModel, scenarios: ScenarioSet, form: Form) -> tuple[list[list[TokenSequence]], Score]:
    if not len(scenarios):
        raise InputError("no scenario to read")
    prompts = [form.prompts(s) for s in scenarios]
    names = [f"scenario {s.id}" for s, members in zip(scenarios, prompts, strict=True) for _ in members]
    sequences = iter(model.tokenise_all([p for members in prompts for p in members], names))
    groups = [list(islice(sequences, len(members))) for members in prompts]
    if form.readout == "letters":
        return groups, next_token_logits(_letter_tokens(model, form.labels, prompts[0][0]))
    _check_distinct(model, scenarios, groups)
    return groups, answer_logprob


def choice_weights(
    scenarios: ScenarioSet,
    form: Form,
    letters: str | None,
    n_tokens: Float[np.ndarray, "scenario member"] | None,
) -> Float[np.ndarray, "scenario member value"]:
    """What the raw values are multiplied by and summed up to the logit difference (positive minus negative)."""
    if form.readout == "continuation":
        assert n_tokens is not None
        weights = np.zeros((*n_tokens.shape, 2))
        weights[..., 0] = np.array([1, -1]) / n_tokens
        return weights
    sign = np.array([[1 if p.positive == 0 else -1 for p in form.lettered(s)] for s in scenarios])
    first = _first_value(form, letters)
    weights = np.zeros((*sign.shape, 5))
    weights[..., first], weights[..., first + 1] = sign / sign.shape[1], -sign / sign.shape[1]
    return weights


def _first_value(form: Form, letters: str | None) -> int:
    """Where among the raw values the first label's logit is: with or without a space before it."""
    return 0 if letters == LABELS[form.labels][0] else 2


def choice_table(
    scenarios: ScenarioSet, values: Float[np.ndarray, "scenario member value"], form: Form, letters: str | None
) -> pd.DataFrame:
    table = scenarios.frame()
    n_tokens = values[..., 1] if form.readout == "continuation" else None
    by_member = (values * choice_weights(scenarios, form, letters, n_tokens)).sum(-1)
    if form.readout == "continuation":
        extra = {"logprob_positive": by_member[:, 0], "logprob_negative": -by_member[:, 1]}
    else:
        first = _first_value(form, letters)
        a_minus_b = values[..., first] - values[..., first + 1]
        mass = np.exp(values[..., first : first + 2] - values[..., -1:]).sum(-1).mean(1)
        extra = {
            "letter_mass": mass,
            "position_bias": a_minus_b.mean(1) if form.order == "both" else np.full(len(table), np.nan),
            "consistent": (by_member > 0).all(1) | (by_member < 0).all(1),
        }
    return with_choice(table, by_member.sum(1)).assign(**extra)


def with_choice(table: pd.DataFrame, logit_diff: Float[np.ndarray, " scenario"]) -> pd.DataFrame:
    return table.assign(logit_diff=logit_diff, p_positive=1 / (1 + np.exp(-logit_diff)))


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


def choose_letters(values: Float[np.ndarray, "scenario member value"], labels: Labels) -> str:
    """The spelling with the larger mean probability mass, by its first letter: "A" or " A"."""
    mass = np.exp(values[..., :4] - values[..., -1:]).mean((0, 1))
    first = LABELS[labels][0]
    return first if mass[:2].sum() >= mass[2:].sum() else " " + first


def _check_distinct(model: LanguageModel, scenarios: ScenarioSet, groups: list[list[TokenSequence]]) -> None:
    for scenario, (positive, negative) in zip(scenarios, groups, strict=True):
        for name, sequence in (("positive", positive), ("negative", negative)):
            if not sequence.answer:
                raise InputError(f"scenario {scenario.id}: field '{name}' is no token for {model.name}")
        if positive.answer == negative.answer:
            raise InputError(
                f"scenario {scenario.id}: both options are the same tokens {list(positive.answer)} for "
                f"{model.name}; word them differently"
            )
