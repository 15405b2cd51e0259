"""The cost of a layer, and layers that are left out because they cost much for what they move."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import interp_culture as ic
from interp_culture.engine.model import LanguageModel
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering import choice_overlap, choice_stability, layer_costs, top_layers
from interp_culture.steering.layer_choice import dear_layers, largest


def test_a_dear_layer_is_chosen_last() -> None:
    """Layer 3 moves furthest, for a hundred times the KL of the others; layer 4 has no cost."""
    layers = [0, 1, 2, 3, 4]
    shifts = [0.10, 0.12, 0.14, 0.20, 0.30]
    sweep = pd.DataFrame(
        {
            "steered": "X",
            "axis": "X",
            "method": "exact",
            "item": "X01",
            "id": np.repeat(["a", "b"], 5),
            "layer": layers * 2,
            "alpha": 1.0,
            "shift": shifts * 2,
            "differential": shifts * 2,
        }
    )
    # Another axis has another cost at the same layer.
    costs = pd.DataFrame(
        {
            "steered": ["X", "X", "X", "X", "Y"],
            "layer": [0, 1, 2, 3, 2],
            "kl": [0.001, 0.001, 0.001, 0.1, 9.0],
        }
    )
    assert top_layers(sweep, "X", 2, "effect") == [3, 4]
    assert top_layers(sweep, "X", 2, "effect", costs) == [1, 2]
    assert top_layers(sweep, "X", 4, "effect", costs) == [0, 1, 2, 4]
    stability = choice_stability(sweep, 2, by="effect", costs=costs)
    assert stability.layer[stability.chosen].tolist() == [1, 2]
    overlap = choice_overlap(sweep, 2, 3, by="effect", costs=costs)
    assert (overlap.overlap == 2).all()
    # Two of the three layers that are not dear.
    assert overlap.chance.unique() == [4 / 3]


def test_no_layer_is_dear_where_none_moves_toward_the_pole() -> None:
    """Per root KL, the layers that move least the wrong way at a high cost would look best."""
    means = pd.Series([-0.01, -0.01, -0.02, -0.015])
    kl = pd.Series([0.01, 0.01, 1.0, 1.0])
    assert dear_layers(means, kl) == []
    assert largest(means, 2, kl) == [0, 1]


def test_the_cost_of_a_layer_is_the_kl_of_steering_it_alone(
    tiny: LanguageModel, few: ScenarioSet
) -> None:
    vectors = ic.extract(tiny, few)
    texts = ["abcd" * 5, "dcba"]
    costs = layer_costs(tiny, vectors, {"X": [0, 2], "Y": [1]}, texts)
    for row in costs.itertuples():
        edits = ic.steer(vectors[row.steered], [row.layer], 1.0)
        alone = ic.kl_on_neutral(tiny, {"": edits}, texts).kl.mean()
        assert row.kl == pytest.approx(alone, rel=1e-4)
