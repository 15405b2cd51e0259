"""Optimised vectors: trained to move a readout as far as vectors of a given norm can.

They are no hypothesis about how a model holds a value. They are the yardstick for the directions
that are: the largest effect that was found for the same norm, layers and tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from interp_culture.engine.gradients import stream_gradients
from interp_culture.engine.interventions import Edit, Positions
from interp_culture.engine.logprobs import Score, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import TokenSequence
from interp_culture.errors import InputError
from interp_culture.readout.choices import Values
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format
from interp_culture.readout.probing import logit_diff_score
from interp_culture.readout.validity import warn_of
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.directions import with_norm

Vectors = Float[Tensor, "trained d_model"]


@dataclass(frozen=True)
class Training:
    """The settings of `optimise`.

    Attributes:
        alpha: the strength at which vectors are trained. Their norm at alpha 1 is given, so that
            the step has `alpha` times this norm.
        epochs: the largest number of passes over the fitting scenarios.
        batch: scenarios a step.
        step: length of an Adam step relative to the vector.
        validation: share of the training scenarios that are not fitted, but decide when to stop.
        patience: epochs without a better validation effect, after which training stops.

    Raises:
        InputError: a number that is out of range.

    >>> Training(alpha=2.0).epochs
    8
    """

    alpha: float = 1.0
    epochs: int = 8
    batch: int = 8
    step: float = 0.1
    validation: float = 0.2
    patience: int = 2

    def __post_init__(self) -> None:
        above_zero = ("alpha", "epochs", "batch", "step", "validation", "patience")
        if faulty := [name for name in above_zero if not getattr(self, name) > 0]:
            raise InputError(f"field {faulty[0]!r} is {getattr(self, faulty[0])}; give above 0")
        if self.validation > 0.5:
            raise InputError(f"field 'validation' is {self.validation:g}; give at most 0.5")


DEFAULT_TRAINING = Training()


@dataclass(frozen=True)
class Optimised:
    """Trained vectors and how the training went.

    Attributes:
        direction: one row a layer; 0 at layers that were not trained.
        validation: the effect on the validation scenarios before training and after each epoch:
            half the difference of the mean logit differences at `alpha` and at `-alpha`, nats.
        steps: Adam steps up to the best epoch, whose vectors these are.
    """

    direction: Float[Tensor, "layer d_model"]
    validation: list[float]
    steps: int


@dataclass(frozen=True)
class _Task:
    """The readout of an axis' scenarios, and the vectors that are trained to move it."""

    model: LanguageModel
    groups: list[list[TokenSequence]]
    score: Score
    weights: Values
    layers: list[int]
    positions: Positions
    alpha: float

    def edits(self, vectors: Vectors, sign: int) -> list[Edit]:
        return [
            Edit(layer, vector, sign * self.alpha, positions=self.positions)
            for layer, vector in zip(self.layers, vectors, strict=True)
        ]

    def gradient(self, rows: Sequence[int], edits: Sequence[Edit]) -> Vectors:
        """Of the mean logit difference with respect to each layer's step, under edits."""
        # The output of block l is stream l + 1.
        streams = [layer + 1 for layer in self.layers]
        by_stream = stream_gradients(
            self.model,
            [self.groups[row] for row in rows],
            self.score,
            self.weights[list(rows)],
            streams,
            positions=self.positions,
            edits=edits,
        )
        means = np.stack([by_stream.gradient[stream].mean(0) for stream in streams])
        return torch.from_numpy(means).float()

    def effect(self, rows: Sequence[int], vectors: Vectors) -> float:
        """Half the change of the mean logit difference from -alpha to alpha."""
        runs = {sign: self.edits(vectors, sign) for sign in (1, -1)}
        groups = [self.groups[row] for row in rows]
        values = score_runs(self.model, groups, runs, self.score)
        change = (values[1] - values[-1]) * self.weights[list(rows)]
        return float(change.sum((1, 2)).mean() / 2)


def optimise(
    model: LanguageModel,
    scenarios: ScenarioSet,
    readout: Readout | ReadoutFormat,
    layers: Sequence[int],
    norms: Float[Tensor, "layer d_model"],
    *,
    positions: Positions = "all",
    training: Training = DEFAULT_TRAINING,
    seed: int = 42,
) -> Optimised:
    """One vector for each of `layers`, trained together to raise the readout's logit difference.

    Training starts at the readout's gradient without edits. Each step reads a minibatch of
    scenarios under all vectors, at alpha and at -alpha in turn, so that only what changes sign with
    the vectors is trained. After every step of Adam each vector is scaled back to its norm. The
    vectors of the epoch with the largest effect on the validation scenarios are kept; the start
    counts as an epoch.

    Args:
        scenarios: of one axis; a share of them decides when to stop, and is not fitted.
        layers: the blocks after which vectors are added.
        norms: vectors of every layer, such as the mean differences, whose norms these get.
        positions: the tokens at which the vectors are added.
        seed: of the validation scenarios and the minibatches.

    Returns:
        The vectors with their validation curve. They have no meaning at other layers, norms and
        positions.

    Raises:
        InputError: fewer than two scenarios, or layers that do not exist.

    >>> of_axis = train.filter(axis="X")
    >>> brief = Training(epochs=1)
    >>> norms = vectors["X"].direction
    >>> optimised = optimise(model, of_axis, "continuation", [1, 2], norms, training=brief)
    >>> optimised.direction.norm(dim=-1).gt(0).tolist(), len(optimised.validation)
    ([False, True, True, False], 2)
    """
    form = as_format(readout)
    warn_of(model, form)
    trained = sorted(set(layers))
    _check(model, scenarios, trained)
    task = _Task(
        model, *logit_diff_score(model, scenarios, form), trained, positions, training.alpha
    )
    fitted, held_back = _split(scenarios, training.validation, seed)
    like = norms[trained]
    start = with_norm(task.gradient(fitted, ()), like)
    best = start
    curve = [task.effect(held_back, start)]
    steps = 0
    for epoch, vectors in enumerate(_epochs(task, fitted, start, like, training, seed), start=1):
        curve.append(task.effect(held_back, vectors))
        if curve[-1] == max(curve):
            best = vectors
            steps = epoch * -(-len(fitted) // training.batch)
        if epoch - int(np.argmax(curve)) >= training.patience:
            break
    direction = torch.zeros_like(norms)
    direction[trained] = best
    return Optimised(direction, curve, steps)


def _epochs(
    task: _Task,
    fitted: Sequence[int],
    start: Vectors,
    like: Vectors,
    training: Training,
    seed: int,
) -> Iterator[Vectors]:
    """The vectors after each epoch of Adam."""
    unit = torch.nn.Parameter(torch.nn.functional.normalize(start, dim=-1))
    # Adam moves every coordinate by about its rate.
    adam = torch.optim.Adam([unit], lr=training.step / unit.shape[-1] ** 0.5)
    order = np.random.default_rng(seed)
    sign = 1
    for _ in tqdm(range(training.epochs), desc="training", unit="epoch", delay=1):
        shuffled = order.permutation(fitted)
        for first in range(0, len(shuffled), training.batch):
            vectors = with_norm(unit.detach(), like)
            rows = [int(row) for row in shuffled[first : first + training.batch]]
            # The derivative of the effect has no sign, since the strength has it too.
            unit.grad = -task.gradient(rows, task.edits(vectors, sign))
            adam.step()
            with torch.no_grad():
                unit.copy_(torch.nn.functional.normalize(unit, dim=-1))
            sign = -sign
        yield with_norm(unit.detach(), like)


def _split(scenarios: ScenarioSet, share: float, seed: int) -> tuple[list[int], list[int]]:
    """The rows to fit and the rows to validate on, of all items alike."""
    frame = scenarios.frame()
    shuffled = frame.sample(frac=1, random_state=seed).sort_values("item", kind="stable")
    every = round(1 / share)
    held_back = shuffled.index[every - 1 :: every] if len(frame) >= every else shuffled.index[:1]
    fitted = frame.index.difference(held_back)
    return fitted.tolist(), sorted(held_back.tolist())


def _check(model: LanguageModel, scenarios: ScenarioSet, layers: Sequence[int]) -> None:
    if len(scenarios) < 2:
        raise InputError(
            f"method 'optimised' takes 2 or more scenarios of an axis, not {len(scenarios)}: one "
            "is held back to decide when to stop"
        )
    if not layers:
        raise InputError("layers is empty; give the blocks whose vectors are trained together")
    for layer in layers:
        model.check_place(layer, "hook_resid_post")
