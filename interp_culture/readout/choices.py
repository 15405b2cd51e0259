"""From the raw values of a readout to a choice between two poles: logit difference and P+."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.readout.formats import Form
from interp_culture.readout.prompts import (
    LABELS,
    Labels,
)
from interp_culture.scenarios.scenario import ScenarioSet


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
    scenarios: ScenarioSet,
    values: Float[np.ndarray, "scenario member value"],
    form: Form,
    letters: str | None,
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
            "position_bias": a_minus_b.mean(1)
            if form.order == "both"
            else np.full(len(table), np.nan),
            "consistent": (by_member > 0).all(1) | (by_member < 0).all(1),
        }
    return with_choice(table, by_member.sum(1)).assign(**extra)


def with_choice(table: pd.DataFrame, logit_diff: Float[np.ndarray, " scenario"]) -> pd.DataFrame:
    return table.assign(logit_diff=logit_diff, p_positive=1 / (1 + np.exp(-logit_diff)))


def choose_letters(values: Float[np.ndarray, "scenario member value"], labels: Labels) -> str:
    """The spelling with the larger mean probability mass, by its first letter: "A" or " A"."""
    mass = np.exp(values[..., :4] - values[..., -1:]).mean((0, 1))
    first = LABELS[labels][0]
    return first if mass[:2].sum() >= mass[2:].sum() else " " + first
