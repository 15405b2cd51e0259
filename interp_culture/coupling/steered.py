"""Readouts of the plain model, under steering vectors and under random vectors."""

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
from interp_culture.steering.edits import check_strength, steer
from interp_culture.steering.vectors import SteeringVectors, check_by_axis, random_like

VALUES = ("shift", "logit_shift")
RUN_COLUMNS = ("steered", "method", "draw", "alpha")

_Runs = dict[tuple[str, str, int, float], Sequence[Edit]]  # keys as RUN_COLUMNS


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
    hook_point: str | None = None,
) -> pd.DataFrame:
    """Read all scenarios plain, under every axis' vectors at every alpha, and under random vectors.

    The random vectors of an axis have the norm of its vectors at every layer. They act at the same
    layers and hook point, at the largest alpha.

    Args:
        vectors: by axis, as `extract` returns them.
        layers: the steered layers, by axis.
        alphas: strengths, with their signs.
        n_random: random vectors for each axis.
        null_scenarios: those of `scenarios` that are read under random vectors, which are most of
            the work; all by default. On fewer scenarios the null is wider, so that it errs on the
            side of "no effect".
        seed: of the random vectors.
        hook_point: as for `steer`; by default where the vectors were read.

    Returns:
        The rows of `probe` with steered ("" for the plain model), method ("plain", the vectors'
        own, or "random"), draw (the number of the random vector, else -1) and alpha.

    Raises:
        InputError: an axis without layers, vectors that do not fit the model, vectors whose method
            is "random", null scenarios that are not among the scenarios, no alpha other than 0.

    >>> few = test.sample(1, by="item")
    >>> table = ic.steered_readouts(
    ...     model, few, vectors, {"X": [1], "Y": [2]}, alphas=[1.0, -1.0], n_random=1,
    ...     readout="continuation",
    ... )
    >>> table.groupby(["steered", "method"]).size()
    steered  method
             plain        10
    X        mean_diff    20
             random       10
    Y        mean_diff    20
             random       10
    dtype: int64
    """
    check_axes(vectors, layers)
    largest = max((abs(alpha) for alpha in alphas), default=0.0)
    # Among others, strength 0 is a run of its own: it repeats the plain model.
    check_strength(largest)
    form = as_format(readout)
    warn_of(model, form)
    steered: _Runs = {("", "plain", -1, 0.0): ()}
    null: _Runs = {}
    for axis, of_axis in vectors.items():
        _check_is_not_random(of_axis)
        for alpha in alphas:
            edits = steer(of_axis, layers[axis], alpha, hook_point=hook_point)
            steered[axis, of_axis.method, -1, alpha] = edits
        for draw, random in enumerate(random_like(of_axis, n_random, seed)):
            edits = steer(random, layers[axis], largest, hook_point=hook_point)
            null[axis, "random", draw, largest] = edits
    parts = _parts(scenarios, null_scenarios, steered, null)
    tables = [read_runs(model, read, runs, readout=form) for read, runs in parts]
    return with_keys(pd.concat(tables, ignore_index=True), RUN_COLUMNS)


def _parts(
    scenarios: ScenarioSet, null_scenarios: ScenarioSet | None, steered: _Runs, null: _Runs
) -> list[tuple[ScenarioSet, _Runs]]:
    """Which scenarios are read under which runs."""
    if null_scenarios is None or not null:
        return [(scenarios, steered | null)]  # in one go: every batch is traced once
    if strangers := sorted({s.id for s in null_scenarios} - {s.id for s in scenarios}):
        raise InputError(
            f"null_scenarios: {', '.join(strangers[:3])} are not among the scenarios that are read"
        )
    return [(scenarios, steered), (null_scenarios, null)]


def check_axes(vectors: Any, layers: Any) -> None:
    """Raise InputError unless both are by axis and every axis has layers."""
    check_by_axis(vectors=vectors, layers=layers)
    if missing := [axis for axis in vectors if axis not in layers]:
        raise InputError(
            f"layers has none for axis {', '.join(missing)}; give layers={{axis: [...]}} for each "
            f"of {', '.join(vectors)}"
        )


def _check_is_not_random(vectors: SteeringVectors) -> None:
    """The method "random" names the null in the table."""
    if vectors.method == "random":
        raise InputError(
            f"vectors of {vectors.axis}: random ones are their own null; give them another "
            "method's name"
        )


def shifts(readouts: pd.DataFrame) -> pd.DataFrame:
    """Changes against the plain model, for the steered rows of `steered_readouts`.

    Returns:
        The steered rows with shift (change of p_positive) and logit_shift (change of logit_diff,
        nats).

    Raises:
        InputError: scenarios without a plain row.

    >>> table = shifts(readouts)
    >>> table.columns.difference(readouts.columns).tolist()
    ['logit_shift', 'shift']
    """
    is_plain = readouts.method == "plain"
    if missing := sorted(set(readouts.id[~is_plain]) - set(readouts.id[is_plain])):
        raise InputError(
            f"the plain rows of {len(missing)} scenarios are missing ({', '.join(missing[:3])}): "
            "changes are taken against them; keep the rows whose method is 'plain'"
        )
    return shifts_from(readouts[is_plain], readouts[~is_plain])


def slopes(readouts: pd.DataFrame, by: Sequence[str], value: str = "shift") -> pd.DataFrame:
    """The response of each scenario per unit of alpha, in every group of `by`.

    The central difference over both signs of the largest alpha, without random vectors:
    `slope = (value(+alpha) - value(-alpha)) / (2 alpha)`.

    Args:
        by: the columns that tell the runs apart, except alpha.
        value: "shift" or "logit_shift".

    Returns:
        *by, id, axis, item, domain and slope (change of p_positive, or nats, per unit of alpha).

    Raises:
        InputError: a group without one of the signs, scenarios without a plain row, or no alpha
            other than 0.

    >>> slopes(readouts, ["steered"]).columns.tolist()
    ['steered', 'id', 'axis', 'item', 'domain', 'slope']
    """
    table = shifts(readouts)
    steered = table[table.method != "random"]
    largest = steered.alpha.abs().max()
    check_strength(largest)
    keys = [*by, "id", "axis", "item", "domain"]
    at_largest = steered[steered.alpha.abs() == largest]
    signed = at_largest.pivot(index=keys, columns="alpha", values=value)
    # A sign that was not measured becomes a column of NaN, which is refused below.
    complete = signed.reindex(columns=[largest, -largest])
    if complete.isna().any(axis=None):
        group = complete.index[complete.isna().any(axis=1)][0][: len(by)]
        raise InputError(
            f"the response per unit alpha needs both signs of alpha {largest:g} for {group}"
        )
    slope = (complete[largest] - complete[-largest]) / (2 * largest)
    return slope.rename("slope").reset_index()
