"""Components that carry an effect: a model in which one MLP alone carries the drag of X on Y."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from planted import add_carrier, planted_model, planted_scenarios

import interp_culture as ic
from interp_culture.attribution import carried_effects, random_sets, restored_readouts
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError

LAYERS = {"X": [0], "Y": [0]}
CARRIER = 2
SMALL = 0.02


def model_with_a_carrier(block: int) -> LanguageModel:
    """No other component writes anything."""
    return add_carrier(planted_model(), block)


@pytest.fixture(scope="module")
def made() -> tuple[LanguageModel, ic.ScenarioSet, Any]:
    model, scenarios = model_with_a_carrier(CARRIER), planted_scenarios()
    train, test = scenarios.split()
    return model, test, ic.extract(model, train)


def run_of(**more: Any) -> dict[str, Any]:
    return {"alpha": SMALL, "readout": "continuation", **more}


def drag(table: Any, steered: str = "X", axis: str = "Y") -> float:
    matrix = ic.response_matrix(table)
    return matrix[(matrix.steered == steered) & (matrix.axis == axis)].D.item()


def test_the_component_that_carries_the_drag_is_found(made: tuple) -> None:
    model, test, vectors = made
    table = carried_effects(model, test, vectors, LAYERS, **run_of())
    of_pair = table[(table.steered == "X") & (table.axis == "Y")].set_index("component")
    assert of_pair.carried.abs().idxmax() == f"L{CARRIER}.mlp"
    others = of_pair.drop(f"L{CARRIER}.mlp")
    assert of_pair.carried.abs().max() > 20 * others.carried.abs().max()
    assert of_pair.loc[f"L{CARRIER}.mlp", "low"] > 0


def test_what_it_carries_is_what_its_restoring_takes_away(made: tuple) -> None:
    model, test, vectors = made
    name = f"L{CARRIER}.mlp"
    table = carried_effects(model, test, vectors, LAYERS, **run_of())
    sets = {"none": [], "it": [name], "other": ["L1.mlp", "L1.H0"]}
    restored = restored_readouts(model, test, vectors, LAYERS, sets, **run_of())
    by_set = {key: drag(part) for key, part in restored.groupby("restored")}
    is_it = (table.component == name) & (table.steered == "X") & (table.axis == "Y")
    assert by_set["none"] - by_set["it"] == pytest.approx(table[is_it].carried.item(), rel=0.02)
    assert by_set["other"] == pytest.approx(by_set["none"], abs=1e-6)
    assert abs(by_set["none"] - by_set["it"]) > 1e-3


def test_a_carrier_is_missed_when_its_mean_takes_its_place(made: tuple) -> None:
    model, test, vectors = made
    name = f"L{CARRIER}.mlp"
    sets = {"none": [], "it": [name]}
    run = (model, test, vectors, LAYERS, sets)
    table = restored_readouts(*run, **run_of(by="mean"))
    by_set = {key: drag(part) for key, part in table.groupby("restored")}
    # What is left is in X's vector itself, which has a part along Y.
    assert abs(by_set["it"]) < 0.25 * abs(by_set["none"])
    # Its mean is no constant of the model: without steering it changes the answers too.
    rest = table[table.steered == ""].pivot(index="id", columns="restored", values="logit_diff")
    assert (rest["none"] - rest["it"]).abs().max() > 1e-4


def test_the_whole_effect_is_beside_what_is_carried(made: tuple) -> None:
    model, test, vectors = made
    table = carried_effects(model, test, vectors, LAYERS, **run_of())
    restored = restored_readouts(model, test, vectors, LAYERS, {"none": []}, **run_of())
    for (steered, axis), rows in table.groupby(["steered", "axis"]):
        assert rows.effect.unique() == pytest.approx([drag(restored, steered, axis)], abs=1e-6)


def test_a_carrier_of_another_block_is_another_component(made: tuple) -> None:
    _, test, _ = made
    model = model_with_a_carrier(CARRIER - 1)
    train, test = planted_scenarios().split()
    table = carried_effects(model, test, ic.extract(model, train), LAYERS, **run_of())
    of_pair = table[(table.steered == "X") & (table.axis == "Y")].set_index("component")
    assert of_pair.carried.abs().idxmax() == f"L{CARRIER - 1}.mlp"


def test_without_a_set_it_is_plain_steering(made: tuple) -> None:
    model, test, vectors = made
    table = restored_readouts(model, test, vectors, LAYERS, {"none": []}, **run_of())
    plain = ic.steered_readouts(
        model, test, vectors, LAYERS, alphas=[SMALL, -SMALL], n_random=0, readout="continuation"
    )
    keys = ["steered", "method", "draw", "alpha", "id"]
    both = table.merge(plain, on=keys, suffixes=("", "_expected"))
    assert len(both) == len(table) == len(plain)
    np.testing.assert_allclose(both.logit_diff, both.logit_diff_expected, atol=1e-5)


def test_random_sets_have_the_kinds_and_none_of_the_members(made: tuple) -> None:
    model, *_ = made
    sets = random_sets(model, ["L2.mlp", "L1.H0", "L3.H2"], 3, first=1)
    assert sets == random_sets(model, ["L2.mlp", "L1.H0", "L3.H2"], 3, first=1)
    for members in sets.values():
        assert sum(name.endswith("mlp") for name in members) == 1
        assert len(members) == 3
        assert not {"L2.mlp", "L1.H0", "L3.H2"} & set(members)
        assert all(int(name[1]) >= 1 for name in members)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({}, "no set of components to restore"),
        ({"it": ["L9.mlp"]}, r"no component 'L9\.mlp' in planted; it has L0\.H0 to L3\.mlp"),
    ],
)
def test_what_cannot_be_restored_is_said(made: tuple, sets: dict, message: str) -> None:
    model, test, vectors = made
    with pytest.raises(InputError, match=message):
        restored_readouts(model, test, vectors, LAYERS, sets, **run_of())


def test_there_must_be_enough_others_for_a_random_set(made: tuple) -> None:
    model, *_ = made
    with pytest.raises(InputError, match="2 components of the kind 'mlp' are restored, and from"):
        random_sets(model, ["L2.mlp", "L3.mlp"], 1, first=2)


def test_no_block_after_the_steered_ones_is_said(made: tuple) -> None:
    model, test, vectors = made
    with pytest.raises(InputError, match="no block follows the edits"):
        carried_effects(model, test, vectors, {"X": [3], "Y": [3]}, **run_of())
