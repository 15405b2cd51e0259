"""Whether a readout can tell right from wrong on this model, measured on control items."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from interp_culture.engine.foreign_hooks import without_hooks
from interp_culture.engine.model import LanguageModel
from interp_culture.readout.choices import choice_table, choose_letters
from interp_culture.readout.formats import Form, Readout, raw_values
from interp_culture.readout.prompts import Labels
from interp_culture.scenarios.files import load_controls

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


def check_readout(model: LanguageModel, readout: Readout, labels: Labels = "A/B") -> Validity:
    """Measure a readout's validity on the shipped control items, plain model, no persona; once per model.

    Somebody's hooks are put away meanwhile: how far a readout can be believed is told by the model itself.
    """
    form, key = Form(readout, labels=labels), (readout, labels)
    measured = model.readout_checks.validity
    if key not in measured:
        controls = load_controls()
        with without_hooks(model.bridge):
            values = raw_values(model, controls, form, {"": ()})[""]
        letters = choose_letters(values, labels) if readout == "letters" else None
        measured[key] = _judge(choice_table(controls, values, form, letters), readout, letters)
    return measured[key]


def warn_of(
    model: LanguageModel, readout: Readout, labels: Labels = "A/B", *, again: bool = False
) -> None:
    """Warn with ReadoutWarning where the readout fails its check on this model; once, or `again` each time."""
    validity = check_readout(model, readout, labels)
    key = (readout, labels)
    if validity.ok or (key in model.readout_checks.warned and not again):
        return
    model.readout_checks.warned.add(key)
    other = "continuation" if readout == "letters" else "letters"
    warnings.warn(
        f"readout {readout!r} fails on {model.name}: {'; '.join(validity.failures)}. Consider readout={other!r}.",
        ReadoutWarning,
        stacklevel=3,
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
