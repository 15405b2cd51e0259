"""Personas in two paradigms: against independent readings, resumed, and put into words."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from declared_tables import check_captions, check_tables
from planted import planted_scenarios

import interp_culture as ic
from analyses import paradigms
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.study import study as study_module
from interp_culture.survey import culture_map
from interp_culture.survey.reply_parsing import changed_answers

ABOUT = {"n_persona": 10, "primary_readout": "continuation"}
SIZES = {
    "method": "mean_diff",
    "layers": {"X": [1], "Y": [1]},
    "alphas": [1.0],
    "train_per_cell": 1,
    "null_per_item": 1,
    "brief": True,
}


@pytest.fixture(scope="module")
def study(tiny: ic.LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two countries, a scenario an item, answers of two tokens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "load_model", lambda *a, **k: tiny)
        advanced = {
            c: replace(ic.basic_persona(c), kind="advanced", text=f"Be {c}.")
            for c in ("India", "Denmark")
        }
        basic = {c: ic.basic_persona(c) for c in ("India", "Denmark")}
        two_each = {f"basic:{c}": persona for c, persona in basic.items()}
        two_each |= {f"advanced:{c}": persona for c, persona in advanced.items()}
        patch.setattr(paradigms, "personas", lambda study: {"none": None, **two_each})
        patch.setattr(ic.survey, "ask_personas", partial(ic.survey.ask_personas, max_new_tokens=2))
        study = ic.Study(
            ic.StudyConfig(model="tiny", out=str(tmp_path_factory.mktemp("study")), **SIZES)
        )
        study.test = study.test.sample(2, by="item")  # type: ignore[misc]
        study.primary_readout = "continuation"  # type: ignore[misc]
        yield study


@pytest.fixture(scope="module")
def tables(study: ic.Study) -> dict[str, pd.DataFrame]:
    return dict(study.measure(paradigms.ANALYSIS))


def test_each_persona_is_the_system_message(
    study: ic.Study, tables: dict[str, pd.DataFrame]
) -> None:
    assert list(tables["answers"].persona) == list(paradigms.personas(study))
    for name, system in (("none", None), ("basic:India", "You are a person living in India.")):
        own = tables["readouts"][tables["readouts"].persona == name]
        again = ic.readout.read_runs(
            study.model,
            study.test,
            {"": ()},
            readout=ReadoutFormat(study.primary_readout, system=system),
        )
        np.testing.assert_allclose(own.p_positive, again.p_positive, atol=1e-5)
        placed = tables["places"][tables["places"].persona == name].set_index("paradigm")
        assert placed.x["scenarios"] == pytest.approx(culture_map.place(again)["x"], abs=1e-4)
        assert placed.y["direct"] == pytest.approx(ic.ask_directly(study.model, system).y, abs=1e-4)
        assert placed.x_low.notna().to_dict() == {"direct": False, "scenarios": True}
    assert tables["readouts"].groupby("persona").p_positive.mean().nunique() == 5


def test_a_run_that_was_cut_off_reads_only_what_is_missing(
    study: ic.Study, tables: dict[str, pd.DataFrame]
) -> None:
    (study.folder / "paradigms.readouts.advanced-Denmark.json").unlink()
    other = ic.Study(study.config)
    other.test = study.test  # type: ignore[misc]
    other.primary_readout = study.primary_readout  # type: ignore[misc]
    read = other.read
    asked = []
    other.read = lambda runs, *a, **k: (asked.extend(runs), read(runs, *a, **k))[1]  # type: ignore[method-assign]
    again = paradigms.readouts(other)
    assert asked == [("advanced:Denmark", "advanced", "DNK")]
    pd.testing.assert_frame_equal(again, tables["readouts"], check_exact=False)


def test_words_follow_the_numbers(tables: dict[str, pd.DataFrame]) -> None:
    places = tables["places"]
    away = places.assign(x=places.x + 9.0 * (places.paradigm == "direct"))
    refused = tables["answers"].assign(refused=0.3)
    page = paradigms.sections({**tables, "places": away, "answers": refused}, ABOUT)
    check_tables(paradigms.ANALYSIS, tables)
    check_captions(paradigms.ANALYSIS, page)
    assert "on x in 5 and" in page[0].title
    assert "refuses 30% (none), 30% (basic), 30% (advanced) of" in page[1].title
    same = places.groupby("persona")[["x", "y", "x_low", "x_high", "y_low", "y_high"]].transform(
        "max"
    )
    alike = places.assign(**same).assign(x_low=-9.0, x_high=9.0, y_low=-9.0, y_high=9.0)
    null = paradigms.sections(
        {**tables, "places": alike, "answers": tables["answers"].assign(refused=0.0)}, ABOUT
    )
    assert "is inside the interval" in null[0].title
    assert "refuses none" in null[1].title
    assert all(section.figure.to_json() for section in page + null)


def test_changed_answers_by_hand() -> None:
    rows = [
        ("none", 1),
        ("none", 2),
        ("none", None),
        ("told", 1),
        ("told", 3),
        ("told", 3),
        ("mute", None),
    ]
    written = pd.DataFrame(rows, columns=["persona", "value"]).astype({"value": "Int64"})
    written = written.assign(item=written.groupby("persona").cumcount(), part="")
    changed = changed_answers(written, "none")
    assert changed["told"] == 0.5
    assert np.isnan(changed["mute"])
    assert "none" not in changed


def test_scenarios_that_the_map_does_not_cover(
    study: ic.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "load_scenarios", lambda path: planted_scenarios())
    with pytest.raises(
        ic.InputError, match="needs the ten survey items; the scenarios have X1, X2"
    ):
        paradigms.ANALYSIS.measure(ic.Study(study.config))
