"""Tables on standard output: as text for people, or as one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

# The tables of the verb that runs, by name, while --json collects them; else None.
_collected: ContextVar[dict[str, Any] | None] = ContextVar("tables", default=None)


@contextmanager
def tables_as_json() -> Iterator[None]:
    """Print the tables that are shown in the block as one JSON object, and all else on stderr."""
    tables: dict[str, Any] = {}
    token = _collected.set(tables)
    out = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _collected.reset(token)
    out.write(json.dumps(tables, indent=2) + "\n")


def in_columns(rows: Iterable[tuple[str, str]]) -> str:
    """Names and what is said of each, one a line."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {text}" for name, text in rows)


def show(name: str, table: pd.DataFrame, text: str | None = None) -> None:
    """Print a table, with four significant digits.

    Args:
        name: of the table in the JSON document of --json.
        text: the table as people read it, where that is not its own rows and columns.
    """
    tables = _collected.get()
    if tables is not None:
        tables[name] = json.loads(table.to_json(orient="records"))
        return
    if text is None:
        text = table.to_string(index=False, float_format=lambda v: f"{v:.4g}")
    typer.echo(text)
