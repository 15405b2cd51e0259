"""The gain matrix against finite differences, a model of known coupling, and drawn random vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from planted import COUPLING, planted_model, planted_scenarios

import interp_culture as ic
from interp_culture.coupling import gain_agreement, gain_matrix
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import NullBand
from interp_culture.steering import ReadoutGradients, SteeringVectors, readout_gradients

pytestmark = pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
FORMS = {
    "letters": ic.ReadoutFormat("letters", prefix=""),
    "continuation": ic.ReadoutFormat("continuation"),
}


@pytest.fixture(scope="module")
def halves(few: ScenarioSet) -> tuple[ScenarioSet, ScenarioSet]:
    ids = few.frame().id.tolist()
    return few.with_ids(ids[::2]), few.with_ids(ids[1::2])


@pytest.fixture(scope="module")
def vectors(
    tiny: LanguageModel, halves: tuple[ScenarioSet, ScenarioSet]
) -> dict[str, SteeringVectors]:
    return ic.extract(tiny, halves[0])


@pytest.fixture(scope="module")
def gradients(
    tiny: LanguageModel, halves: tuple[ScenarioSet, ScenarioSet]
) -> dict[str, ReadoutGradients]:
    return {name: readout_gradients(tiny, halves[1], form) for name, form in FORMS.items()}


@pytest.mark.parametrize("readout", FORMS)
def test_a_gain_is_the_slope_of_the_measured_effect(
    readout: str,
    tiny: LanguageModel,
    halves: tuple[ScenarioSet, ScenarioSet],
    vectors: dict[str, SteeringVectors],
    gradients: dict[str, ReadoutGradients],
) -> None:
    test = halves[1]
    step = 2e-3
    for value, column in (("shift", "p_positive"), ("logit_shift", "logit_diff")):
        gains = gain_matrix(gradients[readout], test, vectors, value=value)
        gains = gains.set_index(["layer", "steered", "axis"])
        for layer, steered in ((0, "X"), (2, "Y")):
            up, down = (
                ic.probe(
                    tiny, test, readout=FORMS[readout],
                    edits=ic.steer(vectors[steered], [layer], sign * step),
                ).groupby("axis")[column].mean()
                for sign in (1, -1)
            )  # fmt: skip
            for axis, slope in ((up - down) / (2 * step)).items():
                row = gains.loc[(layer, steered, axis)]
                assert row.gain == pytest.approx(slope, rel=0.02, abs=1e-4)


def test_the_coupling_of_a_model_whose_blocks_write_nothing() -> None:
    """v_X moves Y by 0.4 of what v_Y moves it, and v_Y moves X by nothing, at every layer."""
    model, scenarios = planted_model(), planted_scenarios(4)
    train, test = scenarios.split(seed=0)
    vectors = ic.extract(model, train)
    gradients = readout_gradients(model, test, "continuation")
    gains = gain_matrix(gradients, test, vectors, value="logit_shift")
    table = gains.set_index(["steered", "axis", "layer"]).gain.sort_index()
    own = table["Y", "Y"]
    np.testing.assert_allclose(table["X", "Y"] / own, COUPLING, rtol=1e-4)
    np.testing.assert_allclose(table["Y", "X"] / own, 0, atol=0.01)
    # The blocks write nothing, so that a vector is worth the same at each of them.
    np.testing.assert_allclose(own / own[0], 1, rtol=1e-4)


def test_the_band_is_that_of_random_vectors(
    halves: tuple[ScenarioSet, ScenarioSet],
    vectors: dict[str, SteeringVectors],
    gradients: dict[str, ReadoutGradients],
) -> None:
    test = halves[1]
    layers = {"X": [1, 2], "Y": [0]}
    gains = gain_matrix(gradients["continuation"], test, vectors, layers=layers)
    drawn = {
        axis: [
            gain_matrix(gradients["continuation"], test, {axis: random}, layers=layers)
            for random in ic.random_like(of_axis, 100, seed=3)
        ]
        for axis, of_axis in vectors.items()
    }
    for row in gains.itertuples():
        tables = pd.concat(drawn[row.steered])
        band = NullBand.of(tables[tables.axis == row.axis].gain.to_numpy())
        assert row.null_high == pytest.approx(band.reach, rel=0.25)
        assert row.null_low == -row.null_high


def test_gains_of_layers_that_are_steered_together_add_up(
    halves: tuple[ScenarioSet, ScenarioSet],
    vectors: dict[str, SteeringVectors],
    gradients: dict[str, ReadoutGradients],
) -> None:
    of = gradients["letters"]
    alone = gain_matrix(of, halves[1], vectors)
    both = gain_matrix(of, halves[1], vectors, layers={"X": [0, 3], "Y": [1]})
    for row in both.itertuples():
        own = alone[(alone.steered == row.steered) & (alone.axis == row.axis)]
        of_layers = own[own.layer.isin({"X": [0, 3], "Y": [1]}[row.steered])]
        assert row.layer == -1
        assert row.gain == pytest.approx(of_layers.gain.sum())


def test_agreement_has_the_slope_and_the_correlation() -> None:
    layers = np.arange(4)
    gains = pd.DataFrame({"layer": layers, "steered": "X", "axis": "Y", "gain": [1.0, 2, 3, 4]})
    measured = gains.assign(effect=[0.9, 1.8, 2.7, 3.6])[:3]
    whole = gain_agreement(gains, measured).set_index("steered")
    assert whole.loc["X"].to_dict() == {
        "axis": "Y", "n": 3, "r": pytest.approx(1), "slope": pytest.approx(0.9),
    }  # fmt: skip
    assert whole.loc["all"].n == 3
    assert gain_agreement(gains[:2], measured).r.isna().all()
    with pytest.raises(InputError, match="no layer has both"):
        gain_agreement(gains, measured.assign(layer=9))


def test_what_does_not_fit_is_refused(
    halves: tuple[ScenarioSet, ScenarioSet],
    vectors: dict[str, SteeringVectors],
    gradients: dict[str, ReadoutGradients],
) -> None:
    train, test = halves
    of = gradients["letters"]
    with pytest.raises(InputError, match="unknown value 'effect'"):
        gain_matrix(of, test, vectors, value="effect")
    with pytest.raises(InputError, match="gradients"):
        gain_matrix(of, train, vectors)
    other = SteeringVectors("X", "mean_diff", torch.ones(3, 5), torch.ones(3), {"model": "other"})
    with pytest.raises(InputError, match="give vectors of the same model"):
        gain_matrix(of, test, {"X": other})
    with pytest.raises(InputError, match="unknown axis 'Y'"):
        gain_matrix(of, test, vectors, layers={"X": [1]})
    for layers, message in (
        ([-1], "-1 out of range; the model has layers 0 to 3"),
        ([4], "4 out of range"),
        ([1, 1], "give one or more, each once"),
        ([], "give one or more"),
    ):
        with pytest.raises(InputError, match=message):
            gain_matrix(of, test, vectors, layers={"X": layers, "Y": [1]})
    before_block = replace(vectors["X"], provenance={"hook_point": "hook_resid_pre"})
    with pytest.raises(InputError, match="act at hook_resid_pre, and gradients are taken at"):
        gain_matrix(of, test, {"X": before_block})
    broken = replace(of, gradient=of.gradient * float("nan"))
    with pytest.raises(InputError, match="not finite numbers"):
        gain_matrix(broken, test, vectors)
