"""Strengths of equal KL, and how alike directions are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import interp_culture as ic
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering import direction_cosines, equal_kl_strengths

TEXTS = ["Water boils at 100 degrees."]


@pytest.fixture(scope="module")
def vectors(tiny: LanguageModel, shipped: ScenarioSet) -> dict[str, ic.SteeringVectors]:
    """The paper's direction, three times as long, random, and one that does nothing."""
    paper = ic.extract(tiny, shipped.filter(axis="X").sample(1, by="item"))["X"]
    return {
        "paper": paper,
        "thrice": replace(paper, direction=3 * paper.direction),
        "random": ic.random_like(paper, 1)[0],
        "nothing": replace(paper, direction=torch.zeros_like(paper.direction)),
    }


def test_each_sign_has_the_kl_of_the_reference(
    tiny: LanguageModel, vectors: dict[str, ic.SteeringVectors]
) -> None:
    table = equal_kl_strengths(tiny, vectors, [1, 2], "paper", 2.0, TEXTS)
    # What never reaches the KL is left out.
    assert set(table.method) == {"paper", "thrice", "random"}
    alpha = table.set_index(["method", "sign"]).alpha
    for sign in (1, -1):
        assert alpha["paper", sign] == 2
        assert alpha["thrice", sign] == pytest.approx(2 / 3, rel=0.02)
        runs = {
            name: ic.steer(vectors[name], [1, 2], sign * alpha[name, sign])
            for name in ("paper", "random")
        }
        kl = ic.kl_on_neutral(tiny, runs, TEXTS).set_index("run").kl
        assert kl["random"] == pytest.approx(kl["paper"], rel=0.02)


@pytest.mark.parametrize(("reference", "alpha"), [("papr", 2.0), ("paper", 0.0)])
def test_a_reference_that_sets_no_budget_is_refused(
    tiny: LanguageModel, vectors: dict[str, ic.SteeringVectors], reference: str, alpha: float
) -> None:
    with pytest.raises(InputError, match=r"papr|alpha is 0"):
        equal_kl_strengths(tiny, vectors, [1], reference, alpha, TEXTS)


def test_cosines_are_of_the_layers_that_were_asked_for(
    vectors: dict[str, ic.SteeringVectors],
) -> None:
    table = direction_cosines(vectors, [3, 1]).set_index(["a", "b", "layer"]).cosine
    assert table["paper", "thrice"].to_numpy() == pytest.approx(1, abs=1e-5)
    assert table["paper", "nothing"].tolist() == [0, 0]
    by_hand = torch.cosine_similarity(
        vectors["paper"].direction[3], vectors["random"].direction[3], dim=0
    )
    assert table["paper", "random", 3] == pytest.approx(float(by_hand), abs=1e-6)
