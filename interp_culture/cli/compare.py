"""The verb that puts finished studies of several models side by side: compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interp_culture.cli import options as o
from interp_culture.cli.common import app


@app.command(
    rich_help_panel=o.WHOLE,
    epilog="Example: interp-culture compare results/a results/b --out results/compare",
)
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders of two or more finished studies.")],
    readout: Annotated[
        str | None,
        typer.Option(
            help="letters or continuation, where the studies have different primary readouts.",
            show_default="the primary readout",
            rich_help_panel=o.READING,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="Folder for tables and report.", rich_help_panel=o.OUTPUT),
    ] = Path("results/compare"),
) -> None:
    """Compare finished studies of several models, and write one report.

    The studies may differ in model, steered layers, device and dtype; other differences are
    refused. No model is loaded.
    """
    from interp_culture.reporting.comparison_findings import comparison_findings
    from interp_culture.reporting.comparison_page import write_comparison
    from interp_culture.study.comparison import compare as compare_studies
    from interp_culture.study.comparison import save_comparison

    comparison = compare_studies(folders, readout)
    save_comparison(comparison, out)
    path = write_comparison(comparison, out)
    for number, finding in enumerate(comparison_findings(comparison), start=1):
        typer.echo(f"{number}. {finding}")
    typer.echo(f"\nReport: {path}")
