"""Decoupled vectors of a study on a model of known coupling: the drag goes, the effect stays."""

from __future__ import annotations

import pytest
from declared_tables import check_captions, check_tables
from planted import planted_study

import interp_culture as ic
from analyses.decoupling import ANALYSIS, BRIEF, UNCHANGED, sections
from interp_culture.study.analysis import Tables


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ic.Study:
    return planted_study(
        tmp_path_factory.mktemp("study"), brief=True, alphas=[0.2], sweep_alphas=[0.2],
        sweep_method="gradient", top_k=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tables(study: ic.Study) -> Tables:
    return study.measure(ANALYSIS)


@pytest.mark.parametrize("method", BRIEF)
def test_the_drag_goes_and_the_effect_stays(method: str, tables: Tables) -> None:
    """v_Y is Y's direction and v_X has a part along it, so that every method takes it away."""
    effects = tables["effects"].set_index(["method", "steered", "axis"])
    before = effects.loc[(UNCHANGED, "X", "Y")]
    assert before.sure
    assert abs(effects.loc[(method, "X", "Y")].effect) < 0.1 * before.effect
    kept = tables["kept"].set_index(["method", "steered"]).multiple
    assert kept[method, "X"] > 0.8
    assert kept[UNCHANGED, "X"] == pytest.approx(1)


def test_tables_findings_and_figure(study: ic.Study, tables: Tables) -> None:
    check_tables(ANALYSIS, tables)
    (section,) = made = sections(tables, study.about)
    check_captions(ANALYSIS, made)
    expected = f"Decoupled vectors: X → Y: within random vectors after {', '.join(BRIEF)}"
    assert section.title == expected
    assert (tables["cost"].kl > 0).all()
    no_drag = tables["effects"].assign(sure=False)
    (without,) = sections({**tables, "effects": no_drag}, study.about)
    assert without.title.startswith("There is no coupling to take away")
