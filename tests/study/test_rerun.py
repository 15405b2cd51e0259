"""The study and all of its analyses, run twice with one seed, give the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from planted import MAP_ITEMS, planted_scenarios

import interp_culture as ic
from analyses import coefficients
from interp_culture.engine.model import ReadoutChecks
from interp_culture.reporting.html import write_report
from interp_culture.study import study as study_module
from interp_culture.study.analysis import installed

SMALL = {
    "method": "mean_diff",
    "alphas": [2.0],
    "sweep_alphas": [2.0],
    "sweep_method": "refined",
    "train_per_cell": 2,
    "test_per_cell": 1,
    "sweep_per_item": 1,
    "null_per_item": 1,
    "sample_per_item": 1,
    "top_k": 1,
    "brief": True,
}
OF_THE_MAP = ("paradigms", "distances")


@pytest.fixture
def small(tiny: ic.LanguageModel, monkeypatch: pytest.MonkeyPatch) -> ic.LanguageModel:
    """Answers of few tokens."""
    monkeypatch.setattr(study_module, "load_model", lambda *a, **k: tiny)
    monkeypatch.setattr(
        ic.survey, "ask_personas", partial(ic.survey.ask_personas, max_new_tokens=2)
    )
    monkeypatch.setattr(coefficients, "BRIEF", replace(coefficients.BRIEF, n_tokens=2))
    return tiny


def run(
    model: ic.LanguageModel, folder: Path, seed: int, analyses: Sequence[str] = ("all",)
) -> dict[str, pd.DataFrame]:
    model.readout_checks = ReadoutChecks()
    settings = SMALL | {"analyses": list(analyses)}
    ic.run_study(ic.StudyConfig(model="tiny", out=str(folder), seed=seed, **settings))
    return {path.stem: pd.read_parquet(path) for path in folder.glob("*.parquet")}


def test_the_same_seed_gives_the_same_tables(
    small: ic.LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Axes without a map have all analyses but the two that ask about it."""
    monkeypatch.setattr(study_module, "load_scenarios", lambda path: planted_scenarios(4))
    first, again = (run(small, tmp_path / name, 42) for name in ("first", "again"))
    finished = {name for name in installed() if (tmp_path / f"first/{name}.tables.json").exists()}
    assert finished == set(installed()) - set(OF_THE_MAP)
    check_same(first, again)
    page = write_report(tmp_path / "first").read_text(encoding="utf-8")
    assert all(f'<h3 id="{name}">' in page for name in finished)
    assert 'id="items"' in page
    assert 'id="paradigms"' not in page


def test_so_do_the_analyses_of_the_map(
    small: ic.LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Short texts about the survey's items.
    monkeypatch.setattr("planted.ITEMS", MAP_ITEMS)
    monkeypatch.setattr(study_module, "load_scenarios", lambda path: planted_scenarios(4))
    first, again = (run(small, tmp_path / name, 42, OF_THE_MAP) for name in ("first", "again"))
    assert {name.split(".")[0] for name in first} >= set(OF_THE_MAP)
    check_same(first, again)
    page = write_report(tmp_path / "first").read_text(encoding="utf-8")
    assert all(f'<h3 id="{name}">' in page for name in OF_THE_MAP)


def check_same(first: dict[str, pd.DataFrame], again: dict[str, pd.DataFrame]) -> None:
    assert set(first) == set(again)
    for name, table in first.items():
        pd.testing.assert_frame_equal(table, again[name], check_exact=True, obj=name)


def test_the_report_leaves_out_what_is_not_finished_or_of_another_study(
    small: ic.LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "load_scenarios", lambda path: planted_scenarios(4))
    config = ic.StudyConfig(
        model="tiny", out=str(tmp_path), **SMALL | {"analyses": ["entanglement", "domains"]}
    )
    ic.run_study(config)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert 'id="entanglement"' in page
    assert list(tmp_path.glob("directions.*.parquet"))  # which entanglement reads from
    assert 'id="directions"' not in page
    ic.run_study(config.model_copy(update={"seed": 7, "analyses": ["domains"]}))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert 'id="domains"' in page
    assert 'id="entanglement"' not in page
