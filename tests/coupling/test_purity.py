"""Axis purity by hand on a tiny model, and on a planted model whose impurity is known."""

from __future__ import annotations

import numpy as np
import pytest
from planted import COUPLING, planted_model, planted_scenarios

from interp_culture.coupling.purity import axis_purity, item_purity, least_pure
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.reporting.scenario_page import quality_page
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.activations import contrastive_activations


def test_cosines_by_hand(tiny: LanguageModel, few: ScenarioSet) -> None:
    cosines = axis_purity(tiny, few, layer=2).set_index(["id", "toward"]).cosine
    deltas = {}
    for part in contrastive_activations(tiny, few):
        for i, name in enumerate(part.ids):
            deltas[name] = (part.positive[i, 2] - part.negative[i, 2]).double().numpy()
    for s in few:
        for axis in few.axes:
            others = [deltas[o.id] for o in few if o.axis == axis and o.item != s.item]
            direction = np.mean(others, axis=0)
            expected = (
                deltas[s.id] @ direction / np.linalg.norm(deltas[s.id]) / np.linalg.norm(direction)
            )
            assert cosines[s.id, axis] == pytest.approx(expected, abs=1e-5)


def test_a_planted_impurity_is_found() -> None:
    """X's texts differ along e_x + COUPLING e_y, Y's along e_y."""
    model = planted_model()
    scenarios = planted_scenarios()
    items = item_purity(axis_purity(model, scenarios)).set_index(["item", "toward"])
    expected = COUPLING / np.hypot(1, COUPLING)
    for item in ("X1", "X2", "X3"):
        assert items.cosine[item, "X"] == pytest.approx(1, abs=1e-3)
        assert items.cosine[item, "Y"] == pytest.approx(expected, abs=1e-3)
    assert items.low["X1", "Y"] <= items.cosine["X1", "Y"] <= items.high["X1", "Y"]


def test_the_least_pure_come_first_and_the_page_names_them(
    tiny: LanguageModel, few: ScenarioSet
) -> None:
    purity = axis_purity(tiny, few)
    worst = least_pure(purity, 3)
    assert (worst.axis != worst.toward).all()
    assert worst.cosine.abs().is_monotonic_decreasing
    assert worst.cosine.abs()[0] == purity[purity.axis != purity.toward].cosine.abs().max()
    page = quality_page(few, purity, "tiny, after block 2")
    assert "## Axis purity" in page
    assert worst.id[0] in page
    assert "tiny, after block 2" in page


def test_layers_out_of_range_raise(tiny: LanguageModel, few: ScenarioSet) -> None:
    with pytest.raises(InputError, match="layer 9 is out of range: tiny-llama has layers 0 to 3"):
        axis_purity(tiny, few, layer=9)
