"""Run the studies of a grid, each in a process of its own, several at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

import pandas as pd
from joblib import Parallel, delayed

from interp_culture.artifacts.folders import make_folder
from interp_culture.study.finished import read_study
from interp_culture.study.grid import Cell

State = Literal["finished", "already finished", "refused", "died"]

BAD_INPUT = 2  # the exit code of a command line that names what is wrong
CONFIG, LOG = "cell.yaml", "cell.log"


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Attributes:
        state: "finished", "already finished" (by an earlier run), "refused" (its configuration or
            its model cannot be used) or "died" (more often than it was tried again).
        attempts: how often it was started.
        seconds: of the last attempt.
        device: that it ran on; empty for the study's own choice.
        message: the last line of its log, where it did not finish.
    """

    cell: Cell
    state: State
    attempts: int = 0
    seconds: float = 0.0
    device: str = ""
    message: str = ""

    @property
    def is_done(self) -> bool:
        return self.state in ("finished", "already finished")


def run_grid(
    cells: Sequence[Cell],
    *,
    jobs: int = 1,
    devices: Sequence[str] = (),
    retries: int = 1,
    on_step: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Run every study that is not finished, and say what became of each.

    Each study runs in a process of its own, which another one's end does not touch. A process that
    dies (killed, or out of memory) is started again, and goes on after its last finished step.

    Args:
        jobs: how many studies run at once; on a CPU they share the cores.
        devices: such as cuda:0, cuda:1; each running study has one of them for itself. As many
            studies run at once as there are devices.
        retries: how often a study is started again after its process died.
        on_step: is called with a sentence at each start and end.

    Returns:
        A row for each cell: the fields that differ, folder, state, attempts, seconds, device and
        message.

    >>> run_grid(load_grid("grid.yaml"), jobs=2)  # doctest: +SKIP
    """
    free: SimpleQueue[str] = SimpleQueue()
    for device in devices or [""] * jobs:
        free.put(device)
    n_at_once = len(devices) or jobs

    def run(number: int, cell: Cell) -> Outcome:
        where = f"{number} of {len(cells)}, {cell.name}"
        if cell.is_finished:
            on_step(f"{where}: already finished")
            return Outcome(cell, "already finished")
        device = free.get()
        try:
            on_step(f"{where}: started{f' on {device}' if device else ''}")
            outcome = _attempts(cell, device, n_at_once, retries)
        finally:
            free.put(device)
        on_step(f"{where}: {outcome.state} after {outcome.seconds:.0f} s {outcome.message}".strip())
        return outcome

    # Threads: each waits for the process of its study.
    outcomes = Parallel(n_jobs=n_at_once, backend="threading")(
        delayed(run)(number, cell) for number, cell in enumerate(cells, start=1)
    )
    return pd.DataFrame([_row(outcome) for outcome in outcomes])


def grid_table(cells: Sequence[Cell], name: str = "matrix") -> pd.DataFrame:
    """One table of all finished studies, with the fields that differ between cells in front.

    Raises:
        InputError: a cell whose study is not finished, or has no such table.
    """
    tables = []
    for cell in cells:
        table = read_study(cell.folder).table(name)
        for field, value in reversed(list(cell.values.items())):
            # A field that is a list has no single value.
            table.insert(0, field, [_text(value)] * len(table))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _attempts(cell: Cell, device: str, n_at_once: int, retries: int) -> Outcome:
    """Start a study until it ends by itself, at most `retries` times more."""
    folder = make_folder(cell.folder)
    config = cell.config.model_dump(mode="json", exclude_none=True)
    if device:
        config["device"] = device
    # JSON is YAML, too.
    (folder / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
    environment = dict(os.environ)
    if not device:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // n_at_once)))
    for attempt in range(1, retries + 2):
        start = time.monotonic()
        with (folder / LOG).open("ab") as log:
            code = subprocess.run(
                command(folder / CONFIG), stdout=log, stderr=log, env=environment, check=False
            ).returncode
        seconds = time.monotonic() - start
        if code == 0:
            cell.mark_finished()
            return Outcome(cell, "finished", attempt, seconds, device)
        if code == BAD_INPUT:
            return Outcome(cell, "refused", attempt, seconds, device, _last_line(folder / LOG))
    message = f"exit code {code}: {_last_line(folder / LOG)}"
    return Outcome(cell, "died", attempt, seconds, device, message)


def command(config: Path) -> list[str]:
    """The command that runs the study of a configuration file."""
    return [sys.executable, "-m", "interp_culture", "study", str(config)]


def _row(outcome: Outcome) -> dict[str, object]:
    values = {field: _text(value) for field, value in outcome.cell.values.items()}
    return values | {
        "folder": str(outcome.cell.folder),
        "state": outcome.state,
        "attempts": outcome.attempts,
        "seconds": round(outcome.seconds, 1),
        "device": outcome.device,
        "message": outcome.message,
    }


def _text(value: object) -> object:
    """A value of a table: a list or an object as JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
