"""The pages of the tables of a study, a comparison and the analyses, as their schemas give them.

`python tests/tables_page.py` writes them anew. It takes no installed package: run it in the clone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
# As a script, the folder of this file is on the path, but not the clone with its analyses.
sys.path.insert(0, str(ROOT))

from interp_culture.study.analysis import Analysis  # noqa: E402
from interp_culture.study.columns import TableSchema  # noqa: E402
from interp_culture.study.comparison_schemas import COMPARISON_SCHEMAS  # noqa: E402
from interp_culture.study.schemas import SCHEMAS  # noqa: E402

REFERENCE = ROOT / "docs" / "reference"
COMMAND = "python tests/tables_page.py"
ON_MAP = "Only where the items are those of the cultural map."
STUDY_HEAD = f"""# Tables of a study

A study writes each table as `NAME.parquet` and `NAME.csv`, with its manifest in `NAME.json`. Every
sign is positive pole minus negative pole.

The schemas in the code write this page: `{COMMAND}`.
"""
COMPARISON_HEAD = f"""# Tables of a comparison

`interp-culture compare` writes each table as `NAME.parquet` and `NAME.csv`, with its manifest in
`NAME.json`. Every sign is positive pole minus negative pole. `profile` exists only where the studies
have the same primary readout, `cost` only where a study has finished the analysis `coefficients`.
[Compare models](../how_to/compare_models.md) shows how to make and read them.

The schemas in the code write this page: `{COMMAND}`.
"""
ANALYSES_HEAD = f"""# Tables of the analyses

An analysis writes each table as `ANALYSIS.TABLE.parquet` and `.csv`, with its manifest in
`ANALYSIS.TABLE.json`. `ANALYSIS.tables.json` lists the tables of a finished analysis. Every sign is
positive pole minus negative pole. Columns "by readout" are those of one readout alone.

The function `measure` in [`analyses/ANALYSIS.py`](../../analyses) computes all tables of an
analysis; named here is the public function behind a table. The schemas in these files write this
page: `{COMMAND}`.
"""


def pages() -> dict[Path, str]:
    """Every page that schemas write, by its path."""
    return {
        REFERENCE / "study_tables.md": study_page(),
        REFERENCE / "comparison_tables.md": comparison_page(),
        REFERENCE / "analysis_tables.md": analyses_page(analyses()),
    }


def analyses() -> list[Analysis]:
    """The analyses of this clone, by name."""
    names = sorted(path.stem for path in (ROOT / "analyses").glob("[!_]*.py"))
    return [import_module(f"analyses.{name}").ANALYSIS for name in names]


def study_page() -> str:
    return "\n".join([STUDY_HEAD, *(section(schema) for schema in SCHEMAS.values())])


def comparison_page() -> str:
    return "\n".join(
        [COMPARISON_HEAD, *(section(schema) for schema in COMPARISON_SCHEMAS.values())]
    )


def analyses_page(shown: Iterable[Analysis]) -> str:
    parts = [ANALYSES_HEAD]
    for analysis in shown:
        page = f"../analyses/{analysis.name}.md"
        parts.append(f"## `{analysis.name}`\n\n[{analysis.question}]({page})\n")
        parts += [section(schema, f"{analysis.name}.") for schema in analysis.schemas]
    return "\n".join(parts)


def section(schema: TableSchema, prefix: str = "") -> str:
    """The heading and the columns of a table; a `prefix` is the analysis of the table."""
    level = "###" if prefix else "##"
    lines = [
        f"{level} `{prefix}{schema.name}`",
        "",
        f"A row is {schema.row}. {'From' if prefix else 'Computed by'} {reference(schema)}.",
        *([ON_MAP] if schema.on_map else []),
        "",
        "| column | meaning | unit |",
        "|---|---|---|",
    ]
    for column in schema.columns:
        meaning = column.meaning.replace("|", "\\|")
        where = "" if column.always else " (by readout)"
        lines.append(f"| `{column.name}` | {meaning}{where} | {column.unit} |")
    return "\n".join([*lines, ""])


def reference(schema: TableSchema) -> str:
    """A link to the function that computes a table, in the reference of the API."""
    room = schema.made_by.split(".")[0]
    anchor = f"interp_culture.{schema.made_by}"
    return f"[`ic.{schema.made_by}`](api/{room}.md#{anchor})"


def main() -> None:
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
