"""From the raw values of a readout to the choice between two poles: logit difference and P+.

The logit difference is positive minus negative pole, and P+ = sigmoid(logit difference) is the
probability of the positive pole between the two (paper, Eq. 2).
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.prompts import LABELS, Labels
from interp_culture.scenarios.scenario import ScenarioSet

Values = Float[np.ndarray, "scenario member value"]


class LetterValue(IntEnum):
    """Columns of the raw values of letters: logits of the next token, as `next_token_logits`."""

    FIRST = 0
    SECOND = 1
    SPACED_FIRST = 2
    SPACED_SECOND = 3
    LOG_PARTITION = 4


class ContinuationValue(IntEnum):
    """Columns of the raw values of a continuation, as `answer_logprob`."""

    LOGPROB = 0
    N_TOKENS = 1


def choice_weights(
    scenarios: ScenarioSet,
    form: ReadoutFormat,
    letters: str | None,
    n_tokens: Float[np.ndarray, "scenario member"] | None,
) -> Values:
    """The weights whose product with the raw values sums to the logit difference."""
    if form.readout == "letters":
        return _letter_weights(scenarios, form, letters)
    assert n_tokens is not None
    weights = np.zeros((*n_tokens.shape, len(ContinuationValue)))
    # Per token, since a sum of log-probabilities favours the shorter option.
    weights[..., ContinuationValue.LOGPROB] = np.array([1, -1]) / n_tokens
    return weights


def _letter_weights(scenarios: ScenarioSet, form: ReadoutFormat, letters: str | None) -> Values:
    signs = np.array(
        [
            [1 if prompt.positive == 0 else -1 for prompt in form.letter_prompts(scenario)]
            for scenario in scenarios
        ]
    )
    # The mean over both orders cancels a preference for a letter.
    share = signs / signs.shape[1]
    first, second = _letter_columns(form, letters)
    weights = np.zeros((*signs.shape, len(LetterValue)))
    weights[..., first] = share
    weights[..., second] = -share
    return weights


def _letter_columns(form: ReadoutFormat, letters: str | None) -> tuple[LetterValue, LetterValue]:
    """The columns of both labels in the spelling that is read, with or without a space."""
    if letters == LABELS[form.labels][0]:
        return LetterValue.FIRST, LetterValue.SECOND
    return LetterValue.SPACED_FIRST, LetterValue.SPACED_SECOND


def choice_table(
    scenarios: ScenarioSet, values: Values, form: ReadoutFormat, letters: str | None
) -> pd.DataFrame:
    """One row a scenario: the columns that `probe` documents."""
    is_letters = form.readout == "letters"
    n_tokens = None if is_letters else values[..., ContinuationValue.N_TOKENS]
    by_member = (values * choice_weights(scenarios, form, letters, n_tokens)).sum(-1)
    table = with_choice(scenarios.frame(), by_member.sum(1))
    if is_letters:
        return table.assign(**_letter_columns_of(values, by_member, form, letters))
    return table.assign(logprob_positive=by_member[:, 0], logprob_negative=-by_member[:, 1])


def _letter_columns_of(
    values: Values,
    by_member: Float[np.ndarray, "scenario member"],
    form: ReadoutFormat,
    letters: str | None,
) -> dict[str, np.ndarray]:
    """What tells whether letters can be trusted: probability mass, position bias, consistency."""
    first, second = _letter_columns(form, letters)
    logprobs = values[..., first : second + 1] - values[..., LetterValue.LOG_PARTITION :]
    first_minus_second = values[..., first] - values[..., second]
    # With one order a preference for a letter cannot be told from one for an option.
    has_both = form.order == "both"
    bias = first_minus_second.mean(1) if has_both else np.full(len(values), np.nan)
    return {
        "letter_mass": np.exp(logprobs).sum(-1).mean(1),
        "position_bias": bias,
        "consistent": (by_member > 0).all(1) | (by_member < 0).all(1),
    }


def with_choice(table: pd.DataFrame, logit_diff: Float[np.ndarray, " scenario"]) -> pd.DataFrame:
    """The table with logit_diff and p_positive = sigmoid(logit_diff) (paper, Eq. 2)."""
    return table.assign(logit_diff=logit_diff, p_positive=1 / (1 + np.exp(-logit_diff)))


def choose_letters(values: Values, labels: Labels) -> str:
    """The spelling with the larger mean probability mass, by its first letter: "A" or " A"."""
    logprobs = values[..., : LetterValue.LOG_PARTITION] - values[..., LetterValue.LOG_PARTITION :]
    mass = np.exp(logprobs).mean((0, 1))
    bare = mass[: LetterValue.SPACED_FIRST].sum()
    spaced = mass[LetterValue.SPACED_FIRST :].sum()
    first = LABELS[labels][0]
    return first if bare >= spaced else " " + first
