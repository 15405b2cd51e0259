"""Readers of a vector: their parts add up to the gain, and the one block that reads is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import Pair
from planted import add_carrier, planted_model, planted_scenarios

import interp_culture as ic
from interp_culture.attribution import read_effects
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError

LAYERS = {"X": [0, 1], "Y": [0]}
READER = 2


def gains_of(model: Any, test: ic.ScenarioSet, vectors: Any, layers: dict) -> Any:
    gradients = ic.steering.readout_gradients(model, test, "continuation")
    gains = ic.coupling.gain_matrix(gradients, test, vectors, layers=layers)
    return gains.set_index(["steered", "axis"])


def halves(shipped: ic.ScenarioSet) -> tuple[ic.ScenarioSet, ic.ScenarioSet]:
    return shipped.sample(2, by="cell").filter(domain="family").split(seed=1)


def test_the_parts_add_up_to_the_gain_on_every_architecture(
    pair: Pair, shipped: ic.ScenarioSet
) -> None:
    train, test = halves(shipped)
    vectors = ic.extract(pair.model, train)
    table = read_effects(pair.model, test, vectors, LAYERS, readout="continuation")
    expected = gains_of(pair.model, test, vectors, LAYERS).gain
    sums = table.groupby(["steered", "axis"]).read.sum()
    np.testing.assert_allclose(sums, expected[sums.index], rtol=1e-3, atol=1e-7)
    assert set(table.kind) == {"attn", "mlp", "unembedding"}
    assert not pair.model.is_hooked


@pytest.mark.parametrize("off", [(), ("resume",)], ids=str)
def test_a_part_is_what_a_small_step_does_at_its_place(
    off: tuple, tiny: LanguageModel, shipped: ic.ScenarioSet
) -> None:
    """After the last MLP a step reaches the unembedding alone, and before it the MLP too."""
    model = replace(tiny, shortcuts=tiny.shortcuts.without(*off))
    train, test = halves(shipped)
    vectors = ic.extract(model, train)
    table = read_effects(model, test, vectors, LAYERS, readout="continuation")
    parts = table.groupby(["steered", "axis", "component"]).read.sum()
    at_end = parts.loc["X", "Y", "unembedding"]
    both = at_end + parts.loc["X", "Y", f"L{model.n_layers - 1}.mlp"]
    assert at_end == pytest.approx(stepped(model, test, vectors, "hook_resid_post"), rel=0.03)
    assert both == pytest.approx(stepped(model, test, vectors, "hook_attn_out"), rel=0.03)


def stepped(model: Any, test: ic.ScenarioSet, vectors: Any, hook_point: str) -> float:
    """The measured change of Y's P+ by small steps along X's vectors, in the last block."""
    vector = vectors["X"].direction[LAYERS["X"]].sum(0)
    sides = []
    for strength in (1e-2, -1e-2):
        edit = ic.Edit(model.n_layers - 1, vector, strength, hook_point=hook_point)
        table = ic.probe(model, test, readout="continuation", edits=[edit])
        sides.append(table[table.axis == "Y"].p_positive.mean())
    return (sides[0] - sides[1]) / 2e-2


def planted_reader() -> tuple:
    """One MLP reads X's direction and writes Y's; no other component writes anything."""
    model = add_carrier(planted_model(), READER)
    train, test = planted_scenarios().split()
    return model, test, ic.extract(model, train)


def test_the_one_reader_of_a_planted_model_is_named() -> None:
    model, test, vectors = planted_reader()
    table = read_effects(model, test, vectors, {"X": [0], "Y": [0]}, readout="continuation")
    pair = table[(table.steered == "X") & (table.axis == "Y")].set_index("component")
    in_blocks = pair.drop("unembedding").read
    assert in_blocks.idxmax() == f"L{READER}.mlp"
    assert in_blocks.drop(f"L{READER}.mlp").abs().max() < 1e-3 * in_blocks.max()
    # What X's vector has along Y's direction needs no reader.
    assert pair.loc["unembedding", "low"] > 0


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"X": [0]}, "Y"),
        ({"X": [9], "Y": [0]}, "9"),
    ],
)
def test_layers_that_do_not_fit_are_said(layers: dict, message: str) -> None:
    model, test, vectors = planted_reader()
    with pytest.raises(InputError, match=message):
        read_effects(model, test, vectors, layers, readout="continuation")


def test_scenarios_of_the_vectors_are_refused() -> None:
    model, _, vectors = planted_reader()
    train, _ = planted_scenarios().split()
    with pytest.raises(InputError, match="held-out scenarios are among those"):
        read_effects(model, train, vectors, LAYERS, readout="continuation")
