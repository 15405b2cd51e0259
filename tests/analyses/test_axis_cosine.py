"""Angles against formulas by hand and planted truths, and their prediction of a known coupling."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from declared_tables import check_captions, check_tables
from planted import COUPLING, planted_scenarios, planted_study
from scipy.stats import spearmanr

import interp_culture as ic
from analyses.axis_cosine import ANALYSIS, sections
from interp_culture.coupling.geometry import axis_cosines, cross_responses, prediction, whitening
from interp_culture.steering.activations import Activations
from interp_culture.study.analysis import Tables


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ic.Study:
    folder = tmp_path_factory.mktemp("study")
    return planted_study(folder, alphas=[0.1], sweep_alphas=[0.1], top_k=2)


@pytest.fixture(scope="module")
def tables(study: ic.Study) -> Tables:
    return study.measure(ANALYSIS)


def noise(step: float = 0.0, seed: int = 0) -> Activations:
    """One layer of normal numbers; the poles differ along coordinate 0 (X), or 0 and 1 (Y)."""
    ids = [s.id for s in planted_scenarios()]
    positive, negative = torch.randn(
        2, len(ids), 1, 12, generator=torch.Generator().manual_seed(seed)
    )
    half = len(ids) // 2
    positive[:half, 0, 0] += step
    positive[half:, 0, :2] += step * 0.5**0.5
    return Activations(tuple(ids), positive, negative)


def test_the_planted_coupling_is_found_at_every_layer(study: ic.Study, tables: Tables) -> None:
    coupling = tables["coupling"].set_index(["steered", "axis", "layer"]).sort_index()
    own, cross = (coupling.effect[pair].to_numpy() for pair in (("Y", "Y"), ("X", "Y")))
    assert len(own) == study.model.n_layers
    assert (own > 0).all()
    assert np.allclose(coupling.effect["Y", "X"], 0, atol=0.02 * own.max())
    reads = study.vectors()["X"].direction[:, 1] / study.vectors()["Y"].direction[:, 1]
    assert np.allclose(cross, own * reads.numpy(), rtol=0.05)
    assert reads.mean() == pytest.approx(COUPLING, rel=0.2)


def test_the_projection_predicts_the_effect_of_the_parallel_part(
    study: ic.Study, tables: Tables
) -> None:
    coupling = tables["coupling"]
    diagonal = coupling[coupling.steered == coupling.axis]
    assert np.allclose(diagonal.projected, diagonal.effect)
    assert (coupling.null_low <= coupling.null_high).all()
    vectors = {axis: v.direction.double() for axis, v in study.vectors().items()}
    expected = torch.nn.functional.cosine_similarity(vectors["X"], vectors["Y"], dim=-1).numpy()
    raw = tables["cosines"].query("kind == 'raw'")
    assert np.allclose(raw.cosine, expected, atol=1e-5)


def test_whitening_makes_the_covariance_a_sphere_and_the_formula_holds() -> None:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(5, 5))
    positive, negative = rng.normal(size=(2, 4000, 5)) @ mix + 3
    axes = np.repeat(["X", "Y"], 2000)
    w = whitening(positive + (axes == "X")[:, None], negative, axes)
    assert np.allclose(np.cov((positive @ w).T), np.eye(5), atol=0.1)
    assert np.allclose(
        w @ w.T, np.linalg.inv(np.cov(np.concatenate([positive, negative]).T)), rtol=0.1, atol=0.05
    )


def test_cosines_have_intervals_that_hold_the_truth_and_a_null_around_zero() -> None:
    cosines = axis_cosines(noise(step=8.0), planted_scenarios()).set_index("kind")
    assert cosines.low["raw"] < 0.5**0.5 < cosines.high["raw"]
    assert (cosines.null_high < cosines.cosine).all()
    nothing = axis_cosines(noise(), planted_scenarios())
    assert ((nothing.null_low < nothing.cosine) & (nothing.cosine < nothing.null_high)).all()


def hand_made(slope: float) -> Tables:
    """Ten layers at which the response of Y to X rises with the cosine by `slope`, and scatter."""
    layers = np.arange(10)
    angles = pd.DataFrame(
        {"layer": layers, "a": "X", "b": "Y", "cosine": layers / 20.0, "low": 0.0, "high": 0.6}
    )
    cosines = pd.concat(
        [angles.assign(kind=kind, null_low=-0.1, null_high=0.1) for kind in ("raw", "whitened")]
    )
    scatter = np.random.default_rng(1).normal(size=10) / 100
    rows = []
    for layer, steered, axis in product(layers, "XY", "XY"):
        effect = 0.1 if steered == axis else scatter[layer] + slope * layer * (steered == "X")
        rows.append(
            (
                layer,
                steered,
                axis,
                effect,
                effect - 0.05,
                effect + 0.05,
                0.5,
                True,
                0.01 * layer,
                -0.02,
                0.02,
            )
        )
    names = ["layer", "steered", "axis", "effect", "low", "high", "ratio", "defined", "projected"]
    coupling = pd.DataFrame(rows, columns=[*names, "null_low", "null_high"])
    return {"cosines": cosines.reset_index(drop=True), "coupling": coupling}


def test_few_layers_in_order_are_no_evidence() -> None:
    made = hand_made(0.05)
    of = cross_responses(made["cosines"], made["coupling"]).query(
        "pair == 'X → Y' and kind == 'raw'"
    )
    (whole,), (three,) = (prediction(own).itertuples() for own in (of, of[of.layer < 3]))
    assert whole.spearman == pytest.approx(spearmanr(of.foreseen, of.effect).statistic)
    assert whole.p < 0.001
    assert three.spearman == pytest.approx(1)
    assert three.p == pytest.approx(1 / 3)  # two of the six orders of three layers are as extreme


def test_titles_say_whether_the_angle_predicts_the_coupling(tables: Tables) -> None:
    about = {"config": {"alphas": [2.0]}, "n_train": 12}
    for slope, words in ((0.05, "raw X → Y, Spearman +1.00"), (0.0, "We found no evidence")):
        made = hand_made(slope)
        made = {
            **made,
            "prediction": prediction(cross_responses(made["cosines"], made["coupling"])),
        }
        shown = sections(made, about)
        assert all(section.figure.to_json() for section in shown)
        assert words in shown[0].title
        assert shown[1].title.endswith("+0.00 to +0.45 over layers, beyond chance at 7 of 10")
    assert "X → Y at 0 of 10 layers, Y → X at 0 of 10 layers" in shown[2].title
    check_tables(ANALYSIS, tables)
    check_captions(ANALYSIS, sections(tables, about))
    assert len(sections(tables, about)) == 3
    assert sections({**tables, "cosines": tables["cosines"][:0]}, about) == []
