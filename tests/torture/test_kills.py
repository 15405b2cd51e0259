"""A study that is stopped at any moment goes on and ends with the same tables, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

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
    """Once at each file that gets its name; what was not synced before is lost."""
    folder, _ = undisturbed
    study = tmp_path / "study"
    synced: set[int] = set()
    real_sync, real_replace = os.fsync, os.replace
    left = [0]

    def sync(descriptor: int) -> None:
        real_sync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def replace(source: Path, target: Path) -> None:
        if left[0] == 0:
            raise PowerCut
        left[0] -= 1
        real_replace(source, target)

    monkeypatch.setattr(files.os, "fsync", sync)
    monkeypatch.setattr(files.os, "replace", replace)
    # A dead process removes nothing.
    monkeypatch.setattr(files.shutil, "rmtree", lambda *a, **k: None)
    cuts = 0
    while True:
        # One more file than before gets its name, then the power fails.
        left[0] = 1
        try:
            run(study)
            break
        except PowerCut:
            cuts += 1
        if keeps == "what was synced":
            for path in study.rglob("*"):
                if path.is_file() and path.stat().st_ino not in synced and path.suffix != ".lock":
                    path.write_bytes(b"")
        assert cuts < 2000
    monkeypatch.undo()
    run(study)
    check_same(tables(study), tables(folder))
    tally.add("resume", f"power cuts, one at each write; the disk keeps {keeps}", cuts)
