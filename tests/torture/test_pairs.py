"""Two processes at once: on one folder, and on two."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path

from interp_culture.study import verify_study
from torture.tally import Tally
from torture.tiny_study import check_same, run, tables

# Copies of this process, which has all libraries loaded.
FORK = multiprocessing.get_context("fork")
PAIRS = 20


def at_once(*works: Callable[[], None], seconds_apart: float = 0.0) -> None:
    """Run each in a process of its own, one after the other begun."""
    processes = [FORK.Process(target=work) for work in works]
    for process in processes:
        process.start()
        time.sleep(seconds_apart)
    for process in processes:
        process.join()
        assert process.exitcode == 0


def written(folder: Path) -> dict[str, int]:
    """When each table was written, in nanoseconds."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}


def test_two_processes_on_one_folder(world: None, tmp_path: Path, tally: Tally) -> None:
    alone = tmp_path / "alone"
    start = time.monotonic()
    run(alone)
    seconds = time.monotonic() - start
    rng = random.Random(1)
    for number in range(PAIRS):
        both = tmp_path / f"both-{number}"
        apart = rng.uniform(0, seconds / 2)
        at_once(lambda: run(both), lambda: run(both), seconds_apart=apart)  # noqa: B023
        check_same(tables(both), tables(alone))
        assert set(verify_study(both).state) == {"whole"}
        # A third one finds everything done.
        before = written(both)
        run(both)
        assert written(both) == before
    tally.add("artifacts", "pairs of processes on one folder", PAIRS)


def test_two_studies_give_the_numbers_of_one(world: None, tmp_path: Path, tally: Tally) -> None:
    alone = tmp_path / "alone"
    run(alone)
    n = PAIRS // 4
    for number in range(n):
        folders = [tmp_path / f"{number}-{side}" for side in ("a", "b")]
        at_once(lambda: run(folders[0]), lambda: run(folders[1]))  # noqa: B023
        for folder in folders:
            check_same(tables(folder), tables(alone))
    tally.add("load", "two studies at once", n)
