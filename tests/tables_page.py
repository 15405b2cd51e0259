"""The page of a study's tables, as the schemas give it.

`python tests/tables_page.py --write docs/reference/study_tables.md` writes it anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from interp_culture.study.schemas import SCHEMAS, TableSchema

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "study_tables.md"
COMMAND = "python tests/tables_page.py --write docs/reference/study_tables.md"
HEAD = f"""# Tables of a study

A study writes each table as `NAME.parquet` and `NAME.csv`, with its manifest in `NAME.json`. Every
sign is positive pole minus negative pole. `places` and `distances` exist only where the items are
those of the cultural map.

The schemas in the code write this page: `{COMMAND}`.
"""


def page() -> str:
    return "\n".join([HEAD, *(section(schema) for schema in SCHEMAS.values())])


def section(schema: TableSchema) -> str:
    lines = [
        f"## `{schema.name}`",
        "",
        f"A row is {schema.row}. Computed by {reference(schema)}.",
        "",
        "| column | meaning | unit |",
        "|---|---|---|",
    ]
    for column in schema.columns:
        meaning = column.meaning.replace("|", "\\|")
        lines.append(f"| `{column.name}` | {meaning} | {column.unit} |")
    return "\n".join([*lines, ""])


def reference(schema: TableSchema) -> str:
    """A link to the function that computes a table, in the reference of the API."""
    room = schema.made_by.split(".")[0]
    anchor = f"interp_culture.{schema.made_by}"
    return f"[`ic.{schema.made_by}`](api/{room}.md#{anchor})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, required=True, help="where to write the page")
    parser.parse_args().write.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
