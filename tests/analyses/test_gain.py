"""Gains of a study beside measured effects: a model of known coupling, and the words on them."""

from __future__ import annotations

import numpy as np
import pytest
from declared_tables import check_captions, check_tables
from planted import COUPLING, planted_study

import interp_culture as ic
from analyses.gain import ANALYSIS, sections
from interp_culture.study.analysis import Tables


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ic.Study:
    return planted_study(
        tmp_path_factory.mktemp("study"), alphas=[0.2], sweep_alphas=[0.2],
        sweep_method="gradient", top_k=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tables(study: ic.Study) -> Tables:
    return study.measure(ANALYSIS)


def test_gains_are_the_measured_effects_of_small_steps(study: ic.Study, tables: Tables) -> None:
    check_tables(ANALYSIS, tables)
    agreement = tables["agreement"]
    small = agreement[agreement.alpha == agreement.alpha.min()].set_index(["steered", "axis"])
    assert small.loc[("all", "all")].r > 0.999
    assert small.loc[("all", "all")].slope == pytest.approx(1, abs=0.02)
    assert small.loc[("X", "Y")].n == study.model.n_layers


def test_the_planted_coupling_is_the_one_beyond_random_vectors(tables: Tables) -> None:
    gains = tables["by_layer"].set_index(["steered", "axis", "layer"]).sort_index()
    ratio = gains.gain["X", "Y"] / gains.gain["Y", "Y"]
    np.testing.assert_allclose(ratio, COUPLING, rtol=0.25)
    assert (gains.p_null["X", "Y"] < 0.05).all()
    assert (gains.p_null["Y", "X"] > 0.05).all()
    # In 32 dimensions random vectors reach far, so that eight adjusted p values are too large.
    assert (gains.q["X", "Y"] >= gains.p_null["X", "Y"]).all()


def test_findings_and_figures(study: ic.Study, tables: Tables) -> None:
    rows = tables["by_layer"]
    is_x_to_y = (rows.steered == "X") & (rows.axis == "Y")
    shown = {**tables, "by_layer": rows.assign(shown=is_x_to_y)}
    profile, agreement = made = sections(shown, study.about)
    check_captions(ANALYSIS, made)
    assert "X moves Y at 0, 1, 2, 3; Y moves X at no layer" in profile.title
    assert agreement.title.startswith("Gains and measured effects correlate with 1.00 at alpha")
