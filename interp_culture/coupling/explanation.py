"""One call that answers why steering one axis moves another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pandas as pd

from interp_culture.coupling.causes import gain_causes
from interp_culture.coupling.gain import gain_matrix
from interp_culture.coupling.gain_split import CAUSES
from interp_culture.coupling.text_gains import gains_of_texts
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.notebook import as_html
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format
from interp_culture.scenarios.catalogue import Axis
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import interval_words
from interp_culture.steering.activations import Activations, read_activations
from interp_culture.steering.readout_gradients import readout_gradients
from interp_culture.steering.vectors import SteeringVectors, check_by_axis

# The layers of an axis, where none are given: as many as a study steers.
BEST_LAYERS = 4


@dataclass(frozen=True)
class Explanation:
    """Why steering an axis moves the others, to first order, on held-out scenarios.

    `str()` of it says so in sentences: of every pair, or with three axes or more of those that are
    shown.

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
        pairs = list(permutations(self.layers, 2))
        if len(self.layers) < 3:
            return "\n".join(self.sentences(*pair) for pair in pairs)
        shown = [self.sentences(*pair) for pair in pairs if self.is_shown(*pair)]
        count = (
            f"{len(shown) or 'None'} of {len(pairs)} couplings "
            f"{'is' if len(shown) < 2 else 'are'} shown, to first order, at a false discovery rate "
            "of 5%."
        )
        return "\n".join([count, *shown])

    def _repr_html_(self) -> str:
        return as_html(str(self), gains=self.gains, causes=self.causes, texts=self.texts)

    def is_shown(self, steered: str, axis: str) -> bool:
        """Whether a gain is beyond chance, for as many pairs as there are: see `with_claims`."""
        return bool(self._gain(steered, axis).shown)

    def sentences(self, steered: str, axis: str) -> str:
        """What is known of one entry: whether there is a coupling, its size, and its causes."""
        gain, own = self._gain(steered, axis), self._gain(steered, steered)
        layers = ", ".join(map(str, self.layers[steered]))
        size = (
            f"{interval_words(gain.gain, gain.low, gain.high)} per unit alpha at layers {layers}, "
            f"to first order; 95% of random vectors stay within ±{gain.null_high:.3f}"
        )
        pole = self.axes[steered].positive
        if np.isnan(gain.low):
            return f"Nothing is claimed of steering {steered} and reading {axis}: {size}."
        if not self.is_shown(steered, axis):
            return (
                f"Steering {steered} toward {pole} is not shown to move {axis}: {size}. There is "
                "nothing to explain."
            )
        toward = self.axes[axis].positive if gain.gain > 0 else self.axes[axis].negative
        return (
            f"Steering {steered} toward {pole} moves {axis} toward {toward}: {size}. {steered} "
            f"itself moves by {interval_words(own.gain, own.low, own.high)}. "
            f"{self._causes(steered, axis)}"
        )

    def _causes(self, steered: str, axis: str) -> str:
        """The causes that are shown, and then all parts."""
        of_pair = self.causes[(self.causes.steered == steered) & (self.causes.axis == axis)]
        shown = [
            f"{row.cause} ({CAUSES[row.cause]})" for row in of_pair[of_pair.shown].itertuples()
        ]
        parts = [
            f"{row.cause} {interval_words(row.part, row.low, row.high)}"
            for row in of_pair.itertuples()
        ]
        first = f"What is shown to make it: {'; '.join(shown)}" if shown else "No cause is shown"
        return f"{first}. The parts: {', '.join(parts)}."

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

    It takes one backward pass over the held-out scenarios and one reading of the training texts;
    without `layers` a backward pass over the training scenarios too.

    Args:
        train: the scenarios that the vectors come from.
        test: held-out scenarios of all axes.
        vectors: by axis, of two axes or more; of the method "mean_diff" or "gradient", whose
            vectors are means over texts.
        layers: those that are steered together, by axis; by default the four at which the axis
            itself moves most, on training scenarios. Gradient vectors are made of those, so that
            layers must be given for them.
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
    _check_made_of_texts(vectors, as_format(readout), contrasts)
    if layers is None:
        layers = _best_layers(model, train, vectors, readout)
    if contrasts is None:
        contrasts = _contrasts(model, train, vectors, readout)
    gradients = readout_gradients(model, test, readout)
    by_layer = gain_matrix(gradients, test, vectors, seed=seed)
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


def _check_made_of_texts(
    vectors: Mapping[str, SteeringVectors], form: ReadoutFormat, contrasts: Activations | None
) -> None:
    """Raise InputError, before the model is read, for vectors whose contrasts are not known."""
    if contrasts is not None:
        return
    methods = {of_axis.method for of_axis in vectors.values()}
    sites = {of_axis.provenance.get("site", "last") for of_axis in vectors.values()}
    if methods not in ({"mean_diff"}, {"gradient"}) or len(sites) > 1:
        raise InputError(
            f"vectors of method {', '.join(sorted(methods))} at site {', '.join(sorted(sites))} "
            "are no means over texts of one site; give vectors of mean_diff or gradient, or the "
            "contrasts that they are the mean of"
        )
    readouts = {of_axis.provenance.get("readout", form.readout) for of_axis in vectors.values()}
    if methods == {"gradient"} and readouts != {form.readout}:
        raise InputError(
            f"the vectors follow the gradient of {', '.join(sorted(readouts))}; give this readout, "
            f"not {form.readout}"
        )


def _contrasts(
    model: LanguageModel,
    train: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    readout: Readout | ReadoutFormat,
) -> Activations:
    """What the vectors were made from, read again."""
    first = next(iter(vectors.values()))
    if first.method == "gradient":
        return readout_gradients(model, train, readout).as_activations
    return read_activations(model, train, site=first.provenance.get("site", "last"))


def _best_layers(
    model: LanguageModel,
    train: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    readout: Readout | ReadoutFormat,
) -> dict[str, list[int]]:
    """The layers at which each axis itself moves most, on the training scenarios."""
    if any(of_axis.method == "gradient" for of_axis in vectors.values()):
        raise InputError(
            "gradient vectors move the scenarios that they are made of further than others, so "
            "that no layer can be chosen on these; give layers"
        )
    moves = readout_gradients(model, train, readout)
    layers = {}
    for axis, of_axis in vectors.items():
        ids = [scenario.id for scenario in train if scenario.axis == axis]
        gains = (moves.mean_of_p_positive(ids) * of_axis.direction.double()).sum(-1)
        layers[axis] = sorted(gains.topk(min(BEST_LAYERS, len(gains))).indices.tolist())
    return layers
