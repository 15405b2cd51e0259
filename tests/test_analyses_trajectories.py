"""Trajectories: the study's own runs again, paired differences by hand, angles from places, words for what is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted import planted_model, planted_scenarios

import interp_culture as ic
from analyses.trajectories import STEPS, measure, sections
from interp_culture import study as study_module
from interp_culture.model import LanguageModel

SIZES = {
    "train_per_cell": 2,
    "test_per_cell": 1,
    "sweep_per_item": 1,
    "top_k": 2,
    "alphas": [2.0],
    "sweep_alphas": [2.0],
}
Measured = tuple[ic.Study, dict[str, pd.DataFrame]]
ABOUT = {"config": {"alphas": [2.0]}, "n_some": 30, "lead": "letters"}


@pytest.fixture(scope="module")
def measured(tiny: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    personas = {"none": None, "basic:India": ic.basic_persona("India")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "load_model", lambda *a, **k: tiny)
        patch.setattr("analyses.trajectories.personas", lambda: personas)
        study = ic.Study(ic.StudyConfig(out=str(tmp_path_factory.mktemp("study")), **SIZES))
        return study, dict(measure(study))


def test_alone_at_the_largest_alpha_it_is_the_study_itself(measured: Measured) -> None:
    study, tables = measured
    alone = study.once("trajectories.readouts.none", pd.DataFrame)
    assert set(alone.alpha) == {0.0, *(s * step * 2.0 for step in STEPS for s in (1, -1))}
    keys = ["steered", "alpha", "id"]
    both = alone.merge(study.steered(study.lead).query("method != 'random'"), on=keys, suffixes=("", "_study"))
    assert len(both) == 5 * len(study.some)
    np.testing.assert_allclose(both.p_positive, both.p_positive_study, atol=1e-5)
    own = tables["moves"].query("persona == 'none' and abs(alpha) == 2")
    assert own.null_low.lt(own.null_high).all()
    assert tables["moves"].query("abs(alpha) != 2").null_low.isna().all()


def test_what_a_persona_adds_is_paired_by_scenario(measured: Measured) -> None:
    study, tables = measured
    slopes = {}
    for name in ("none", "basic-India"):
        part = study.once(f"trajectories.readouts.{name}", pd.DataFrame)
        part = part[(part.axis == "X") & (part.steered == "X")]
        up, down = (part[part.alpha == a].set_index("id").p_positive for a in (2.0, -2.0))
        slopes[name] = (up - down) / 4
    row = tables["hybrid"].query("steered == 'X' and axis == 'X'").iloc[0]
    added = slopes["basic-India"] - slopes["none"]
    assert row.effect == pytest.approx(added.mean())
    assert row.low <= row.effect <= row.high
    assert added.std() > 0


def test_angles_are_those_of_the_places(measured: Measured) -> None:
    tables = measured[1]
    places = tables["places"].set_index(["persona", "steered", "alpha"])[["x", "y"]]
    assert len(tables["angles"]) == 2 * (2 * len(STEPS)) + 2 * 2
    for row in tables["angles"].itertuples():
        moved = places.loc[(row.persona, row.steered, row.alpha)] - places.loc[(row.persona, "", 0.0)]
        along, across = np.sign(row.alpha) * (moved if row.steered == "X" else moved[::-1])
        assert row.angle == pytest.approx(np.degrees(np.arctan2(across, along)), abs=1e-4)
        assert row.low <= row.angle <= row.high
        assert row.ratio == pytest.approx(min(1, abs(across / along)))


def test_sections_say_what_is_shown_and_what_is_not(measured: Measured) -> None:
    tables = measured[1]
    moved, (alone, _) = sections(tables, ABOUT), sections(tables | {"angles": _angles(-20, 30)}, ABOUT)
    assert all(section.figure.to_json() for section in moved)
    assert alone.title.startswith("1 of 1 paths on the map keep within 45° of the steered axis, 0 leave it")
    assert sections(tables | {"angles": _angles(60, 330)}, ABOUT)[0].title.startswith("0 of 1")
    assert sections(tables | {"angles": _angles(60, 300)}, ABOUT)[0].title.endswith("1 leave it")
    moves = tables["moves"]
    for effect, words in (
        (0.3, "in 2 of 4 runs alone and 2 of 4 runs under"),
        (0.01, "in none of 4 runs alone and none of"),
    ):
        clear = moves.assign(effect=effect, low=effect - 0.001, high=effect + 0.001, null_low=-0.02, null_high=0.02)
        assert words in sections(tables | {"moves": clear}, ABOUT)[1].title


def test_other_axes_have_no_personas_and_no_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "load_model", lambda *a, **k: planted_model())
    monkeypatch.setattr(study_module, "load_scenarios", lambda path: planted_scenarios())
    study = ic.Study(ic.StudyConfig(out=str(tmp_path), alphas=[0.1], sweep_alphas=[0.1], top_k=2))
    tables = measure(study)
    assert set(tables) == {"moves", "hybrid"}
    assert tables["hybrid"].empty
    (section,) = sections(tables, study.about)
    assert section.title.endswith("in 4 of 4 runs alone")


def _angles(low: float, high: float) -> pd.DataFrame:
    row = {"persona": "none", "steered": "X", "alpha": 2.0, "angle": (low + high) / 2, "low": low, "high": high}
    return pd.DataFrame([row])
