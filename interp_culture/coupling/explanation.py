"""One call that answers why steering one axis moves another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from interp_culture.coupling.causes import CAUSES, gain_causes
from interp_culture.coupling.gain import gain_matrix
from interp_culture.coupling.text_gains import gains_of_texts
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.readout.formats import Readout, ReadoutFormat
from interp_culture.scenarios.catalogue import Axis
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import LEVEL, excludes_zero, interval_words
from interp_culture.steering.activations import Activations, read_activations
from interp_culture.steering.readout_gradients import readout_gradients
from interp_culture.steering.vectors import SteeringVectors, check_by_axis

# The layers of an axis, where none are given: as many as a study steers.
BEST_LAYERS = 4


@dataclass(frozen=True)
class Explanation:
    """Why steering an axis moves the others, to first order, on held-out scenarios.

    `str()` of it says so in sentences.

    Attributes:
        axes: their poles, by name.
        layers: those that are steered together, by axis.
        gains, causes: of these layers, see `gain_matrix` and `gain_causes`.
        texts: which training texts the gains come from, see `gains_of_texts`.
        gains_by_layer, causes_by_layer: of each layer alone.
    """

    axes: Mapping[str, Axis]
    layers: Mapping[str, Sequence[int]]
    gains: pd.DataFrame
    causes: pd.DataFrame
    texts: pd.DataFrame
    gains_by_layer: pd.DataFrame
    causes_by_layer: pd.DataFrame

    def __str__(self) -> str:
        cross = self.gains[self.gains.steered != self.gains.axis]
        return "\n".join(
            self.sentences(row.steered, row.axis) for row in cross.itertuples(index=False)
        )

    def is_shown(self, steered: str, axis: str) -> bool:
        """Whether the interval of a gain excludes 0 and random vectors do not reach it."""
        gain = self._gain(steered, axis)
        return excludes_zero(gain.low, gain.high) and bool(gain.p_null <= LEVEL)

    def sentences(self, steered: str, axis: str) -> str:
        """What is known of one entry: whether there is a coupling, its size, and its causes."""
        gain = self._gain(steered, axis)
        layers = ", ".join(map(str, self.layers[steered]))
        size = (
            f"{interval_words(gain.gain, gain.low, gain.high)} per unit alpha at layers {layers}, "
            f"to first order; 95% of random vectors stay within ±{gain.null_high:.3f}"
        )
        pole = self.axes[steered].positive
        if not self.is_shown(steered, axis):
            return (
                f"Steering {steered} toward {pole} is not shown to move {axis}: {size}. There is "
                "nothing to explain."
            )
        toward = self.axes[axis].positive if gain.gain > 0 else self.axes[axis].negative
        of_pair = self.causes[(self.causes.steered == steered) & (self.causes.axis == axis)]
        # The largest first, of those that have the sign of the gain.
        parts = [
            f"{row.cause} {interval_words(row.part, row.low, row.high)} ({CAUSES[row.cause]})"
            for row in of_pair.assign(share=of_pair.part * gain.gain)
            .sort_values("share", ascending=False)
            .itertuples()
        ]
        return (
            f"Steering {steered} toward {pole} moves {axis} toward {toward}: {size}. It is the sum "
            f"of {', '.join(parts)}."
        )

    def _gain(self, steered: str, axis: str) -> pd.Series:
        of_pair = self.gains[(self.gains.steered == steered) & (self.gains.axis == axis)]
        if of_pair.empty:
            raise InputError(f"no gain of {axis} by {steered}; axes: {', '.join(self.layers)}")
        return of_pair.iloc[0]


def explain(
    model: LanguageModel,
    train: ScenarioSet,
    test: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    *,
    layers: Mapping[str, Sequence[int]] | None = None,
    readout: Readout | ReadoutFormat = "letters",
    contrasts: Activations | None = None,
    whiten: bool = False,
    seed: int = 42,
) -> Explanation:
    """Why steering an axis moves the others: gains, their causes, and the texts they come from.

    It takes one backward pass over the held-out scenarios, and one reading of the training texts.

    Args:
        train: the scenarios that the vectors come from.
        test: held-out scenarios of all axes.
        vectors: by axis, of two axes or more; of the method "mean_diff" or "gradient", whose
            vectors are means over texts.
        layers: those that are steered together, by axis; by default the four at which the axis
            itself moves most.
        readout: a name or a `ReadoutFormat`.
        contrasts: what the vectors were made from, if it is there already: see `gain_causes`.
        whiten: whether "representation" is whitened by the covariance of the residual stream.
        seed: of the bootstrap.

    Raises:
        InputError: see `gain_matrix` and `gain_causes`.

    >>> why = ic.explain(model, train, test, vectors, layers=layers, readout="continuation")
    >>> why.gains[["steered", "axis"]].to_records(index=False).tolist()
    [('X', 'X'), ('X', 'Y'), ('Y', 'X'), ('Y', 'Y')]
    >>> print(why.sentences("X", "Y")[:32])
    Steering X toward self-expressio
    """
    check_by_axis(vectors=vectors)
    if contrasts is None:
        contrasts = _contrasts(model, train, vectors, readout)
    gradients = readout_gradients(model, test, readout)
    by_layer = gain_matrix(gradients, test, vectors, seed=seed)
    if layers is None:
        layers = {axis: _best_layers(by_layer, axis) for axis in vectors}
    whiten_by = read_activations(model, train) if whiten else None
    made_from = (gradients, test, vectors, contrasts, train)
    return Explanation(
        {axis: test.catalogue.axes[axis] for axis in vectors},
        layers,
        gain_matrix(gradients, test, vectors, layers=layers, seed=seed),
        gain_causes(*made_from, layers=layers, whiten_by=whiten_by, seed=seed),
        gains_of_texts(*made_from, layers=layers),
        by_layer,
        gain_causes(*made_from, whiten_by=whiten_by, seed=seed),
    )


def _contrasts(
    model: LanguageModel,
    train: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    readout: Readout | ReadoutFormat,
) -> Activations:
    """What the vectors were made from, read again."""
    methods = {of_axis.method for of_axis in vectors.values()}
    if methods == {"gradient"}:
        return readout_gradients(model, train, readout).as_activations
    sites = {of_axis.provenance.get("site", "last") for of_axis in vectors.values()}
    if methods != {"mean_diff"} or len(sites) > 1:
        raise InputError(
            f"vectors of method {', '.join(sorted(methods))} at site {', '.join(sorted(sites))} "
            "are no means over texts of one site; give vectors of mean_diff or gradient, or the "
            "contrasts that they are the mean of"
        )
    return read_activations(model, train, site=sites.pop())


def _best_layers(by_layer: pd.DataFrame, axis: str) -> list[int]:
    own = by_layer[(by_layer.steered == axis) & (by_layer.axis == axis)]
    if own.empty:
        raise InputError(f"no held-out scenario of axis {axis}; give scenarios of every axis")
    return sorted(own.nlargest(BEST_LAYERS, "gain").layer.tolist())
