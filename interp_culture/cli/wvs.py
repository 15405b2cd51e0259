"""The verb that reads a survey file of the user: wvs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interp_culture.cli import options as o
from interp_culture.cli.common import app
from interp_culture.cli.output import show


@app.command(
    rich_help_panel=o.SURVEY,
    epilog="Example: interp-culture wvs ZA7505_v5-0-0.sav --countries DNK,MEX --out results/wvs",
)
def wvs(
    file: Annotated[
        Path,
        typer.Argument(
            help="A file of WVS wave 7, EVS/WVS joint or integrated: .csv, .sav or .dta."
        ),
    ],
    countries: Annotated[
        str | None, typer.Option(help="iso3 codes, separated by commas.", show_default="all")
    ] = None,
    all_years: Annotated[
        bool,
        typer.Option(
            "--all-years", help="Use every survey of a country. Without it, only the latest."
        ),
    ] = False,
    out: Annotated[
        Path,
        typer.Option(help="Folder for the tables and their manifest.", rich_help_panel=o.OUTPUT),
    ] = Path("results/wvs"),
) -> None:
    """Compute item means, answer shares and map coordinates by country from a survey file.

    You download the file yourself, since it may not be passed on.
    """
    from interp_culture.artifacts.folders import make_folder
    from interp_culture.survey.microdata import read_survey, write_survey

    # First, so that a folder that is not writable shows before the long reading.
    make_folder(out)
    codes = [code.strip().upper() for code in (countries or "").split(",") if code.strip()]
    summary = read_survey(
        file, years="all" if all_years else "latest", countries=codes if countries else None
    )
    write_survey(out, summary)
    columns = ["iso3", "country", "year", "n", "x", "y", "distance", "missing"]
    show("places", summary.places[columns])
    for note in summary.notes:
        typer.echo(f"· {note}")
    typer.echo(f"Tables: {out} (item_means.csv, answer_shares.csv, places.csv)")
