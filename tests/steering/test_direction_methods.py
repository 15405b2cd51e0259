"""Directions against scikit-learn, against formulas by hand and on planted differences."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from interp_culture.cli import app
from interp_culture.cli.experiment import extract as extract_verb
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.activations import Activations, read_activations
from interp_culture.steering.directions import METHODS, direction, mean_diff
from interp_culture.steering.extraction import METHODS as EXTRACTION_METHODS
from interp_culture.steering.extraction import extract
from interp_culture.steering.sites import SITES
from interp_culture.steering.vectors import SteeringVectors, random_like
from interp_culture.study.config import StudyConfig, load_config

LEARNED = ("pca", "pca_centred", "lda", "logistic")


def noise(n: int = 20, layers: int = 6, d_model: int = 30, seed: int = 0) -> Activations:
    """Normal numbers of unequal scale with fewer rows than dimensions and a step between poles."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.5, 2, d_model)
    positive, negative = torch.randn(2, n, layers, d_model, generator=generator) * scale + 5
    return Activations(tuple(f"s{i}" for i in range(n)), positive + 0.3, negative)


def planted(
    nuisance: float, step: float = 4.0, n: int = 200, layers: int = 2, d_model: int = 16
) -> Activations:
    """Activations with a known difference of the poles.

    At layer l the poles differ by `step` along coordinate l. Along coordinate -1 - l they differ by
    a swing of mean 0.
    """
    a = noise(n, layers, d_model, seed=1)
    swing = torch.randn(n, generator=torch.Generator().manual_seed(2))
    swing = (swing - swing.mean()) * nuisance
    positive = a.positive - 0.3
    negative = a.negative
    for layer in range(layers):
        positive[:, layer, layer] += step
        positive[:, layer, -1 - layer] += swing
        negative[:, layer, -1 - layer] -= swing
    return Activations(a.ids, positive, negative)


def swapped(a: Activations) -> Activations:
    return Activations(a.ids, a.negative, a.positive)


def cosine(first: Any, second: Any) -> Tensor:
    first = torch.as_tensor(first).double()
    second = torch.as_tensor(second).double()
    return torch.nn.functional.cosine_similarity(first, second, dim=-1)


def sklearn_line(method: str, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """The line by scikit-learn; for a classifier it is the slope of the decision function."""
    if method == "pca":
        svd = TruncatedSVD(1, algorithm="arpack", random_state=0)
        return svd.fit(positive - negative).components_[0]
    if method == "pca_centred":
        return PCA(1, svd_solver="full").fit(positive - negative).components_[0]
    classifier = {
        "lda": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000)),
    }[method]
    labels = [1] * len(positive) + [0] * len(negative)
    classifier.fit(np.concatenate([positive, negative]), labels)
    width = positive.shape[1]
    intercept = classifier.decision_function(np.zeros((1, width)))
    return classifier.decision_function(np.eye(width)) - intercept


@pytest.mark.parametrize("method", LEARNED)
def test_lines_equal_those_of_scikit_learn(method: str) -> None:
    a = noise()
    for layer, line in enumerate(direction(a, method)):
        positive = a.positive[:, layer].double().numpy()
        negative = a.negative[:, layer].double().numpy()
        expected = sklearn_line(method, positive, negative)
        assert abs(float(cosine(line, expected))) == pytest.approx(1, abs=1e-6)


def test_mean_difference_by_hand() -> None:
    positive = torch.tensor([[[1.0, 2.0]], [[3.0, -2.0]]])
    a = Activations(("a", "b"), positive, torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]]))
    assert direction(a).tolist() == [[2.0, -1.0]]
    assert torch.equal(mean_diff([a.select(["b"]), a.select(["a"])]), direction(a, "mean_diff"))


def test_discriminant_by_hand() -> None:
    a = noise(layers=1)
    classes = [x[:, 0].double().numpy() for x in (a.positive, a.negative)]
    covariances = []
    for rows in classes:
        scale = rows.std(0)
        standardised = (rows - rows.mean(0)) / scale
        covariances.append(LedoitWolf().fit(standardised).covariance_ * np.outer(scale, scale))
    mean_difference = classes[0].mean(0) - classes[1].mean(0)
    expected = np.linalg.solve(sum(covariances) / 2, mean_difference)
    assert float(cosine(direction(a, "lda")[0], expected)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_sign_and_norm_are_those_of_the_mean_difference(method: str) -> None:
    a = noise()
    mean = direction(a)
    result = direction(a, method)
    torch.testing.assert_close(result.norm(dim=-1), mean.norm(dim=-1))
    if method != "random":
        assert ((result * mean).sum(-1) > 0).all()
        torch.testing.assert_close(direction(swapped(a), method), -result, atol=1e-3, rtol=1e-3)


def test_planted_direction_is_recovered_and_not_confused_with_variation() -> None:
    truth = torch.eye(16)[:2]
    swing = torch.eye(16).flip(0)[:2]
    quiet = planted(nuisance=0)
    loud = planted(nuisance=8)
    for method in ("mean_diff", "pca", "lda", "logistic"):
        assert (cosine(direction(quiet, method), truth) > 0.9).all(), method
    for method in ("mean_diff", "lda", "logistic"):
        result = direction(loud, method)
        assert (cosine(result, truth) > 0.9).all(), method
        assert (cosine(result, swing).abs() < 0.1).all(), method
    assert (cosine(direction(quiet, "pca_centred"), truth).abs() < 0.5).all()
    for method in ("pca_centred", "pca"):
        assert (cosine(direction(loud, method), swing).abs() > 0.99).all(), method


def test_discriminants_avoid_coordinates_that_vary_between_texts() -> None:
    a = noise(n=300, layers=1, d_model=4)
    a.positive[..., 0] *= 10
    a.negative[..., 0] *= 10
    share = {}
    for method in ("mean_diff", "lda", "logistic"):
        line = direction(a, method)[0]
        share[method] = float(line[0].abs() / line.norm())
    assert share["mean_diff"] > 0.9
    assert max(share["lda"], share["logistic"]) < 0.2


@pytest.mark.parametrize("method", METHODS)
def test_batches_in_any_order_give_the_same(method: str) -> None:
    a = noise()
    batches = [a.select(a.ids[12:]), a.select(a.ids[5:12]), a.select(a.ids[:5])]
    torch.testing.assert_close(
        direction(iter(batches), method), direction(a, method), atol=1e-3, rtol=1e-3
    )
    assert torch.equal(direction(a, method), direction(a, method))


def test_random_directions_depend_on_seed_and_scenarios() -> None:
    a = noise()
    drawn = direction(a, "random", seed=1)
    assert torch.equal(drawn, direction(a, "random", seed=1))
    other_ids = replace(a, ids=tuple(f"t{i}" for i in range(len(a.ids))))
    v = SteeringVectors("X", "mean_diff", direction(a), torch.ones(6), {})
    different = {
        "seed": direction(a, "random", seed=2),
        "scenarios": direction(other_ids, "random", seed=1),
        "null of the same seed": random_like(v, 1, seed=1)[0].direction,
    }
    for name, other in different.items():
        assert (cosine(drawn, other).abs() < 0.9).all(), name
    draws = torch.stack([direction(a, "random", seed) for seed in range(200)])
    assert abs(float(cosine(draws, direction(a)[None]).mean())) < 0.02
    assert float(cosine(draws, direction(a)[None]).std()) == pytest.approx(30**-0.5, rel=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_layers_without_a_difference_have_a_zero_direction(method: str) -> None:
    a = noise(layers=3)
    a.negative[:, 1] = a.positive[:, 1]
    a.positive[:, 2] = a.negative[:, 2] = 1.5  # no difference and no variation
    a.positive[:, 0, 4] = a.negative[:, 0, 4] = 7.0  # one constant coordinate
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = direction(a, method)
    assert torch.isfinite(result).all()
    assert result[0].norm() > 0.1
    assert (result[1:] == 0).all()
    assert method == "random" or abs(float(result[0, 4])) < 1e-6


def test_equal_differences_have_no_centred_component() -> None:
    a = noise()
    same = Activations(a.ids, a.negative + direction(a), a.negative)
    assert (direction(same, "pca_centred") == 0).all()
    torch.testing.assert_close(direction(same, "pca"), direction(a), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_too_few_scenarios_raise(method: str) -> None:
    a = noise()
    for nothing in ([], a.select([])):
        with pytest.raises(
            InputError, match=r"no scenario to compute|takes 2 or more scenarios of an axis, not 0"
        ):
            direction(nothing, method)
    if method in ("pca_centred", "lda", "logistic"):
        with pytest.raises(
            InputError, match=f"method '{method}' takes 2 or more scenarios of an axis, not 1"
        ):
            direction(a.select(["s0"]), method)
    else:
        assert torch.isfinite(direction(a.select(["s0"]), method)).all()
    assert torch.isfinite(direction(a.select(["s0", "s1"]), method)).all()
    assert torch.isfinite(direction(a.select(["s0", "s0"]), method)).all()


@pytest.mark.parametrize("method", METHODS)
def test_extraction_gives_the_direction_of_its_axis(
    tiny: LanguageModel, few: ScenarioSet, method: str
) -> None:
    read = read_activations(tiny, few)
    vectors = extract(tiny, few, method, seed=3)
    for axis, v in vectors.items():
        of_axis = read.select([s.id for s in few.filter(axis=axis)])
        expected = direction(of_axis, method, seed=3)
        torch.testing.assert_close(v.direction, expected, atol=1e-3, rtol=1e-3)
        assert v.method == method
        assert v.provenance.get("seed") == (3 if method == "random" else None)
    if method == "random":
        assert (cosine(vectors["X"].direction, vectors["Y"].direction).abs() < 0.9).all()


def test_unknown_methods_raise_early_with_the_known_ones() -> None:
    known = ", ".join(METHODS)
    with pytest.raises(InputError, match=f"unknown method 'ica'; known: {known}"):
        direction(noise(), "ica")
    known = ", ".join(EXTRACTION_METHODS)
    with pytest.raises(InputError, match=f"unknown method 'ica'; known: {known}"):
        extract_verb(model="nobody/nothing", method="ica")
    with pytest.raises(InputError, match=r"field method: Input should be 'chosen'.*got 'ica'"):
        load_config(method="ica")


def test_configuration_and_help_name_every_method() -> None:
    import typer

    configurable = get_args(StudyConfig.model_fields["method"].annotation)
    assert {*configurable, "random"} == {*EXTRACTION_METHODS, "chosen"}
    assert set(get_args(StudyConfig.model_fields["site"].annotation)) == set(SITES)
    options = {p.name: p for p in typer.main.get_command(app).commands["extract"].params}
    assert all(method in options["method"].help for method in EXTRACTION_METHODS)
    assert all(site in options["site"].help for site in SITES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "gradient"}, "give --readout with gradient, optimised, and only with them"),
        ({"readout": "letters"}, "--method mean_diff: give --readout with"),
        (
            {"method": "optimised", "readout": "letters"},
            "--method optimised: give --layers with optimised, and only with it",
        ),
        ({"layers": ["X=1"]}, "--method mean_diff: give --layers with optimised"),
        ({"site": "first"}, "unknown site 'first'"),
    ],
)
def test_options_of_other_methods_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        extract_verb(model="nobody/nothing", **options)


def test_a_study_of_trained_vectors_names_their_layers() -> None:
    with pytest.raises(
        InputError, match=r"^field method: optimised trains the vectors of fixed layers"
    ):
        load_config(method="optimised")
    assert load_config(method="optimised", layers={"X": [1]}).method == "optimised"
