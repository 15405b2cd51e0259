"""Whether a readout can tell right from wrong on a model, measured on control items."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from interp_culture.engine.foreign_hooks import without_hooks
from interp_culture.engine.model import LanguageModel
from interp_culture.readout.choices import choice_table, choose_letters
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format, raw_values
from interp_culture.scenarios.files import load_controls

# Below these, letters are not bound to options: most of the probability is on other tokens, or
# the preferred letter does not follow its option when the order changes.
MIN_MASS = 0.5
MIN_CONSISTENCY = 0.5


class ReadoutWarning(UserWarning):
    """The readout failed its validity check on this model, so that its numbers mean little."""


@dataclass(frozen=True)
class Validity:
    """How well a readout works on a model, measured on control items with a known right answer.

    Attributes:
        n: control items.
        accuracy: share of control items on which the right option is preferred, with its 95% Wilson
            interval (accuracy_low, accuracy_high).
        spread: standard deviation over items of the logit difference (nats).
        mass: mean probability on the two letters together. Letters only.
        position_bias: mean logit of the first label minus that of the second, over both orders.
            Letters only.
        consistency: share of items on which both orders prefer the same option. Letters only.
        letters: the spelling of the letters that is read, with or without a space before them: the
            one with the larger mass. Letters only.
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
        """Whether the readout may be used on this model."""
        return not self.failures

    @property
    def row(self) -> dict[str, Any]:
        """The fields and `ok` for a table; failures in one text."""
        return {**vars(self), "failures": "; ".join(self.failures), "ok": self.ok}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Validity:
        """The check that `row` was made from, so that a stored one need not be read again."""
        values: dict[str, Any] = {
            name: None if pd.isna(value) else value for name, value in row.items() if name != "ok"
        }
        failures = tuple(text for text in row["failures"].split("; ") if text)
        values |= {"failures": failures, "n": int(row["n"])}
        return cls(**values)


def check_readout(model: LanguageModel, readout: Readout | ReadoutFormat) -> Validity:
    """Measure a readout's validity on the shipped control items, once a model.

    The model is read plain, without a system message, in both orders and the default template: of a
    format only the readout and the labels count. Hooks that somebody has put on the model are taken
    off meanwhile, since validity is a property of the model itself.

    >>> validity = ic.check_readout(model, "continuation")
    >>> validity.n, validity.ok  # a model with random weights fails the check
    (52, False)
    """
    given = as_format(readout)
    form = ReadoutFormat(given.readout, labels=given.labels)
    measured = model.readout_checks.validity
    key = (form.readout, form.labels)
    if key not in measured:
        controls = load_controls()
        with without_hooks(model.bridge):
            values = raw_values(model, controls, form, {"": ()})[""]
        letters = choose_letters(values, form.labels) if form.readout == "letters" else None
        table = choice_table(controls, values, form, letters)
        measured[key] = _judge(table, form.readout, letters)
    return measured[key]


def warn_of(model: LanguageModel, form: ReadoutFormat, *, again: bool = False) -> None:
    """Warn with ReadoutWarning where the readout fails its check: once a model, or each time."""
    validity = check_readout(model, form)
    warned = model.readout_checks.warned
    key = (form.readout, form.labels)
    if validity.ok or (key in warned and not again):
        return
    warned.add(key)
    other = "continuation" if form.readout == "letters" else "letters"
    warnings.warn(
        f"readout {form.readout!r} fails on {model.name}: {'; '.join(validity.failures)}. "
        f"Consider readout={other!r}.",
        ReadoutWarning,
        # The line that called `probe`, `layer_sweep` or the like.
        stacklevel=3,
    )


def _judge(table: pd.DataFrame, readout: Readout, letters: str | None) -> Validity:
    # Imported here: scipy.stats takes half a second.
    from scipy.stats import binomtest

    n = len(table)
    right = int((table.logit_diff > 0).sum())
    # Wilson's, since the normal interval has no width where every item is right.
    interval = binomtest(right, n).proportion_ci(method="wilson")
    failures = []
    if interval.low <= 0.5:
        failures.append(
            f"it finds the right answer on {right} of {n} control items, no more than chance would "
            f"(95% interval {interval.low:.2f} to {interval.high:.2f})"
        )
    of_letters = _letter_measures(table, letters) if readout == "letters" else {}
    return Validity(
        readout=readout,
        n=n,
        accuracy=right / n,
        accuracy_low=float(interval.low),
        accuracy_high=float(interval.high),
        spread=float(table.logit_diff.std()),
        failures=(*failures, *_letter_failures(of_letters)),
        **of_letters,
    )


def _letter_measures(table: pd.DataFrame, letters: str | None) -> dict[str, Any]:
    return {
        "mass": float(table.letter_mass.mean()),
        "position_bias": float(table.position_bias.mean()),
        "consistency": float(table.consistent.mean()),
        "letters": letters,
    }


def _letter_failures(measures: Mapping[str, Any]) -> list[str]:
    failures = []
    if measures and measures["mass"] < MIN_MASS:
        failures.append(f"only {measures['mass']:.2f} of the probability is on the two letters")
    if measures and measures["consistency"] <= MIN_CONSISTENCY:
        failures.append(
            f"the two orders of the options agree on {measures['consistency']:.0%} of the control "
            f"items (position bias {measures['position_bias']:+.2f} logits)"
        )
    return failures
