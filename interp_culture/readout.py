"""Reading a model's choice between two poles: letter logits or the likelihood of the options' words.

Both readouts give a logit difference, positive minus negative pole, and `p_positive = sigmoid(logit_diff)`
(paper, equation 2). Neither is taken at its word: `check_readout` measures whether it can tell right from
wrong on control items.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.errors import InputError
from interp_culture.gradients import predict_runs
from interp_culture.interventions import Edit
from interp_culture.model import LanguageModel
from interp_culture.prompts import (
    LABELS,
    Labels,
    LetterPrompt,
    Order,
    Prompt,
    continuation_prompts,
    letter_prompts,
)
from interp_culture.scenario_files import load_controls
from interp_culture.scenarios import Scenario, ScenarioSet
from interp_culture.scores import Score, answer_logprob, next_token_logits, score_runs
from interp_culture.token_tree import TokenSequence

Readout = Literal["letters", "continuation"]
READOUTS: tuple[Readout, ...] = ("letters", "continuation")

MIN_MASS, MIN_CONSISTENCY = 0.5, 0.5


@dataclass(frozen=True)
class _Form:
    """How a scenario is put to the model."""

    readout: Readout
    order: Order = "both"
    system: str | None = None
    seed: int = 0
    labels: Labels = "A/B"

    def prompts(self, scenario: Scenario) -> list[Prompt]:
        if self.readout == "letters":
            return [p.prompt for p in self.lettered(scenario)]
        return list(continuation_prompts(scenario, self.system))

    def lettered(self, scenario: Scenario) -> list[LetterPrompt]:
        return letter_prompts(scenario, self.order, self.seed, self.system, self.labels)


class ReadoutWarning(UserWarning):
    """The readout failed its validity check on this model: its numbers say little."""


@dataclass(frozen=True)
class Validity:
    """How far a readout can be believed on a model, measured on control items with a known right answer.

    Attributes:
        accuracy: share of control items on which the right option is preferred, with its 95% Wilson interval.
        mass: mean probability on the two letters together (letters only).
        position_bias: mean logit difference of the first label minus the second, whatever the options (letters only).
        consistency: share of items on which both orders prefer the same option (letters only).
        spread: standard deviation over items of the logit difference: the size of what is read.
        letters: which spelling of the letters is read, the one with the larger mass (letters only).
        failures: what failed, in words; empty for a readout that may be used.
    """

    readout: Readout
    n: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    spread: float
    mass: float | None = None
    position_bias: float | None = None
    consistency: float | None = None
    letters: str | None = None
    failures: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.failures


def probe(
    model: LanguageModel,
    scenarios: ScenarioSet,
    *,
    edits: Sequence[Edit] = (),
    readout: Readout = "letters",
    order: Order = "both",
    system: str | None = None,
    seed: int = 42,
    labels: Labels = "A/B",
) -> pd.DataFrame:
    """The model's choice on each scenario, plain or under `edits`.

    Args:
        readout: "letters" compares the logits of the options' letters after Eq. 1's prompt; "continuation" the
            mean log-probability per token of the options' words as the answer.
        order: "both" shows the options in both orders and averages the logit difference; "random" is the
            paper's (one order per scenario, drawn with `seed`). Letters only.
        system: a persona, put before the situation as the system message.
        labels: what the options are called; "1/2" and "X/Y" are the control for "A/B". Letters only.

    Returns:
        One row a scenario: id, axis, item, domain, logit_diff (positive minus negative; nats, of
        "continuation" nats per token), p_positive; for letters also letter_mass, position_bias (A minus B,
        logits) and consistent; for continuation logprob_positive and logprob_negative (nats per token).
        Warns with ReadoutWarning where the readout fails its check on this model.
    """
    validity = check_readout(model, readout, labels)
    if not validity.ok:
        other = "continuation" if readout == "letters" else "letters"
        warnings.warn(
            f"readout {readout!r} fails on {model.name}: {'; '.join(validity.failures)}. Consider readout={other!r}.",
            ReadoutWarning,
            stacklevel=2,
        )
    runs = {"": tuple(edits)}
    table = read_runs(model, scenarios, runs, readout=readout, order=order, system=system, seed=seed, labels=labels)
    return table.drop(columns="run")


def read_runs(
    model: LanguageModel,
    scenarios: ScenarioSet,
    runs: Mapping[Any, Sequence[Edit]],
    *,
    readout: Readout,
    order: Order = "both",
    system: str | None = None,
    seed: int = 42,
    labels: Labels = "A/B",
) -> pd.DataFrame:
    """The readout under many sets of edits: each batch is traced once, and each run resumes from its first layer.

    Returns the table of `probe` with the run's key in the column `run`, runs in the order given.
    """
    _known(readout, labels)
    if not len(scenarios):
        raise InputError("no scenario to read")
    form = _Form(readout, order, system, seed, labels)
    raw = _read(model, scenarios, form, runs)
    letters = check_readout(model, readout, labels).letters
    tables = [
        _table(scenarios, values, form, letters).assign(run=[key] * len(scenarios)) for key, values in raw.items()
    ]
    return pd.concat(tables, ignore_index=True)


def predicted_runs(
    model: LanguageModel,
    scenarios: ScenarioSet,
    runs: Mapping[Any, Sequence[Edit]],
    *,
    readout: Readout,
    order: Order = "both",
    system: str | None = None,
    seed: int = 42,
    labels: Labels = "A/B",
) -> pd.DataFrame:
    """`read_runs` to first order in the edits: one backward pass stands for all runs. Only the choice is given."""
    _known(readout, labels)
    if not len(scenarios):
        raise InputError("no scenario to read")
    form = _Form(readout, order, system, seed, labels)
    groups, score = _groups(model, scenarios, form)
    n_tokens = np.array([[len(s.answer) for s in members] for members in groups], dtype=float)
    weights = _weights(scenarios, form, check_readout(model, readout, labels).letters, n_tokens)
    predicted = predict_runs(model, groups, runs, score, weights, f"gradients of {readout}")
    frame = scenarios.frame()
    tables = [_with_choice(frame, diff).assign(run=[key] * len(frame)) for key, diff in predicted.items()]
    return pd.concat(tables, ignore_index=True)


def check_readout(model: LanguageModel, readout: Readout, labels: Labels = "A/B") -> Validity:
    """Measure a readout's validity on the shipped control items, plain model, no persona; once per model."""
    _known(readout, labels)
    key = ("validity", readout, labels)
    if key not in model.memo:
        controls, form = load_controls(), _Form(readout, labels=labels)
        values = _read(model, controls, form, {"": ()})[""]
        letters = _choose_letters(values, labels) if readout == "letters" else None
        model.memo[key] = _judge(_table(controls, values, form, letters), readout, letters)
    return model.memo[key]


def shifts_from(plain: pd.DataFrame, steered: pd.DataFrame) -> pd.DataFrame:
    """`steered` with shift (change of p_positive) and logit_shift against the plain readout of each scenario."""
    before = plain.set_index("id")
    return steered.assign(
        shift=steered.p_positive - steered.id.map(before.p_positive),
        logit_shift=steered.logit_diff - steered.id.map(before.logit_diff),
    )


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Mean p_positive and logit difference by axis, item and domain, with the number of scenarios."""
    grouped = table.groupby(["axis", "item", "domain"], sort=True)
    return grouped.agg(
        p_positive=("p_positive", "mean"), logit_diff=("logit_diff", "mean"), n=("id", "size")
    ).reset_index()


def _known(readout: str, labels: str) -> None:
    if readout not in READOUTS:
        raise InputError(f"unknown readout {readout!r}; known: {', '.join(READOUTS)}")
    if labels not in LABELS:
        raise InputError(f"unknown labels {labels!r}; known: {', '.join(LABELS)}")


def _read(
    model: LanguageModel, scenarios: ScenarioSet, form: _Form, runs: Mapping[Any, Sequence[Edit]]
) -> dict[Any, Float[np.ndarray, "scenario member value"]]:
    """Raw values of every prompt under every run: see `next_token_logits` and `answer_logprob`."""
    groups, score = _groups(model, scenarios, form)
    return score_runs(model, groups, runs, score, f"reading {form.readout}")


def _groups(model: LanguageModel, scenarios: ScenarioSet, form: _Form) -> tuple[list[list[TokenSequence]], Score]:
    groups = [[model.tokenise(p) for p in form.prompts(s)] for s in scenarios]
    if form.readout == "letters":
        return groups, next_token_logits(_letter_tokens(model, form.labels))
    _check_distinct(model, scenarios, groups)
    return groups, answer_logprob


def _weights(
    scenarios: ScenarioSet,
    form: _Form,
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


def _first_value(form: _Form, letters: str | None) -> int:
    """Where among the raw values the first label's logit is: with or without a space before it."""
    return 0 if letters == LABELS[form.labels][0] else 2


def _table(
    scenarios: ScenarioSet, values: Float[np.ndarray, "scenario member value"], form: _Form, letters: str | None
) -> pd.DataFrame:
    table = scenarios.frame()
    n_tokens = values[..., 1] if form.readout == "continuation" else None
    by_member = (values * _weights(scenarios, form, letters, n_tokens)).sum(-1)
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
    return _with_choice(table, by_member.sum(1)).assign(**extra)


def _with_choice(table: pd.DataFrame, logit_diff: Float[np.ndarray, " scenario"]) -> pd.DataFrame:
    return table.assign(logit_diff=logit_diff, p_positive=1 / (1 + np.exp(-logit_diff)))


def _letter_tokens(model: LanguageModel, labels: Labels) -> list[int]:
    """Token ids of A, B, then of " A", " B"; a spelling that is not one token each repeats the other one."""
    tried = {s + x: model.tokenizer.encode(s + x, add_special_tokens=False) for s in ("", " ") for x in LABELS[labels]}
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


def _choose_letters(values: Float[np.ndarray, "scenario member value"], labels: Labels) -> str:
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


def _judge(table: pd.DataFrame, readout: Readout, letters: str | None) -> Validity:
    from scipy.stats import binomtest

    n = len(table)
    right = int((table.logit_diff > 0).sum())
    interval = binomtest(right, n).proportion_ci(method="wilson")
    failures = []
    if interval.low <= 0.5:
        failures.append(
            f"it finds the right answer on {right} of {n} control items, which chance explains "
            f"(95% interval {interval.low:.2f} to {interval.high:.2f})"
        )
    measured: dict[str, Any] = {}
    if readout == "letters":
        measured = {
            "mass": float(table.letter_mass.mean()),
            "position_bias": float(table.position_bias.mean()),
            "consistency": float(table.consistent.mean()),
            "letters": letters,
        }
        if measured["mass"] < MIN_MASS:
            failures.append(f"only {measured['mass']:.2f} of the probability is on the two letters")
        if measured["consistency"] <= MIN_CONSISTENCY:
            failures.append(
                f"the two orders of the options agree on {measured['consistency']:.0%} of the control items "
                f"(position bias {measured['position_bias']:+.2f} logits)"
            )
    return Validity(
        readout=readout,
        n=n,
        accuracy=right / n,
        accuracy_low=float(interval.low),
        accuracy_high=float(interval.high),
        spread=float(table.logit_diff.std()),
        failures=tuple(failures),
        **measured,
    )
