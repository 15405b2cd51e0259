"""What a notebook shows of a result: its sentences, and its tables to be opened."""

from __future__ import annotations

from html import escape

import pandas as pd

MOST_ROWS = 40


def as_html(text: str, **tables: pd.DataFrame) -> str:
    """The lines of a text as paragraphs, and each table under its name, closed at first.

    >>> as_html("X moves Y.", gains=pd.DataFrame({"axis": ["Y"], "gain": [0.0512]}))[:80]
    '<div><p>X moves Y.</p><details><summary>gains (1 row)</summary><table border="1"'
    """
    lines = [f"<p>{escape(line)}</p>" for line in text.splitlines() if line.strip()]
    for name, table in tables.items():
        count = f"{len(table)} row{'' if len(table) == 1 else 's'}"
        shown = table.to_html(index=False, float_format="{:.3g}".format, max_rows=MOST_ROWS)
        lines.append(f"<details><summary>{escape(name)} ({count})</summary>{shown}</details>")
    return f"<div>{''.join(lines)}</div>"
