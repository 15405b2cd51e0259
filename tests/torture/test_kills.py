"""A study that is stopped at any moment goes on and ends with the same tables, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interp_culture.artifacts import files
from interp_culture.study import verify_study
from torture.tally import Tally
from torture.tiny_study import check_same, run, tables

N_KILLS = 60
# Of a study that is killed, as a share of the time that an undisturbed one takes.
LATEST = 0.9


@pytest.fixture(scope="module")
def undisturbed(world: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    folder = tmp_path_factory.mktemp("undisturbed") / "study"
    start = time.monotonic()
    run(folder)
    return folder, time.monotonic() - start


def in_child(work: Callable[[], None]) -> int:
    """Run in a copy of this process, which has all libraries loaded; its process id."""
    child = os.fork()
    if child:
        return child
    # A shell's background jobs ignore Ctrl-C, and their children with them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_at_random_moments(
    number: int, undisturbed: tuple[Path, float], tmp_path: Path, tally: Tally
) -> None:
    folder, seconds = undisturbed
    rng = random.Random(number)
    kills = 0
    restarts = 0
    while kills < N_KILLS // 3:
        restarts += 1
        study = tmp_path / f"study-{restarts}"
        # Until it ends by itself, so that late moments are hit as well as early ones.
        while True:
            child = in_child(lambda folder=study: run(folder))
            time.sleep(rng.uniform(0, LATEST * seconds))
            ended, _ = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            os.kill(child, number)
            os.waitpid(child, 0)
            kills += 1
        run(study)
        check_same(tables(study), tables(folder))
        states = verify_study(study)
        assert set(states.state) == {"whole"}, states[states.state != "whole"]
        assert not list(study.glob(f"{files.SCRATCH}*"))
    name = signal.Signals(number).name
    tally.add("resume", f"kills at random moments by {name}", kills)


class PowerCut(BaseException):
    """Nothing runs after it, not even what handles errors."""


@pytest.mark.parametrize("keeps", ["what was synced", "everything"])
def test_the_power_fails_at_every_write(
    keeps: str,
    undisturbed: tuple[Path, float],
    tmp_path: Path,
    tally: Tally,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once before each file gets its name; what was not synced before is lost."""
    folder, _ = undisturbed
    study = tmp_path / "study"
    power = Power(monkeypatch)
    cuts = 0
    kept = 0
    allowed = 0
    while True:
        # A table is several files. Until the last of them has its name, the next run writes all
        # of them again, and is cut off one file later.
        allowed += 1
        power.on(files=allowed)
        try:
            run(study)
            break
        except PowerCut:
            cuts += 1
        if keeps == "what was synced":
            power.lose(study)
        if finished(study) > kept:
            kept, allowed = finished(study), 0
        assert cuts < 2000
    monkeypatch.undo()
    run(study)
    check_same(tables(study), tables(folder))
    tally.add("resume", f"power cuts, one at each write; the disk keeps {keeps}", cuts)


def finished(study: Path) -> int:
    """How many tables, folders and parts of them are whole."""
    whole = [*study.rglob("*.json"), *study.rglob("*.npy"), *study.rglob("*.safetensors")]
    return sum(not path.relative_to(study).parts[0].startswith(files.SCRATCH) for path in whole)


class Power:
    """The power of a machine, which fails before one file too many gets its name."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = 0
        self.is_on = True
        self.synced: set[int] = set()
        self.real_sync, self.real_replace = os.fsync, os.replace
        self.real_rmtree = files.shutil.rmtree
        patch.setattr(files.os, "fsync", self.sync)
        patch.setattr(files.os, "replace", self.replace)
        patch.setattr(files.shutil, "rmtree", self.rmtree)

    def on(self, files: int) -> None:
        self.left = files
        self.is_on = True

    def lose(self, folder: Path) -> None:
        """Empty what was not synced."""
        for path in folder.rglob("*"):
            is_lost = path.is_file() and path.suffix not in (".lock", ".holder")
            if is_lost and path.stat().st_ino not in self.synced:
                path.write_bytes(b"")

    def sync(self, descriptor: int) -> None:
        self.real_sync(descriptor)
        self.synced.add(os.fstat(descriptor).st_ino)

    def replace(self, source: Path, target: Path) -> None:
        if self.left == 0:
            self.is_on = False
            raise PowerCut
        self.left -= 1
        self.real_replace(source, target)

    def rmtree(self, *args: Any, **kwargs: Any) -> None:
        # A machine without power removes nothing.
        if self.is_on:
            self.real_rmtree(*args, **kwargs)
