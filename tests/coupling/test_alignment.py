"""Target steering reaches what a model of known slopes can reach, and says why it stops elsewhere."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from planted import planted_model, planted_scenarios

import interp_culture as ic
from interp_culture.coupling import Alignment, axis_scores, gain_matrix, target_distances
from interp_culture.coupling.closed_loop import closed_loop
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering import SteeringVectors, readout_gradients

pytestmark = pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
LAYERS = {"X": [1, 2], "Y": [2]}
TEXTS = ["Water boils at 100 degrees.", "The train leaves at noon."]
KNOWN = {"X": 0.6, "Y": -0.8}

Split = tuple[ScenarioSet, ScenarioSet]
Vectors = dict[str, SteeringVectors]


@pytest.fixture(scope="module")
def planted() -> LanguageModel:
    return planted_model()


@pytest.fixture(scope="module")
def split() -> Split:
    return planted_scenarios(4).split(seed=0)


@pytest.fixture(scope="module")
def vectors(planted: LanguageModel, split: Split) -> Vectors:
    """Of a fifth of the usual length, so that strengths of about 1 stay far from saturation."""
    return {
        axis: replace(of_axis, direction=of_axis.direction / 5)
        for axis, of_axis in ic.extract(planted, split[0]).items()
    }


@pytest.fixture(scope="module")
def aligned(planted: LanguageModel, split: Split, vectors: Vectors) -> Any:
    """`align` with all but the target given."""
    return partial(
        ic.align, planted, *split, vectors, LAYERS,
        readout="continuation", texts=TEXTS, budget=50.0, tolerance=1e-4,
    )  # fmt: skip


def read(
    model: LanguageModel, scenarios: ScenarioSet, vectors: Vectors, alphas: dict[str, float]
) -> pd.DataFrame:
    edits = [e for axis, a in alphas.items() for e in ic.steer(vectors[axis], LAYERS[axis], a)]
    return ic.probe(model, scenarios, edits=edits, readout="continuation")


def means(table: pd.DataFrame) -> dict[str, float]:
    return table.groupby("axis").p_positive.mean().to_dict()


@pytest.fixture(scope="module")
def result(planted: LanguageModel, split: Split, vectors: Vectors, aligned: Any) -> Alignment:
    """Where the target is what known strengths give."""
    return aligned(means(read(planted, split[0], vectors, KNOWN)))


def test_known_strengths_are_found_again(result: Alignment) -> None:
    assert result.stopped == "target"
    assert result.alphas == pytest.approx(KNOWN, abs=2e-3)
    end = result.path.iloc[-1]
    assert end.distance <= 1e-4
    assert [end.alpha_X, end.alpha_Y] == list(result.alphas.values())
    # One Newton step by the gains alone does not get there.
    assert result.path.distance[1] > 1e-3
    kept = result.path[result.path.kept]
    assert kept.distance.is_monotonic_decreasing


def test_the_first_step_is_newtons_on_the_gain_matrix(
    planted: LanguageModel, split: Split, vectors: Vectors, result: Alignment
) -> None:
    train = split[0]
    unknown = {
        axis: replace(of_axis, provenance={}) for axis, of_axis in vectors.items()
    }  # so that gains of the training scenarios are not refused
    gradients = readout_gradients(planted, train, "continuation")
    gains = gain_matrix(gradients, train, unknown, layers=LAYERS)
    by_axis = gains.pivot(index="axis", columns="steered", values="gain").to_numpy()
    start = result.path.loc[0, ["score_X", "score_Y"]].to_numpy(float)
    step = np.linalg.solve(by_axis, np.array(list(result.target.values())) - start)
    first = result.path.loc[1, ["alpha_X", "alpha_Y"]].to_numpy(float)
    np.testing.assert_allclose(first, step, rtol=1e-3)


def test_held_out_distances_are_those_of_the_returned_edits(
    planted: LanguageModel, split: Split, vectors: Vectors, result: Alignment
) -> None:
    wanted = np.array([result.target["X"], result.target["Y"]])
    before, after = (
        ic.probe(planted, split[1], edits=edits, readout="continuation")
        for edits in ((), result.edits)
    )
    distances = [
        np.linalg.norm(np.array(list(means(table).values())) - wanted) for table in (before, after)
    ]
    assert result.before.value == pytest.approx(distances[0], abs=1e-6)
    assert result.after.value == pytest.approx(distances[1], abs=1e-6)
    assert result.change.value == pytest.approx(distances[1] - distances[0], abs=1e-6)
    assert result.change.low < result.change.value < result.change.high < 0
    pd.testing.assert_frame_equal(result.steered, after)
    paired = target_distances(after, result.target) - target_distances(before, result.target)
    assert result.change.low == pytest.approx(np.percentile(paired[1:], 2.5), abs=1e-6)


def test_sentences_and_scores_say_what_was_predicted_and_measured(result: Alignment) -> None:
    scores = result.scores.set_index("coordinate")
    np.testing.assert_allclose(scores.train_after, scores.target, atol=1e-4)
    # P+ saturates, so that the gains at strength 0 promise more than is measured.
    predicted = (scores.train_predicted - scores.train_before).abs()
    measured = (scores.train_after - scores.train_before).abs()
    assert (predicted > measured).any()
    words = str(result)
    assert words.startswith("The target is X 0.")
    assert "at layers 1, 2; Y -0.8" in words
    assert "measurements: the target was reached. On training scenarios the gains" in words


def test_a_model_at_its_target_is_not_steered(
    planted: LanguageModel, split: Split, vectors: Vectors, aligned: Any
) -> None:
    here = means(ic.probe(planted, split[0], readout="continuation"))
    still = aligned(here)
    assert still.alphas == {"X": 0.0, "Y": 0.0}
    assert (still.stopped, still.kl, still.edits, len(still.path)) == ("target", 0.0, (), 1)
    assert (still.change.value, still.change.low, still.change.high) == (0, 0, 0)


def test_the_budget_is_kept_and_used(planted: LanguageModel, aligned: Any) -> None:
    budget = 0.002
    limited = aligned({"X": 0.99, "Y": 0.01}, budget=budget)
    kl = ic.kl_on_neutral(planted, {"steered": list(limited.edits)}, TEXTS).kl.mean()
    assert limited.kl == pytest.approx(kl, rel=1e-6)
    assert 0.9 * budget < kl <= budget
    assert limited.stopped == "budget"
    assert (limited.path.kl <= budget).all()
    assert limited.path.limited.any()
    assert "a longer step would exceed the KL budget" in str(limited)
    # The search makes the most of the budget: it comes nearer.
    assert limited.path.distance.iloc[-1] < limited.path.distance[0]


def test_a_persona_is_read_before_and_after(
    planted: LanguageModel, split: Split, vectors: Vectors, aligned: Any
) -> None:
    form = ic.ReadoutFormat("continuation", system="You are a person living in Denmark.")
    hybrid = aligned({"X": 0.6, "Y": 0.4}, readout=form, max_steps=1)
    alone = ic.probe(planted, split[1], readout=form)
    pd.testing.assert_frame_equal(hybrid.plain, alone)
    after = ic.probe(planted, split[1], edits=hybrid.edits, readout=form)
    pd.testing.assert_frame_equal(hybrid.steered, after)


def test_other_scores_of_other_names_and_units(aligned: Any) -> None:
    """Coordinates that mix both axes, as those of the cultural map do."""

    def mixed(readouts: pd.DataFrame, seed: int) -> dict[str, np.ndarray]:
        samples = axis_scores(readouts, seed)
        return {
            "sum": 3 * samples["X"] + samples["Y"],
            "difference": samples["X"] - 2 * samples["Y"] - 5,
        }

    p_plus = {"X": 0.62, "Y": 0.45}
    by_axis = aligned(p_plus)
    mixture = aligned({"sum": 3 * 0.62 + 0.45, "difference": 0.62 - 2 * 0.45 - 5}, scores=mixed)
    assert by_axis.stopped == mixture.stopped == "target"
    assert mixture.alphas == pytest.approx(by_axis.alphas, abs=5e-3)
    assert list(mixture.scores.coordinate) == ["sum", "difference"]


def test_equal_seeds_give_equal_results_and_no_hook_stays(
    planted: LanguageModel, split: Split, result: Alignment, aligned: Any
) -> None:
    again = aligned(result.target)
    pd.testing.assert_frame_equal(again.path, result.path)
    assert (again.before, again.after, again.change) == (
        result.before, result.after, result.change,
    )  # fmt: skip
    other = aligned(result.target, seed=7)
    assert other.change.value == result.change.value
    assert other.change.high != result.change.high
    assert not planted.is_hooked
    plain = ic.probe(planted, split[1], readout="continuation")
    pd.testing.assert_frame_equal(plain, result.plain)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": {"X": 0.5, "Z": 0.5}}, "unknown axis of the target 'Z'; known: X, Y"),
        ({"target": {"X": 1.2, "Y": 0.5}}, "target of X is 1.2; give P\\+ from 0 to 1"),
        ({"target": {"X": float("nan"), "Y": 0.5}}, "target of X is nan; give a finite number"),
        ({"target": {"X": 0.5}}, "1 coordinates \\(X\\) and the vectors 2 axes \\(X, Y\\)"),
        ({"budget": 0.0}, "budget is 0.0; give a number above 0"),
        ({"budget": float("nan")}, "budget is nan"),
        ({"tolerance": -1.0}, "tolerance is -1.0"),
        ({"max_steps": 0}, "max_steps is 0"),
    ],
)
def test_what_has_no_answer_is_refused(aligned: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        aligned(**{"target": {"X": 0.6, "Y": 0.4}, **change})


def test_vectors_and_scenarios_that_do_not_fit_are_refused(
    planted: LanguageModel, split: Split, vectors: Vectors
) -> None:
    train, test = split
    both = {"X": 0.6, "Y": 0.4}
    run = partial(ic.align, planted, readout="continuation", texts=TEXTS)
    with pytest.raises(InputError, match="unknown axis of the target 'Y'; known: X"):
        run(train, test, {"X": vectors["X"]}, LAYERS, both)
    with pytest.raises(InputError, match="layers has none for axis Y"):
        run(train, test, vectors, {"X": [1]}, both)
    with pytest.raises(InputError, match="held-out scenarios are among those that the vectors"):
        run(test, train, vectors, LAYERS, both)
    unknown = {axis: replace(of_axis, provenance={}) for axis, of_axis in vectors.items()}
    with pytest.raises(InputError, match="that the strengths are fitted to"):
        run(train, train, unknown, LAYERS, both)
    same = {axis: replace(vectors["X"], axis=axis) for axis in "XY"}
    with pytest.raises(InputError, match="the axes cannot be told apart"):
        run(train, test, same, {"X": [1], "Y": [1]}, both)
    nothing = vectors | {"Y": replace(vectors["Y"], direction=torch.zeros(4, planted.d_model))}
    with pytest.raises(InputError, match="the axes cannot be told apart"):
        run(train, test, nothing, LAYERS, both)
    wrong = lambda readouts, seed: {name: np.full(3, np.nan) for name in "XY"}  # noqa: E731
    with pytest.raises(InputError, match="some scores are not finite numbers"):
        run(train, test, vectors, LAYERS, both, scores=wrong)
    with pytest.raises(InputError, match="unknown coordinate of the target 'x'; known: X, Y"):
        run(
            train, test, vectors, LAYERS, {"x": 0.1, "Y": 0.2},
            scores=lambda table, seed: dict(axis_scores(table, seed)),
        )  # fmt: skip


def quadratic(strengths: np.ndarray, *, weights: np.ndarray) -> float:
    return float(weights @ strengths**2)


def search(measure: Any, weights: list[float], target: list[float], **settings: Any) -> Any:
    n = len(weights)
    start = measure(np.zeros(n))
    slopes = np.stack([(measure(e) - measure(-e)) / 2e-6 for e in 1e-6 * np.eye(n)], axis=1)
    cost = partial(quadratic, weights=np.array(weights))
    options = {"budget": 1e9, "tolerance": 1e-6, "max_steps": 30} | settings
    return closed_loop(measure, cost, slopes, start, np.array(target), **options)


def test_a_step_that_goes_too_far_is_halved() -> None:
    """Where the slope grows, the first Newton step overshoots by far."""
    path, stop = search(np.sinh, [1.0, 1.0], [np.sinh(2.0), np.sinh(-1.5)])
    assert stop == "target"
    np.testing.assert_allclose(path[-1].strengths, [2.0, -1.5], atol=1e-5)
    assert not path[1].is_kept
    assert path[2].size == 0.5


def test_what_is_out_of_reach_is_said() -> None:
    path, stop = search(np.tanh, [1e-9, 1e-9], [0.3, 1.5])
    kept = [trial for trial in path if trial.is_kept]
    assert stop == "reach"
    assert kept[-1].distance == pytest.approx(0.5, abs=0.01)


def test_three_axes_within_a_budget_reach_the_best_that_it_allows() -> None:
    """Checked against a minimum under the constraint, found in another way."""
    from scipy.optimize import minimize

    slopes = np.array([[1.0, 0.2, 0.0], [0.1, 0.5, 0.3], [0.0, 0.0, 0.1]])
    weights, target, budget = [1.0, 4.0, 0.5], np.array([0.8, -0.6, 1.0]), 1.0
    path, stop = search(lambda a: slopes @ a, weights, target.tolist(), budget=budget)
    best = minimize(
        lambda a: ((slopes @ a - target) ** 2).sum(), np.zeros(3), tol=1e-12,
        constraints={"type": "ineq", "fun": lambda a: budget - weights @ a**2},
    )  # fmt: skip
    assert stop == "budget"
    assert path[-1].kl <= budget
    assert path[-1].distance == pytest.approx(np.sqrt(best.fun), rel=0.02)


def test_a_model_that_overflows_stays_within_the_budget() -> None:
    def cost(strengths: np.ndarray) -> float:
        size = float(np.linalg.norm(strengths))
        return size**2 if size < 2 else np.nan

    path, stop = closed_loop(
        lambda a: 0.01 * a, cost, 0.01 * np.eye(2), np.zeros(2), np.ones(2),
        budget=1.5, tolerance=0.01, max_steps=5,
    )  # fmt: skip
    assert stop == "budget"
    assert 0.9 * 1.5 < path[-1].kl <= 1.5


@pytest.mark.parametrize("power", [1, 2, 6])
def test_the_budget_holds_however_kl_grows(power: int) -> None:
    path, stop = closed_loop(
        lambda a: 0.01 * a, lambda a: float(np.linalg.norm(a) ** power), 0.01 * np.eye(2),
        np.zeros(2), np.ones(2), budget=1.5, tolerance=0.01, max_steps=5,
    )  # fmt: skip
    assert stop == "budget"
    assert 0.9 * 1.5 < path[-1].kl <= 1.5


def test_costs_and_gains_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="the KL of strength 1 is not a finite number"):
        closed_loop(
            lambda a: a, lambda a: np.inf, np.eye(1), np.zeros(1), np.ones(1),
            budget=1.0, tolerance=0.01, max_steps=5,
        )  # fmt: skip
    with pytest.raises(InputError, match="some gains are not finite numbers"):
        closed_loop(
            lambda a: a, lambda a: 0.0, np.full((1, 1), np.nan), np.zeros(1), np.ones(1),
            budget=1.0, tolerance=0.01, max_steps=5,
        )  # fmt: skip
