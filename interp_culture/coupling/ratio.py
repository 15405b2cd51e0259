"""The entanglement ratio (paper, Eq. 5): how far the other axes move when one is steered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.errors import InputError
from interp_culture.stats import Estimate, interval_words, means_by_axis


@dataclass(frozen=True)
class Entanglement:
    """The effect of steering `target` on every axis, and the ratio of Eq. 5.

    `ratio[axis] = min(1, |shift[axis]| / |shift[target]|)`: 0 is orthogonal; at 1 the unintended
    shift is as large as the intended one, or larger. The ratio is not `defined` where the target's
    own shift has an interval with 0 in it, or no interval: it would then divide by noise.

    Attributes:
        target: the steered axis.
        shift: change of the mean p_positive, by axis (probability, positive minus negative pole).
        ratio: by axis, without the target.
    """

    target: str
    shift: dict[str, Estimate]
    ratio: dict[str, Estimate]

    @property
    def defined(self) -> bool:
        """Whether the interval of the target's own shift excludes 0."""
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
        others = [axis for axis in self.shift if axis != self.target]
        shifted = [axis for axis in others if self.shift[axis].excludes_zero]
        if shifted:
            return (
                f"{', '.join(shifted)} moved although {self.target} itself did not move "
                "beyond its interval"
            )
        return "the target did not move beyond its interval"


def entanglement(
    before: pd.DataFrame, after: pd.DataFrame, target: str, seed: int = 42
) -> Entanglement:
    """Compare two tables of `probe` over the same scenarios, the second under steering of `target`.

    Intervals are of 95%, by a bootstrap over items and over the scenarios within them.

    Raises:
        InputError: different scenarios in the two tables, or no scenario of `target`.

    >>> few = test.sample(1, by="item")
    >>> before = ic.probe(model, few, readout="continuation")
    >>> after = ic.probe(model, few, edits=edits, readout="continuation")
    >>> print(entanglement(before, after, target="X"))
    steering X: X ...
      Y ..., entanglement ratio ...
    """
    if list(before.id) != list(after.id):
        raise InputError(
            "`before` and `after` hold different scenarios: probe the same set for both"
        )
    axes = sorted(set(before.axis))
    if target not in axes:
        raise InputError(f"no scenario of axis {target!r}; axes here: {', '.join(axes)}")
    change = after.p_positive.to_numpy() - before.p_positive.to_numpy()
    return entanglement_of(change, before.axis.to_numpy(), before["item"].to_numpy(), target, seed)


def entanglement_of(
    change: Float[np.ndarray, " scenario"],
    axes: np.ndarray,
    items: np.ndarray,
    target: str,
    seed: int,
) -> Entanglement:
    """`entanglement` of given changes; shifts and ratios come from the same bootstrap samples."""
    means = means_by_axis(change, axes, items, seed)
    others = [axis for axis in means if axis != target]
    # x/0 is infinite, which the minimum makes 1; 0/0 is NaN, which `Estimate.of` leaves out.
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = {axis: np.minimum(1, np.abs(means[axis] / means[target])) for axis in others}
    return Entanglement(
        target,
        {axis: Estimate.of_samples(means[axis]) for axis in (target, *others)},
        {axis: Estimate.of_samples(ratio) for axis, ratio in ratios.items()},
    )
