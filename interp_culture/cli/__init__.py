"""The command line: thin verbs over the public functions.

Exit codes: 0 success, 2 bad input (one message, no traceback), 1 anything else.
"""

from __future__ import annotations

# The help lists the verbs in the order in which their modules are imported.
from interp_culture.cli import study

# isort: split
from interp_culture.cli import explain

# isort: split
from interp_culture.cli import compare, grid

# isort: split
from interp_culture.cli import tables

# isort: split
from interp_culture.cli import validity

# isort: split
from interp_culture.cli import experiment

# isort: split
from interp_culture.cli import data, generate

# isort: split
from interp_culture.cli import survey, wvs

# isort: split
from interp_culture.cli import models

# isort: split
from interp_culture.cli import upkeep

# isort: split
from interp_culture.cli import bench
from interp_culture.cli.analysis import run_alone
from interp_culture.cli.common import app, run

__all__ = [
    "app", "bench", "compare", "data", "experiment", "explain", "generate", "grid", "main",
    "models", "run_alone", "study", "survey", "tables", "upkeep", "validity", "wvs",
]  # fmt: skip


def main() -> None:
    """Entry point."""
    run(app)
