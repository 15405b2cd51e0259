"""Vectors of one domain and what they move in others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from declared_tables import check_captions, check_tables

import interp_culture as ic
from analyses import domains
from interp_culture.engine.model import LanguageModel
from interp_culture.study import study as study_module
from interp_culture.study.analysis import About, Tables
from interp_culture.study.config import StudyConfig

LAYERS = {"X": [1, 2], "Y": [2, 3]}


@pytest.fixture(scope="module")
def measured(
    tiny: LanguageModel, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ic.Study, Tables]:
    sizes = {
        "train_per_cell": 2,
        "test_per_cell": 1,
        "sample_per_item": 3,
        "layers": LAYERS,
        "alphas": [2.0],
    }
    study = ic.Study(
        StudyConfig(
            method="mean_diff",
            model="tiny-llama",
            out=str(tmp_path_factory.mktemp("domains")),
            **sizes,
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "load_model", lambda *a, **k: tiny)
        return study, study.measure(domains.ANALYSIS)


def test_every_domain_is_read_under_the_vectors_of_every_domain(
    measured: tuple[ic.Study, Tables],
) -> None:
    study, tables = measured
    expected = (
        2 * 3 * (2 + 3)
    )  # steered axes; domains read; axes read under all, own axis under three domains
    check_tables(domains.ANALYSIS, tables)
    assert len(tables["transfer"]) == expected
    assert set(tables["transfer"].source) == {"all", *study.train.domains}


def test_the_vectors_of_all_domains_do_what_probe_says(measured: tuple[ic.Study, Tables]) -> None:
    study, tables = measured
    v = study.vectors()["X"]
    readout = study.primary_readout
    up, down = (
        ic.probe(study.model, study.test, edits=ic.steer(v, LAYERS["X"], a), readout=readout)
        for a in (2.0, -2.0)
    )
    here = (up.axis == "Y") & (up.domain == "family")
    expected = float((up.p_positive - down.p_positive)[here].mean() / 4)
    row = tables["transfer"].query(
        "source == 'all' and steered == 'X' and domain == 'family' and axis == 'Y'"
    )
    assert row.effect.item() == pytest.approx(expected, abs=1e-6)


def test_a_domain_points_where_it_points(measured: tuple[ic.Study, Tables]) -> None:
    cosines = measured[1]["cosines"]
    assert np.allclose(cosines[cosines.a == cosines.b].cosine, 1, atol=1e-5)
    assert (cosines[cosines.a != cosines.b].cosine < 0.999).all()


def table_of(low: float, high: float, reach: float = 0.01) -> Tables:
    rows = [
        (
            source,
            steered,
            domain,
            axis,
            (low + high) / 2,
            low,
            high,
            5,
            -reach,
            reach,
            low > 0 and high > reach,
        )
        for source in ("all", "home", "work")
        for steered in "XY"
        for domain in ("home", "work")
        for axis in "XY"
    ]
    columns = [
        "source",
        "steered",
        "domain",
        "axis",
        "effect",
        "low",
        "high",
        "n",
        "null_low",
        "null_high",
        "sure",
    ]
    cosines = pd.DataFrame([("X", "home", "work", 0.5)], columns=["axis", "a", "b", "cosine"])
    return {"transfer": pd.DataFrame(rows, columns=columns), "cosines": cosines}


ABOUT: About = {
    "config": {"alphas": [2.0]},
    "direction": {"name": "the gradient of the readout"},
    "n_test": 20,
    "n_null": 10,
}


def test_titles_follow_the_numbers() -> None:
    null = domains.sections(table_of(-0.1, 0.2), ABOUT)
    clear = domains.sections(table_of(0.1, 0.2), ABOUT)
    check_captions(domains.ANALYSIS, clear)
    assert null[0].title.endswith("in 0 of 8 domain-to-domain cases")
    assert clear[0].title == (
        "Vectors of one domain move their axis as intended in 8 of 8 domain-to-domain cases;"
        " of these, beyond random vectors: X 4 of 4, Y 4 of 4"
    )
    assert null[1].title.startswith("In no domain does steering one axis move the other")
    assert clear[1].title.startswith(
        "Steering moves the other axis beyond random vectors in 4 of 4 cases"
    )
    far = domains.sections(table_of(0.1, 0.2, reach=0.3), ABOUT)
    assert far[0].title.endswith("of these, beyond random vectors: X 0 of 4, Y 0 of 4")
    assert far[1].title.startswith("In no domain does steering one axis move the other")
    assert all(section.figure.to_json() for section in (*null, *clear))


def test_the_page_stands_alone(measured: tuple[ic.Study, Tables]) -> None:
    study, tables = measured
    path = ic.reporting.write_page(domains.ANALYSIS, tables, study.about, study.folder)
    html = Path(path).read_text()
    assert domains.ANALYSIS.question in html
    assert "plotly" in html
