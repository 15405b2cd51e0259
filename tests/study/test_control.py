"""A study with a positive control finds it, says so, and bounds what it did not find."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planted import planted_model, planted_scenarios

from interp_culture.engine.leaks import load_leak
from interp_culture.errors import InputError
from interp_culture.reporting.effect_findings import coupling_finding, cross_responses
from interp_culture.reporting.findings import basis, findings
from interp_culture.reporting.html import write_report
from interp_culture.study import study as study_module
from interp_culture.study.config import StudyConfig, load_config
from interp_culture.study.schemas import SCHEMAS
from interp_culture.study.study import Study

# Y's vector does not move X in this model, so that all that is found is planted. The model is narrow
# (32 dimensions), so that random vectors reach far and only a large coupling is beyond them.
SIZE = 0.8


def study_of(folder: Path, monkeypatch: pytest.MonkeyPatch, **control: Any) -> Study:
    monkeypatch.setattr(study_module, "load_model", lambda *a, **k: planted_model())
    monkeypatch.setattr(study_module, "load_scenarios", lambda path: planted_scenarios())
    settings = {"steered": "Y", "axis": "X", "size": SIZE} | control
    config = StudyConfig(
        model="planted", method="mean_diff", out=str(folder), alphas=[0.1], sweep_alphas=[0.1],
        brief=True, layers={"X": [1, 2], "Y": [1, 2]}, planted=settings,
    )  # fmt: skip
    return Study(config)


@pytest.mark.filterwarnings("ignore")
def test_a_planted_coupling_stands_beside_none_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(tmp_path / "out", monkeypatch)
    summary = study.run()
    table = pd.read_parquet(tmp_path / "out" / "planted.parquet")
    assert set(table) == {column.name for column in SCHEMAS["planted"].columns}
    row = table.set_index(["steered", "axis"]).loc[("Y", "X")]
    assert row.found
    assert row.growth == pytest.approx(row.predicted, rel=0.15)
    assert row.growth_low <= row.growth <= row.growth_high
    assert abs(row.D_plain) < 0.05 * row.D
    assert row.block == 2
    assert load_leak(tmp_path / "out" / "leak.safetensors").size == pytest.approx(row.kappa)
    # Random vectors are predicted here, since those that are measured agree.
    assert summary["null"]["is_predicted"]
    assert summary["null"]["n"] == 200
    assert "agree: slope 1.0" in basis(summary)
    texts = [str(finding) for finding in findings(summary)]
    said = next(text for text in texts if "planted coupling" in text)
    assert "planted coupling of X to Y, of +0.800 per unit of alpha, is found" in said
    none_found = next(r for r in cross_responses(summary) if r["steered"] == "Y")
    bound = f"A coupling of ±{none_found['detectable']:.3f} per unit of alpha would have been found"
    assert bound in coupling_finding(summary, none_found).evidence
    assert math.isfinite(none_found["detectable"])
    assert "is found" in write_report(tmp_path / "out").read_text()


@pytest.mark.filterwarnings("ignore")
def test_without_a_leak_the_control_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(tmp_path, monkeypatch, size=0.0)
    row = study.planted().set_index(["steered", "axis"]).loc[("Y", "X")]
    assert not row.found
    assert row.growth == 0
    assert pytest.approx(row.D_plain) == row.D


def test_the_control_is_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {study_of(tmp_path, monkeypatch, size=size).manifest["key"] for size in (0.1, 0.2)}
    assert len(keys) == 2
    path = tmp_path / "c.yaml"
    path.write_text("planted: {steered: X, axis: Y, size: 0.03}\n")
    assert load_config(path).planted.size == 0.03
    path.write_text("planted: {steered: X, axis: Y, where: 3}\n")
    with pytest.raises(InputError, match=r"field planted\.where"):
        load_config(path)
    with pytest.raises(InputError, match="unknown axis 'Z'"):
        study_of(tmp_path, monkeypatch, axis="Z").planted()
