"""Target steering: strengths that bring a model's scores nearest to a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import pandas as pd

from interp_culture.coupling.closed_loop import Slopes, Stop, Trial, closed_loop
from interp_culture.coupling.steered import check_axes
from interp_culture.coupling.steered_scores import (
    ScoresOf,
    SteeredScores,
    axis_scores,
    target_distances,
)
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError, check_known
from interp_culture.notebook import as_html
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format
from interp_culture.readout.probing import read_runs
from interp_culture.readout.validity import resolve_format
from interp_culture.scenarios.neutral import neutral_beginnings
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import Estimate
from interp_culture.steering.vectors import SteeringVectors, check_held_out

N_NEUTRAL = 6
WHY = {
    "target": "the target was reached",
    "budget": "a longer step would exceed the KL budget",
    "reach": "no further step within the budget brought the scores nearer",
    "steps": "the allowed number of measurements was used up",
}


@dataclass(frozen=True)
class Alignment:
    """Strengths found on training scenarios, and their effect on held-out ones.

    `str()` of it says so in sentences.

    Attributes:
        target: wanted score by coordinate.
        alphas: the strength of each axis.
        layers: by axis, those that are steered together.
        edits: of all axes together, for `probe` and `generate`.
        path: a row for each measurement on training scenarios: step, size (the share of the way to
            the target that the step aimed at), alpha_AXIS for each axis, score_COORDINATE for each
            coordinate, distance, kl (nats per token), limited (whether the budget shortened the
            step) and kept (whether the search went on from there).
        stopped: "target", "budget", "reach" or "steps", see `closed_loop`.
        kl: KL(plain || steered) on neutral text, nats per token.
        budget: the largest KL allowed.
        scores: a row for each coordinate: coordinate, target, train_before, train_predicted (from
            the gains at strength 0), train_after, test_before and test_after.
        before, after: the distance to the target on held-out scenarios, with 95% intervals.
        change: after minus before, paired by scenario; below 0 is nearer.
        plain, steered: the held-out tables of `probe`.
    """

    target: Mapping[str, float]
    alphas: Mapping[str, float]
    layers: Mapping[str, Sequence[int]]
    edits: tuple[Edit, ...]
    path: pd.DataFrame
    stopped: Stop
    kl: float
    budget: float
    scores: pd.DataFrame
    before: Estimate
    after: Estimate
    change: Estimate
    plain: pd.DataFrame
    steered: pd.DataFrame

    def _repr_html_(self) -> str:
        return as_html(str(self), scores=self.scores, path=self.path)

    def __str__(self) -> str:
        table = self.scores.set_index("coordinate")
        strengths = [
            f"{axis} {alpha:+.3f} at layers {', '.join(map(str, self.layers[axis]))}"
            for axis, alpha in self.alphas.items()
        ]
        return (
            f"The target is {_named(table.target)}. The strengths are {'; '.join(strengths)}. "
            f"On held-out scenarios the scores go from {_named(table.test_before)} to "
            f"{_named(table.test_after)}. The distance to the target is {self.before} before and "
            f"{self.after} after; it changes by {self.change}. The cost is a KL of {self.kl:.4f} "
            f"nats per token on neutral text (budget {self.budget:g}). The search stopped after "
            f"{len(self.path) - 1} measurements: {WHY[self.stopped]}. On training scenarios the "
            f"gains predict {_named(table.train_predicted)} at these strengths, and the "
            f"measurement gives {_named(table.train_after)}."
        )


def align(
    model: LanguageModel,
    train: ScenarioSet,
    test: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, Sequence[int]],
    target: Mapping[str, float],
    *,
    budget: float = 0.1,
    scores: ScoresOf = axis_scores,
    readout: Readout | ReadoutFormat = "letters",
    texts: Sequence[str] | None = None,
    tolerance: float = 0.01,
    max_steps: int = 8,
    seed: int = 42,
) -> Alignment:
    """The strengths, one for each axis, that bring the model's scores nearest to a target.

    All axes are steered together. The first step solves `G' alpha = target - scores` with the gain
    matrix G of the training scenarios (see `gain_matrix`). Every step is then measured, see
    `closed_loop`. The strengths found are judged on held-out scenarios, which the search never
    reads. A strength above 0 steers toward the positive pole.

    Args:
        train: the scenarios that the strengths are fitted to. Gradient vectors move the scenarios
            that they come from further than others, so that strengths fitted on these are too
            small; split the training scenarios once more for these.
        test: held-out scenarios.
        vectors: by axis, of as many axes as the target has coordinates.
        layers: those that are steered together, by axis.
        target: wanted score by coordinate: by default the mean P+ (0 to 1) by axis.
        budget: the largest KL(plain || steered) on neutral text, nats per token. A persona is no
            part of it: neutral text is read without a system message.
        scores: the coordinates that a table of `probe` has, in the units of the target: from a
            table and a seed, each coordinate's observed value and then its bootstrap draws. By
            default `axis_scores`; `survey.map_scores` for a position on the cultural map.
        readout: a name or a `ReadoutFormat`. With a persona as its system message, "before" is the
            persona alone, and "after" is the persona with steering.
        texts: those on which the KL is measured; by default the beginnings of six neutral texts,
            since each step needs several measurements.
        tolerance: a distance on the training scenarios at which the target counts as reached, in
            units of the scores.
        max_steps: measurements of the training scenarios under steering.
        seed: of the bootstrap.

    Raises:
        InputError: a target that is not a number for each axis, out of range or of an unknown
            coordinate; an axis without vectors or layers; a budget, tolerance or number of steps
            that is not above 0; axes that cannot be told apart; numbers that are not finite; held-
            out scenarios from which a vector comes or that the strengths are fitted to.

    >>> few_train, few_test = train.sample(1, by="item"), test.sample(1, by="item")
    >>> result = ic.align(
    ...     model, few_train, few_test, vectors, layers, {"X": 0.6, "Y": 0.4}, budget=0.05,
    ...     max_steps=2, readout="continuation", texts=["Water boils at 100 degrees."],
    ... )
    >>> result.kl <= result.budget
    True
    >>> list(result.path)
    ['step', 'size', 'alpha_X', 'alpha_Y', 'score_X', 'score_Y', 'distance', 'kl', 'limited',
     'kept']
    >>> print(str(result)[:36])
    The target is X 0.600 and Y 0.400. T
    """
    _check_numbers(budget, tolerance, max_steps)
    check_axes(vectors, layers)
    _check_target(target, vectors, scores)
    _check_apart(train, test, vectors)
    form = resolve_format(model, as_format(readout))
    texts = neutral_beginnings(N_NEUTRAL) if texts is None else texts
    steering = SteeredScores(model, train, vectors, layers, target, scores, form, texts, seed)
    plain = read_runs(model, train, {"": ()}, readout=form)
    gains = steering.gains(plain)
    path, stopped = closed_loop(
        steering.measure,
        steering.measure_kl,
        gains,
        steering.scores_of(plain),
        np.array(list(target.values()), dtype=float),
        budget=budget,
        tolerance=tolerance,
        max_steps=max_steps,
    )
    return _judged(steering, test, path, stopped, gains, budget)


def _judged(
    steering: SteeredScores,
    test: ScenarioSet,
    path: Sequence[Trial],
    stopped: Stop,
    gains: Slopes,
    budget: float,
) -> Alignment:
    """The strengths of the last trial that was kept, read on held-out scenarios."""
    end = [trial for trial in path if trial.is_kept][-1]
    edits = steering.edits(end.strengths)
    runs = {"plain": [], "steered": edits}
    table = read_runs(steering.model, test, runs, readout=steering.form)
    plain, steered = (
        table[table.run == run].drop(columns="run").reset_index(drop=True) for run in runs
    )
    distances = [
        target_distances(readouts, steering.target, steering.scores, steering.seed)
        for readouts in (plain, steered)
    ]
    scores = {
        "coordinate": list(steering.target),
        "target": list(steering.target.values()),
        "train_before": path[0].scores,
        "train_predicted": path[0].scores + gains @ end.strengths,
        "train_after": end.scores,
        "test_before": steering.scores_of(plain),
        "test_after": steering.scores_of(steered),
    }
    return Alignment(
        target=dict(steering.target),
        alphas=dict(zip(steering.vectors, end.strengths.tolist(), strict=True)),
        layers={axis: list(steering.layers[axis]) for axis in steering.vectors},
        edits=tuple(edits),
        path=_path_table(path, list(steering.vectors), list(steering.target)),
        stopped=stopped,
        kl=end.kl,
        budget=budget,
        scores=pd.DataFrame(scores),
        before=Estimate.of_samples(distances[0]),
        after=Estimate.of_samples(distances[1]),
        change=Estimate.of_samples(distances[1] - distances[0]),
        plain=plain,
        steered=steered,
    )


def _path_table(
    path: Sequence[Trial], axes: Sequence[str], coordinates: Sequence[str]
) -> pd.DataFrame:
    rows = []
    for step, trial in enumerate(path):
        row = {"step": step, "size": trial.size}
        row |= {f"alpha_{axis}": x for axis, x in zip(axes, trial.strengths, strict=True)}
        row |= {f"score_{name}": x for name, x in zip(coordinates, trial.scores, strict=True)}
        row |= {"distance": trial.distance, "kl": trial.kl}
        rows.append(row | {"limited": trial.is_limited, "kept": trial.is_kept})
    return pd.DataFrame(rows)


def _check_numbers(budget: float, tolerance: float, max_steps: int) -> None:
    for name, value in {"budget": budget, "tolerance": tolerance, "max_steps": max_steps}.items():
        if not 0 < value < np.inf:
            raise InputError(f"{name} is {value}; give a number above 0")


def _check_target(
    target: Mapping[str, float], vectors: Mapping[str, SteeringVectors], scores: ScoresOf
) -> None:
    if not isinstance(target, Mapping):
        raise InputError(
            f"target is a {type(target).__name__}; give the wanted scores by coordinate, such as "
            "{'X': 0.7, 'Y': 0.4}"
        )
    for coordinate, wanted in target.items():
        if not isinstance(wanted, Real) or not np.isfinite(wanted):
            raise InputError(f"target of {coordinate} is {wanted!r}; give a finite number")
        # Other scores than P+ have ranges of their own.
        if scores is axis_scores:
            check_known("axis of the target", coordinate, vectors)
            if not 0 <= wanted <= 1:
                raise InputError(f"target of {coordinate} is {wanted:g}; give P+ from 0 to 1")
    if not target or len(target) != len(vectors):
        raise InputError(
            f"the target has {len(target)} coordinates ({', '.join(target)}) and the vectors "
            f"{len(vectors)} axes ({', '.join(vectors)}); give as many of both"
        )


def _check_apart(
    train: ScenarioSet, test: ScenarioSet, vectors: Mapping[str, SteeringVectors]
) -> None:
    for of_axis in vectors.values():
        check_held_out(of_axis, test)
    if shared := set(train.fingerprints) & set(test.fingerprints):
        raise InputError(
            f"{len(shared)} of the {len(test)} held-out scenarios are among those that the "
            "strengths are fitted to; give the two parts of one split"
        )


def _named(values: pd.Series) -> str:
    return " and ".join(f"{coordinate} {value:.3f}" for coordinate, value in values.items())
