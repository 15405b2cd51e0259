"""Trajectories: the study's runs again, paired differences by hand, angles from places, words."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import planted
import pytest
from declared_tables import check_captions, check_tables

import interp_culture as ic
from analyses import coefficients
from analyses.trajectories import ANALYSIS, FARTHEST, measure, persona_effects, readouts, sections
from interp_culture.study import study as study_module
from interp_culture.survey.wvs import survey_items

SIZES = {
    "method": "mean_diff",
    "alphas": [0.1],
    "sweep_alphas": [0.1],
    "top_k": 1,
    "sample_per_item": 3,
    "null_per_item": 3,
}
Measured = tuple[ic.Study, dict[str, pd.DataFrame]]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    personas = {"none": None, "basic:India": ic.basic_persona("India")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("planted.ITEMS", planted.MAP_ITEMS)
        patch.setattr(study_module, "load_model", lambda *a, **k: planted.planted_model())
        patch.setattr(study_module, "load_scenarios", lambda path: planted.planted_scenarios(4))
        patch.setattr(
            "interp_culture.readout.probing.check_readout",
            lambda *a: SimpleNamespace(letters=None, ok=True),
        )
        patch.setattr("analyses.trajectories.personas", lambda study: personas)
        study = ic.Study(ic.StudyConfig(out=str(tmp_path_factory.mktemp("study")), **SIZES))
        study.__dict__["primary_readout"] = "continuation"
        return study, dict(measure(study))


def test_alone_at_the_largest_alpha_it_is_the_study_itself(measured: Measured) -> None:
    study, tables = measured
    alone = readouts(study).query("persona == 'none'")
    strengths = [0.05 * step for step in coefficients.WHOLE.steps if step <= 2 * FARTHEST]
    assert sorted(alone.alpha.unique()) == pytest.approx(
        sorted([0, *strengths, *(-s for s in strengths)])
    )
    own = study.steered(study.primary_readout).query("method != 'random'")
    both = alone.merge(own, on=["steered", "alpha", "id"], suffixes=("", "_study"))
    assert len(both) == 5 * len(study.sample)
    np.testing.assert_allclose(both.p_positive, both.p_positive_study, atol=1e-5)
    moves = tables["moves"]
    assert (moves.null_low < moves.null_high).equals(moves.alpha.abs() == 0.1)


def test_a_persona_adds_nothing_where_a_model_reads_no_context(measured: Measured) -> None:
    added = measured[1]["hybrid"]
    assert set(added.persona) == {"basic:India"}
    np.testing.assert_allclose(added.effect, 0, atol=1e-5)


def test_what_a_persona_adds_is_paired_by_scenario() -> None:
    base = {name: 0.1 * place for place, name in enumerate("abcdef", start=1)}
    rows = []
    for persona, gain in (("none", 0.0), ("told", 0.05)):
        for method, alpha in (("plain", 0.0), ("mean_diff", 2.0), ("mean_diff", -2.0)):
            steered = "" if method == "plain" else "X"
            rows += [
                (persona, steered, method, alpha, i, p * (1 + alpha / 5) + gain * alpha)
                for i, p in base.items()
            ]
    table = pd.DataFrame(
        rows, columns=["persona", "steered", "method", "alpha", "id", "p_positive"]
    )
    (row,) = persona_effects(
        table.assign(axis="X", item=table.id, domain="d", logit_diff=0.0)
    ).itertuples()
    assert (row.effect, row.low, row.high) == pytest.approx((0.05, 0.05, 0.05))


def test_angles_and_ratios_are_those_of_the_places(measured: Measured) -> None:
    tables = measured[1]
    places = tables["places"].set_index(["persona", "steered", "alpha"])[["x", "y"]]
    assert len(tables["angles"]) == 2 * 2 * (len(coefficients.WHOLE.steps) - 1) + 2 * 2
    for row in tables["angles"].itertuples():
        moved = (
            places.loc[(row.persona, row.steered, row.alpha)] - places.loc[(row.persona, "", 0.0)]
        )
        along, across = np.sign(row.alpha) * (moved if row.steered == "X" else moved[::-1])
        assert row.angle == pytest.approx(np.degrees(np.arctan2(across, along)), abs=1e-3)
        assert row.low - 1e-6 <= row.angle <= row.high + 1e-6
        assert row.ratio == pytest.approx(min(1, abs(across / along)), rel=1e-3)


def test_sections_say_what_is_shown_and_what_is_not(measured: Measured) -> None:
    study, tables = measured
    check_tables(ANALYSIS, tables)
    check_captions(ANALYSIS, sections(tables, study.about))
    assert all(section.figure.to_json() for section in sections(tables, study.about))
    path = pd.DataFrame(
        [
            {
                "persona": "none",
                "steered": "X",
                "alpha": 0.1,
                "angle": 5.0,
                "low": -20.0,
                "high": 30.0,
            }
        ]
    )
    for low, high, words in ((-20, 30, "1 of 1"), (60, 330, "0 of 1"), (-20, 50, "0 of 1")):
        section = sections(tables | {"angles": path.assign(low=low, high=high)}, study.about)[0]
        assert (
            section.title
            == f"{words} paths on the map stay within 45° of the steered axis, 0 leave it"
        )
    assert sections(tables | {"angles": path.assign(low=60, high=300)}, study.about)[
        0
    ].title.endswith(" 1 leave it")
    for effect, words in (
        (0.3, "2 of 4 runs alone and 2 of 4"),
        (0.01, "none of 4 runs alone and none of 4"),
    ):
        sure = {
            "effect": effect,
            "low": effect - 0.001,
            "high": effect + 0.001,
            "null_low": -0.02,
            "null_high": 0.02,
        }
        assert (
            words
            in sections(tables | {"moves": tables["moves"].assign(**sure)}, study.about)[1].title
        )


def test_other_axes_have_no_map(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    study = measured[0]
    alone = readouts(study).query("persona == 'none'")
    monkeypatch.setattr(
        "analyses.trajectories.readouts", lambda study: alone.assign(item="q" + alone["item"])
    )
    tables = measure(study)
    assert set(tables) == {"moves", "hybrid"}
    assert tables["hybrid"].empty
    (section,) = sections(tables, study.about)
    assert section.title.endswith("in 4 of 4 runs alone")


@pytest.mark.parametrize(("items", "n"), [(["A1"], 1), (list(survey_items().index), 9)])
def test_personas_are_read_where_the_items_are_those_of_the_survey(
    items: list[str], n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = pd.DataFrame({"name": ["alone"], "alpha": [0.0]})
    stub_analysis = SimpleNamespace(readouts=lambda study: alone)
    monkeypatch.setattr("analyses.trajectories.find_analysis", lambda name: stub_analysis)
    stub = SimpleNamespace(
        sample=SimpleNamespace(items=items),
        config=SimpleNamespace(alphas=[1.0], brief=False),
        vectors=dict,
        once=lambda name, compute: pd.DataFrame({"name": [name]}),
    )
    assert readouts(stub)["name"].nunique() == n
