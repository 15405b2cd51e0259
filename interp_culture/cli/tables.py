"""The verb that says what the columns of a table mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from interp_culture.cli import options as o
from interp_culture.cli.common import app
from interp_culture.cli.output import in_columns, show

if TYPE_CHECKING:
    from interp_culture.study.columns import TableSchema


@app.command(rich_help_panel=o.WHOLE, epilog="Example: interp-culture tables matrix")
def tables(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A table, such as matrix or gain.by_layer; without it all tables are listed.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Say what a table holds: what a row is, and the meaning and unit of every column."""
    from pandas import DataFrame

    from interp_culture.errors import check_known

    schemas = _schemas()
    if name is None:
        rows = [(of, schema.row) for of, schema in schemas.items()]
        listed = DataFrame(rows, columns=["table", "a row is"])
        show("tables", listed, in_columns(rows))
        return
    check_known("table", name, schemas)
    schema = schemas[name]
    typer.echo(f"{name}: a row is {schema.row}. Made by ic.{schema.made_by}.\n")
    columns = [(column.name, column.meaning, column.unit) for column in schema.columns]
    said = [(of, f"{meaning} ({unit})" if unit else meaning) for of, meaning, unit in columns]
    listed = DataFrame(columns, columns=["column", "meaning", "unit"])
    show("columns", listed, in_columns(said))


def _schemas() -> dict[str, TableSchema]:
    """The schemas of a study, of the analyses and of a comparison, by the names of the tables."""
    from interp_culture.study.analysis import chosen
    from interp_culture.study.comparison_schemas import COMPARISON_SCHEMAS
    from interp_culture.study.schemas import SCHEMAS

    of_analyses = {
        f"{analysis.name}.{schema.name}": schema
        for analysis in chosen(["all"])
        for schema in analysis.schemas
    }
    of_comparison = {f"compare.{name}": schema for name, schema in COMPARISON_SCHEMAS.items()}
    return {**SCHEMAS, **of_analyses, **of_comparison}
