"""The verb wvs: a user's own survey file -> figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interp_culture.cli.common import app, show


@app.command(
    epilog="Example: interp-culture wvs ZA7505_v5-0-0.sav --countries DNK,MEX --out results/wvs"
)
def wvs(
    file: Annotated[
        Path,
        typer.Argument(help="WVS wave 7, EVS/WVS joint or integrated file: .csv, .sav or .dta."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the tables and their manifest.")] = Path(
        "results/wvs"
    ),
    all_years: Annotated[
        bool, typer.Option("--all-years", help="Every survey of a country; the latest by default.")
    ] = False,
    countries: Annotated[
        str | None, typer.Option(help="iso3 codes, comma-separated; all by default.")
    ] = None,
) -> None:
    """Turn survey answers that you downloaded into item means, answer shares and map coordinates by country."""
    from interp_culture.artifacts import make_folder
    from interp_culture.survey.microdata import read_survey, write_survey

    make_folder(out)
    chosen = (
        [code.strip().upper() for code in countries.split(",") if code.strip()]
        if countries
        else None
    )
    summary = read_survey(file, years="all" if all_years else "latest", countries=chosen)
    write_survey(out, summary)
    show(summary.places[["iso3", "country", "year", "n", "x", "y", "distance", "missing"]])
    for note in summary.notes:
        typer.echo(f"· {note}")
    typer.echo(f"Tables: {out} (item_means.csv, answer_shares.csv, places.csv)")
