"""A grid runs every study once, each in a process of its own, and goes on after what stopped it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from torture.tiny_study import SETTINGS, planted_world, tables
from typer.testing import CliRunner

from interp_culture.cli import app
from interp_culture.errors import InputError
from interp_culture.study import Cell, StudyConfig, grid_table, load_grid, run_grid, run_study
from interp_culture.study import grid_runs as runs

# What a process of a cell does, by the value of its field seed: it ends well, it finds its input
# unusable, or it is killed the first time.
FAKE = """
import json, os, signal, sys
from pathlib import Path
config = json.loads(Path(sys.argv[1]).read_text())
started = Path(sys.argv[1]).with_name("started")
first = not started.exists()
started.write_text("")
if config["seed"] == 2:
    print("error: no such model")
    sys.exit(2)
if config["seed"] == 3 and first or config["seed"] == 4:
    os.kill(os.getpid(), signal.SIGKILL)
print("device", config.get("device"))
"""


def write(folder: Path, **content: object) -> Path:
    path = folder / "grid.yaml"
    path.write_text(json.dumps({"out": str(folder / "grid"), **content}), encoding="utf-8")
    return path


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "command", lambda config: [sys.executable, "-c", FAKE, str(config)])


def test_cells_are_all_combinations(tmp_path: Path) -> None:
    over = {"model": ["smollm2", "org/some model"], "seed": [1, 2]}
    cells = load_grid(write(tmp_path, preset="quick", fields={"n_random": 40}, over=over))
    assert [cell.name for cell in cells] == [
        "model=smollm2+seed=1",
        "model=smollm2+seed=2",
        "model=org_some_model+seed=1",
        "model=org_some_model+seed=2",
    ]
    assert {(c.config.model, c.config.seed) for c in cells} == {
        (model, seed) for model in over["model"] for seed in over["seed"]
    }
    # Of the preset and of the fields.
    assert all(c.config.brief and c.config.n_random == 40 for c in cells)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "field over: Field required"),
        ({"over": {}}, "field over: give one value or more for a field"),
        ({"over": {"seed": []}}, "give one value or more for seed"),
        ({"over": {"seed": [1]}, "colour": 1}, "field colour: Extra inputs are not permitted"),
        ({"over": {"seed": [1]}, "preset": "huge"}, "unknown preset 'huge'; known: full, quick"),
        ({"over": {"seed": [1, "two"]}}, r"cell seed=two: field seed: .* got 'two'"),
        ({"over": {"colour": [1]}}, r"cell colour=1: field colour"),
        ({"over": {"seed": [1]}, "a\x1fb": 1}, r"field a\\x1fb: Extra"),
        ({"over": {"seed": [1, 1]}}, "two cells have the folder seed=1"),
        ({"over": {"out": ["a"]}}, "field out belongs at the top"),
    ],
)
def test_a_wrong_file_names_field_and_cell(
    content: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        load_grid(write(tmp_path, **content))


def test_what_ends_a_process_ends_no_other(fake: None, tmp_path: Path) -> None:
    cells = load_grid(write(tmp_path, over={"seed": [1, 2, 3, 4]}))
    said: list[str] = []
    table = run_grid(cells, jobs=2, retries=1, on_step=said.append).set_index("seed")
    assert table.state.to_dict() == {1: "finished", 2: "refused", 3: "finished", 4: "died"}
    assert table.attempts.to_dict() == {1: 1, 2: 1, 3: 2, 4: 2}
    assert table.message[2] == "error: no such model"
    assert table.message[4].startswith("exit code -9")
    assert any("2 of 4, seed=2: refused after" in line for line in said)
    # Finished cells are left out; the others are tried again.
    again = run_grid(cells, on_step=said.append).set_index("seed")
    assert again.state.to_dict() == {
        1: "already finished", 2: "refused", 3: "already finished", 4: "died",
    }  # fmt: skip


def test_another_configuration_is_another_study(fake: None, tmp_path: Path) -> None:
    run_grid(load_grid(write(tmp_path, over={"seed": [1]})), on_step=lambda line: None)
    (same,) = load_grid(write(tmp_path, over={"seed": [1]}))
    (other,) = load_grid(write(tmp_path, over={"seed": [1]}, fields={"n_random": 40}))
    assert same.is_finished
    assert not other.is_finished


def test_each_study_has_a_device_for_itself(fake: None, tmp_path: Path) -> None:
    cells = load_grid(write(tmp_path, over={"seed": [1, 5, 6]}))
    table = run_grid(cells, devices=["cuda:0", "cuda:1"], on_step=lambda line: None)
    assert set(table.device) <= {"cuda:0", "cuda:1"}
    for cell, device in zip(cells, table.device, strict=True):
        assert (cell.folder / "cell.log").read_text().strip() == f"device {device}"


@pytest.mark.slow
def test_a_grid_gives_the_tables_of_studies_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = Path(__file__).with_name("grid_child.py")
    monkeypatch.setattr(runs, "command", lambda config: [sys.executable, str(child), str(config)])
    fields = {**SETTINGS, "model": "planted"}
    path = write(tmp_path, fields=fields, over={"seed": [1, 2]})
    cells = load_grid(path)
    table = run_grid(cells, jobs=2)
    assert set(table.state) == {"finished"}, table.message.tolist()
    with planted_world():
        run_study(StudyConfig(**{**fields, "seed": 1, "out": str(tmp_path / "alone")}))
    alone = tables(tmp_path / "alone")
    for name, found in tables(cells[0].folder).items():
        pd.testing.assert_frame_equal(found, alone[name], check_exact=True, obj=name)
    matrix = grid_table(cells)
    assert list(matrix.columns[:2]) == ["seed", "steered"]
    assert matrix.seed.unique().tolist() == [1, 2]


def test_the_command_line(fake: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "grid_table", lambda cells: pd.DataFrame({"seed": [1]}))
    path = write(tmp_path, over={"seed": [1, 2]})
    planned = CliRunner().invoke(app, ["grid", str(path), "--dry-run"])
    assert planned.exit_code == 0
    assert planned.stdout.count("to do") == 2
    assert not (tmp_path / "grid").exists()
    done = CliRunner().invoke(app, ["grid", str(path)])
    assert isinstance(done.exception, InputError)
    assert "1 of 2 studies did not finish" in str(done.exception)
    assert pd.read_csv(tmp_path / "grid" / "grid.csv").state.tolist() == ["finished", "refused"]


def test_a_long_name_is_cut_and_kept_apart(tmp_path: Path) -> None:
    layers = [{"X": list(range(n)), "Y": list(range(n))} for n in (20, 21)]
    cells: list[Cell] = load_grid(write(tmp_path, over={"layers": layers}))
    assert len({cell.name for cell in cells}) == 2
    assert all(len(cell.name) <= 100 for cell in cells)
