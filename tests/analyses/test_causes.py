"""The causes of a study on a model of known coupling: its vectors share a direction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from declared_tables import check_captions, check_tables
from planted import planted_study

import interp_culture as ic
from analyses.causes import ANALYSIS, found, sections
from interp_culture.study.analysis import Tables

PAIR = ["steered", "axis"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ic.Study:
    return planted_study(
        tmp_path_factory.mktemp("study"), method="gradient", alphas=[0.2], sweep_alphas=[0.2],
        sweep_method="gradient", top_k=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tables(study: ic.Study) -> Tables:
    return study.measure(ANALYSIS)


def test_the_cause_of_the_planted_coupling_is_the_shared_direction(tables: Tables) -> None:
    """The texts of X differ along Y's direction too, and v_Y is that direction."""
    check_tables(ANALYSIS, tables)
    parts = tables["by_layer"]
    here = parts[(parts.direction == "paper") & (parts.metric == "raw")]
    x_to_y = here[(here.steered == "X") & (here.layer == 1)].set_index("cause").part
    assert x_to_y.representation > 0.8 * x_to_y.sum() > 0


def test_parts_and_texts_add_up_to_the_gains(study: ic.Study, tables: Tables) -> None:
    gains = tables["gains"].set_index(["direction", "layer", *PAIR]).gain
    parts = tables["by_layer"]
    together = tables["together"]
    for of_metric in (parts[parts.metric == "raw"], parts[parts.metric == "whitened"], together):
        sums = of_metric.groupby(["direction", "layer", *PAIR]).part.sum()
        np.testing.assert_allclose(sums, gains[sums.index], atol=1e-7)
    means = tables["texts"].groupby(["direction", *PAIR]).gain.mean()
    for (direction, steered, axis), mean in means.items():
        at = [gains[direction, layer, steered, axis] for layer in study.layers[steered]]
        assert mean == pytest.approx(sum(at), abs=1e-7)


def test_findings_and_figures(study: ic.Study, tables: Tables) -> None:
    of_steered, of_paper = made = sections(tables, study.about)
    check_captions(ANALYSIS, made)
    assert "the steered direction" in of_steered.title
    assert "X → Y by representation" in of_paper.title
    assert "Y → X nothing to explain" in of_paper.title
    assert " Texts of the item X" in of_paper.text[1]
    names = [trace.name for trace in of_paper.figure.data]
    assert names[-1] == "gain"


def test_causes_that_are_shown_are_named_the_largest_first() -> None:
    parts = pd.DataFrame(
        {
            "cause": ["representation", "readout", "dataset", "rest"],
            "part": [-0.02, -0.03, -0.04, 0.01],
            "shown": [True, True, False, True],
        }
    )
    assert found(parts, -0.08) == "by readout and representation"
    assert found(parts[parts.cause == "dataset"], -0.04) == "no cause shown"


def test_a_study_of_one_axis_has_no_pair_to_explain(tmp_path: Path, study: ic.Study) -> None:
    one = ic.Study(ic.StudyConfig(**{**study.config.model_dump(), "out": str(tmp_path)}))
    one.model = study.model
    one.scenarios = study.scenarios.filter(axis="X")
    one.primary_readout = "continuation"
    tables = one.measure(ANALYSIS)
    check_tables(ANALYSIS, tables)
    assert all(table.empty for table in tables.values())
    assert sections(tables, one.about) == []
