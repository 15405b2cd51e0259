"""Long tests of what must never be lost: run by `make torture` alone, which sets TORTURE=1."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from torture.tally import Tally
from torture.tiny_study import planted_world

collect_ignore_glob = [] if os.environ.get("TORTURE") else ["test_*.py"]

COUNTS = Tally()
# Tests that run in `make test` too, and count here by what they are about.
OTHERS = {"tests/test_security.py": ("security", "attacks by data on a report, a table or weights")}


@pytest.fixture(scope="module")
def world() -> Iterator[None]:
    """Studies of a planted model."""
    with planted_world():
        yield


@pytest.fixture(scope="session")
def tally() -> Tally:
    """Counts of the session, written to the file that TORTURE_TALLY names."""
    return COUNTS


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the counts, if a file for them is named."""
    path = os.environ.get("TORTURE_TALLY")
    if not path:
        return
    # Here, since the hooks of single tests do not reach those of other folders.
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    for report in reporter.stats.get("passed", []):
        of = OTHERS.get(report.nodeid.split("::")[0])
        if of is not None and report.when == "call":
            COUNTS.add(*of, 1)
    Path(path).write_text(json.dumps(COUNTS.rows, indent=2), encoding="utf-8")
