"""How far steering one axis moves the others: response matrix, entanglement ratio, random-vector null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.errors import InputError
from interp_culture.forms import Readout
from interp_culture.interventions import Edit
from interp_culture.model import LanguageModel
from interp_culture.prompts import Order
from interp_culture.readout import read_runs, shifts_from
from interp_culture.scenarios import ScenarioSet
from interp_culture.stats import Estimate, bootstrap_weights, p_of_null, weighted_means
from interp_culture.vectors import SteeringVectors, random_like, steer

_Run = tuple[str, str, int, float]  # steered axis, method, draw, alpha


@dataclass(frozen=True)
class Entanglement:
    """What steering `target` did: changes of the mean p_positive of every axis, and the ratio of Eq. 5.

    `ratio[axis] = min(1, |shift[axis]| / |shift[target]|)`: 0 orthogonal, 1 the unintended shift meets or exceeds
    the intended one. Where the interval of the target's shift holds 0, `defined` is False: the ratio divides noise.
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
            text = f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
            lines.append(f"  {axis} {self.shift[axis]}, entanglement ratio {text}")
        if not self.defined:
            lines.append("  the target did not move beyond its interval: the ratio is not defined")
        return "\n".join(lines)


def entanglement(before: pd.DataFrame, after: pd.DataFrame, target: str, seed: int = 42) -> Entanglement:
    """Compare two tables of `probe` over the same scenarios, the second under steering of `target`.

    Intervals: 95%, bootstrap over items and over the scenarios within them.
    """
    if list(before.id) != list(after.id):
        raise InputError("`before` and `after` hold different scenarios: probe the same set for both")
    if target not in set(before.axis):
        raise InputError(f"no scenario of axis {target!r}; axes here: {', '.join(sorted(set(before.axis)))}")
    change = (after.p_positive - before.p_positive).to_numpy()
    return _couple(change, before.axis.to_numpy(), before["item"].to_numpy(), target, seed)


def _couple(
    change: Float[np.ndarray, " scenario"], axes: np.ndarray, items: np.ndarray, target: str, seed: int
) -> Entanglement:
    """Means of `change` by axis and their ratios to the target's, from one set of bootstrap samples."""
    found = _means(change, axes, items, seed)
    means = {target: found[target], **found}
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = {a: np.minimum(1, np.abs(m / means[target])) for a, m in means.items() if a != target}
    return Entanglement(
        target,
        {a: Estimate.of(m[0], m[1:]) for a, m in means.items()},
        {a: Estimate.of(r[0], r[1:]) for a, r in ratios.items()},
    )


def _means(
    change: Float[np.ndarray, " scenario"], axes: np.ndarray, items: np.ndarray, seed: int
) -> dict[str, Float[np.ndarray, " draw"]]:
    """The mean of `change` by axis: the observed one first, then the bootstrap's."""
    weights = bootstrap_weights(axes, items, seed=seed)
    return {
        a: np.append(change[axes == a].mean(), weighted_means(weights, change, axes == a)) for a in sorted(set(axes))
    }


def steered_readouts(
    model: LanguageModel,
    scenarios: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, Sequence[int]],
    *,
    alphas: Sequence[float],
    n_random: int = 20,
    null_scenarios: ScenarioSet | None = None,
    readout: Readout = "letters",
    order: Order = "both",
    seed: int = 42,
) -> pd.DataFrame:
    """Read all scenarios plain, under every axis' vectors at every alpha, and under random vectors.

    The `n_random` random vectors of an axis have the norm of its vectors at every layer and act at the same
    layers, with the largest alpha. They are most of the work: `null_scenarios`, some of `scenarios`, may be all that
    they are read on. The null is then wider than on all, so that it errs on the side of no effect.

    Returns:
        The rows of `probe` with steered ("" for the plain model), method (plain, the vectors' own, or random), draw
        (the number of the random vector, else -1) and alpha.
    """
    own: dict[_Run, Sequence[Edit]] = {("", "plain", -1, 0.0): ()}
    null: dict[_Run, Sequence[Edit]] = {}
    top = max(abs(a) for a in alphas)
    for axis, v in vectors.items():
        for alpha in alphas:
            own[axis, v.method, -1, alpha] = steer(v, layers[axis], alpha)
        for draw, noise in enumerate(random_like(v, n_random, seed)):
            null[axis, "random", draw, top] = steer(noise, layers[axis], top)
    if null_scenarios is None or not null:  # in one go: every batch is traced once
        parts = [(scenarios, own | null)]
    else:
        parts = [(scenarios, own), (_within(null_scenarios, scenarios), null)]
    table = pd.concat([read_runs(model, s, r, readout=readout, order=order) for s, r in parts], ignore_index=True)
    keys = pd.DataFrame(list(table.pop("run")), columns=["steered", "method", "draw", "alpha"])
    return pd.concat([keys, table], axis=1)


def _within(some: ScenarioSet, scenarios: ScenarioSet) -> ScenarioSet:
    if strangers := sorted({s.id for s in some} - {s.id for s in scenarios}):
        raise InputError(f"null_scenarios: {', '.join(strangers[:3])} are not among the scenarios that are read")
    return some


def shifts(readouts: pd.DataFrame) -> pd.DataFrame:
    """The steered rows of `steered_readouts` with shift and logit_shift against the plain row of the scenario."""
    plain = readouts.method == "plain"
    return shifts_from(readouts[plain], readouts[~plain])


def response(readouts: pd.DataFrame, value: str = "shift", seed: int = 42) -> pd.DataFrame:
    """Every axis' response to every steered axis and alpha, with interval and null.

    Args:
        readouts: what `steered_readouts` returned.
        value: "shift" (change of p_positive) or "logit_shift" (change of logit_diff, nats).

    Returns:
        steered, alpha, axis, effect (mean change), low, high (95%, bootstrap), null_low, null_high (2.5% and 97.5%
        quantiles of the random vectors' effects at the largest alpha), p_null (two-sided rank among them; only
        at the largest |alpha|, where they were measured) and outside_null.
    """
    table = shifts(readouts)
    random = table[table.method == "random"]
    own = table[table.method != "random"]
    top = table.alpha.abs().max()
    rows = []
    for (steered, alpha), run in own.groupby(["steered", "alpha"], sort=True):
        run = run.sort_values("id")  # noqa: PLW2901
        found = _means(run[value].to_numpy(), run.axis.to_numpy(), run["item"].to_numpy(), seed)
        for axis, means in found.items():
            estimate = Estimate.of(means[0], means[1:])
            null = random[(random.steered == steered) & (random.axis == axis)].groupby("draw")[value].mean()
            rows.append(_response_row(steered, alpha, axis, estimate, null.to_numpy(), bool(abs(alpha) == top)))
    return pd.DataFrame(rows)


def _response_row(
    steered: str, alpha: float, axis: str, estimate: Estimate, null: np.ndarray, at_top: bool
) -> dict[str, object]:
    measured = at_top and len(null) > 0
    low, high = np.percentile(null, [2.5, 97.5]) if measured else (np.nan, np.nan)
    return {
        "steered": steered,
        "alpha": alpha,
        "axis": axis,
        "effect": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "null_low": low,
        "null_high": high,
        "p_null": p_of_null(estimate.value, null) if measured else np.nan,
        "outside_null": bool(measured and not low <= estimate.value <= high),
    }


def response_matrix(readouts: pd.DataFrame, value: str = "shift", seed: int = 42) -> pd.DataFrame:
    """D[i, j]: change of axis j per unit of alpha on axis i, as a tidy table with intervals and the ratio.

    The central difference over the two signs of the largest alpha, so that what a vector does whatever its
    sign cancels: `D = (effect(+alpha) - effect(-alpha)) / (2 alpha)`.

    Returns:
        steered, axis, D, low, high, ratio, ratio_low, ratio_high (Eq. 5 from D; NaN on the diagonal) and defined
        (whether the interval of the steered axis' own D excludes 0).
    """
    table = shifts(readouts)
    own = table[table.method != "random"]
    top = own.alpha.abs().max()
    rows = []
    for steered, runs in own.groupby("steered", sort=True):
        up = runs[runs.alpha == top].sort_values("id")
        down = runs[runs.alpha == -top].sort_values("id")
        if list(up.id) != list(down.id):
            raise InputError(f"the response matrix needs both signs of alpha {top:g} for axis {steered!r}")
        slope = (up[value].to_numpy() - down[value].to_numpy()) / (2 * top)
        found = _couple(slope, up.axis.to_numpy(), up["item"].to_numpy(), str(steered), seed)
        for axis, d in found.shift.items():
            ratio = found.ratio.get(axis, Estimate(np.nan, np.nan, np.nan))
            rows.append(
                {
                    "steered": steered,
                    "axis": axis,
                    "D": d.value,
                    "low": d.low,
                    "high": d.high,
                    "ratio": ratio.value,
                    "ratio_low": ratio.low,
                    "ratio_high": ratio.high,
                    "defined": found.defined,
                }
            )
    return pd.DataFrame(rows)


def random_effects(readouts: pd.DataFrame) -> pd.DataFrame:
    """One row a random vector and axis: steered, draw, axis, effect (mean change of p_positive), ratio (Eq. 5)."""
    table = shifts(readouts)
    table = table[table.method == "random"]
    effects = table.groupby(["steered", "draw", "axis"], sort=True)["shift"].mean().rename("effect").reset_index()
    own = effects[effects.axis == effects.steered].set_index(["steered", "draw"]).effect
    target = own.reindex(pd.MultiIndex.from_frame(effects[["steered", "draw"]])).to_numpy()
    return effects.assign(ratio=np.minimum(1, np.abs(effects.effect.to_numpy() / target)))


def domain_shifts(readouts: pd.DataFrame, seed: int = 42) -> pd.DataFrame:
    """Effect at the largest alpha by steered axis, domain and axis read, with 95% bootstrap intervals."""
    table = shifts(readouts)
    table = table[(table.method != "random") & (table.alpha == table.alpha.max())]
    rows = []
    for (steered, domain), part in table.groupby(["steered", "domain"], sort=True):
        found = _means(part["shift"].to_numpy(), part.axis.to_numpy(), part["item"].to_numpy(), seed)
        for axis, means in found.items():
            e = Estimate.of(means[0], means[1:])
            rows.append((steered, domain, axis, e.value, e.low, e.high))
    return pd.DataFrame(rows, columns=["steered", "domain", "axis", "effect", "low", "high"])
