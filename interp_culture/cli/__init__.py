"""The command line: thin verbs over the public functions.

Exit codes: 0 success, 2 bad input (one message, no traceback), 1 anything else.
"""

from __future__ import annotations

from interp_culture.cli import experiment  # before the others: its verbs lead the help

# isort: split
from interp_culture.cli import bench, data, generate, survey, wvs
from interp_culture.cli.analysis import run_alone
from interp_culture.cli.common import app, run

__all__ = ["app", "bench", "data", "experiment", "generate", "main", "run_alone", "survey", "wvs"]


def main() -> None:
    """Entry point."""
    run(app)
