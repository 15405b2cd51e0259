"""What the README shows runs as it stands."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

import interp_culture as ic
from interp_culture.cli import app
from interp_culture.scenarios.scenario import Catalogue, Scenario, ScenarioSet
from interp_culture.survey.culture_map import human_coupling, projection_coupling

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
def test_the_eight_lines(
    shipped: ScenarioSet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    few = [
        s for s in shipped if s.cell in ("X05/family", "Y01/family") and s.id.endswith(("01", "02"))
    ]
    monkeypatch.setattr(
        ic, "load_scenarios", lambda: ScenarioSet(tuple(few), shipped.catalogue), raising=False
    )
    (code,) = blocks("python")
    exec(compile(code, "README", "exec"), {})
    assert "steering X: X " in capsys.readouterr().out


def test_the_commands_exist_with_their_options() -> None:
    command = get_command(app)
    shown = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    calls = [shlex.split(line) for line in shown if line.startswith("interp-culture")]
    assert len(calls) >= 10
    for _, verb, *arguments in calls:
        known = {option for p in command.commands[verb].params for option in p.opts}
        assert {a for a in arguments if a.startswith("--")} <= known, verb


def test_own_axes_as_shown() -> None:
    catalogue = Catalogue.model_validate(yaml.safe_load(blocks("yaml")[0]))
    scenario = Scenario.model_validate(json.loads(blocks("json")[0]))
    assert scenario.item in catalogue.items
    assert scenario.domain in catalogue.domains


def test_figures_of_the_map_are_the_computed_ones() -> None:
    human, projection = human_coupling(), projection_coupling()
    for value in (human["y_per_x"], human["x_per_y"], human["r"], projection["X"], projection["Y"]):
        assert f"{value:.2f}" in README
