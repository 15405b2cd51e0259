"""The layer sweep as an analysis: a tiny model, the stability of a choice, and its words."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from declared_tables import check_captions, check_tables
from planted import planted_scenarios

import interp_culture as ic
from analyses.layer_sweep import ANALYSIS, RUN, sections
from interp_culture.engine.model import LanguageModel
from interp_culture.steering.layer_choice import choice_overlap, choice_stability, top_layers
from interp_culture.steering.sweep import sweep_null
from interp_culture.study.analysis import Tables

ABOUT = {"config": {"n_random": 20}, "items": {i: f"label of {i}" for i in ("X1", "X2", "X3")}}


@pytest.fixture(scope="module")
def study(tiny: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> ic.Study:
    folder = str(tmp_path_factory.mktemp("study"))
    made = ic.Study(
        ic.StudyConfig(
            method="mean_diff", model="tiny", out=folder, sweep_alphas=[0.01, -0.01], top_k=2
        )
    )
    made.model = tiny
    made.scenarios = planted_scenarios()
    made.primary_readout = "continuation"
    return made


@pytest.fixture(scope="module")
def tables(study: ic.Study) -> Tables:
    return study.measure(ANALYSIS)


def planted(best: list[list[int]], n_layers: int = 12, seed: int = 0) -> pd.DataFrame:
    """An exact sweep of one axis; item i has its largest differentials at the layers `best[i]`."""
    rng = np.random.default_rng(seed)
    rows = []
    for (number, layers), case, layer in product(
        enumerate(best, start=1), range(6), range(n_layers)
    ):
        differential = 0.1 * rng.random() + (layer in layers)
        rows.append(
            (
                "X",
                layer,
                1.0,
                f"{number}-{case}",
                "X",
                f"X{number}",
                -differential,
                differential,
                "exact",
            )
        )
    names = ["steered", "layer", "alpha", "id", "axis", "item", "shift", "differential", "method"]
    return pd.DataFrame(rows, columns=names)


def test_differentials_are_those_of_the_sweep_with_the_choice_of_the_study(
    study: ic.Study, tables: Tables
) -> None:
    means = study.sweep().groupby(RUN)[["differential", "shift"]].mean()
    rows = tables["by_layer"].set_index(RUN)
    assert np.allclose(rows.effect, means.differential.reindex(rows.index))
    assert np.allclose(rows["shift"], means["shift"].reindex(rows.index))
    assert (
        (rows.low <= rows.effect) & (rows.effect <= rows.high) & (rows.null_low <= rows.null_high)
    ).all()
    assert len(tables["by_item"]) == 6 * study.model.n_layers
    for axis, own in tables["stability"].groupby("steered"):
        assert list(own.layer[own.chosen]) == study.layers[axis]
        assert own.share.sum() == pytest.approx(study.config.top_k)


def test_the_prediction_is_exact_for_small_steps(tables: Tables) -> None:
    check_tables(ANALYSIS, tables)
    agreement = tables["agreement"]
    assert set(zip(agreement.steered, agreement.alpha, strict=True)) == set(
        product("XY", (0.01, -0.01))
    )
    assert (agreement.pearson > 0.999).all()
    assert (agreement.error < 0.02 * tables["by_layer"].effect.max()).all()


def test_random_vectors_scale_with_the_vector(study: ic.Study) -> None:
    few = study.sweep_scenarios.filter(item="X1")
    run = {"n": 3, "readout": study.primary_readout}
    vectors = {"X": study.vectors()["X"]}
    one, ten = (sweep_null(study.model, few, vectors, alpha=a, **run) for a in (0.001, 0.01))
    assert np.allclose(ten.null_high, 10 * one.null_high, rtol=0.01)
    assert set(one) == {*RUN, "null_low", "null_high"}


def test_a_choice_is_stable_where_items_agree_and_not_where_they_do_not() -> None:
    agreed = planted([[2, 5]] * 3)
    shares = choice_stability(agreed, 2).set_index("layer").share
    assert shares[[2, 5]].tolist() == [1, 1]
    assert (choice_overlap(agreed, 2).overlap == 2).all()
    apart = choice_stability(planted([[0], [1], [2]]), 1)
    assert apart.share.max() < 0.7
    assert list(apart.layer[apart.chosen]) == top_layers(planted([[0], [1], [2]]), "X", 1)
    overlap = choice_overlap(planted([[]] * 3), 3)
    assert overlap.overlap.mean() == pytest.approx(overlap.chance.iloc[0], abs=0.5)


def shown(tables: Tables, **changes: float) -> list[str]:
    page = sections({**tables, "by_layer": tables["by_layer"].assign(**changes)}, ABOUT)
    assert all(section.figure.to_json() for section in page)
    check_captions(ANALYSIS, page)
    return [section.title for section in page]


def test_titles_say_what_was_found_and_what_was_not() -> None:
    sweep = planted([[2, 5]] * 3)
    layers = ic.coupling.effects(sweep, [*RUN, "method"], "differential").assign(
        shift=0.0, predicted=0.5, null_low=0.0
    )
    agreement = pd.DataFrame(
        {"steered": ["X"], "alpha": [1.0], "n_layers": [12], "spearman": [0.9], "pearson": [0.9]}
    )
    by_item = sweep.groupby(["steered", "item", "layer"]).differential.mean().reset_index()
    made = {"by_layer": layers, "by_item": by_item, "stability": choice_stability(sweep, 2)}
    made |= {"halves": choice_overlap(sweep, 2), "agreement": agreement}
    choice, items, prediction = shown(made, null_high=0.9)
    assert choice == "X moves most at layers 2, 5, 2 of 2 beyond random vectors"
    assert items == "3 of 3 items move most at a chosen layer"
    assert prediction == "One backward pass ranks the layers as measurement does"
    assert "none of 2 beyond random vectors" in shown(made, null_high=1.5)[0]
    assert (
        "only partly"
        in shown(made | {"agreement": agreement.assign(spearman=0.2)}, null_high=1.5)[2]
    )
    assert (
        "Too few layers"
        in shown(made | {"agreement": agreement.assign(spearman=np.nan)}, null_high=1.5)[2]
    )
