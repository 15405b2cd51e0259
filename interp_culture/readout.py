"""Reading a model's choice between two poles: letter logits or the likelihood of the options' words.

Both readouts give a logit difference, positive minus negative pole, and `p_positive = sigmoid(logit_diff)`
(paper, equation 2). Neither is taken at its word: `check_readout` measures whether it can tell right from
wrong on control items.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.foreign_hooks import without_hooks
from interp_culture.forms import (
    Form,
    Readout,
    choice_table,
    choice_weights,
    choose_letters,
    token_groups,
    with_choice,
)
from interp_culture.gradients import predict_runs
from interp_culture.interventions import Edit, as_edits, as_runs
from interp_culture.model import LanguageModel
from interp_culture.prompts import Labels, Order, System, Template, system_text
from interp_culture.scenario_files import load_controls
from interp_culture.scenarios import ScenarioSet
from interp_culture.scores import score_runs

MIN_MASS, MIN_CONSISTENCY = 0.5, 0.5


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

    @property
    def row(self) -> dict[str, Any]:
        """The fields and `ok` for a table; failures in one text."""
        return {**vars(self), "failures": "; ".join(self.failures), "ok": self.ok}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Validity:
        """What `row` was made from: a stored check need not be read again."""
        values: dict[str, Any] = {k: None if pd.isna(v) else v for k, v in row.items() if k != "ok"}
        failures = tuple(text for text in row["failures"].split("; ") if text)
        values |= {"failures": failures, "n": int(row["n"])}
        return cls(**values)


def probe(
    model: LanguageModel,
    scenarios: ScenarioSet,
    *,
    edits: Edit | Sequence[Edit] = (),
    readout: Readout = "letters",
    order: Order = "both",
    system: System = None,
    seed: int = 42,
    labels: Labels = "A/B",
) -> pd.DataFrame:
    """The model's choice on each scenario, plain or under `edits`.

    Args:
        readout: "letters" compares the logits of the options' letters after Eq. 1's prompt; "continuation" the
            mean log-probability per token of the options' words as the answer.
        order: "both" shows the options in both orders and averages the logit difference; "random" is the
            paper's (one order per scenario, drawn with `seed`). Letters only.
        edits: what `steer` gives, or one Edit.
        system: a persona or a text, put before the situation as the system message.
        labels: what the options are called; "1/2" and "X/Y" are the control for "A/B". Letters only.

    Returns:
        One row a scenario: id, axis, item, domain, logit_diff (positive minus negative; nats, of
        "continuation" nats per token), p_positive; for letters also letter_mass, position_bias (A minus B,
        logits) and consistent; for continuation logprob_positive and logprob_negative (nats per token).
        Warns with ReadoutWarning where the readout fails its check on this model.
    """
    # Unknown words are errors before the check takes its time.
    Form(readout, order, system_text(system), seed, labels)
    warn_of(model, readout, labels, again=True)
    runs = {"": as_edits(edits)}
    table = read_runs(model, scenarios, runs, readout=readout, order=order, system=system, seed=seed, labels=labels)
    return table.drop(columns="run")


def read_runs(
    model: LanguageModel,
    scenarios: ScenarioSet,
    runs: Mapping[Any, Edit | Sequence[Edit]],
    *,
    readout: Readout,
    order: Order = "both",
    system: System = None,
    seed: int = 42,
    labels: Labels = "A/B",
    template: Template = "paper",
) -> pd.DataFrame:
    """The readout under many sets of edits: each batch is traced once, and each run resumes from its first layer.

    `template` words the letters' prompt (one of LETTER_TEMPLATES); how the letters are spelled is chosen with the
    default one. Returns the table of `probe` with the run's key in the column `run`, runs in the order given.
    Warns with ReadoutWarning, once for a model, where the readout fails its check: before the work.
    """
    form = Form(readout, order, system_text(system), seed, labels, template)
    runs = as_runs(runs)
    warn_of(model, readout, labels)
    raw = _read(model, scenarios, form, runs)
    letters = check_readout(model, readout, labels).letters
    return _by_run({key: choice_table(scenarios, values, form, letters) for key, values in raw.items()})


def predicted_runs(
    model: LanguageModel,
    scenarios: ScenarioSet,
    runs: Mapping[Any, Edit | Sequence[Edit]],
    *,
    readout: Readout,
    order: Order = "both",
    system: System = None,
    seed: int = 42,
    labels: Labels = "A/B",
) -> pd.DataFrame:
    """`read_runs` to first order in the edits: one backward pass stands for all runs. Only the choice is given."""
    form = Form(readout, order, system_text(system), seed, labels)
    warn_of(model, readout, labels)
    groups, score = token_groups(model, scenarios, form)
    n_tokens = np.array([[len(s.answer) for s in members] for members in groups], dtype=float)
    weights = choice_weights(scenarios, form, check_readout(model, readout, labels).letters, n_tokens)
    predicted = predict_runs(model, groups, as_runs(runs), score, weights, f"gradients of {readout}")
    frame = scenarios.frame()
    return _by_run({key: with_choice(frame, diff) for key, diff in predicted.items()})


def with_keys(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The runs' keys, tuples in the column `run` of `read_runs`, as columns of these names before the others."""
    keys = pd.DataFrame(list(table.run), columns=list(names), index=table.index)
    return pd.concat([keys, table.drop(columns="run")], axis=1)


def _by_run(tables: Mapping[Any, pd.DataFrame]) -> pd.DataFrame:
    """One table, with the run's key (a tuple too) in the column `run`."""
    return pd.concat([table.assign(run=[key] * len(table)) for key, table in tables.items()], ignore_index=True)


def check_readout(model: LanguageModel, readout: Readout, labels: Labels = "A/B") -> Validity:
    """Measure a readout's validity on the shipped control items, plain model, no persona; once per model.

    Somebody's hooks are put away meanwhile: how far a readout can be believed is told by the model itself.
    """
    form, key = Form(readout, labels=labels), ("validity", readout, labels)
    if key not in model.memo:
        controls = load_controls()
        with without_hooks(model.bridge):
            values = _read(model, controls, form, {"": ()})[""]
        letters = choose_letters(values, labels) if readout == "letters" else None
        model.memo[key] = _judge(choice_table(controls, values, form, letters), readout, letters)
    return model.memo[key]


def warn_of(model: LanguageModel, readout: Readout, labels: Labels = "A/B", *, again: bool = False) -> None:
    """Warn with ReadoutWarning where the readout fails its check on this model; once, or `again` each time."""
    validity = check_readout(model, readout, labels)
    key = ("warned", readout, labels)
    if validity.ok or (key in model.memo and not again):
        return
    model.memo[key] = True
    other = "continuation" if readout == "letters" else "letters"
    warnings.warn(
        f"readout {readout!r} fails on {model.name}: {'; '.join(validity.failures)}. Consider readout={other!r}.",
        ReadoutWarning,
        stacklevel=3,
    )


def shifts_from(plain: pd.DataFrame, steered: pd.DataFrame) -> pd.DataFrame:
    """`steered` with shift (change of p_positive) and logit_shift against the plain readout of each scenario."""
    before = plain.set_index("id")[["p_positive", "logit_diff"]].reindex(steered.id)
    return steered.assign(
        shift=steered.p_positive - before.p_positive.to_numpy(),
        logit_shift=steered.logit_diff - before.logit_diff.to_numpy(),
    )


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Mean p_positive and logit difference by axis, item and domain, with the number of scenarios."""
    grouped = table.groupby(["axis", "item", "domain"], sort=True)
    return grouped.agg(
        p_positive=("p_positive", "mean"), logit_diff=("logit_diff", "mean"), n=("id", "size")
    ).reset_index()


def _read(
    model: LanguageModel, scenarios: ScenarioSet, form: Form, runs: Mapping[Any, Sequence[Edit]]
) -> dict[Any, Float[np.ndarray, "scenario member value"]]:
    """Raw values of every prompt under every run: see `next_token_logits` and `answer_logprob`."""
    groups, score = token_groups(model, scenarios, form)
    return score_runs(model, groups, runs, score, f"reading {form.readout}")


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
