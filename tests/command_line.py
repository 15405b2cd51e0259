"""The command line, called within the process of the tests."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from interp_culture.cli import main


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def run(*args: str | Path) -> Done:
    """Call the entry point. One process serves all tests, so torch is imported only once."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["interp-culture", *map(str, args)])
        with pytest.raises(SystemExit) as left:
            main()
    return Done(int(left.value.code or 0), out.getvalue(), err.getvalue())


def fails(*args: str | Path) -> str:
    """The message of a command that must end with exit code 2 and without a traceback."""
    done = run(*args)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr
