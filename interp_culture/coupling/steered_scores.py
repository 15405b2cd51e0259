"""Scores of a model as functions of steering strengths: their slopes, their values, their KL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.coupling.closed_loop import Scores, Slopes, Strengths
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError, check_known
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.probing import predicted_runs, read_runs
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import Samples, means_by_axis
from interp_culture.steering.edits import steer
from interp_culture.steering.fluency import mean_kl
from interp_culture.steering.vectors import SteeringVectors

# From a table of `probe` and a seed: each coordinate's observed value, then its bootstrap draws.
ScoresOf = Callable[[pd.DataFrame, int], Mapping[str, Samples]]
# The largest change of P+ in the finite difference that turns gradients into slopes of scores.
SMALL = 1e-4


def axis_scores(readouts: pd.DataFrame, seed: int = 42) -> dict[str, Samples]:
    """The mean P+ of every axis: the observed one first, then those of a bootstrap by item.

    Args:
        readouts: a table of `probe`.

    >>> table = readouts[readouts.method == "plain"]
    >>> {axis: len(samples) for axis, samples in axis_scores(table).items()}
    {'X': 2001, 'Y': 2001}
    """
    axes = readouts["axis"].to_numpy(str)
    items = readouts["item"].to_numpy(str)
    means = means_by_axis(readouts.p_positive.to_numpy(float), axes, items, seed)
    # NumPy's own strings would show as such wherever the names are written.
    return {str(axis): samples for axis, samples in means.items()}


def target_distances(
    readouts: pd.DataFrame,
    target: Mapping[str, float],
    scores: ScoresOf = axis_scores,
    seed: int = 42,
) -> Samples:
    """The Euclidean distance from scores to a target, in units of the scores.

    Draws of the same scenarios and seed are paired, so that two readouts, such as that of a persona
    and that of steering, are compared by the difference of what this returns.

    Args:
        readouts: a table of `probe`.
        target: wanted score by coordinate; coordinates of `scores` that it lacks are free.
        scores: as for `align`.

    Returns:
        The observed distance first, then those of the bootstrap. A draw adds noise to the scores,
        so that near the target most draws are further away than the observed distance.

    Raises:
        InputError: a coordinate that the scores do not have.

    >>> table = readouts[readouts.method == "plain"]
    >>> here = {axis: samples[0] for axis, samples in axis_scores(table).items()}
    >>> float(target_distances(table, here)[0])
    0.0
    """
    samples = scores(readouts, seed)
    check_coordinates(target, samples)
    apart = [samples[coordinate] - wanted for coordinate, wanted in target.items()]
    return np.linalg.norm(apart, axis=0)


@dataclass(frozen=True)
class SteeredScores:
    """What the search measures, as functions of the strengths."""

    model: LanguageModel
    train: ScenarioSet
    vectors: Mapping[str, SteeringVectors]
    layers: Mapping[str, Sequence[int]]
    target: Mapping[str, float]
    scores: ScoresOf
    form: ReadoutFormat
    texts: Sequence[str]
    seed: int

    def edits(self, strengths: Strengths) -> list[Edit]:
        """The edits of all axes; none for strength 0."""
        edits = []
        for (axis, of_axis), alpha in zip(self.vectors.items(), strengths.tolist(), strict=True):
            if alpha:
                edits += steer(of_axis, self.layers[axis], alpha)
        return edits

    def scores_of(self, readouts: pd.DataFrame) -> Scores:
        samples = self.scores(readouts, self.seed)
        check_coordinates(self.target, samples)
        observed = np.array([samples[coordinate][0] for coordinate in self.target])
        if not np.isfinite(observed).all():
            raise InputError(
                "some scores are not finite numbers; load the model in float32 "
                "(load_model(..., dtype='float32')), or give a smaller budget"
            )
        return observed

    def measure(self, strengths: Strengths) -> Scores:
        runs = {"": self.edits(strengths)}
        return self.scores_of(read_runs(self.model, self.train, runs, readout=self.form))

    def measure_kl(self, strengths: Strengths) -> float:
        return mean_kl(self.model, {"": self.edits(strengths)}, self.texts)[""]

    def gains(self, plain: pd.DataFrame) -> Slopes:
        """The change of each score per unit of each strength, from one backward pass."""
        units = zip(self.vectors, np.eye(len(self.vectors)), strict=True)
        runs = {"": [], **{axis: self.edits(one) for axis, one in units}}
        table = predicted_runs(self.model, self.train, runs, readout=self.form)
        predicted = table.pivot(index="id", columns="run", values="logit_diff").loc[plain.id]
        p = plain.p_positive.to_numpy(float)
        slopes = [
            self._slope(plain, p * (1 - p) * (predicted[axis] - predicted[""]).to_numpy())
            for axis in self.vectors
        ]
        return np.stack(slopes, axis=1)

    def _slope(self, plain: pd.DataFrame, change: Float[np.ndarray, " scenario"]) -> Scores:
        """The derivative of the scores where P+ changes like this; exact for linear scores."""
        largest = np.abs(change).max()
        if not largest > 0:
            return np.full(len(self.target), largest)
        step = SMALL / largest
        up = self.scores_of(plain.assign(p_positive=plain.p_positive + step * change))
        down = self.scores_of(plain.assign(p_positive=plain.p_positive - step * change))
        return (up - down) / (2 * step)


def check_coordinates(target: Mapping[str, float], samples: Mapping[str, Samples]) -> None:
    for coordinate in target:
        check_known("coordinate of the target", coordinate, samples)
