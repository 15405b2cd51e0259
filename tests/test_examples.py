"""Every example in a docstring runs, on a tiny random model and few scenarios."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import make_pair

import interp_culture as ic
from interp_culture.engine.model import ReadoutChecks
from interp_culture.scenarios.scenario import ScenarioSet

# Their modules run a server or belong to other environments.
WITHOUT_EXAMPLES = ("bench", "cli")
ROOMS = [
    "engine", "scenarios", "readout", "survey", "steering", "coupling", "attribution", "study",
    "reporting",
]  # fmt: skip
# Its examples count all control items.
CHECKS = "interp_culture.readout.validity"
# What needs a network, a download, or files that do not come with the project.
WITHOUT_A_RUN = {
    "engine.install_model",
    "engine.load_model",
    "engine.prune_cache",  # removes files of whoever runs it
    "reporting.write_comparison",  # of finished studies
    "reporting.write_report",  # the report of a finished study
    "study.save_comparison",
    "study.grid_table",  # of finished studies
    "study.run_grid",  # runs studies
    "study.run_study",  # loads a model and takes minutes
    "survey.read_survey",
}


def modules() -> list[str]:
    found = pkgutil.walk_packages(ic.__path__, "interp_culture.")
    return [m.name for m in found if m.name.split(".")[1] not in WITHOUT_EXAMPLES]


def examples_of(module: str) -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = finder.find(importlib.import_module(module), module)
    return [example for example in found if example.examples]


@pytest.fixture(scope="module")
def names(shipped: ScenarioSet) -> dict[str, Any]:
    """What examples may use without saying where it comes from."""
    tiny = make_pair("llama").model
    scenarios = shipped.sample(2, by="cell")
    train, test = scenarios.split(seed=42)
    layers = {"X": [1], "Y": [2]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vectors = ic.extract(tiny, train)
        sweep = ic.layer_sweep(tiny, train, vectors, readout="continuation")
        readouts = ic.steered_readouts(
            tiny, test, vectors, layers, alphas=[1.0, -1.0], readout="continuation"
        )
    return {
        "ic": ic,
        "model": tiny,
        "scenarios": scenarios,
        "train": train,
        "test": test,
        "vectors": vectors,
        "layers": layers,
        "edits": ic.steer(vectors["X"], layers=[1], alpha=1.0),
        "sweep": sweep,
        "readouts": readouts,
    }


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples may write where they are."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("own_folder")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("module", [m for m in modules() if examples_of(m)])
def test_the_examples_of_a_module_are_true(
    module: str, names: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    if module == CHECKS:
        names["model"].readout_checks = ReadoutChecks()
        request.getfixturevalue("all_controls")
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for example in examples_of(module):
        example.globs.update(names)
        runner.run(example)
    assert runner.failures == 0


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_function_has_an_example_that_runs(room: str) -> None:
    face = getattr(ic, room)
    missing = []
    for name in face.__all__:
        function = inspect.unwrap(getattr(face, name))
        lines = (function.__doc__ or "").splitlines()
        runs = any(">>>" in line and "+SKIP" not in line for line in lines)
        if inspect.isfunction(function) and not runs and f"{room}.{name}" not in WITHOUT_A_RUN:
            missing.append(name)
    assert not missing
