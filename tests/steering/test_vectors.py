"""Vectors against means computed by hand, their provenance, and random vectors of the same norm."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import Pair
from reference import forward
from torch import Tensor

from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import Scenario, ScenarioSet
from interp_culture.steering.activations import read_activations
from interp_culture.steering.extraction import extract
from interp_culture.steering.optimised import Training
from interp_culture.steering.vectors import Provenance, norm_matched, random_like


def last_residuals(plain: Any, tokenizer: Any, scenario: Scenario) -> tuple[Tensor, Tensor]:
    """The residual stream after every block at the last token of x+ and of x-."""
    ends = []
    for option in (scenario.positive, scenario.negative):
        tokens = tokenizer.encode(f"{scenario.situation} {option}", add_special_tokens=False)
        residuals = forward(plain, tokens)[1]
        ends.append(torch.stack([resid[-1] for resid in residuals]))
    return ends[0], ends[1]


def test_mean_difference_by_hand(pair: Pair, few: ScenarioSet) -> None:
    vectors = extract(pair.model, few)
    for axis in ("X", "Y"):
        differences = []
        norms = []
        for scenario in few.filter(axis=axis):
            positive, negative = last_residuals(pair.plain, pair.model.tokenizer, scenario)
            differences.append(positive - negative)
            norms += [positive.norm(dim=-1), negative.norm(dim=-1)]
        v = vectors[axis]
        mean_difference = torch.stack(differences).mean(0)
        torch.testing.assert_close(v.direction, mean_difference, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(v.resid_norm, torch.stack(norms).mean(0), atol=1e-4, rtol=1e-4)
        assert v.provenance["n_scenarios"] == len(differences)
        assert v.provenance["model"] == pair.model.name


def test_vectors_from_activations_that_were_read_are_those_of_the_texts(
    tiny: LanguageModel, few: ScenarioSet
) -> None:
    activations = read_activations(tiny, few)
    for method in ("mean_diff", "pca"):
        read = extract(tiny, few, method)
        given = extract(tiny, few, method, activations=activations)
        for axis, vectors in read.items():
            torch.testing.assert_close(given[axis].direction, vectors.direction)
            torch.testing.assert_close(given[axis].resid_norm, vectors.resid_norm)
            assert given[axis].provenance == vectors.provenance


def test_provenance_has_the_declared_keys(tiny: LanguageModel, few: ScenarioSet) -> None:
    """A key that is written, but not declared, is invisible to mypy."""
    vectors = extract(tiny, few, "random", seed=3)["X"]
    drawn = random_like(norm_matched(vectors, vectors.direction), 2)[1]
    layers = {"X": [1], "Y": [1]}
    brief = Training(epochs=1)
    trained = extract(
        tiny, few, "optimised", readout="continuation", layers=layers, training=brief
    )["X"]
    written = set(drawn.provenance) | set(trained.provenance)
    assert written == set(Provenance.__annotations__)
    assert drawn.provenance["norms_of"] == "random"
    assert drawn.provenance["index"] == 1
    assert vectors.provenance["texts"] == few.filter(axis="X").fingerprints


def test_swapping_the_poles_flips_the_vector(tiny: LanguageModel, few: ScenarioSet) -> None:
    swapped_scenarios = tuple(
        s.model_copy(update={"positive": s.negative, "negative": s.positive}) for s in few
    )
    direction = extract(tiny, few)["X"].direction
    swapped = extract(tiny, ScenarioSet(swapped_scenarios, few.catalogue))["X"].direction
    torch.testing.assert_close(direction, -swapped, atol=1e-5, rtol=1e-5)
    assert direction.norm() > 0.01


def test_random_vectors_share_only_the_norms(tiny: LanguageModel, few: ScenarioSet) -> None:
    v = extract(tiny, few)["X"]
    random_vectors = random_like(v, 50, seed=1)
    directions = torch.stack([r.direction for r in random_vectors])
    norms = v.direction.norm(dim=-1)
    torch.testing.assert_close(directions.norm(dim=-1), norms.expand(50, -1), rtol=1e-5, atol=1e-6)
    cosines = torch.nn.functional.cosine_similarity(directions, v.direction[None], dim=-1)
    assert abs(float(cosines.mean())) < 0.06
    assert float(cosines.std()) == pytest.approx(tiny.d_model**-0.5, rel=0.25)
    assert torch.equal(random_like(v, 3, seed=1)[2].direction, directions[2])
    assert {r.method for r in random_vectors} == {"random"}


def test_an_unknown_method_raises_with_the_known_ones(
    tiny: LanguageModel, few: ScenarioSet
) -> None:
    with pytest.raises(
        InputError,
        match="unknown method 'ica'; known: mean_diff, pca, pca_centred, lda, logistic, random, "
        "gradient, optimised",
    ):
        extract(tiny, few, method="ica")


@pytest.mark.slow
def test_vector_of_the_embedded_model_by_hand(smollm2: Pair, few: ScenarioSet) -> None:
    three = ScenarioSet(few.filter(axis="Y").scenarios[:3], few.catalogue)
    direction = extract(smollm2.model, three)["Y"].direction
    differences = []
    for scenario in three:
        positive, negative = last_residuals(smollm2.plain, smollm2.model.tokenizer, scenario)
        differences.append(positive - negative)
    expected = torch.stack(differences).mean(0)
    torch.testing.assert_close(direction, expected, atol=2e-2, rtol=1e-3)
    cosines = torch.nn.functional.cosine_similarity(direction, expected, dim=-1)
    assert float(cosines.min()) > 0.99999
