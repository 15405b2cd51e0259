"""How far steering one axis moves the others: response matrix, entanglement ratio, random-vector null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.errors import InputError, check_known
from interp_culture.forms import Readout
from interp_culture.interventions import Edit
from interp_culture.model import LanguageModel
from interp_culture.prompts import Labels, Order, Template
from interp_culture.readout import read_runs, shifts_from, warn_of, with_keys
from interp_culture.scenarios import ScenarioSet
from interp_culture.stats import (
    LEVEL,
    Estimate,
    bootstrap_weights,
    interval_words,
    null_reach,
    p_of_null,
    weighted_means,
)
from interp_culture.vectors import SteeringVectors, check_by_axis, random_like, steer

VALUES = ("shift", "logit_shift")

_Run = tuple[str, str, int, float]  # steered axis, method, draw, alpha


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
        moved = [axis for axis, shift in self.shift.items() if axis != self.target and shift.excludes_zero]
        if moved:
            return f"{', '.join(moved)} moved although {self.target} itself did not move beyond its interval"
        return "the target did not move beyond its interval"


def entanglement(before: pd.DataFrame, after: pd.DataFrame, target: str, seed: int = 42) -> Entanglement:
    """Compare two tables of `probe` over the same scenarios, the second under steering of `target`.

    Intervals: 95%, bootstrap over items and over the scenarios within them.
    """
    if list(before.id) != list(after.id):
        raise InputError("`before` and `after` hold different scenarios: probe the same set for both")
    if target not in set(before.axis):
        raise InputError(f"no scenario of axis {target!r}; axes here: {', '.join(sorted(set(before.axis)))}")
    change = after.p_positive.to_numpy() - before.p_positive.to_numpy()
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
    labels: Labels = "A/B",
    template: Template = "paper",
    hook_point: str = "hook_resid_post",
) -> pd.DataFrame:
    """Read all scenarios plain, under every axis' vectors at every alpha, and under random vectors.

    The `n_random` random vectors of an axis have the norm of its vectors at every layer and act at the same
    layers and hook point, with the largest alpha. They are most of the work: `null_scenarios`, some of `scenarios`, may
    be all that they are read on. The null is then wider than on all, so that it errs on the side of no effect.
    Raises InputError for vectors whose method is "random", which names the null.

    Returns:
        The rows of `probe` with steered ("" for the plain model), method (plain, the vectors' own, or random), draw
        (the number of the random vector, else -1) and alpha.
    """
    _check_axes(vectors, layers)
    warn_of(model, readout, labels)
    own: dict[_Run, Sequence[Edit]] = {("", "plain", -1, 0.0): ()}
    null: dict[_Run, Sequence[Edit]] = {}
    top = max(abs(a) for a in alphas)
    for axis, v in vectors.items():
        if v.method == "random":
            raise InputError(f"vectors of {axis}: random ones are their own null; give them another method's name")
        for alpha in alphas:
            own[axis, v.method, -1, alpha] = steer(v, layers[axis], alpha, hook_point=hook_point)
        for draw, noise in enumerate(random_like(v, n_random, seed)):
            null[axis, "random", draw, top] = steer(noise, layers[axis], top, hook_point=hook_point)
    if null_scenarios is None or not null:  # in one go: every batch is traced once
        parts = [(scenarios, own | null)]
    else:
        parts = [(scenarios, own), (_within(null_scenarios, scenarios), null)]
    form: dict[str, Any] = {
        "readout": readout,
        "order": order,
        "labels": labels,
        "template": template,
        "seed": seed,
    }
    table = pd.concat([read_runs(model, s, r, **form) for s, r in parts], ignore_index=True)
    return with_keys(table, ["steered", "method", "draw", "alpha"])


def _check_axes(vectors: Any, layers: Any) -> None:
    """Both are by axis, and every axis that is steered has layers."""
    check_by_axis(vectors=vectors, layers=layers)
    if missing := [axis for axis in vectors if axis not in layers]:
        raise InputError(
            f"layers has none for axis {', '.join(missing)}; give layers={{axis: [...]}} for each of "
            f"{', '.join(vectors)}"
        )


def _within(some: ScenarioSet, scenarios: ScenarioSet) -> ScenarioSet:
    if strangers := sorted({s.id for s in some} - {s.id for s in scenarios}):
        raise InputError(f"null_scenarios: {', '.join(strangers[:3])} are not among the scenarios that are read")
    return some


def shifts(readouts: pd.DataFrame) -> pd.DataFrame:
    """The steered rows of `steered_readouts` with shift and logit_shift against the plain row of the scenario.

    Raises InputError where scenarios have no plain row.
    """
    plain = readouts.method == "plain"
    if missing := sorted(set(readouts.id[~plain]) - set(readouts.id[plain])):
        raise InputError(
            f"the plain rows of {len(missing)} scenarios are missing ({', '.join(missing[:3])}): changes are taken "
            "against them; keep the rows whose method is 'plain'"
        )
    return shifts_from(readouts[plain], readouts[~plain])


def response(readouts: pd.DataFrame, value: str = "shift", seed: int = 42) -> pd.DataFrame:
    """Every axis' response to every steered axis and alpha, with interval and null.

    Args:
        readouts: what `steered_readouts` returned.
        value: "shift" (change of p_positive) or "logit_shift" (change of logit_diff, nats).

    Returns:
        steered, alpha, axis, effect (mean change), low, high (95%, bootstrap), null_low, null_high (2.5% and 97.5%
        quantiles of the random vectors' effects at the largest alpha: what they do), p_null (the rank of |effect|
        among theirs; only at the largest |alpha|, where they were measured) and outside_null (p_null <= 0.05: the
        effect is larger than what random vectors do in either direction). Without an interval, or with fewer than
        20 random vectors, p_null is NaN and outside_null False.
    """
    check_known("value", value, VALUES)
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
    p = p_of_null(estimate.value, null) if measured and not np.isnan(estimate.low) else np.nan
    return {
        "steered": steered,
        "alpha": alpha,
        "axis": axis,
        "effect": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "null_low": low,
        "null_high": high,
        "p_null": p,
        "outside_null": bool(p <= LEVEL),
    }


def response_matrix(readouts: pd.DataFrame, value: str = "shift", seed: int = 42) -> pd.DataFrame:
    """D[i, j]: change of axis j per unit of alpha on axis i, as a tidy table with intervals and the ratio.

    The central difference over the two signs of the largest alpha, so that what a vector does whatever its
    sign cancels: `D = (effect(+alpha) - effect(-alpha)) / (2 alpha)`.

    Returns:
        steered, axis, D, low, high, ratio, ratio_low, ratio_high (Eq. 5 from D; NaN on the diagonal) and defined
        (whether the interval of the steered axis' own D excludes 0).
    """
    check_known("value", value, VALUES)
    rows = []
    for (steered,), own in slopes(readouts, ["steered"], value).groupby(["steered"], sort=True):
        found = _couple(own.slope.to_numpy(), own.axis.to_numpy(), own["item"].to_numpy(), str(steered), seed)
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


def moved_alone(matrix: pd.DataFrame, responses: pd.DataFrame) -> list[str]:
    """In words, where steering an axis moves another beyond random vectors but not itself beyond its interval.

    Args:
        matrix: what `response_matrix` returned.
        responses: what `response` returned of the same readouts.
    """
    outside = responses[responses.outside_null].groupby(["steered", "axis"]).size()
    other = matrix[(matrix.steered != matrix.axis) & ~matrix.defined & (matrix.low * matrix.high > 0)]
    return [
        f"Steering {r.steered} moves {r.axis} by {interval_words(r.D, r.low, r.high)} per unit alpha, beyond random "
        f"vectors, although {r.steered} itself does not move beyond its interval: an effect on {r.axis}, no coupling."
        for r in other.itertuples()
        if (r.steered, r.axis) in outside.index
    ]


def slopes(readouts: pd.DataFrame, by: Sequence[str], value: str = "shift") -> pd.DataFrame:
    """Each scenario's response per unit alpha in every group of `by` (columns that tell the runs apart, but alpha).

    The central difference over both signs of the largest alpha: `slope = (value(+alpha) - value(-alpha)) / (2 alpha)`.
    Random vectors are left out. Raises InputError where a group lacks a sign, or scenarios their plain rows.

    Returns: *by, id, axis, item, domain and slope.
    """
    table = shifts(readouts)
    own = table[table.method != "random"]
    top = own.alpha.abs().max()
    keys = [*by, "id", "axis", "item", "domain"]
    signed = own[own.alpha.abs() == top].pivot(index=keys, columns="alpha", values=value)
    if not {top, -top} <= set(signed) or signed[[top, -top]].isna().any(axis=None):
        lacking = signed.index[signed.reindex(columns=[top, -top]).isna().any(axis=1)][0]
        raise InputError(f"the response per unit alpha needs both signs of alpha {top:g} for {lacking[: len(by)]}")
    return ((signed[top] - signed[-top]) / (2 * top)).rename("slope").reset_index()


def random_effects(readouts: pd.DataFrame) -> pd.DataFrame:
    """One row a random vector and axis: steered, draw, axis, effect (mean change of p_positive), ratio (Eq. 5)."""
    table = shifts(readouts)
    table = table[table.method == "random"]
    effects = table.groupby(["steered", "draw", "axis"], sort=True)["shift"].mean().rename("effect").reset_index()
    own = effects[effects.axis == effects.steered].set_index(["steered", "draw"]).effect
    target = own.reindex(pd.MultiIndex.from_frame(effects[["steered", "draw"]])).to_numpy()
    return effects.assign(ratio=np.minimum(1, np.abs(effects.effect.to_numpy() / target)))


def random_range(readouts: pd.DataFrame) -> pd.DataFrame:
    """Where the random vectors lie: steered, axis, null_low, null_high (2.5% and 97.5% of their effects, at their
    alpha), null_reach (the size beyond which an effect is outside the null), null_ratio_low, null_ratio_median,
    null_ratio_high (of their ratios) and draws (how many they are)."""
    groups = random_effects(readouts).groupby(["steered", "axis"], sort=True)
    quantiles = {"low": 0.025, "median": 0.5, "high": 0.975}
    columns = {f"null_{name}": groups.effect.quantile(q) for name, q in quantiles.items() if name != "median"}
    columns |= {f"null_ratio_{name}": groups.ratio.quantile(q) for name, q in quantiles.items()}
    columns["null_reach"] = groups.effect.apply(lambda effect: null_reach(effect.to_numpy()))
    return pd.DataFrame(columns | {"draws": groups.size()}).reset_index()


def random_reach(
    shifted: pd.DataFrame, by: Sequence[str], value: str = "shift", *, per_alpha: bool = False
) -> pd.DataFrame:
    """Within what 95% of random vectors move the mean of `value` in every group of `by`: *by, null_low, null_high.

    The root mean square of their effects times Student's t for as many degrees of freedom as there are vectors, so that
    few will do: a random direction is as likely as its opposite, which puts the centre at 0.

    Args:
        shifted: what `shifts` returned, random vectors among its rows.
        per_alpha: whether per unit alpha, as `slopes` are, or at the strength of the random vectors.
    """
    from scipy.stats import t

    random = shifted[shifted.method == "random"]
    moved = random.assign(moved=random[value] / (random.alpha if per_alpha else 1))
    squares = moved.groupby([*by, "draw"]).moved.mean().pow(2).groupby(list(by))
    reach = t.ppf(0.975, squares.size()) * np.sqrt(squares.mean())
    return pd.DataFrame({"null_low": -reach, "null_high": reach}).reset_index()


def beside_random(found: pd.DataFrame, reach: pd.DataFrame) -> pd.DataFrame:
    """`effects` with what `random_reach` gives (NaN for groups without random vectors), and sure: the interval leaves
    out 0 and random vectors are known not to reach that far."""
    table = found.merge(reach, how="left")
    return table.assign(sure=(table.low * table.high > 0) & (table.effect.abs() > table.null_high))


def effects(shifted: pd.DataFrame, by: Sequence[str], value: str = "shift", seed: int = 42) -> pd.DataFrame:
    """The mean of `value` in every group of `by` and axis read: effect, low, high (95%, bootstrap by item; NaN
    for fewer than six scenarios) and n."""
    for name in (*by, value):
        check_known("column", name, shifted.columns)
    rows = []
    for keys, part in shifted.groupby(list(by), sort=True):
        found = _means(part[value].to_numpy(), part.axis.to_numpy(), part["item"].to_numpy(), seed)
        for axis, means in found.items():
            n = int((part.axis == axis).sum())
            e = Estimate.of(means[0], means[1:])
            rows.append((*keys, axis, e.value, e.low, e.high, n))
    return pd.DataFrame(rows, columns=[*by, "axis", "effect", "low", "high", "n"])


def domain_shifts(readouts: pd.DataFrame, seed: int = 42) -> pd.DataFrame:
    """`effects` at the largest alpha by steered axis, domain and axis read, as `beside_random`."""
    table = shifts(readouts)
    largest = table[(table.method != "random") & (table.alpha == table.alpha.max())]
    found = effects(largest, ["steered", "domain"], seed=seed)
    return beside_random(found, random_reach(table, ["steered", "domain", "axis"]))
