"""A search in a closed loop: propose strengths by slopes, measure, correct the slopes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from interp_culture.coupling.decoupling import WORST_CONDITION
from interp_culture.errors import InputError

Stop = Literal["target", "budget", "reach", "steps"]
Strengths = Float[np.ndarray, " steered"]
Scores = Float[np.ndarray, " coordinate"]
Slopes = Float[np.ndarray, "coordinate steered"]

# A step counts if the distance falls by this share; smaller falls cost a reading each for nothing.
LEAST_FALL = 0.01
# The shortest share of a step that the line search tries.
LEAST_SIZE = 1 / 8
# A proposal that the budget limits uses at least this share of it, after so many measurements.
LEAST_USED = 0.95
KL_MEASUREMENTS = 16
# The KL that counts as the smallest, since rounding may give 0 or less.
LEAST_KL = 1e-9


@dataclass(frozen=True, eq=False)
class Trial:
    """One measurement of the search.

    Attributes:
        size: the share of the way to the target that the step aimed at; 0 at the start.
        strengths: one for each steered axis.
        scores: measured.
        distance: Euclidean, from the scores to the target.
        kl: of these strengths, nats per token.
        is_limited: whether the budget shortened the step.
        is_kept: whether the search went on from here.
    """

    size: float
    strengths: Strengths
    scores: Scores
    distance: float
    kl: float
    is_limited: bool
    is_kept: bool


def closed_loop(
    measure: Callable[[Strengths], Scores],
    measure_kl: Callable[[Strengths], float],
    slopes: Slopes,
    start: Scores,
    target: Scores,
    *,
    budget: float,
    tolerance: float,
    max_steps: int,
) -> tuple[list[Trial], Stop]:
    """Strengths that bring measured scores near a target, within a budget of KL.

    Each step takes the scores as linear, `s + J (a - a_k)`, and aims at the target (Newton). If
    the KL of this is above the budget, the strengths are scaled back, see `_within_budget`. A step
    that does not bring the scores nearer is halved. After one that does, J is corrected by what was
    measured (Broyden): `J + (ds - J da) da' / (da' da)`.

    Args:
        measure, measure_kl: the scores and the KL at some strengths.
        slopes: J at strength 0, change of each score per unit of each strength.
        start: the scores at strength 0.

    Returns:
        All trials, the start first, and why the search stopped: "target" (within the tolerance),
        "budget" (the next step costs too much), "reach" (no step within the budget brings the
        scores nearer) or "steps" (as many measurements as allowed).

    Raises:
        InputError: slopes that do not tell the strengths apart, or numbers that are not finite.

    >>> double = lambda strengths: 2 * strengths
    >>> path, stop = closed_loop(
    ...     double, lambda strengths: float(strengths @ strengths), np.eye(1), np.zeros(1),
    ...     np.ones(1), budget=1.0, tolerance=0.01, max_steps=8,
    ... )
    >>> [trial.strengths.tolist() for trial in path], stop
    ([[0.0], [1.0], [0.5]], 'target')
    """
    _check_slopes(slopes)
    nothing = np.zeros(slopes.shape[1])
    here = Trial(0.0, nothing, start, _distance(start, target), 0.0, False, True)
    path = [here]
    size = 1.0
    is_limited = False
    units: Strengths | None = None
    while here.distance > tolerance and len(path) <= max_steps and size >= LEAST_SIZE:
        # Not before the loop: a model that is at its target needs no KL.
        units = _units_of_kl(measure_kl, len(nothing)) if units is None else units
        aim = slopes @ here.strengths + size * (target - here.scores)
        strengths, kl = _within_budget(measure_kl, slopes, aim, units, budget)
        shortened = not np.allclose(slopes @ strengths, aim)
        if size == 1:
            is_limited = shortened
        if shortened and _is_same(strengths, here.strengths):
            break
        scores = measure(strengths)
        distance = _distance(scores, target)
        is_nearer = distance < (1 - LEAST_FALL) * here.distance
        trial = Trial(size, strengths, scores, distance, kl, shortened, is_nearer)
        path.append(trial)
        if is_nearer:
            slopes = _corrected(slopes, strengths - here.strengths, scores - here.scores)
            here = trial
            size = 1.0
        else:
            size /= 2
    return path, _stop(here, is_limited, tolerance, len(path) > max_steps)


def _stop(here: Trial, is_limited: bool, tolerance: float, is_last: bool) -> Stop:
    if here.distance <= tolerance:
        return "target"
    if is_limited:
        return "budget"
    return "steps" if is_last else "reach"


def _within_budget(
    measure_kl: Callable[[Strengths], float],
    slopes: Slopes,
    aim: Scores,
    units: Strengths,
    budget: float,
) -> tuple[Strengths, float]:
    """The strengths with `slopes @ strengths = aim` and their KL, scaled back to the budget.

    Scaled back are the strengths that come nearest to the aim among those of the same cost, not all
    by one factor: an axis that costs much KL and moves little gives way first.
    """
    strengths = np.linalg.solve(slopes, aim)
    kl = measure_kl(strengths)
    if kl <= budget:
        return strengths, kl
    best = np.zeros_like(strengths), 0.0
    low, radius = 0.0, float(np.linalg.norm(units * strengths))
    high = radius
    for _ in range(KL_MEASUREMENTS):
        # KL is about quadratic, so that its root is about proportional to the radius.
        guess = radius * np.sqrt((1 + LEAST_USED) / 2 * budget / max(kl, LEAST_KL))
        radius = guess if low < guess < high else (low + high) / 2
        strengths = _nearest_at(slopes / units, aim, radius) / units
        kl = measure_kl(strengths)
        # NaN, of a model that overflows, is above any budget.
        if not kl <= budget:
            high = radius
            continue
        low = radius
        best = strengths, kl
        if kl >= LEAST_USED * budget:
            break
    return best


def _nearest_at(slopes: Slopes, aim: Scores, radius: float) -> Strengths:
    """The vector a of this length for which `slopes @ a` is nearest to the aim.

    It is `(S'S + w I)^-1 S' aim`, with w >= 0 chosen so that the length is the radius.
    """
    from scipy.optimize import brentq

    left, values, right = np.linalg.svd(slopes, full_matrices=False)
    along = values * (left.T @ aim)

    def excess(weight: float) -> float:
        return float(np.linalg.norm(along / (values**2 + weight)) - radius)

    largest = float(np.linalg.norm(along)) / radius
    if excess(0.0) <= 0:
        return right.T @ (along / values**2)
    weight = brentq(excess, 0.0, largest, xtol=1e-12 * largest)
    return right.T @ (along / (values**2 + weight))


def _units_of_kl(measure_kl: Callable[[Strengths], float], n: int) -> Strengths:
    """The root of the KL of strength 1, by axis: |units * strengths| is about the root of KL."""
    kls = np.array([measure_kl(one) for one in np.eye(n)])
    if not np.isfinite(kls).all():
        raise InputError(
            "the KL of strength 1 is not a finite number; give shorter vectors, or load the model "
            "in float32"
        )
    return np.sqrt(np.maximum(kls, LEAST_KL))


def _corrected(slopes: Slopes, change: Strengths, effect: Scores) -> Slopes:
    """Broyden's update; the slopes as they were where it would make them singular."""
    updated = slopes + np.outer(effect - slopes @ change, change) / (change @ change)
    return updated if np.linalg.cond(updated) < WORST_CONDITION else slopes


def _check_slopes(slopes: Slopes) -> None:
    if not np.isfinite(slopes).all():
        raise InputError(
            "some gains are not finite numbers; compute them in float32 (load_model(..., "
            "dtype='float32'))"
        )
    condition = np.linalg.cond(slopes)
    if not condition < WORST_CONDITION:
        raise InputError(
            "the axes cannot be told apart: the gain matrix has the condition number "
            f"{condition:.2g}; leave out an axis, or give other vectors or layers"
        )


def _distance(scores: Scores, target: Scores) -> float:
    return float(np.linalg.norm(scores - target))


def _is_same(one: Strengths, other: Strengths) -> bool:
    """Whether the budget leaves no step to take."""
    return bool(np.linalg.norm(one - other) <= LEAST_FALL * np.linalg.norm(other))
