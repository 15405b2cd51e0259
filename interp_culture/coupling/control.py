"""The positive control: is a coupling of known size found by the same measurement?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from interp_culture.coupling.planted import predicted_coupling
from interp_culture.coupling.responses import NO_NULL, effects, null_slopes, p_of
from interp_culture.coupling.steered import slopes, steered_readouts
from interp_culture.engine.leaks import Leak
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.planting import plant
from interp_culture.readout.formats import Readout, ReadoutFormat
from interp_culture.readout.validity import resolve_format
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import LEVEL, Estimate, NullBand
from interp_culture.steering.vectors import SteeringVectors

GROWTH_COLUMNS = [
    "steered",
    "axis",
    "D_plain",
    "D",
    "low",
    "high",
    "p_null",
    "found",
    "growth",
    "growth_low",
    "growth_high",
    "predicted",
]


def planted_response(
    model: LanguageModel,
    leak: Leak,
    scenarios: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, Sequence[int]],
    before: pd.DataFrame,
    *,
    alpha: float,
    predicted: pd.DataFrame | None = None,
    readout: Readout | ReadoutFormat = "letters",
    seed: int = 42,
) -> pd.DataFrame:
    """Plant a leak, steer as in the plain model, and compare the two.

    Args:
        model: the plain model.
        vectors: of the axes to steer; the plain model's, so that the step is the same in both.
        before: what `steered_readouts` returned for the plain model, with its random vectors.
        alpha: the largest strength of `before`.
        predicted: what the leak should add, as `predicted_coupling` returns it; computed by
            default, on the same scenarios.

    Returns:
        What `planted_growth` returns.

    >>> leak = ic.engine.Leak(2, vectors["X"].direction[2], vectors["Y"].direction[2], size=0.1)
    >>> few = test.sample(1, by="item")
    >>> growth = planted_response(
    ...     model, leak, few, {"X": vectors["X"]}, layers, readouts, alpha=1.0,
    ...     readout="continuation",
    ... )
    >>> growth[["steered", "axis"]].to_records(index=False).tolist()
    [('X', 'X'), ('X', 'Y')]
    """
    # The plain model's prefix: a leak must not change how the answer is read.
    form = resolve_format(model, readout)
    if predicted is None:
        predicted = predicted_coupling(
            model, scenarios, vectors, layers, leak, alpha=alpha, readout=form
        )
    planted = plant(model, leak)
    # The plain model's readouts were checked; those of a copy with a leak are no news.
    planted.readout_checks = model.readout_checks
    after = steered_readouts(
        planted,
        scenarios,
        vectors,
        layers,
        alphas=[alpha, -alpha],
        n_random=0,
        readout=form,
        seed=seed,
    )
    return planted_growth(before, after, predicted, seed)


def designed_growth(control: Mapping[str, Any]) -> pd.DataFrame:
    """What a leak of `leak_of_size` adds on the scenarios on which its size was set.

    Args:
        control: steered, axis and size.

    >>> designed_growth({"steered": "X", "axis": "Y", "size": 0.02})
      steered axis  growth
    0       X    Y    0.02
    """
    row = {"steered": control["steered"], "axis": control["axis"], "growth": control["size"]}
    return pd.DataFrame([row])


def planted_growth(
    before: pd.DataFrame, after: pd.DataFrame, predicted: pd.DataFrame, seed: int = 42
) -> pd.DataFrame:
    """What steering does in a planted model, beside the plain one and the prediction.

    The null is that of the plain model: the effects of its random vectors. What a leak adds to
    them is small, since it reads one direction, and a random vector has a share of about
    1 / sqrt(d_model) along it. A readout leak adds more: `size` times what the vector does to the
    steered axis, over what the steering direction does to it.

    Args:
        before, after: what `steered_readouts` returned for the plain and for the planted model, on
            the same scenarios with the same vectors; `before` also with random vectors.
        predicted: what `predicted_coupling` returned; rows of other pairs are left out.

    Returns:
        For each steered axis of `after` and axis read: steered, axis, D_plain, D (of the planted
        model), low, high, p_null, found (the interval of D excludes 0 and D is beyond random
        vectors, in the direction of the prediction), growth (D minus D_plain, paired by scenario),
        growth_low, growth_high (95%) and predicted (the growth by the leak's size).

    >>> predicted = pd.DataFrame({"steered": ["X"], "axis": ["Y"], "growth": [0.0]})
    >>> growth = planted_growth(readouts, readouts, predicted)
    >>> growth[["steered", "axis", "growth", "found"]]
      steered axis  growth  found
    0       X    Y     0.0  False
    """
    keys = ["steered", "axis"]
    paired = slopes(after, ["steered"]).merge(
        slopes(before, ["steered"]), on=["steered", "id", "axis", "item", "domain"],
        suffixes=("", "_plain"),
    )  # fmt: skip
    paired = paired.assign(growth=paired.slope - paired.slope_plain)
    planted, growth, plain = (
        effects(paired, ["steered"], column, seed).set_index(keys)
        for column in ("slope", "growth", "slope_plain")
    )
    random = null_slopes(before)
    estimates = [Estimate(*row) for row in planted[["effect", "low", "high"]].to_numpy()]
    bands = [NullBand.of(random.get(pair, NO_NULL)) for pair in planted.index]
    table = planted.assign(
        D=planted.effect,
        D_plain=plain.effect,
        p_null=[p_of(*pair) for pair in zip(estimates, bands, strict=True)],
        growth=growth.effect,
        growth_low=growth.low,
        growth_high=growth.high,
        predicted=predicted.set_index(keys).growth,
    ).dropna(subset="predicted")
    excludes_zero = table.low * table.high > 0
    as_predicted = table.D * table.predicted > 0
    found = excludes_zero & (table.p_null <= LEVEL) & as_predicted
    return table.assign(found=found).reset_index()[GROWTH_COLUMNS]
