"""Layer sweeps: the effect of steering at each single layer, measured or predicted."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError, check_known
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format
from interp_culture.readout.probing import predicted_runs, read_runs
from interp_culture.readout.tables import shifts_from, with_keys
from interp_culture.readout.validity import warn_of
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import NullBand
from interp_culture.steering.edits import check_strength, steer
from interp_culture.steering.layer_choice import Ranking, best_layers, check_k, mean_by_layer
from interp_culture.steering.vectors import SteeringVectors, check_by_axis, random_like

SweepMethod = Literal["exact", "gradient", "refined"]
SWEEP_METHODS: tuple[SweepMethod, ...] = ("exact", "gradient", "refined")
CORRELATIONS: tuple[Literal["spearman", "pearson"], ...] = ("spearman", "pearson")
SWEEP_COLUMNS = [
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
    "logit_shift",
    "method",
    "predicted_shift",
]
# A refined sweep measures the k + MARGIN layers with the largest predicted effect. It measures
# MARGIN more as long as one of the last MARGIN, or of the two checks, is among the best k. The
# checks are layers with a small predicted effect: the last one and the middle one of the rest.
MARGIN = 2
# Spearman correlation of the predicted and measured effects, below which all layers are measured.
MIN_AGREEMENT = 0.5
# The plain run of `sweep_null` counts as this draw; random vectors have draws from 0 on.
PLAIN_DRAW = -1


class SweepWarning(UserWarning):
    """The gradient did not predict the effect of steering, so that all layers were measured."""


@dataclass(frozen=True)
class _Sweep:
    """The sweep of one axis: its scenarios under its vectors."""

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

    def refined(self, layers: Sequence[int], k: int, by: Ranking) -> pd.DataFrame:
        """The predicted sweep, with as many measured layers as the best `k` need to be settled."""
        predicted = self.predicted(layers)
        predicted_means = mean_by_layer(predicted)
        first_to_last = mean_by_layer(predicted, by).sort_values(ascending=False)
        ranked = [int(layer) for layer in first_to_last.index]
        first = ranked[: k + MARGIN]
        waiting = ranked[k + MARGIN :]
        checks = {waiting[len(waiting) // 2], waiting[-1]} if waiting else set()
        waiting = [layer for layer in waiting if layer not in checks]
        last_measured = set(first[-MARGIN:])
        measured = [self.measured(sorted({*first, *checks}))]
        while waiting and set(best_layers(pd.concat(measured), k, by)) & (last_measured | checks):
            last_measured = set(waiting[:MARGIN])
            waiting = waiting[MARGIN:]
            measured.append(self.measured(sorted(last_measured)))
        agreement = _correlation(predicted_means, mean_by_layer(pd.concat(measured)), "spearman")
        if waiting and agreement < MIN_AGREEMENT:
            self._warn_of_disagreement(agreement, len(ranked) - len(waiting), len(ranked))
            measured.append(self.measured(waiting))
        return _joined(pd.concat(measured), predicted)

    def _warn_of_disagreement(self, agreement: float, n_measured: int, n_layers: int) -> None:
        warnings.warn(
            f"axis {self.vectors.axis}: the predicted and the measured effects of {n_measured} "
            f"layers agree with a Spearman correlation of only {agreement:.2f}; measuring all "
            f"{n_layers} layers",
            SweepWarning,
            stacklevel=4,
        )

    def _by(self, method: Literal["exact", "gradient"], layers: Sequence[int]) -> pd.DataFrame:
        runs: dict[Any, Sequence[Edit]] = {"plain": ()}
        for layer in layers:
            for alpha in self.alphas:
                runs[layer, alpha] = steer(self.vectors, [layer], alpha)
        read = read_runs if method == "exact" else predicted_runs
        table = read(self.model, self.scenarios, runs, readout=self.form)
        plain = table.run == "plain"
        shifts = with_keys(shifts_from(table[plain], table[~plain]), ["layer", "alpha"])
        return shifts.assign(differential=shifts["shift"].abs(), method=method)


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
    by: Ranking = "differential",
) -> pd.DataFrame:
    """The effect of steering at each single layer, on the scenarios of the steered axis.

    Args:
        scenarios: of all axes; each axis is swept with its own scenarios.
        vectors: by axis.
        alpha: one strength or more.
        layers: by default all.
        readout: a name or a `ReadoutFormat`.
        method: "exact" steers at every layer. "gradient" predicts all layers from one backward
            pass, to first order in alpha. "refined" measures the layers with the largest predicted
            effect, more of them until the best `k` are settled, and all layers, with a
            SweepWarning, if prediction and measurement disagree.
        k: how many layers the choice takes; only "refined" uses it.
        by: what ranks layers in that choice, see `top_layers`; only "refined" uses it.

    Returns:
        One row a steered axis, layer, alpha and scenario: steered, layer, alpha, id, axis, item,
        domain, p_positive, shift (change of p_positive, with sign), differential (absolute value of
        shift; its mean is the paper's measure of a layer), logit_shift (change of logit_diff; nats,
        or nats per token for a continuation), method ("exact" for a measured row, "gradient" for a
        predicted one) and predicted_shift (the shift by the gradient; NaN in an exact sweep).

    Raises:
        InputError: an unknown method, vectors that are not by axis, layers that do not exist, no
            alpha or an alpha of 0, or a k below 1.

    >>> few = train.filter(domain="family")
    >>> sweep = ic.layer_sweep(model, few, vectors, layers=[1, 2], readout="continuation")
    >>> ic.top_layers(sweep, "X", k=2)
    [1, 2]
    """
    check_known("sweep method", method, SWEEP_METHODS)
    check_by_axis(vectors=vectors)
    check_k(k)
    alphas = _alphas(alpha)
    form = as_format(readout)
    warn_of(model, form)
    layers = range(model.n_layers) if layers is None else layers
    tables = []
    for axis, axis_vectors in vectors.items():
        sweep = _Sweep(model, scenarios.filter(axis=axis), axis_vectors, alphas, form)
        if method == "exact":
            table = sweep.measured(layers).assign(predicted_shift=np.nan)
        elif method == "gradient":
            table = sweep.predicted(layers)
        else:
            table = sweep.refined(layers, k, by)
        tables.append(table.assign(steered=axis))
    return pd.concat(tables, ignore_index=True)[SWEEP_COLUMNS]


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
    """The effect of norm-matched random vectors at every layer: the null of `layer_sweep`.

    A differential is above 0 for any added vector. Only a larger one than those of random
    vectors is evidence that a layer carries the axis. The effects are predicted by the gradient, to
    first order in alpha.

    Args:
        n: random vectors for each axis.
        seed: of the random vectors.

    Returns:
        One row a steered axis, layer and alpha: steered, layer, alpha, null_low and null_high (the
        95% band of the n vectors' mean differentials, see `NullBand`). A differential has no sign,
        so that the band lies around the mean of the vectors and not around 0.

    Raises:
        InputError: no alpha, or an alpha of 0.

    >>> few = train.filter(domain="family")
    >>> null = sweep_null(model, few, {"X": vectors["X"]}, n=2, readout="continuation")
    >>> null.columns.tolist()
    ['steered', 'layer', 'alpha', 'null_low', 'null_high']
    """
    alphas = _alphas(alpha)
    form = as_format(readout)
    warn_of(model, form)
    tables = []
    for axis, axis_vectors in vectors.items():
        of_axis = scenarios.filter(axis=axis)
        runs = _random_runs(axis_vectors, n, seed, range(model.n_layers), alphas)
        table = predicted_runs(model, of_axis, runs, readout=form)
        table = with_keys(table, ["layer", "alpha", "draw"])
        is_plain = table.draw == PLAIN_DRAW
        shifts = shifts_from(table[is_plain], table[~is_plain])
        tables.append(shifts.assign(steered=axis, differential=shifts["shift"].abs()))
    keys = ["steered", "layer", "alpha"]
    draw_means = pd.concat(tables).groupby([*keys, "draw"]).differential.mean()
    bands = draw_means.groupby(keys).apply(lambda means: NullBand.of(means.to_numpy(), centre=None))
    ends = {"null_low": [b.low for b in bands], "null_high": [b.high for b in bands]}
    return pd.DataFrame(ends, index=bands.index).reset_index()


def _random_runs(
    vectors: SteeringVectors, n: int, seed: int, layers: Sequence[int], alphas: Sequence[float]
) -> dict[Any, Sequence[Edit]]:
    """Edits by (layer, alpha, draw), and the plain run."""
    # The plain run has a key of three values too, since `with_keys` makes columns of all keys.
    runs: dict[Any, Sequence[Edit]] = {(-1, 0.0, PLAIN_DRAW): ()}
    for draw, random_vectors in enumerate(random_like(vectors, n, seed)):
        for layer in layers:
            for alpha in alphas:
                runs[layer, alpha, draw] = steer(random_vectors, [layer], alpha)
    return runs


def _alphas(alpha: float | Sequence[float]) -> list[float]:
    alphas = [float(alpha)] if isinstance(alpha, int | float) else list(alpha)
    if not alphas:
        raise InputError("alpha is empty; give one strength or more")
    for strength in alphas:
        check_strength(strength)
    return alphas


def summarise_sweep(sweep: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """The mean effect at every layer.

    Args:
        by: further columns to group by, such as "item" or "domain".

    Returns:
        steered, layer, alpha, method, the columns of `by`, and the means of differential, shift and
        logit_shift.

    >>> summarise_sweep(sweep)[["steered", "layer", "method"]].head(2)
      steered  layer method
    0       X      0  exact
    1       X      1  exact
    """
    keys = ["steered", "layer", "alpha", "method", *by]
    return sweep.groupby(keys)[["differential", "shift", "logit_shift"]].mean().reset_index()


def sweep_agreement(sweep: pd.DataFrame) -> pd.DataFrame:
    """How well the gradient predicted a refined sweep, over the measured layers.

    Returns:
        One row a steered axis and alpha: steered, alpha, n_layers (measured), spearman and pearson
        (correlations of the predicted and measured mean differentials of the layers) and error
        (mean absolute difference of the two, probability).

    >>> few = train.filter(domain="family")
    >>> form = ReadoutFormat("continuation")
    >>> sweep = layer_sweep(model, few, vectors, readout=form, method="refined", k=1)
    >>> sweep_agreement(sweep)[["steered", "alpha", "n_layers"]]
      steered  alpha  n_layers
    0       X    1.0         4
    1       Y    1.0         4
    """
    rows = []
    both = sweep[(sweep.method == "exact") & sweep.predicted_shift.notna()]
    for (steered, alpha), table in both.groupby(["steered", "alpha"]):
        measured = mean_by_layer(table)
        predicted = table.predicted_shift.abs().groupby(table.layer).mean()
        correlations = [_correlation(predicted, measured, kind) for kind in CORRELATIONS]
        error = float((predicted - measured).abs().mean())
        rows.append((steered, alpha, len(measured), *correlations, error))
    return pd.DataFrame(rows, columns=["steered", "alpha", "n_layers", *CORRELATIONS, "error"])


def _joined(measured: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    """Measured rows with their predicted_shift, and the predicted rows of the other layers."""
    keys = ["layer", "alpha", "id"]
    predicted_shifts = predicted[[*keys, "predicted_shift"]]
    measured = measured.merge(predicted_shifts, on=keys, validate="one_to_one")
    not_measured = predicted[~predicted.layer.isin(measured.layer)]
    parts = [measured, not_measured] if len(not_measured) else [measured]
    return pd.concat(parts).sort_values("layer", kind="stable")


def _correlation(
    predicted: pd.Series, measured: pd.Series, method: Literal["spearman", "pearson"]
) -> float:
    """Over the measured layers; NaN for fewer than three, or if all values of one are equal."""
    check_known("correlation", method, CORRELATIONS)
    predicted = predicted[measured.index]
    if len(measured) < 3 or predicted.nunique() == 1 or measured.nunique() == 1:
        return float("nan")
    return float(predicted.corr(measured, method=method))
