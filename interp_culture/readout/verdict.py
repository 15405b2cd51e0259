"""The verdict on a readout: what control items measured, what failed and what needs caution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from interp_culture.readout.formats import Readout, ReadoutFormat

# Below this, the model does not answer with a letter: most of the probability is on other tokens.
MIN_MASS = 0.5
# At or below this, the preferred letter does not follow its option when the order changes.
MIN_CONSISTENCY = 0.5
# Mean size of the position bias (logits) from which the letters are saturated: the other letter has
# less than 1 in 10,000 of their probability, where logits say little about a choice.
MAX_BIAS = 9.2


@dataclass(frozen=True)
class Validity:
    """How well a readout works on a model, measured on control items with a known right answer.

    Attributes:
        n: control items on which it was measured.
        accuracy: share of control items on which the right option is preferred, with its 95% Wilson
            interval (accuracy_low, accuracy_high). For letters the preference is that of the mean
            over both orders of the options, in which a preference for a letter cancels.
        spread: standard deviation over items of the logit difference (nats).
        mass: mean probability on the two letters together. Letters only.
        position_bias: mean logit of the first label minus that of the second, over both orders.
            Letters only.
        bias_ratio: mean |position bias| of an item divided by the mean |logit difference|, which is
            that of both orders averaged. Above 1 a single order tells more about the letter than
            about the option. Letters only.
        consistency: share of items on which both orders prefer the same option. Letters only.
        letters: the spelling of the letters that is read, with or without a space before them: the
            one with the larger mass. Letters only.
        prefix: what the answer begins with, before the letter. Letters only.
        n_choice: other control items, on which the prefix was chosen; 0 where it was given.
        think: the thoughts before the answer, as in `ReadoutFormat`.
        failures: what failed, in words; empty for a readout that may be used.
        cautions: what a user of the readout has to know, in words. A caution is no failure.
    """

    readout: Readout
    n: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    spread: float
    mass: float | None = None
    position_bias: float | None = None
    bias_ratio: float | None = None
    consistency: float | None = None
    letters: str | None = None
    prefix: str | None = None
    n_choice: int = 0
    think: int | None = None
    failures: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the readout may be used on this model."""
        return not self.failures

    @property
    def row(self) -> dict[str, Any]:
        """The fields and `ok` for a table; failures and cautions in one text each."""
        texts = {"failures": "; ".join(self.failures), "cautions": "; ".join(self.cautions)}
        return {**vars(self), **texts, "ok": self.ok}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Validity:
        """The check that `row` was made from, so that a stored one need not be read again."""
        values: dict[str, Any] = {
            name: None if pd.isna(value) else value for name, value in row.items() if name != "ok"
        }
        for name in ("failures", "cautions"):
            values[name] = tuple(text for text in row[name].split("; ") if text)
        # A column with a missing value holds no integers.
        for name in ("n", "n_choice", "think"):
            values[name] = None if values[name] is None else int(values[name])
        return cls(**values)

    def in_one_order(self) -> Validity:
        """The verdict on a readout of one order per scenario, where cautions are failures.

        Only the mean of both orders is free of a preference for a letter.
        """
        uncancelled = [f"{text}, and one order alone does not cancel it" for text in self.cautions]
        return replace(self, failures=(*self.failures, *uncancelled), cautions=())


@dataclass(frozen=True)
class _Accuracy:
    """The share of items with the right option preferred, and its 95% Wilson interval."""

    right: int
    n: int
    low: float
    high: float

    @classmethod
    def of(cls, table: pd.DataFrame) -> _Accuracy:
        # Imported here: scipy.stats takes half a second.
        from scipy.stats import binomtest

        right = int((table.logit_diff > 0).sum())
        # Wilson's, since the normal interval has no width where every item is right.
        interval = binomtest(right, len(table)).proportion_ci(method="wilson")
        return cls(right, len(table), float(interval.low), float(interval.high))

    def failures(self, which: str = "") -> list[str]:
        """The failure to be better than chance, in words; none if the interval is above it."""
        if self.low > 0.5:
            return []
        return [
            f"it finds the right answer on {self.right} of {which}{self.n} control items, no more "
            f"than chance would (95% interval {self.low:.2f} to {self.high:.2f})"
        ]


def judge(
    table: pd.DataFrame,
    form: ReadoutFormat,
    letters: str | None,
    choosing: pd.DataFrame | None = None,
) -> Validity:
    """The verdict on a readout.

    Args:
        table: the choices on control items, as `choice_table` gives them.
        form: the format in which they were read, with both orders of lettered options.
        letters: the spelling of the letters.
        choosing: the choices on other control items, on which the prefix of the format was chosen.
            They count against the readout only: a choice makes them too good and never too bad, so
            that a readout no better than chance on all items together has shown nothing.
    """
    accuracy = _Accuracy.of(table)
    failures = accuracy.failures()
    if choosing is not None and not failures:
        failures += _Accuracy.of(pd.concat([choosing, table])).failures("all ")
    n_choice = 0 if choosing is None else len(choosing)
    of_letters: dict[str, Any] = {}
    cautions = []
    if form.readout == "letters":
        of_letters = _letter_measures(table)
        failures += _letter_failures(table, of_letters)
        cautions += _letter_cautions(of_letters)
        of_letters |= {"letters": letters, "prefix": form.prefix, "n_choice": n_choice}
    return Validity(
        readout=form.readout,
        n=accuracy.n,
        accuracy=accuracy.right / accuracy.n,
        accuracy_low=accuracy.low,
        accuracy_high=accuracy.high,
        # One item has no deviation.
        spread=float(table.logit_diff.std()) if accuracy.n > 1 else 0.0,
        think=form.think,
        failures=tuple(failures),
        cautions=tuple(cautions),
        **of_letters,
    )


def _letter_measures(table: pd.DataFrame) -> dict[str, Any]:
    signal = float(table.logit_diff.abs().mean())
    return {
        "mass": float(table.letter_mass.mean()),
        "position_bias": float(table.position_bias.mean()),
        "bias_ratio": float(table.position_bias.abs().mean()) / signal if signal else None,
        "consistency": float(table.consistent.mean()),
    }


def _letter_failures(table: pd.DataFrame, measures: Mapping[str, Any]) -> list[str]:
    failures = []
    if measures["mass"] < MIN_MASS:
        failures.append(f"only {measures['mass']:.2f} of the probability is on the two letters")
    size = float(table.position_bias.abs().mean())
    if size > MAX_BIAS:
        failures.append(
            f"the position bias saturates the letters ({size:.1f} logits in size, so that the "
            "other letter has less than 1 in 10,000 of their probability)"
        )
    return failures


def _letter_cautions(measures: Mapping[str, Any]) -> list[str]:
    if measures["consistency"] > MIN_CONSISTENCY:
        return []
    ratio = measures["bias_ratio"]
    times = "" if ratio is None else f", {ratio:.1f} times the mean |logit difference|"
    return [
        f"the two orders of the options agree on {measures['consistency']:.0%} of the control "
        f"items (position bias {measures['position_bias']:+.2f} logits{times})"
    ]
