"""How an analysis runs by itself: `python -m analyses.NAME`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interp_culture.cli.common import Device, Dtype, run, say
from interp_culture.study.analysis import Analysis


def run_alone(analysis: Analysis) -> None:
    """Measure one analysis in a study's folder, with only the steps of the study that it needs, and show it."""

    def main(
        config: Annotated[
            Path | None, typer.Argument(help="A YAML file with any field of the configuration.")
        ] = None,
        preset: Annotated[str, typer.Option(help="quick, paper or full.")] = "quick",
        model: Annotated[
            str | None, typer.Option(help="smollm2, a Hub id, a folder or a .gguf file.")
        ] = None,
        device: Device = None,
        dtype: Dtype = None,
        out: Annotated[
            str | None, typer.Option(help="The study's folder; what lies there is used.")
        ] = None,
    ) -> None:
        from interp_culture.engine.hardware import choose_threads
        from interp_culture.reporting.html import write_page
        from interp_culture.study.config import load_config
        from interp_culture.study.study import Study

        study = Study(
            load_config(config, preset, model=model, device=device, dtype=dtype, out=out),
            on_step=say,
        )
        choose_threads()
        tables = study.measure(analysis)
        for section in analysis.sections(tables, study.about):
            typer.echo(f"\n{section.title}")
            for text in section.text:
                typer.echo(text)
        typer.echo(f"\nPage: {write_page(analysis, tables, study.about, study.folder)}")

    main.__doc__ = analysis.question
    run(lambda: typer.run(main))
