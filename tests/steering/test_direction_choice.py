"""The choice of a direction: what is judged, by whom, at which norm and cost."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from planted import planted_model, planted_scenarios

import interp_culture as ic
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering import (
    Activations,
    Candidate,
    ReadoutGradients,
    TrainingReadings,
    best_candidate,
    cache_gradients,
    compare_directions,
    cross_fitted_effects,
    layer_costs,
    readout_gradients,
)
from interp_culture.steering.direction_choice import training_halves

GRADIENT = Candidate("gradient")
PAPER = Candidate()


@pytest.fixture(scope="module")
def planted() -> tuple[LanguageModel, ScenarioSet]:
    return planted_model(), planted_scenarios(4)


@pytest.fixture(scope="module")
def readings(planted: tuple[LanguageModel, ScenarioSet]) -> TrainingReadings:
    model, train = planted
    return TrainingReadings(
        train,
        {"last": ic.read_activations(model, train)},
        readout_gradients(model, train, "continuation"),
    )


def test_each_scenario_is_judged_under_the_vectors_of_the_other_half(
    planted: tuple[LanguageModel, ScenarioSet], readings: TrainingReadings
) -> None:
    """The reference is a measured central difference at a small step."""
    model, train = planted
    effects = cross_fitted_effects(readings, PAPER, seed=3)["X"]
    fitted, judged = training_halves(train, seed=3)
    vectors = ic.extract(model, fitted.filter(axis="X"))["X"]
    # Both halves have the norm of the whole training half.
    vectors = ic.steering.norm_matched(ic.extract(model, train)["X"], vectors)
    step = 1e-3
    ends = [
        ic.probe(model, judged, edits=ic.steer(vectors, [1], sign * step), readout="continuation")
        for sign in (1, -1)
    ]
    measured = (ends[0].p_positive - ends[1].p_positive) / (2 * step)
    row_of = {scenario.id: row for row, scenario in enumerate(train)}
    predicted = effects[[row_of[scenario.id] for scenario in judged], 1]
    np.testing.assert_allclose(predicted, measured, atol=2e-3, rtol=0.02)


def noise(n: int, d_model: int) -> TrainingReadings:
    """Gradients that scenarios do not share, so that none tells anything about another one."""
    train = planted_scenarios(n)
    torch.manual_seed(5)
    ids = tuple(scenario.id for scenario in train)
    gradient = torch.randn(len(ids), 2, d_model)
    ones = torch.ones(len(ids), 2, d_model)
    return TrainingReadings(
        train,
        {"last": Activations(ids, ones, torch.zeros_like(ones))},
        ReadoutGradients("continuation", ids, torch.zeros(len(ids)), gradient),
    )


def test_a_direction_gains_nothing_from_the_scenarios_that_it_is_fitted_to() -> None:
    readings = noise(10, 400)
    of_axis = readings.scenarios.filter(axis="X")
    rows = [readings.gradients.ids.index(s.id) for s in of_axis]  # type: ignore[union-attr]
    own = readings.direction(GRADIENT, of_axis).double()
    by_scenario = readings.gradients.gradient[rows].double() / 4  # type: ignore[union-attr]
    in_sample = float(torch.einsum("sld,ld->sl", by_scenario, own).mean())
    cross_fitted = cross_fitted_effects(readings, GRADIENT)["X"][rows].mean()
    assert in_sample > 0.5
    assert abs(cross_fitted) < in_sample / 5


def test_all_candidates_have_the_norms_of_the_paper(
    planted: tuple[LanguageModel, ScenarioSet], readings: TrainingReadings
) -> None:
    model, train = planted
    like = ic.extract(model, train)
    vectors = readings.vectors(GRADIENT, like)
    for axis, paper in like.items():
        torch.testing.assert_close(
            vectors[axis].direction.norm(dim=-1), paper.direction.norm(dim=-1)
        )
        assert vectors[axis].method == "gradient"
    same = readings.vectors(PAPER, like)
    torch.testing.assert_close(same["X"].direction, like["X"].direction)


def test_candidates_are_compared_at_equal_divergence(
    planted: tuple[LanguageModel, ScenarioSet], readings: TrainingReadings
) -> None:
    """On the planted model the gradient reads one coordinate; the texts' direction mixes two."""
    model, train = planted
    like = ic.extract(model, train)
    table = compare_directions(
        model, readings, like, candidates=(PAPER, GRADIENT), k=2, texts=["abcd" * 5]
    )
    assert table.kl.gt(0).all()
    np.testing.assert_allclose(table.per_root_kl, table.effect / np.sqrt(table.kl))
    by_method = table[table.steered == "X"].set_index("method").effect
    assert by_method.gradient > by_method.mean_diff > 0


def test_a_candidate_is_not_steered_at_a_dear_layer(
    planted: tuple[LanguageModel, ScenarioSet],
    readings: TrainingReadings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, train = planted
    like = ic.extract(model, train)
    compared = partial(
        compare_directions, model, readings, like, candidates=(GRADIENT,), k=1, texts=["abcd" * 5]
    )
    best = compared().set_index("steered").layers
    measured = layer_costs

    def dear_best(*args: Any) -> pd.DataFrame:
        costs = measured(*args)
        is_best = costs.layer.astype(str) == costs.steered.map(best)
        return costs.assign(kl=np.where(is_best, 1e6, costs.kl))

    monkeypatch.setattr("interp_culture.steering.direction_choice.layer_costs", dear_best)
    assert (compared().set_index("steered").layers != best).all()


def test_the_candidate_with_the_largest_mean_over_axes_wins() -> None:
    table = pd.DataFrame(
        {
            "method": ["mean_diff", "mean_diff", "gradient", "gradient"],
            "site": ["answer_mean", "answer_mean", "last", "last"],
            "per_root_kl": [0.9, -0.5, 0.3, 0.2],
        }
    )
    assert best_candidate(table) == GRADIENT


def test_stored_gradients_are_read_again_only_for_the_same_readout(
    planted: tuple[LanguageModel, ScenarioSet], tmp_path: object
) -> None:
    model, train = planted
    folder = f"{tmp_path}/gradients"
    stored = cache_gradients(model, train, folder, "continuation")
    fresh = readout_gradients(model, train, "continuation")
    torch.testing.assert_close(stored.gradient, fresh.gradient)
    some = train.filter(axis="X")
    again = cache_gradients(model, some, folder, "continuation")
    assert again.ids == tuple(scenario.id for scenario in some)
    torch.testing.assert_close(again.gradient, stored.select(again.ids).gradient)


def test_an_axis_with_one_scenario_has_no_halves() -> None:
    train = planted_scenarios(1)
    one_y = train.with_ids([s.id for s in train if s.axis == "X"] + ["Y1-0"])
    with pytest.raises(InputError, match="axis Y has fewer than two training scenarios"):
        training_halves(one_y)
