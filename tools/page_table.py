"""A table that a script writes into a page of the documentation."""

from __future__ import annotations

from pathlib import Path


def write_below(page: str, marker: str, table: str) -> None:
    """Replace what stands between a marker and the next heading, and print the table."""
    path = Path(page)
    before, rest = path.read_text(encoding="utf-8").split(marker)
    after = rest[rest.index("\n## ") :]
    path.write_text(f"{before}{marker}\n\n{table}{after}", encoding="utf-8")
    print(table)
