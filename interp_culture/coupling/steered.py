"""Scenarios read plain, under steering vectors and under random vectors, and what changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format
from interp_culture.readout.probing import read_runs
from interp_culture.readout.tables import shifts_from, with_keys
from interp_culture.readout.validity import warn_of
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.edits import steer
from interp_culture.steering.vectors import SteeringVectors, check_by_axis, random_like

VALUES = ("shift", "logit_shift")


_Run = tuple[str, str, int, float]  # steered axis, method, draw, alpha


def steered_readouts(
    model: LanguageModel,
    scenarios: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, Sequence[int]],
    *,
    alphas: Sequence[float],
    n_random: int = 20,
    null_scenarios: ScenarioSet | None = None,
    readout: Readout | ReadoutFormat = "letters",
    seed: int = 42,
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
    form = as_format(readout)
    warn_of(model, form)
    own: dict[_Run, Sequence[Edit]] = {("", "plain", -1, 0.0): ()}
    null: dict[_Run, Sequence[Edit]] = {}
    top = max(abs(a) for a in alphas)
    for axis, v in vectors.items():
        if v.method == "random":
            raise InputError(
                f"vectors of {axis}: random ones are their own null; give them another method's name"
            )
        for alpha in alphas:
            own[axis, v.method, -1, alpha] = steer(v, layers[axis], alpha, hook_point=hook_point)
        for draw, noise in enumerate(random_like(v, n_random, seed)):
            null[axis, "random", draw, top] = steer(noise, layers[axis], top, hook_point=hook_point)
    if null_scenarios is None or not null:  # in one go: every batch is traced once
        parts = [(scenarios, own | null)]
    else:
        parts = [(scenarios, own), (_within(null_scenarios, scenarios), null)]
    table = pd.concat([read_runs(model, s, r, readout=form) for s, r in parts], ignore_index=True)
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
        raise InputError(
            f"null_scenarios: {', '.join(strangers[:3])} are not among the scenarios that are read"
        )
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
        raise InputError(
            f"the response per unit alpha needs both signs of alpha {top:g} for {lacking[: len(by)]}"
        )
    return ((signed[top] - signed[-top]) / (2 * top)).rename("slope").reset_index()
