"""The entanglement ratio (paper, Eq. 5): how far the other axes move when one is steered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.errors import InputError
from interp_culture.stats import (
    Estimate,
    interval_words,
    means_by_axis,
)


@dataclass(frozen=True)
class Entanglement:
    """What steering `target` did: changes of the mean p_positive of every axis, and the ratio of Eq. 5.

    `ratio[axis] = min(1, |shift[axis]| / |shift[target]|)`: 0 orthogonal, 1 the unintended shift meets or exceeds
    the intended one. Where the interval of the target's shift holds 0, or there is none for want of scenarios,
    `defined` is False: the ratio divides noise.
    """

    target: str
    shift: dict[str, Estimate]
    ratio: dict[str, Estimate]

    @property
    def defined(self) -> bool:
        return self.shift[self.target].excludes_zero

    def __str__(self) -> str:
        lines = [f"steering {self.target}: {self.target} {self.shift[self.target]}"]
        for axis, ratio in self.ratio.items():
            text = interval_words(ratio.value, ratio.low, ratio.high, digits=2, sign="")
            lines.append(f"  {axis} {self.shift[axis]}, entanglement ratio {text}")
        if not self.defined:
            lines.append(f"  {self._why_undefined()}: the ratio is not defined")
        return "\n".join(lines)

    def _why_undefined(self) -> str:
        if np.isnan(self.shift[self.target].low):
            return "too few scenarios for an interval"
        moved = [
            axis
            for axis, shift in self.shift.items()
            if axis != self.target and shift.excludes_zero
        ]
        if moved:
            return f"{', '.join(moved)} moved although {self.target} itself did not move beyond its interval"
        return "the target did not move beyond its interval"


def entanglement(
    before: pd.DataFrame, after: pd.DataFrame, target: str, seed: int = 42
) -> Entanglement:
    """Compare two tables of `probe` over the same scenarios, the second under steering of `target`.

    Intervals: 95%, bootstrap over items and over the scenarios within them.
    """
    if list(before.id) != list(after.id):
        raise InputError(
            "`before` and `after` hold different scenarios: probe the same set for both"
        )
    if target not in set(before.axis):
        raise InputError(
            f"no scenario of axis {target!r}; axes here: {', '.join(sorted(set(before.axis)))}"
        )
    change = after.p_positive.to_numpy() - before.p_positive.to_numpy()
    return entanglement_of(change, before.axis.to_numpy(), before["item"].to_numpy(), target, seed)


def entanglement_of(
    change: Float[np.ndarray, " scenario"],
    axes: np.ndarray,
    items: np.ndarray,
    target: str,
    seed: int,
) -> Entanglement:
    """Means of `change` by axis and their ratios to the target's, from one set of bootstrap samples."""
    found = means_by_axis(change, axes, items, seed)
    means = {target: found[target], **found}
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = {
            a: np.minimum(1, np.abs(m / means[target])) for a, m in means.items() if a != target
        }
    return Entanglement(
        target,
        {a: Estimate.of(m[0], m[1:]) for a, m in means.items()},
        {a: Estimate.of(r[0], r[1:]) for a, r in ratios.items()},
    )
