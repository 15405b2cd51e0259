"""The plan of a study: its steps, what is there already, and about how long the rest takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import planted_study
from typer.testing import CliRunner

from interp_culture.cli import app
from interp_culture.study import load_config, plan_study
from interp_culture.study import plan as plans


@pytest.fixture(autouse=True)
def known_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "matmul_rate", lambda **_: 1e11)


def test_the_full_study_of_a_larger_model_takes_longer(tmp_path: Path) -> None:
    quick = plan_study(load_config(preset="quick", out=str(tmp_path / "a")))
    full = plan_study(load_config(preset="full", out=str(tmp_path / "b")))
    large = plan_study(load_config(model="qwen2.5-coder-1.5b", out=str(tmp_path / "c")))
    # The quick study of the embedded model takes 373 s on a machine of about this rate.
    assert 373 / 2 < quick.seconds < 373 * 2
    assert quick.seconds * 4 < full.seconds < large.seconds / 4
    assert set(full.steps.state) == {"to do"}
    assert full.memory_mib is not None
    assert large.memory_mib is not None
    assert large.memory_mib > 3 * full.memory_mib
    # Nothing is written.
    assert not list(tmp_path.iterdir())


def test_what_is_there_costs_nothing(tmp_path: Path) -> None:
    study = planted_study(tmp_path / "study", test_per_cell=1, analyses=["gain"])
    study.run()
    plan = plan_study(study.config.model_copy(update={"model": "smollm2"}))
    state = dict(zip(plan.steps.step, plan.steps.state, strict=True))
    assert state["steer the held-out half"] == state["analysis gain"] == "there"
    assert plan.seconds < plan.steps.seconds.sum() or plan.seconds == 0


def test_a_model_whose_size_is_not_known(tmp_path: Path) -> None:
    config = load_config(model=str(tmp_path / "weights.gguf"), preset="quick")
    assert plan_study(config).model is None
    given = ["study", "--preset", "quick", "--model", str(tmp_path / "weights.gguf"), "--dry-run"]
    printed = CliRunner().invoke(app, given)
    assert printed.exit_code == 0
    assert "its size is not known before it is loaded" in printed.stdout


def test_the_command_line_prints_the_plan_and_stops(tmp_path: Path) -> None:
    out = tmp_path / "results"
    printed = CliRunner().invoke(
        app, ["study", "--preset", "quick", "--out", str(out), "--dry-run"]
    )
    assert printed.exit_code == 0
    assert "steer the held-out half" in printed.stdout
    assert "minutes (to a factor of two)" in printed.stdout
    assert not out.exists()
