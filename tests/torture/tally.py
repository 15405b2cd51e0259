"""Cases that were tried and survived, by part and by what was done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Part = Literal["artifacts", "resume", "numbers", "hooks", "input", "security", "load"]


@dataclass
class Tally:
    """Counts of a session; `tools/torture_table.py` writes them into the docs.

    A case that does not survive fails its test, and `make torture` with it: the table is written
    only if nothing was lost.
    """

    rows: list[dict[str, str | int]] = field(default_factory=list)

    def add(self, part: Part, what: str, cases: int) -> None:
        """Count so many cases more."""
        for row in self.rows:
            if row["part"] == part and row["what"] == what:
                row["cases"] = int(row["cases"]) + cases
                return
        self.rows.append({"part": part, "what": what, "cases": cases})
