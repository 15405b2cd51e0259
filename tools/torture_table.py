"""The table of what was tried and what was lost, from the counts of `make torture`.

python tools/torture_table.py tally.json fuzz.json > docs/torture_table.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def table(tally: dict[str, dict[str, int]], fuzz: dict[str, dict[str, int]]) -> str:
    """The Markdown table: what was done, cases, survived, lost."""
    rows = [(what, of["cases"], of["survived"]) for what, of in tally.items()]
    rows += [(f"fuzzed input: {reader}", of["cases"], of["cases"]) for reader, of in fuzz.items()]
    lines = ["| what was done | cases | survived | lost |", "|---|---|---|---|"]
    lines += [f"| {what} | {cases} | {kept} | {cases - kept} |" for what, cases, kept in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    counts = [json.loads(Path(path).read_text(encoding="utf-8")) for path in sys.argv[1:]]
    print(table(*counts))
