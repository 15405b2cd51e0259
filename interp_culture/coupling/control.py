"""The positive control: is a coupling of known size found by the same measurement?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from interp_culture.coupling.planted import predicted_coupling
from interp_culture.coupling.random_vectors import predicted_random
from interp_culture.coupling.responses import effects, response_matrix
from interp_culture.coupling.steered import slopes, steered_readouts
from interp_culture.engine.leaks import Leak
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.planting import plant
from interp_culture.readout.formats import Readout, ReadoutFormat
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import LEVEL
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
    n_random: int = 0,
    null_scenarios: ScenarioSet | None = None,
    readout: Readout | ReadoutFormat = "letters",
    seed: int = 42,
) -> pd.DataFrame:
    """Plant a leak, steer as in the plain model, and compare the two.

    Args:
        model: the plain model.
        vectors: of the axes to steer; the plain model's, so that the step is the same in both.
        before: what `steered_readouts` returned for the plain model.
        alpha: the largest strength of `before`.
        n_random: random vectors that are measured in the planted model; 0 predicts their effects.
        null_scenarios: those of `scenarios` that are read under measured random vectors.

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
    predicted = predicted_coupling(
        model, scenarios, vectors, layers, leak, alpha=alpha, readout=readout
    )
    planted = plant(model, leak)
    after = steered_readouts(
        planted,
        scenarios,
        vectors,
        layers,
        alphas=[alpha, -alpha],
        n_random=n_random,
        null_scenarios=null_scenarios,
        readout=readout,
        seed=seed,
    )
    if not n_random:
        null = predicted_random(
            planted,
            scenarios,
            vectors,
            layers,
            alpha=alpha,
            readout=readout,
            seed=seed,
        )
        after = pd.concat([after, null], ignore_index=True)
    return planted_growth(before, after, predicted, seed)


def planted_growth(
    before: pd.DataFrame, after: pd.DataFrame, predicted: pd.DataFrame, seed: int = 42
) -> pd.DataFrame:
    """What steering does in a planted model, beside the plain one and the prediction.

    Args:
        before, after: what `steered_readouts` returned for the plain and for the planted model, on
            the same scenarios with the same vectors; `after` also with random vectors.
        predicted: what `predicted_coupling` returned.

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
    matrix = response_matrix(after, seed=seed)
    paired = slopes(after, ["steered"]).merge(
        slopes(before, ["steered"]), on=["steered", "id", "axis", "item", "domain"],
        suffixes=("", "_plain"),
    )  # fmt: skip
    paired = paired.assign(growth=paired.slope - paired.slope_plain)
    tables = []
    for column in ("growth", "slope_plain"):
        table = effects(paired, ["steered"], column, seed).drop(columns="n")
        tables.append(table.set_index(["steered", "axis"]))
    growth, plain = tables
    keys = ["steered", "axis"]
    table = matrix[[*keys, "D", "low", "high", "p_null"]].set_index(keys)
    table = table.assign(
        D_plain=plain.effect,
        growth=growth.effect,
        growth_low=growth.low,
        growth_high=growth.high,
        predicted=predicted.set_index(keys).growth,
    ).dropna(subset="predicted")
    excludes_zero = table.low * table.high > 0
    as_predicted = table.D * table.predicted > 0
    found = excludes_zero & (table.p_null <= LEVEL) & as_predicted
    return table.assign(found=found).reset_index()[GROWTH_COLUMNS]
