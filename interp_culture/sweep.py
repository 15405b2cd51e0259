"""Which layers carry an axis: steer each layer alone and read the answer."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from interp_culture.errors import InputError
from interp_culture.model import LanguageModel
from interp_culture.prompts import Order
from interp_culture.readout import Readout, read_runs, shifts_from
from interp_culture.scenarios import ScenarioSet
from interp_culture.vectors import SteeringVectors, steer


def layer_sweep(
    model: LanguageModel,
    scenarios: ScenarioSet,
    vectors: dict[str, SteeringVectors],
    *,
    alpha: float | Sequence[float] = 1.0,
    layers: Sequence[int] | None = None,
    readout: Readout = "letters",
    order: Order = "both",
) -> pd.DataFrame:
    """Steer every layer alone, by every strength, and read the scenarios of the steered axis.

    Returns:
        One row a steered axis, layer, alpha and scenario: steered, layer, alpha, id, axis, item, domain,
        p_positive, shift (signed change of p_positive), differential (its absolute value; the paper's measure of a
        layer, averaged) and logit_shift (change of logit_diff).
    """
    alphas = [alpha] if isinstance(alpha, int | float) else list(alpha)
    layers = range(model.n_layers) if layers is None else layers
    tables = []
    for axis, axis_vectors in vectors.items():
        runs = {(layer, a): steer(axis_vectors, [layer], a) for layer in layers for a in alphas}
        own = scenarios.filter(axis=axis)
        table = read_runs(model, own, {"plain": (), **runs}, readout=readout, order=order)
        plain = table.run == "plain"
        moved = shifts_from(table[plain], table[~plain])
        keys = pd.DataFrame(list(moved.run), columns=["layer", "alpha"], index=moved.index)
        tables.append(moved.assign(steered=axis, differential=moved["shift"].abs(), **keys))
    columns = ["steered", "layer", "alpha", "id", "axis", "item", "domain"]
    measured = ["p_positive", "shift", "differential", "logit_shift"]
    return pd.concat(tables, ignore_index=True)[columns + measured]


def summarise_sweep(sweep: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Mean differential, shift and logit shift by steered axis, layer and alpha (and `by`: item, domain)."""
    keys = ["steered", "layer", "alpha", *by]
    return sweep.groupby(keys)[["differential", "shift", "logit_shift"]].mean().reset_index()


def top_layers(sweep: pd.DataFrame, axis: str, k: int = 4) -> list[int]:
    """The k layers with the largest mean differential when `axis` is steered, in ascending order."""
    own = sweep[(sweep.steered == axis) & (sweep.axis == axis)]
    if own.empty:
        raise InputError(f"no sweep over axis {axis!r}; swept: {', '.join(sorted(sweep.steered.unique()))}")
    means = own.groupby("layer").differential.mean()
    if not 1 <= k <= len(means):
        raise InputError(f"k is {k}: the sweep has {len(means)} layers")
    return sorted(int(layer) for layer in means.nlargest(k).index)
