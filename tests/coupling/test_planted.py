"""A leak of known size in a known model is found at its size, and where there is none it is not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from planted import COUPLING, planted_model, planted_scenarios

from interp_culture.coupling.planted import leak_of_size, predicted_coupling
from interp_culture.coupling.responses import response_matrix
from interp_culture.coupling.steered import shifts, steered_readouts
from interp_culture.engine.leaks import Leak
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.planting import plant
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.extraction import extract
from interp_culture.steering.vectors import SteeringVectors

pytestmark = pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
WORDS = "continuation"
ALPHA = 0.1
# Y's vector moves X by nothing in this model, so that the leak from Y to X is all that there is.
FROM_Y = {"steered": "Y", "axis": "X", "alpha": ALPHA, "readout": WORDS}


@dataclass(frozen=True)
class World:
    """The plain model, whose blocks write nothing, and its scenarios and vectors."""

    model: LanguageModel
    train: ScenarioSet
    test: ScenarioSet
    vectors: dict[str, SteeringVectors]

    def leak(self, layer: int, **settings: Any) -> Leak:
        layers = {"X": [layer], "Y": [layer]}
        return leak_of_size(self.model, self.train, self.vectors, layers, **FROM_Y | settings)

    def planted(self, leak: Leak) -> LanguageModel:
        """The planted model, with the plain one's checks of readouts, which take seconds."""
        model = plant(self.model, leak)
        model.readout_checks = self.model.readout_checks
        return model

    def matrix(self, model: LanguageModel, layer: int) -> pd.DataFrame:
        """D at one steered layer, by (steered, axis)."""
        return response_matrix(self.readouts(model, layer)).set_index(["steered", "axis"])

    def predicted(self, leak: Leak, layer: int) -> pd.Series:
        """The growth of D by (steered, axis)."""
        table = predicted_coupling(
            self.model,
            self.test,
            self.vectors,
            {"X": [layer], "Y": [layer]},
            leak,
            alpha=ALPHA,
            readout=WORDS,
        )
        return table.set_index(["steered", "axis"]).growth

    def readouts(self, model: LanguageModel, layer: int, n_random: int = 0) -> pd.DataFrame:
        layers = {"X": [layer], "Y": [layer]}
        strengths = [ALPHA, -ALPHA]
        return steered_readouts(
            model, self.test, self.vectors, layers, alphas=strengths, n_random=n_random,
            readout=WORDS,
        )  # fmt: skip


@pytest.fixture(scope="module")
def world() -> World:
    model = planted_model()
    train, test = planted_scenarios(4).split(seed=42)
    return World(model, train, test, extract(model, train))


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_a_planted_coupling_is_found_at_its_size(world: World, layer: int) -> None:
    """At three sizes and depths, and the axes that the leak leaves alone stay as they were."""
    plain = world.matrix(world.model, layer)
    own = plain.loc[("Y", "Y")].D
    assert abs(plain.loc[("Y", "X")].D) < 0.02 * own
    leak = world.leak(layer, size=0.1 * own)
    for times in (0.5, 1, 3):
        sized = replace(leak, size=times * leak.size)
        found = world.matrix(world.planted(sized), layer)
        assert found.loc[("Y", "X")].low > 0
        growth = found.D - plain.D
        # The size is that on training scenarios, the prediction that on held-out ones.
        assert growth["Y", "X"] == pytest.approx(0.1 * times * own, rel=0.1)
        predicted = world.predicted(sized, layer)
        np.testing.assert_allclose(growth, predicted[growth.index], atol=0.01 * own)


def test_the_direction_to_write_along_may_be_given(world: World) -> None:
    writes = world.vectors["X"].direction.numpy()
    leak = world.leak(1, size=0.1, writes=writes)
    unit = torch.from_numpy(writes[1] / np.linalg.norm(writes[1]))
    torch.testing.assert_close(leak.writes, unit, check_dtype=False)


def test_a_leak_of_size_0_is_not_found(world: World) -> None:
    leak = world.leak(1, size=0.0)
    assert leak.size == 0
    planted = world.planted(leak)
    pd.testing.assert_frame_equal(world.readouts(planted, 1), world.readouts(world.model, 1))


def test_a_step_after_the_leak_is_not_seen(world: World) -> None:
    """In this model nothing but the leak could carry a step from one axis to the other."""
    own = world.matrix(world.model, 1).loc[("Y", "Y")].D
    leak = world.leak(1, size=0.3 * own)
    planted = world.planted(leak)
    seen = [world.matrix(planted, layer).loc[("Y", "X")].D for layer in (0, 1, 2, 3)]
    np.testing.assert_allclose(seen[:2], 0.3 * own, rtol=0.15)
    np.testing.assert_allclose(seen[2:], 0, atol=0.02 * own)
    # The prediction says so as well, and at the wrong block the leak would be found or not.
    for block, layer, is_seen in ((1, 2, False), (2, 2, True), (2, 1, True)):
        predicted = world.predicted(replace(leak, block=block), layer)
        assert (abs(predicted["Y", "X"]) > 0.2 * own) == is_seen
        if not is_seen:
            assert predicted["Y", "X"] == 0
    with pytest.raises(InputError, match="sees no step that is added at layers 2"):
        world.leak(2, block=1)


def test_the_centre_keeps_the_plain_model_where_it_is(world: World) -> None:
    own = world.matrix(world.model, 1).loc[("Y", "Y")].D
    leak = world.leak(1, size=0.3 * own)
    moved = []
    for centre in (leak.centre, leak.centre + 0.5):
        planted = world.planted(replace(leak, centre=centre))
        before = world.readouts(world.model, 1).query("method == 'plain' and axis == 'X'")
        after = world.readouts(planted, 1).query("method == 'plain' and axis == 'X'")
        moved.append(abs(after.p_positive.mean() - before.p_positive.mean()))
    assert moved[0] < 0.2 * moved[1]


def test_a_readout_leak_couples_the_readouts_for_any_vector(world: World) -> None:
    """Random vectors move X as far as they move Y, times the same factor."""
    own = world.matrix(world.model, 1).loc[("Y", "Y")].D
    leak = world.leak(1, size=0.5 * own, kind="readout")
    assert (leak.block, leak.kind) == (3, "readout")
    effects = {}
    for name, model in (("plain", world.model), ("planted", world.planted(leak))):
        table = shifts(world.readouts(model, 1, n_random=20))
        random = table[(table.method == "random") & (table.steered == "Y")]
        effects[name] = random.groupby(["draw", "axis"])["logit_shift"].mean().unstack()
    added = effects["planted"].X - effects["plain"].X
    assert np.corrcoef(added, effects["plain"].Y)[0, 1] > 0.98
    # A representational leak reads one direction of the stream, to which random ones are oblique.
    matrix = world.matrix(world.planted(leak), 1)
    assert pytest.approx(0.5 * own, rel=0.15) == matrix.loc[("Y", "X")].D


def test_the_leak_adds_to_a_coupling_that_is_there(world: World) -> None:
    """X's vector moves Y by 0.4 of its own effect before anything is planted."""
    plain = world.matrix(world.model, 1)
    own = plain.loc[("X", "X")].D
    assert pytest.approx(COUPLING * own, rel=0.1) == plain.loc[("X", "Y")].D
    leak = world.leak(1, steered="X", axis="Y", size=0.2 * own)
    found = world.matrix(world.planted(leak), 1).loc[("X", "Y")].D
    assert found == pytest.approx((COUPLING + 0.2) * own, rel=0.1)
