"""Which layers carry an axis: steer each layer alone and read the answer, exactly or to first order."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError, check_known
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format
from interp_culture.readout.probing import predicted_runs, read_runs
from interp_culture.readout.tables import shifts_from, with_keys
from interp_culture.readout.validity import warn_of
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import bootstrap_weights
from interp_culture.steering.edits import steer
from interp_culture.steering.vectors import SteeringVectors, check_by_axis, random_like

SweepMethod = Literal["exact", "gradient", "refined"]
SWEEP_METHODS: tuple[SweepMethod, ...] = ("exact", "gradient", "refined")
CORRELATIONS: tuple[Literal["spearman", "pearson"], ...] = ("spearman", "pearson")

# A refined sweep measures k + MARGIN proposed layers, and MARGIN more as long as one of the last ones gets among the
# best k; beside them, as a check, the layers proposed last and halfway. Below MIN_AGREEMENT (Spearman over all that is
# measured, against the proposal) it does not believe the proposal.
MARGIN, MIN_AGREEMENT = 2, 0.5


class SweepWarning(UserWarning):
    """The gradient did not foresee what steering does: all layers were measured."""


@dataclass(frozen=True)
class _Sweep:
    """The sweep of one axis: its own scenarios under its vectors."""

    model: LanguageModel
    scenarios: ScenarioSet
    vectors: SteeringVectors
    alphas: list[float]
    form: ReadoutFormat

    def measured(self, layers: Sequence[int]) -> pd.DataFrame:
        return self._by("exact", layers)

    def predicted(self, layers: Sequence[int]) -> pd.DataFrame:
        table = self._by("gradient", layers)
        return table.assign(predicted_shift=table["shift"])

    def refined(self, layers: Sequence[int], k: int) -> pd.DataFrame:
        """The gradient's proposals measured from the best on, until the last ones do not get among the best k."""
        proposed = self.predicted(layers)
        foreseen = _by_layer(proposed)
        ranked = [int(layer) for layer in foreseen.sort_values(ascending=False).index]
        first, queue = ranked[: k + MARGIN], ranked[k + MARGIN :]
        checks = {queue[len(queue) // 2], queue[-1]} if queue else set()
        queue = [layer for layer in queue if layer not in checks]
        tail = set(first[-MARGIN:])
        parts = [self.measured(sorted({*first, *checks}))]
        while queue and set(_best(parts, k)) & (tail | checks):
            tail, queue = set(queue[:MARGIN]), queue[MARGIN:]
            parts.append(self.measured(sorted(tail)))
        agreement = _correlation(foreseen, _by_layer(pd.concat(parts)), "spearman")
        if queue and agreement < MIN_AGREEMENT:
            warnings.warn(
                f"axis {self.vectors.axis}: the gradient's order of {len(ranked) - len(queue)} measured layers agrees "
                f"with the measured one by {agreement:.2f} only (Spearman); measuring all {len(ranked)} layers",
                SweepWarning,
                stacklevel=4,
            )
            parts.append(self.measured(queue))
        return _joined(pd.concat(parts), proposed)

    def _by(self, method: Literal["exact", "gradient"], layers: Sequence[int]) -> pd.DataFrame:
        runs = {
            (layer, a): steer(self.vectors, [layer], a) for layer in layers for a in self.alphas
        }
        read = read_runs if method == "exact" else predicted_runs
        table = read(
            self.model,
            self.scenarios,
            {"plain": (), **runs},
            readout=self.form,
        )
        plain = table.run == "plain"
        moved = shifts_from(table[plain], table[~plain])
        return with_keys(moved, ["layer", "alpha"]).assign(
            differential=moved["shift"].abs(), method=method
        )


def layer_sweep(
    model: LanguageModel,
    scenarios: ScenarioSet,
    vectors: dict[str, SteeringVectors],
    *,
    alpha: float | Sequence[float] = 1.0,
    layers: Sequence[int] | None = None,
    readout: Readout | ReadoutFormat = "letters",
    method: SweepMethod = "exact",
    k: int = 4,
) -> pd.DataFrame:
    """Steer every layer alone, by every strength, and read the scenarios of the steered axis.

    Args:
        method: "exact" runs every layer. "gradient" predicts all layers from one backward pass, to first order in
            alpha. "refined" measures the gradient's best proposals exactly, more of them until the best `k` are
            settled, and all layers, with a SweepWarning, where prediction and measurement disagree.

    Returns:
        One row a steered axis, layer, alpha and scenario: steered, layer, alpha, id, axis, item, domain,
        p_positive, shift (signed change of p_positive), differential (its absolute value; the paper's measure of a
        layer, averaged), logit_shift (change of logit_diff), method ("exact" or "gradient": how the row was come
        by) and predicted_shift (the gradient's shift; NaN in an exact sweep).
    """
    check_known("sweep method", method, SWEEP_METHODS)
    check_by_axis(vectors=vectors)
    form = as_format(readout)
    warn_of(model, form)
    alphas = [float(alpha)] if isinstance(alpha, int | float) else list(alpha)
    layers = range(model.n_layers) if layers is None else layers
    tables = []
    for axis, axis_vectors in vectors.items():
        sweep = _Sweep(model, scenarios.filter(axis=axis), axis_vectors, alphas, form)
        if method == "exact":
            table = sweep.measured(layers).assign(predicted_shift=np.nan)
        else:
            table = sweep.predicted(layers) if method == "gradient" else sweep.refined(layers, k)
        tables.append(table.assign(steered=axis))
    columns = [
        "steered",
        "layer",
        "alpha",
        "id",
        "axis",
        "item",
        "domain",
        "p_positive",
        "shift",
        "differential",
    ]
    return pd.concat(tables, ignore_index=True)[
        [*columns, "logit_shift", "method", "predicted_shift"]
    ]


def sweep_null(
    model: LanguageModel,
    scenarios: ScenarioSet,
    vectors: dict[str, SteeringVectors],
    *,
    n: int = 20,
    alpha: float | Sequence[float] = 1.0,
    readout: Readout | ReadoutFormat = "letters",
    seed: int = 42,
) -> pd.DataFrame:
    """What random vectors of the same norm would do at every layer, to first order: `layer_sweep`'s null.

    A differential is above 0 whatever is added; only what exceeds this says that a layer carries the axis.

    Returns: steered, layer, alpha, null_low, null_high (the middle 95% of the n vectors' mean differentials).
    """
    form = as_format(readout)
    warn_of(model, form)
    alphas = [float(alpha)] if isinstance(alpha, int | float) else list(alpha)
    tables = []
    for axis, axis_vectors in vectors.items():
        runs: dict[tuple[int, float, int], Sequence[Edit]] = {(-1, 0.0, -1): ()}
        for draw, noise in enumerate(random_like(axis_vectors, n, seed)):
            runs |= {
                (layer, a, draw): steer(noise, [layer], a)
                for layer in range(model.n_layers)
                for a in alphas
            }
        own = scenarios.filter(axis=axis)
        table = predicted_runs(model, own, runs, readout=form)
        table = with_keys(table, ["layer", "alpha", "draw"])
        moved = shifts_from(table[table.draw < 0], table[table.draw >= 0])
        tables.append(moved.assign(steered=axis, differential=moved["shift"].abs()))
    keys = ["steered", "layer", "alpha"]
    draws = pd.concat(tables).groupby([*keys, "draw"]).differential.mean().groupby(keys)
    return pd.DataFrame(
        {"null_low": draws.quantile(0.025), "null_high": draws.quantile(0.975)}
    ).reset_index()


def summarise_sweep(sweep: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Mean differential, shift and logit shift by steered axis, layer and alpha (and `by`: item, domain)."""
    keys = ["steered", "layer", "alpha", "method", *by]
    return sweep.groupby(keys)[["differential", "shift", "logit_shift"]].mean().reset_index()


def sweep_agreement(sweep: pd.DataFrame) -> pd.DataFrame:
    """How well the gradient foresaw a refined sweep, by steered axis and alpha, over the layers that were measured.

    Returns: steered, alpha, n_layers (measured), spearman and pearson (of the layers' mean differentials) and error
    (mean absolute difference of predicted and measured mean differential, probability).
    """
    rows = []
    both = sweep[(sweep.method == "exact") & sweep.predicted_shift.notna()]
    for (steered, alpha), own in both.groupby(["steered", "alpha"]):
        exact, foreseen = _by_layer(own), own.predicted_shift.abs().groupby(own.layer).mean()
        error = float((foreseen - exact).abs().mean())
        rows.append(
            (
                steered,
                alpha,
                len(exact),
                *(_correlation(foreseen, exact, how) for how in CORRELATIONS),
                error,
            )
        )
    return pd.DataFrame(rows, columns=["steered", "alpha", "n_layers", *CORRELATIONS, "error"])


def top_layers(sweep: pd.DataFrame, axis: str, k: int = 4) -> list[int]:
    """The k layers with the largest mean differential when `axis` is steered, in ascending order.

    Of a refined sweep only measured layers are taken.
    """
    own = sweep[(sweep.steered == axis) & (sweep.axis == axis)]
    if own.empty:
        raise InputError(
            f"no sweep over axis {axis!r}; swept: {', '.join(sorted(sweep.steered.unique()))}"
        )
    measured = own[own.method == "exact"]
    return _best([measured if len(measured) else own], k)


def choice_stability(sweep: pd.DataFrame, k: int = 4, seed: int = 42) -> pd.DataFrame:
    """How sure the choice of the k best layers is: would other scenarios of the same items choose the same?

    Returns: steered, layer, share (of 2000 bootstrap samples, clustered by item, in which the layer is among the k
    best) and chosen (whether it is by all scenarios, as `top_layers` has it). Of a refined sweep measured layers alone.
    """
    tables = []
    for axis, grid in _profiles(sweep):
        items = grid.index.get_level_values("item").to_numpy(str)
        samples = bootstrap_weights(np.full(len(items), axis), items, seed=seed) @ grid.to_numpy()
        found = {
            "share": _among_best(samples, k).mean(0),
            "chosen": _among_best(grid.to_numpy().sum(0), k),
        }
        tables.append(pd.DataFrame({"steered": axis, "layer": grid.columns, **found}))
    return pd.concat(tables, ignore_index=True)


def choice_overlap(
    sweep: pd.DataFrame, k: int = 4, halvings: int = 50, seed: int = 42
) -> pd.DataFrame:
    """How many of the k best layers two random halves of the scenarios have in common.

    Returns: steered, draw, overlap (0 to k) and chance (the overlap to expect of two independent choices). Halves are
    drawn within items, so that both ask the same.
    """
    rows = []
    for axis, grid in _profiles(sweep):
        for draw in range(halvings):
            mixed = grid.sample(frac=1, random_state=seed + draw).sort_index(
                level="item", sort_remaining=False
            )
            one, other = (_among_best(mixed.to_numpy()[start::2].mean(0), k) for start in (0, 1))
            rows.append((axis, draw, int((one & other).sum()), k * k / grid.shape[1]))
    return pd.DataFrame(rows, columns=["steered", "draw", "overlap", "chance"])


def _profiles(sweep: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Of each axis its scenarios' differentials, mean over alphas, a column a layer."""
    for axis, own in sweep.groupby("steered"):
        measured = own[own.method == "exact"]
        rows = measured if len(measured) else own
        yield (
            str(axis),
            rows.pivot_table(index=["item", "id"], columns="layer", values="differential"),
        )


def _among_best(
    totals: Float[np.ndarray, "*draw layer"], k: int
) -> Bool[np.ndarray, "*draw layer"]:
    return (-totals).argsort(axis=-1, kind="stable").argsort(axis=-1) < k


def _joined(exact: pd.DataFrame, proposed: pd.DataFrame) -> pd.DataFrame:
    """Measured layers with what was proposed for them, and the proposal alone for the others."""
    keys = ["layer", "alpha", "id"]
    exact = exact.merge(proposed[[*keys, "predicted_shift"]], on=keys, validate="one_to_one")
    rest = proposed[~proposed.layer.isin(exact.layer)]
    return pd.concat([exact, rest] if len(rest) else [exact]).sort_values("layer", kind="stable")


def _best(parts: list[pd.DataFrame], k: int) -> list[int]:
    means = _by_layer(pd.concat(parts))
    if not 1 <= k <= len(means):
        raise InputError(f"k is {k}: the sweep has {len(means)} layers")
    return sorted(int(layer) for layer in means.nlargest(k).index)


def _by_layer(table: pd.DataFrame) -> pd.Series:
    return table.groupby("layer").differential.mean()


def _correlation(
    foreseen: pd.Series, exact: pd.Series, method: Literal["spearman", "pearson"]
) -> float:
    """Over the layers that both have; NaN where there are too few or all are the same."""
    check_known("correlation", method, CORRELATIONS)
    both = foreseen[exact.index]
    if len(exact) < 3 or both.nunique() == 1 or exact.nunique() == 1:
        return float("nan")
    return float(both.corr(exact, method=method))
