"""The command line of a single analysis: `python -m analyses.NAME`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interp_culture.cli import options as o
from interp_culture.cli.common import run, say
from interp_culture.study.analysis import Analysis


def run_alone(analysis: Analysis) -> None:
    """Measure one analysis in the folder of a study, and print its findings.

    Only the steps of the study that the analysis needs are run; finished steps are reused.
    """

    # Nested, since typer builds the command from the signature, and `analysis` is no option.
    def main(
        config: Annotated[
            Path | None,
            typer.Argument(
                help="A YAML file with fields of the configuration.", show_default=False
            ),
        ] = None,
        preset: Annotated[str, typer.Option(help="quick, paper or full.")] = "quick",
        model: Annotated[
            str | None, typer.Option(help=o.MODEL_HELP, show_default="smollm2")
        ] = None,
        device: o.Device = None,
        dtype: o.Dtype = None,
        out: Annotated[
            str | None,
            typer.Option(
                help="The study's folder. Steps that are finished there are not computed again.",
                show_default="set by the preset",
            ),
        ] = None,
    ) -> None:
        from interp_culture.engine.hardware import choose_threads
        from interp_culture.reporting.html import write_page
        from interp_culture.study.config import load_config
        from interp_culture.study.study import Study

        settings = load_config(config, preset, model=model, device=device, dtype=dtype, out=out)
        study = Study(settings, on_step=say)
        choose_threads()
        tables = study.measure(analysis)
        for section in analysis.sections(tables, study.about):
            typer.echo(f"\n{section.title}")
            for text in section.text:
                typer.echo(text)
        typer.echo(f"\nPage: {write_page(analysis, tables, study.about, study.folder)}")

    # typer takes a command's help from its docstring.
    main.__doc__ = analysis.question
    run(lambda: typer.run(main))
