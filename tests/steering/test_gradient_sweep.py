"""A sweep from stored gradients is the predicted sweep, without a pass of the model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.extraction import extract
from interp_culture.steering.gradient_sweep import gradient_sweep
from interp_culture.steering.layer_choice import choice_stability, top_layers
from interp_culture.steering.readout_gradients import readout_gradients
from interp_culture.steering.sweep import layer_sweep

ALPHAS = [0.5, -0.5]


@pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
@pytest.mark.parametrize("readout", ["letters", "continuation"])
def test_it_is_the_predicted_sweep(tiny: LanguageModel, few: ScenarioSet, readout: str) -> None:
    form = ReadoutFormat(readout, prefix="" if readout == "letters" else None)  # type: ignore[arg-type]
    vectors = extract(tiny, few)
    read = layer_sweep(tiny, few, vectors, alpha=ALPHAS, readout=form, method="gradient")
    stored = gradient_sweep(readout_gradients(tiny, few, form), few, vectors, ALPHAS)
    keys = ["steered", "layer", "alpha", "id"]
    read, stored = (table.sort_values(keys, ignore_index=True) for table in (read, stored))
    pd.testing.assert_frame_equal(read, stored, check_dtype=False, rtol=1e-3, atol=1e-5)


def test_scenarios_without_a_gradient_are_named(tiny: LanguageModel, few: ScenarioSet) -> None:
    vectors = extract(tiny, few)
    first = few.with_ids([next(iter(few)).id])
    gradients = readout_gradients(tiny, first, "continuation")
    with pytest.raises(InputError, match="gradients"):
        gradient_sweep(gradients, few, vectors, [1.0])


def test_layers_are_ranked_with_or_without_the_sign() -> None:
    """Layer 0 moves two scenarios far and apart, layer 1 both a little in the direction of alpha."""
    shift = np.array([0.5, -0.4, 0.1, 0.2])
    sweep = pd.DataFrame(
        {
            "steered": "X",
            "axis": "X",
            "method": "exact",
            "item": "X01",
            "id": ["a", "b", "a", "b"],
            "layer": [0, 0, 1, 1],
            "alpha": 1.0,
            "shift": shift,
            "differential": np.abs(shift),
        }
    )
    toward = pd.concat([sweep, sweep.assign(alpha=-1.0, shift=-shift)])
    for table in (sweep, toward):
        assert top_layers(table, "X", 1) == [0]
        assert top_layers(table, "X", 1, "effect") == [1]
        chosen = choice_stability(table, 1, by="effect").set_index("layer").chosen
        assert chosen.to_dict() == {0: False, 1: True}
