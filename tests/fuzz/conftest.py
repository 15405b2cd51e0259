"""The two hypothesis profiles of the fuzz tests, and the table of the cases that were tried.

By default a few hundred cases run, the same ones every time. TORTURE=1 runs more than 10,000 cases
that differ from run to run. TORTURE_TABLE names a JSON file for the counts of cases by reader.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from fuzz.contract import CASES, TORTURE

COMMON = {
    # The first case of a reader imports pandas or torch, so that time limits of a case mislead.
    "deadline": None,
    "database": None,
    "print_blob": True,
    # Without the phase that explains a failure: it traces every line, which takes minutes.
    "phases": [Phase.explicit, Phase.generate, Phase.shrink],
    # Each case writes its own file over that of the case before.
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}
settings.register_profile("quick", derandomize=True, max_examples=15, **COMMON)
settings.register_profile("torture", max_examples=500, **COMMON)
settings.load_profile("torture" if TORTURE else "quick")


def pytest_configure(config: pytest.Config) -> None:
    """The marker of tests that take minutes or gigabytes."""
    config.addinivalue_line("markers", "torture: runs with TORTURE=1 only")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with the marker `torture` are skipped in the quick profile."""
    if TORTURE:
        return
    for item in items:
        if item.get_closest_marker("torture"):
            item.add_marker(pytest.mark.skip(reason="runs with TORTURE=1 only"))


def pytest_sessionfinish() -> None:
    """Write the counts of cases, if a file for them is named."""
    table = os.environ.get("TORTURE_TABLE")
    if table:
        Path(table).write_text(json.dumps(CASES, indent=2, sort_keys=True) + "\n", encoding="utf-8")
