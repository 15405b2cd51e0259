"""Decoupled vectors: what each method promises, and a planted coupling that is gone when measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from planted import planted_model, planted_scenarios

import interp_culture as ic
from interp_culture.coupling import DECOUPLINGS, decouple
from interp_culture.coupling.decoupling import Decoupling
from interp_culture.coupling.geometry import whitening_at
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering import Activations, ReadoutGradients, SteeringVectors

pytestmark = pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
BY_GRADIENT: tuple[Decoupling, ...] = ("inverse", "nearest", "least_norm")
N_LAYERS, D_MODEL = 3, 20


@pytest.fixture(scope="module")
def train() -> ScenarioSet:
    return planted_scenarios(4)


@pytest.fixture(scope="module")
def vectors() -> dict[str, SteeringVectors]:
    """Two directions that are neither parallel nor at right angles."""
    torch.manual_seed(0)
    shared = torch.randn(N_LAYERS, D_MODEL)
    return {
        axis: SteeringVectors(
            axis, "mean_diff", torch.randn(N_LAYERS, D_MODEL) + shared, torch.ones(N_LAYERS), {}
        )
        for axis in "XY"
    }


@pytest.fixture(scope="module")
def gradients(train: ScenarioSet) -> ReadoutGradients:
    torch.manual_seed(1)
    of_axis = {axis: torch.randn(N_LAYERS, D_MODEL) for axis in "XY"}
    rows = torch.stack([of_axis[s.axis] + 0.3 * torch.randn(N_LAYERS, D_MODEL) for s in train])
    ids = tuple(s.id for s in train)
    return ReadoutGradients("continuation", ids, torch.zeros(len(ids)), rows)


def gains(
    gradients: ReadoutGradients, train: ScenarioSet, vectors: dict[str, SteeringVectors]
) -> dict[tuple[str, str], np.ndarray]:
    """By steered axis and axis read, at every layer, on the scenarios that they were fitted to."""
    table = {}
    for axis in vectors:
        of_axis = gradients.select([s.id for s in train if s.axis == axis])
        mean = of_axis.of_p_positive.mean(0)
        for steered, v in vectors.items():
            table[steered, axis] = (mean * v.direction.double()).sum(-1).numpy()
    return table


@pytest.mark.parametrize("method", BY_GRADIENT)
def test_no_other_axis_moves_at_any_layer(
    method: Decoupling,
    train: ScenarioSet,
    vectors: dict[str, SteeringVectors],
    gradients: ReadoutGradients,
) -> None:
    alone = decouple(vectors, method, train=train, gradients=gradients)
    table = gains(gradients, train, alone)
    for axis, of_axis in alone.items():
        other = "Y" if axis == "X" else "X"
        np.testing.assert_allclose(table[axis, other], 0, atol=1e-6)
        torch.testing.assert_close(
            of_axis.direction.norm(dim=-1), vectors[axis].direction.norm(dim=-1)
        )
        assert of_axis.method == f"mean_diff, {method}"
    # Toward the positive pole, where the method chooses the sign.
    if method != "nearest":
        assert (table["X", "X"] > 0).all()


def test_the_inverse_stays_in_the_span_of_the_vectors(
    train: ScenarioSet, vectors: dict[str, SteeringVectors], gradients: ReadoutGradients
) -> None:
    alone = decouple(vectors, "inverse", train=train, gradients=gradients)
    for layer in range(N_LAYERS):
        rows = np.stack([v.direction[layer].numpy() for v in vectors.values()])
        assert np.linalg.matrix_rank(np.vstack([rows, alone["X"].direction[layer]]), 1e-3) == 2


def test_the_nearest_is_nearer_than_the_shortest(
    train: ScenarioSet, vectors: dict[str, SteeringVectors], gradients: ReadoutGradients
) -> None:
    cosines = {
        method: torch.nn.functional.cosine_similarity(
            decouple(vectors, method, train=train, gradients=gradients)["X"].direction,
            vectors["X"].direction,
        )
        for method in BY_GRADIENT
    }
    assert (cosines["nearest"] >= cosines["inverse"] - 1e-6).all()
    assert (cosines["nearest"] >= cosines["least_norm"] - 1e-6).all()


def test_vectors_at_right_angles_raw_and_whitened(
    train: ScenarioSet, vectors: dict[str, SteeringVectors]
) -> None:
    raw = decouple(vectors, "gram_schmidt")
    dots = (raw["X"].direction * vectors["Y"].direction).sum(-1)
    np.testing.assert_allclose(dots, 0, atol=1e-4)
    torch.manual_seed(2)
    scale = torch.linspace(0.1, 5, D_MODEL)
    positive, negative = torch.randn(2, len(train), N_LAYERS, D_MODEL) * scale
    activations = Activations(tuple(s.id for s in train), positive, negative)
    white = decouple(vectors, "whitened", train=train, activations=activations)
    for layer in range(N_LAYERS):
        by = whitening_at(activations, layer, train)
        x, y = white["X"].direction[layer].numpy() @ by, vectors["Y"].direction[layer].numpy() @ by
        assert abs(x @ y) < 1e-3 * np.linalg.norm(x) * np.linalg.norm(y)


def test_layers_together_need_less_change_than_each_alone(
    train: ScenarioSet, vectors: dict[str, SteeringVectors], gradients: ReadoutGradients
) -> None:
    layers = {"X": [0, 2], "Y": [1]}
    alone = decouple(vectors, "nearest", train=train, gradients=gradients)
    joint = decouple(vectors, "nearest", train=train, gradients=gradients, layers=layers)
    table = gains(gradients, train, joint)
    assert table["X", "Y"][[0, 2]].sum() == pytest.approx(0, abs=1e-6)
    assert abs(table["X", "Y"][0]) > 1e-3
    assert (joint["X"].direction[1] == 0).all()
    assert joint["X"].direction.norm() == pytest.approx(
        float(vectors["X"].direction[[0, 2]].norm()), rel=1e-5
    )

    def cosine(of: dict[str, SteeringVectors]) -> float:
        pair = [v["X"].direction[[0, 2]].flatten() for v in (of, vectors)]
        return float(torch.nn.functional.cosine_similarity(*pair, dim=0))

    assert cosine(joint) > cosine(alone)


@pytest.mark.parametrize("method", ["inverse", "nearest"])
def test_a_planted_coupling_is_gone_when_the_model_is_steered(method: Decoupling) -> None:
    model: LanguageModel = planted_model()
    train, test = planted_scenarios().split(seed=0)
    vectors = ic.extract(model, train)
    of_train = ic.steering.readout_gradients(model, train, "continuation")
    alone = decouple(vectors, method, train=train, gradients=of_train)
    layers = {"X": [1], "Y": [1]}
    matrices = {
        name: ic.response_matrix(
            ic.steered_readouts(
                model, test, of, layers, alphas=[1.0, -1.0], n_random=0, readout="continuation"
            )
        ).set_index(["steered", "axis"])
        for name, of in {"before": vectors, "after": alone}.items()
    }
    before, after = (matrices[name].D for name in ("before", "after"))
    assert before["X", "Y"] > 0.2 * before["X", "X"]
    assert abs(after["X", "Y"]) < 0.05 * before["X", "Y"]
    assert after["X", "X"] > 0.8 * before["X", "X"]


def test_what_cannot_be_decoupled_is_refused(
    train: ScenarioSet, vectors: dict[str, SteeringVectors], gradients: ReadoutGradients
) -> None:
    with pytest.raises(InputError, match="two axes or more"):
        decouple({"X": vectors["X"]}, "gram_schmidt")
    for method in BY_GRADIENT:
        with pytest.raises(InputError, match="needs gradients of the training scenarios"):
            decouple(vectors, method, train=train)
    with pytest.raises(InputError, match="whitened needs activations"):
        decouple(vectors, "whitened", train=train)
    with pytest.raises(InputError, match="no training scenario of axis Y"):
        decouple(vectors, "nearest", train=train.filter(axis="X"), gradients=gradients)
    same = {**vectors, "Y": replace(vectors["X"], axis="Y")}
    with pytest.raises(InputError, match="nothing is left of the vector of X at layers 0"):
        decouple(same, "gram_schmidt")
    with pytest.raises(InputError, match="cannot be told apart at layers 0: "):
        decouple(same, "inverse", train=train, gradients=gradients)
    assert set(BY_GRADIENT) < set(DECOUPLINGS)
