"""Two processes on one folder: one computes, the other waits and reads."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from interp_culture.artifacts.locks import locked

# Computes a table of random numbers once, slowly, and prints it.
WORK = """
import logging, sys, time
from pathlib import Path
import numpy as np, pandas as pd
from interp_culture.artifacts.locks import locked
from interp_culture.artifacts.tables import table_once
logging.basicConfig()
folder = Path(sys.argv[1])
def compute():
    print("computing", flush=True)
    time.sleep(1)
    return pd.DataFrame({"a": np.random.default_rng().normal(size=3)})
with locked(folder / "tables"):
    print(table_once(folder, "t", {"key": "k"}, compute).a.tolist())
"""


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORK, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_compute_once(tmp_path: Path) -> None:
    processes = [start(tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    printed = [out.splitlines() for out, _ in outputs]
    assert sum(lines.count("computing") for lines in printed) == 1
    assert printed[0][-1] == printed[1][-1]
    waiting = [err for _, err in outputs if "waiting until it is free" in err]
    assert len(waiting) <= 1
    if waiting:
        assert "tables is in use by " in waiting[0]


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "computing\n"
    process.kill()
    process.wait()
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()
    begin = time.monotonic()
    with locked(tmp_path / "tables"):
        pass
    assert time.monotonic() - begin < 5


def test_a_lock_can_be_taken_again_by_its_holder(tmp_path: Path) -> None:
    with locked(tmp_path / "a"), locked(tmp_path / "a"):
        assert (tmp_path / ".a.holder").exists()
    assert not (tmp_path / ".a.holder").exists()
