"""Long tests of what must never be lost: run by `make torture` alone, which sets TORTURE=1."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from torture.tiny_study import planted_world

collect_ignore_glob = [] if os.environ.get("TORTURE") else ["test_*.py"]

# Cases and what was lost, by what is tested; `tools/torture_table.py` writes them into the docs.
Tally = dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def world() -> Iterator[None]:
    """Studies of a planted model."""
    with planted_world():
        yield


@pytest.fixture(scope="session")
def tally() -> Iterator[Tally]:
    """Counts of the session, written to the file that TORTURE_TALLY names."""
    counts: Tally = {}
    yield counts
    path = os.environ.get("TORTURE_TALLY")
    if path:
        Path(path).write_text(json.dumps(counts, indent=2), encoding="utf-8")
