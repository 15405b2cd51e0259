"""The split of a gain on planted causes: the kind is named, with its size, and the sum is the gain."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch

from interp_culture.coupling import CAUSES, gain_causes, gain_matrix
from interp_culture.errors import InputError
from interp_culture.scenarios.catalogue import Catalogue
from interp_culture.scenarios.scenario import Scenario, ScenarioSet
from interp_culture.steering import Activations, ReadoutGradients, SteeringVectors

D_MODEL = 60
SIZES = (0.1, 0.3, 0.8)
# A direction each: what X and Y write, what moves them beside it, and what both share.
E_X, E_Y, F_X, F_Y, SHARED = np.eye(D_MODEL)[:5].copy()
PLANTED = ("representation", "readout", "dataset", "rest")
# A scenario at P+ = 1/2 has a slope of 1/4, and its gradient of P+ is a quarter of the logit's.
SLOPE = 4.0


def scenarios(name: str, per_item: int = 8) -> ScenarioSet:
    """Five items an axis."""
    items = {f"{axis}{n}": axis for axis in "XY" for n in range(5)}
    catalogue = Catalogue.model_validate(
        {
            "name": "five",
            "axes": {a: {"negative": "no", "positive": "yes"} for a in "XY"},
            "domains": ["only"],
            "items": {item: {"axis": axis, "label": item} for item, axis in items.items()},
        }
    )
    made = [
        Scenario(
            id=f"{item}-{n}", axis=axis, item=item, domain="only",
            situation=f"{name} {item} {n}", positive="yes", negative="no",
        )
        for item, axis in items.items()
        for n in range(per_item)
    ]  # fmt: skip
    return ScenarioSet(tuple(made), catalogue)


TRAIN, TEST = scenarios("train"), scenarios("test")


def world(
    sizes: dict[str, float], noise: float = 0.05, seed: int = 0
) -> tuple[ReadoutGradients, dict[str, SteeringVectors], Activations]:
    """Gradients, vectors and contrasts in which every cause adds its size to G[X, Y]."""
    size = {cause: sizes.get(cause, 0.0) for cause in PLANTED}
    rng = np.random.default_rng(seed)
    frame = TRAIN.frame()
    differences = rng.normal(0, noise, (len(frame), D_MODEL))
    for row, (axis, item) in enumerate(zip(frame["axis"], frame["item"], strict=True)):
        differences[row] += E_X if axis == "X" else E_Y
        if axis == "X":
            differences[row] += size["representation"] * E_Y + size["rest"] * SHARED
        if item == "X0":  # one item of five speaks of Y
            differences[row] += 5 * size["dataset"] * E_Y
    of_axis = TEST.frame()["axis"].to_numpy()
    moves = rng.normal(0, noise, (len(of_axis), D_MODEL))
    moves[of_axis == "X"] += E_X + F_X
    # G[X, X] is 1, so that the part of g_Y along g_X adds its share of it.
    moves[of_axis == "Y"] += E_Y + F_Y + SHARED + size["readout"] * (E_X + F_X)
    gradients = ReadoutGradients(
        "continuation",
        tuple(s.id for s in TEST),
        torch.zeros(len(of_axis)),
        torch.from_numpy(SLOPE * moves[:, None]).float(),
    )
    positive = torch.from_numpy(differences[:, None]).float()
    contrasts = Activations(tuple(s.id for s in TRAIN), positive, torch.zeros_like(positive))
    vectors = {
        axis: SteeringVectors(
            axis,
            "mean_diff",
            positive[(frame["axis"] == axis).to_numpy()].mean(0),
            torch.ones(1),
            {},
        )
        for axis in "XY"
    }
    return gradients, vectors, contrasts


def split(sizes: dict[str, float], seed: int = 0) -> pd.DataFrame:
    gradients, vectors, contrasts = world(sizes, seed=seed)
    causes = gain_causes(gradients, TEST, vectors, contrasts, TRAIN, draws=400)
    gains = gain_matrix(gradients, TEST, vectors).set_index(["steered", "axis"]).gain
    sums = causes.groupby(["steered", "axis"]).part.sum()
    np.testing.assert_allclose(sums, gains[sums.index], atol=1e-6)
    return causes[(causes.steered == "X") & (causes.axis == "Y")].set_index("cause")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", PLANTED)
def test_the_planted_cause_is_named_with_its_size(kind: str, size: float) -> None:
    parts = split({kind: size})
    for cause in CAUSES:
        row = parts.loc[cause]
        if cause == kind:
            assert row.low <= size <= row.high
            assert row.low > 0
        else:
            assert abs(row.part) < 0.25 * size + 0.03


@pytest.mark.parametrize("kinds", list(combinations(PLANTED, 2)))
def test_two_causes_at_once_keep_their_sizes(kinds: tuple[str, str]) -> None:
    parts = split(dict.fromkeys(kinds, 0.3), seed=1)
    for cause in CAUSES:
        expected = 0.3 if cause in kinds else 0.0
        assert parts.loc[cause].part == pytest.approx(expected, abs=0.11)


def test_nothing_is_found_where_nothing_is_planted() -> None:
    parts = split({}, seed=2)
    assert (parts.part.abs() < 0.03).all()
    assert ((parts.low <= 0) & (parts.high >= 0)).sum() >= 3


def test_layers_that_are_steered_together_add_up() -> None:
    """Two layers of one model: the parts of both together are the sums, the interval is not."""
    gradients, vectors, contrasts = world({"representation": 0.3})
    two = ReadoutGradients(
        gradients.readout, gradients.ids, gradients.logit_diff, gradients.gradient.repeat(1, 2, 1)
    )
    twice = Activations(
        contrasts.ids, contrasts.positive.repeat(1, 2, 1), contrasts.negative.repeat(1, 2, 1)
    )
    both = {
        axis: replace(v, direction=v.direction.repeat(2, 1), resid_norm=torch.ones(2))
        for axis, v in vectors.items()
    }
    run = (two, TEST, both, twice, TRAIN)
    alone = gain_causes(*run, draws=50).groupby(["steered", "cause"]).part.sum()
    together = gain_causes(*run, layers={"X": [0, 1], "Y": [0, 1]}, draws=50)
    assert set(together.layer) == {-1}
    sums = together.set_index(["steered", "cause"]).part
    np.testing.assert_allclose(sums, alone[sums.index], atol=1e-9)


@pytest.mark.parametrize("noise", [0.3, 0.6])
@pytest.mark.parametrize("kind", ["representation", "readout"])
def test_noise_does_not_turn_a_cause_into_the_rest(kind: str, noise: float) -> None:
    """With the noise of the texts in their denominators the parts would be .45 and .32, or less."""
    parts = []
    for seed in range(12):
        gradients, vectors, contrasts = world({kind: 0.5}, noise=noise, seed=seed)
        causes = gain_causes(gradients, TEST, vectors, contrasts, TRAIN, draws=2)
        of_pair = causes[(causes.steered == "X") & (causes.axis == "Y")]
        parts.append(of_pair.set_index("cause").part)
    means = pd.concat(parts, axis=1).mean(axis=1)
    assert means[kind] == pytest.approx(0.5, abs=0.1)
    assert abs(means["rest"]) < 0.1


def test_nothing_is_named_by_chance() -> None:
    named = []
    for seed in range(12):
        gradients, vectors, contrasts = world({}, noise=0.3, seed=seed)
        named.append(gain_causes(gradients, TEST, vectors, contrasts, TRAIN, draws=200).shown)
    assert pd.concat(named).mean() < 0.05


def test_items_of_one_gain_by_different_causes_are_no_dataset_cause() -> None:
    """Each item moves Y by about 0.5, some along Y's vector and some along what both share."""
    gradients, _, contrasts = world({})
    items = TRAIN.frame()["item"].to_numpy()
    extra = np.zeros((len(items), 1, D_MODEL))
    extra[np.isin(items, ["X0", "X1"])] = 0.5 * E_Y
    extra[np.isin(items, ["X2", "X3", "X4"])] = 0.5 * SHARED
    moved = Activations(
        contrasts.ids, contrasts.positive + torch.from_numpy(extra).float(), contrasts.negative
    )
    axes = TRAIN.frame()["axis"].to_numpy()
    own = {
        axis: SteeringVectors(
            axis, "mean_diff", moved.positive[torch.from_numpy(axes == axis)].mean(0),
            torch.ones(1), {},
        )
        for axis in "XY"
    }  # fmt: skip
    causes = gain_causes(gradients, TEST, own, moved, TRAIN, draws=100)
    parts = causes[(causes.steered == "X") & (causes.axis == "Y")].set_index("cause")
    assert parts.part.sum() == pytest.approx(0.5, abs=0.05)
    assert abs(parts.part["dataset"]) < 0.05
    assert parts.part["representation"] > 0.1
    assert parts.part["rest"] > 0.1


def test_layers_without_a_vector_are_left_out() -> None:
    gradients, vectors, contrasts = world({})
    two = ReadoutGradients(
        gradients.readout, gradients.ids, gradients.logit_diff, gradients.gradient.repeat(1, 2, 1)
    )
    twice = Activations(
        contrasts.ids, contrasts.positive.repeat(1, 2, 1), contrasts.negative.repeat(1, 2, 1)
    )
    at_one = {
        axis: replace(
            v, direction=torch.cat([v.direction, 0 * v.direction]), resid_norm=torch.ones(2)
        )
        for axis, v in vectors.items()
    }
    causes = gain_causes(two, TEST, at_one, twice, TRAIN, draws=20)
    assert set(causes.layer) == {0}
    with pytest.raises(InputError, match="the vector of X at layer 1 is 0"):
        gain_causes(two, TEST, at_one, twice, TRAIN, layers={"X": [1], "Y": [1]}, draws=20)


def test_whitening_leaves_out_what_all_texts_share() -> None:
    """Both axes' texts differ along one noisy direction, which makes their vectors look alike."""
    gradients, vectors, contrasts = world({})
    rng = np.random.default_rng(3)
    loud = torch.from_numpy(rng.normal(0, 30, (len(TRAIN), 1, 1)) * F_X).float()
    noise = torch.from_numpy(rng.normal(0, 1, (len(TRAIN), 1, D_MODEL))).float()
    positive = contrasts.positive + loud + noise
    activations = Activations(contrasts.ids, positive, loud + noise)
    shared = {
        axis: replace(v, direction=v.direction + torch.from_numpy(2 * F_X).float())
        for axis, v in vectors.items()
    }
    moved = Activations(
        contrasts.ids, contrasts.positive + torch.from_numpy(2 * F_X).float(), contrasts.negative
    )
    run = (gradients, TEST, shared, moved, TRAIN)
    raw = gain_causes(*run, draws=20).set_index(["steered", "cause"]).part
    white = gain_causes(*run, whiten_by=activations, draws=20).set_index(["steered", "cause"]).part
    assert abs(white["X", "representation"]) < 0.2 * abs(raw["X", "representation"])


def test_without_three_items_no_item_can_stand_out() -> None:
    gradients, vectors, contrasts = world({"representation": 0.3})
    two = TRAIN.with_ids([s.id for s in TRAIN if s.item in ("X0", "X1", "Y0", "Y1")])
    rows = contrasts.select([s.id for s in two])
    axes = two.frame()["axis"].to_numpy()
    own = {
        axis: replace(v, direction=rows.positive[torch.from_numpy(axes == axis)].mean(0))
        for axis, v in vectors.items()
    }
    causes = gain_causes(gradients, TEST, own, rows, two, draws=50)
    assert set(causes.cause) == {"representation", "readout", "rest"}
    gains = gain_matrix(gradients, TEST, own).set_index(["steered", "axis"]).gain
    sums = causes.groupby(["steered", "axis"]).part.sum()
    np.testing.assert_allclose(sums, gains[sums.index], atol=1e-6)


def test_what_cannot_be_split_is_refused() -> None:
    gradients, vectors, contrasts = world({})
    with pytest.raises(InputError, match="two axes or more"):
        gain_causes(gradients, TEST, {"X": vectors["X"]}, contrasts, TRAIN)
    turned = {**vectors, "X": replace(vectors["X"], direction=vectors["Y"].direction)}
    with pytest.raises(InputError, match="is not the mean difference of these contrasts"):
        gain_causes(gradients, TEST, turned, contrasts, TRAIN)
    with pytest.raises(InputError, match="no scenario of axis Y"):
        gain_causes(gradients, TEST.filter(axis="X"), vectors, contrasts, TRAIN)
