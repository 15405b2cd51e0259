"""Decoupled vectors: what each method promises, and a planted coupling that is gone when measured."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from planted import planted_model, planted_scenarios

import interp_culture as ic
from interp_culture.coupling import DECOUPLINGS, ErasureWarning, decouple
from interp_culture.coupling.decoupling import Decoupling
from interp_culture.coupling.geometry import whitening_at
from interp_culture.coupling.leace import erasers
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.scenarios.catalogue import Catalogue
from interp_culture.scenarios.scenario import Scenario, ScenarioSet
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


def cloud(n: int, d_model: int, axes: str = "XY") -> tuple[ScenarioSet, Activations]:
    """Correlated Gaussian texts whose poles differ by 3 in the dimension of their axis."""
    catalogue = Catalogue.model_validate(
        {
            "name": "cloud",
            "axes": {axis: {"negative": "n", "positive": "p"} for axis in axes},
            "domains": ["only"],
            "items": {axis: {"axis": axis, "label": axis} for axis in axes},
        }
    )
    texts = ScenarioSet(
        tuple(
            Scenario(
                id=f"{axis}{i}", axis=axis, item=axis, domain="only", situation=f"{axis} {i}", positive="p", negative="n"
            )
            for axis in axes
            for i in range(n)
        ),
        catalogue,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(3)
    mixed = torch.eye(d_model) + 0.2 * torch.randn(d_model, d_model, generator=generator)
    draws = torch.randn(2, len(texts), 1, d_model, generator=generator) @ mixed
    for row, scenario in enumerate(texts):
        dimension = axes.index(scenario.axis)
        # What the axes are about differs as well.
        draws[:, row, :, -1 - dimension] += 5.0
        draws[0, row, :, dimension] += 3.0
    return texts, Activations(tuple(s.id for s in texts), draws[0], draws[1])


def mean_difference(texts: ScenarioSet, activations: Activations, axis: str) -> np.ndarray:
    of_axis = activations.select([s.id for s in texts.filter(axis=axis)])
    return (of_axis.positive - of_axis.negative).mean(0)[0].double().numpy()


def projection(
    texts: ScenarioSet, activations: Activations, steered: str = "X", axes: str = "XY"
) -> np.ndarray:
    ids = {axis: [s.id for s in texts if s.axis == axis] for axis in axes}
    return erasers(activations, ids)(0, steered).P.numpy()


def test_leace_erases_the_poles_of_the_other_axis_alone() -> None:
    texts, activations = cloud(400, D_MODEL)
    projected = projection(texts, activations)
    before = mean_difference(texts, activations, "Y")
    transposed = torch.from_numpy(projected.T)
    erased = replace(
        activations,
        positive=(activations.positive.double() @ transposed).float(),
        negative=(activations.negative.double() @ transposed).float(),
    )
    assert before[1] > 2.5
    np.testing.assert_allclose(mean_difference(texts, erased, "Y"), 0, atol=1e-5)
    np.testing.assert_allclose(projected @ projected, projected, atol=1e-9)
    assert np.linalg.matrix_rank(projected) == D_MODEL - 1
    own = mean_difference(texts, activations, "X")
    left = mean_difference(texts, erased, "X")
    assert left @ own > 0.9 * own @ own
    # X's vector with a leak of known size along Y's poles: the leak goes, the rest stays.
    white = np.linalg.inv(np.cov(poles(texts, activations, "Y").T))
    pure = own - before * (before @ white @ own) / (before @ white @ before)
    leaking = torch.from_numpy(pure + 0.8 * before).float()[None]
    given = {
        axis: SteeringVectors(axis, "mean_diff", rows, torch.ones(1), {})
        for axis, rows in {"X": leaking, "Y": torch.from_numpy(before).float()[None]}.items()
    }
    u = decouple(given, "leace", train=texts, activations=activations)["X"]
    assert u.method == "mean_diff, leace"
    assert u.direction.norm() == pytest.approx(float(leaking.norm()), rel=1e-5)
    cosine = torch.nn.functional.cosine_similarity(
        u.direction[0], torch.from_numpy(pure).float(), 0
    )
    assert cosine > 0.999


def poles(texts: ScenarioSet, activations: Activations, axis: str) -> np.ndarray:
    of_axis = activations.select([s.id for s in texts.filter(axis=axis)])
    return torch.cat([of_axis.positive[:, 0], of_axis.negative[:, 0]]).double().numpy()


def test_leace_is_the_formula_of_its_paper() -> None:
    """P = I - W⁺ (W D)(W D)⁺ W, with S shrunk to a multiple of the unit matrix (Bodnar et al. 2014)."""
    texts, activations = cloud(30, D_MODEL)
    h = poles(texts, activations, "Y")
    h -= h.mean(0)
    n, d = h.shape
    s = h.T @ h / n
    even = np.eye(d) * np.trace(s) / d
    frobenius = {"s": (s**2).sum(), "even": (even**2).sum(), "both": (s * even).sum()}
    kept = 1 - np.trace(s) ** 2 * frobenius["even"] / n / (
        frobenius["s"] * frobenius["even"] - frobenius["both"] ** 2
    )
    assert 0.2 < kept < 0.99
    shrunk = kept * s + (1 - kept) * frobenius["both"] / frobenius["even"] * even
    w = np.linalg.inv(scipy.linalg.sqrtm(shrunk).real)
    labels = np.repeat([1.0, 0.0], n // 2)
    d_y = (h * (labels - 0.5)[:, None]).mean(0)[:, None]
    expected = np.eye(d) - np.linalg.pinv(w) @ (w @ d_y) @ np.linalg.pinv(w @ d_y) @ w
    np.testing.assert_allclose(projection(texts, activations), expected, atol=1e-8)


def test_leace_of_three_axes_erases_both_others_in_any_order() -> None:
    texts, activations = cloud(200, D_MODEL, "XYZ")
    projected = projection(texts, activations, axes="XYZ")
    for axis in "YZ":
        np.testing.assert_allclose(
            projected @ mean_difference(texts, activations, axis), 0, atol=1e-6
        )
    assert np.linalg.matrix_rank(projected) == D_MODEL - 2
    np.testing.assert_allclose(projection(texts, activations, axes="ZYX"), projected, atol=1e-9)
    # What the axes are about stays.
    topics = poles(texts, activations, "Y").mean(0) - poles(texts, activations, "Z").mean(0)
    assert np.linalg.norm(projected @ topics) > 0.8 * np.linalg.norm(topics)


def test_leace_warns_of_few_texts(vectors: dict[str, SteeringVectors]) -> None:
    for n, warns in ((9, True), (10, False)):
        texts, one_layer = cloud(n, D_MODEL)
        wide = [pole.repeat(1, N_LAYERS, 1) for pole in (one_layer.positive, one_layer.negative)]
        activations = Activations(one_layer.ids, *wide)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            joint = decouple(
                vectors,
                "leace",
                train=texts,
                activations=activations,
                layers={"X": [0, 2], "Y": [1]},
            )
        assert [w.category for w in caught] == [ErasureWarning] * warns
        if warns:
            expected = r"leace: 18 texts of other axes, fewer than d_model \(20\)"
            assert re.match(expected, str(caught[0].message))
    # Layer by layer, and of one norm over the layers together.
    direction = joint["X"].direction
    p = projection(texts, activations)
    ratio = direction[[0, 2]].numpy() / (vectors["X"].direction[[0, 2]].double().numpy() @ p.T)
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-3)
    assert direction.norm() == pytest.approx(float(vectors["X"].direction[[0, 2]].norm()), rel=1e-5)
    assert not direction[1].any()


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
    with pytest.raises(InputError, match="leace needs activations of the training scenarios"):
        decouple(vectors, "leace", train=train)
    texts = Activations(tuple(s.id for s in train), *torch.zeros(2, len(train), N_LAYERS, D_MODEL))
    with pytest.raises(InputError, match="leace needs activations of the training scenarios"):
        decouple(vectors, "leace", activations=texts)
    with pytest.raises(InputError, match="no training scenario of axis Y"):
        decouple(vectors, "leace", train=train.filter(axis="X"), activations=texts)
    for method in ("whitened", "leace"):
        with pytest.raises(
            InputError, match=r"vectors of X are \(3, 20\) .* activations \(1, 20\)"
        ):
            decouple(vectors, method, train=train, activations=texts.at_layers([0]))
    with pytest.raises(InputError, match="no training scenario of axis Y"):
        decouple(vectors, "nearest", train=train.filter(axis="X"), gradients=gradients)
    same = {**vectors, "Y": replace(vectors["X"], axis="Y")}
    with pytest.raises(InputError, match="nothing is left of the vector of X at layers 0"):
        decouple(same, "gram_schmidt")
    with pytest.raises(InputError, match="cannot be told apart at layers 0: "):
        decouple(same, "inverse", train=train, gradients=gradients)
    assert set(BY_GRADIENT) < set(DECOUPLINGS)
