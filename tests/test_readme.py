"""What the README and the pages of docs/ show is there, and runs as it stands."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

import interp_culture as ic
from interp_culture.cli import app
from interp_culture.engine.model import LanguageModel
from interp_culture.scenarios.catalogue import Catalogue
from interp_culture.scenarios.scenario import Scenario, ScenarioSet
from interp_culture.study import study as study_module
from interp_culture.study.config import StudyConfig
from interp_culture.survey.culture_map import human_coupling, projection_coupling

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LONGEST_README = 900


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def page(name: str) -> str:
    return text(ROOT / "docs" / name)


def blocks(content: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", content, flags=re.DOTALL)


def dotted(node: ast.AST) -> list[str] | None:
    """The names after `ic` in `ic.coupling.slopes`; None where it does not begin with `ic`."""
    if isinstance(node, ast.Name) and node.id == "ic":
        return []
    if not isinstance(node, ast.Attribute):
        return None
    before = dotted(node.value)
    return None if before is None else [*before, node.attr]


def names_used() -> Iterator[tuple[str, list[str]]]:
    """Every `ic.` expression in the Python blocks of all pages, with its page."""
    for path in PAGES:
        for code in blocks(text(path), "python"):
            for node in ast.walk(ast.parse(code)):
                names = dotted(node)
                if names:
                    yield path.name, names


@pytest.mark.slow
@pytest.mark.usefixtures("loaded_once")
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
    (code,) = blocks(text(README), "python")
    exec(compile(code, "README", "exec"), {})
    assert "steering X: X " in capsys.readouterr().out


def test_the_readme_is_short() -> None:
    assert len(text(README).split()) <= LONGEST_README


def names_of(parameter: Any) -> list[str]:
    """Its options, those that switch it off too."""
    return [*parameter.opts, *parameter.secondary_opts]


def test_the_commands_exist_with_their_options() -> None:
    command: Any = get_command(app)
    sh = [block for path in PAGES for block in blocks(text(path), "sh")]
    shown = [line.split("#")[0].strip() for block in sh for line in block.splitlines()]
    calls = [shlex.split(line) for line in shown if line.startswith("interp-culture")]
    assert len(calls) >= 20
    for _, verb, *arguments in calls:
        known = {option for p in command.commands[verb].params for option in names_of(p)}
        assert {a for a in arguments if a.startswith("--")} <= known, verb


def test_the_names_in_python_blocks_exist() -> None:
    used = list(names_used())
    assert len(used) >= 50
    for where, names in used:
        value: Any = ic
        for name in names:
            assert hasattr(value, name), f"{where}: ic.{'.'.join(names)}"
            value = getattr(value, name)


def test_links_lead_to_files() -> None:
    for path in [*PAGES, ROOT / "CHANGELOG.md"]:
        # Code may hold brackets before parentheses, so it is left out.
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", text(path), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)", prose):
            there = target.startswith(("https://", "http://")) or (path.parent / target).exists()
            assert there, f"{path.name}: {target}"


def test_own_axes_as_shown() -> None:
    shown = page("how_to/own_axes.md")
    catalogue = Catalogue.model_validate(yaml.safe_load(blocks(shown, "yaml")[0]))
    scenario = Scenario.model_validate(json.loads(blocks(shown, "json")[0]))
    assert scenario.item in catalogue.items
    assert scenario.domain in catalogue.domains


def test_the_analysis_as_shown_measures_and_reports(
    tiny: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "load_model", lambda *a, **k: tiny)
    sizes: dict[str, Any] = {"train_per_cell": 1, "test_per_cell": 1, "sample_per_item": 2}
    sizes["readout"] = "continuation"
    layers = {"X": [1], "Y": [2]}
    study = ic.Study(
        StudyConfig(
            model="tiny-llama", out=str(tmp_path / "study"), layers=layers, alphas=[2.0], **sizes
        )
    )
    (code,) = blocks(page("how_to/own_analysis.md"), "python")
    (tmp_path / "my_question.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    shown = importlib.import_module("my_question")
    (section,) = shown.sections(study.measure(shown.ANALYSIS), study.about)
    assert section.title.startswith("Steering moves its own axis by X ")


def test_figures_of_the_map_are_the_computed_ones() -> None:
    human, projection = human_coupling(), projection_coupling()
    for value in (human["y_per_x"], human["x_per_y"], human["r"], projection["X"], projection["Y"]):
        assert f"{value:.2f}" in page("paper.md")
