"""Entanglement: a planted coupling in every group, the null by hand, titles that follow numbers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import planted
import pytest
from declared_tables import check_captions, check_tables

import interp_culture as ic
from analyses.entanglement import ANALYSIS, measure, sections
from interp_culture.coupling.null import random_effects
from interp_culture.stats import NullBand
from interp_culture.study import study as study_module

SIZES = {
    "method": "mean_diff",
    "alphas": [0.05, 0.1],
    "sweep_alphas": [0.1],
    "top_k": 1,
    "sample_per_item": 2,
    "null_per_item": 2,
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[ic.Study, dict[str, pd.DataFrame]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("planted.ITEMS", planted.MAP_ITEMS)
        patch.setattr(study_module, "load_model", lambda *a, **k: planted.planted_model())
        patch.setattr(study_module, "load_scenarios", lambda path: planted.planted_scenarios(8))
        patch.setattr(
            "interp_culture.readout.probing.check_readout",
            lambda *a: SimpleNamespace(letters=None, ok=True),
        )
        patch.setattr("analyses.trajectories.personas", lambda study: {"none": None})
        study = ic.Study(ic.StudyConfig(out=str(tmp_path_factory.mktemp("study")), **SIZES))
        study.__dict__["primary_readout"] = "continuation"
        return study, dict(measure(study))


@pytest.fixture(scope="module")
def study(measured: tuple) -> ic.Study:
    return measured[0]


@pytest.fixture(scope="module")
def tables(measured: tuple) -> dict[str, pd.DataFrame]:
    return measured[1]


def test_the_planted_coupling_is_found_in_every_group(tables: dict[str, pd.DataFrame]) -> None:
    matrix = tables["matrix"].set_index(["kind", "group", "steered", "axis"]).sort_index()
    assert set(tables["matrix"].kind) == {"overall", "domain", "persona", "method"}
    for group in (
        ("overall", "all held-out scenarios"),
        ("domain", "only"),
        ("persona", "none"),
        ("method", "mean_diff"),
    ):
        assert matrix.ratio[(*group, "X", "Y")] == pytest.approx(planted.COUPLING, rel=0.2)
        assert matrix.ratio[(*group, "Y", "X")] < 0.05
        assert matrix.defined[(*group, "X", "Y")]
    assert len(tables["map_ratio"]) == 8


def test_same_vectors_on_the_same_scenarios_have_the_same_matrix(
    tables: dict[str, pd.DataFrame],
) -> None:
    matrix = tables["matrix"].set_index(["steered", "axis"])
    alone = matrix[(matrix.kind == "persona") & (matrix.group == "none")]
    extracted = matrix[(matrix.kind == "method") & (matrix.group == "mean_diff")]
    domain = matrix[matrix.kind == "domain"]
    whole = matrix[matrix.kind == "overall"]
    for one, other in ((alone, extracted), (domain, whole)):
        np.testing.assert_allclose(one.D, other.D[one.index], atol=1e-6)
    assert not np.allclose(alone.D, whole.D[alone.index], atol=1e-6)


def test_the_null_is_that_of_the_scenarios_read(
    study: ic.Study, tables: dict[str, pd.DataFrame]
) -> None:
    steered = study.steered(study.primary_readout)
    few = steered[steered.id.isin({s.id for s in study.sample})]
    null = tables["null"].set_index(["null", "steered", "axis"])
    for name, part in (("all", steered), ("some", few)):
        draws = random_effects(part).query("steered == 'X' and axis == 'Y'")
        row = null.loc[(name, "X", "Y")]
        assert row.draws == len(draws) == study.null_record["n"]
        assert row.null_ratio_median == pytest.approx(draws.ratio.median())
        reach = NullBand.of(draws.effect.to_numpy()).reach
        assert [row.null_low, row.null_high] == pytest.approx([-reach, reach])


def test_titles_follow_the_numbers(study: ic.Study, tables: dict[str, pd.DataFrame]) -> None:
    ratio, drag = sections(tables, study.about)
    check_tables(ANALYSIS, tables)
    check_captions(ANALYSIS, [ratio, drag])
    assert ratio.figure.to_json()
    assert drag.figure.to_json()
    matrix = tables["matrix"].query("kind == 'overall'")
    null = tables["null"]
    wide = null.assign(null_low=-9.0, null_high=9.0, null_ratio_low=0.0, null_ratio_high=1.0)
    flat = matrix.assign(D=0.0, low=-0.1, high=0.1)
    ratio, drag = sections({"matrix": flat, "null": wide}, study.about)
    assert ratio.title == (
        "Steering moves the other axis, by an interval that excludes 0, in none of 2 cases; none of"
        " 2 defined ratios are outside the random vectors' range"
    )
    assert drag.title.startswith("No coupling is shown: none of 2 responses")
    assert any(
        "In 2 of 2 cases random vectors reach the ratio's cap" in text for text in ratio.text
    )
    narrow = wide.assign(null_low=-1e-9, null_high=1e-9, null_ratio_low=0.1, null_ratio_high=0.2)
    ratio, drag = sections(
        {"matrix": matrix.assign(D=0.2, low=0.1, high=0.3, ratio=0.5), "null": narrow}, study.about
    )
    assert "in 2 of 2 cases; 2 of 2 defined ratios" in ratio.title
    assert drag.title.startswith("2 of 2 responses of the other axis exclude 0")
    undefined = {"matrix": matrix.assign(defined=False), "null": narrow}
    assert "none of 0 defined ratios" in sections(undefined, study.about)[0].title
