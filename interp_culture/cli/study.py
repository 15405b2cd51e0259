"""The verbs of a whole study: study, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interp_culture.cli import options as o
from interp_culture.cli.common import app, say
from interp_culture.cli.output import show

if TYPE_CHECKING:
    from interp_culture.study.config import StudyConfig
    from interp_culture.study.summary import Summary


@app.command(
    rich_help_panel=o.WHOLE,
    epilog="Example: interp-culture study --preset quick --out results/quick",
)
def study(
    config: Annotated[
        Path | None,
        typer.Argument(help="A YAML file with fields of the configuration.", show_default=False),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="full (all scenarios), quick (a subset) or paper (the paper's direction and "
            "layers, and every analysis)."
        ),
    ] = "full",
    analysis: Annotated[
        list[str] | None,
        typer.Option(
            help="An analysis to run after the study, by name, or all. "
            "It can be given several times.",
            show_default=False,
        ),
    ] = None,
    n_random: Annotated[
        int | None,
        typer.Option(
            help="Number of random vectors that effects are compared with, 20 or more.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the split, the samples and the random vectors.", show_default="42"
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help=o.MODEL_HELP, show_default="smollm2", rich_help_panel=o.MODEL),
    ] = None,
    device: o.Device = None,
    dtype: o.Dtype = None,
    scenarios: o.Scenarios = None,
    strict: o.Strict = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the steps, with about their time and memory here, and stop."
        ),
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder for tables, vectors, summary and report.",
            show_default="set by the preset",
            rich_help_panel=o.OUTPUT,
        ),
    ] = None,
) -> None:
    """Run the whole experiment and write its report.

    Steps that are finished in --out are not computed again.
    """
    from interp_culture.engine.hardware import choose_threads
    from interp_culture.reporting.html import write_report
    from interp_culture.scenarios.files import load_scenarios
    from interp_culture.study.config import load_config
    from interp_culture.study.study import run_study

    settings = load_config(
        config,
        preset,
        model=model,
        # As text, since the configuration is written to JSON, which has no paths.
        scenarios=str(scenarios) if scenarios else None,
        device=device,
        dtype=dtype,
        out=out,
        n_random=n_random,
        seed=seed,
        analyses=analysis,
    )
    # The study itself leaves faulty records out; this refuses the file before any work is done.
    if strict:
        load_scenarios(settings.scenarios, "refuse")
    choose_threads()
    if dry_run:
        _print_plan(settings)
        return
    summary = run_study(settings, on_step=say)
    path = write_report(settings.out)
    _print_findings(summary)
    typer.echo(f"\n{summary['seconds']:.0f} s. Report: {path}")


def _print_plan(settings: StudyConfig) -> None:
    from interp_culture.study.plan import plan_study

    plan = plan_study(settings)
    width = plan.steps.step.str.len().max()
    shown = plan.steps.assign(
        step=plan.steps.step.str.ljust(width),
        texts=plan.steps.texts.map("{:,}".format, na_action="ignore"),
        tokens=plan.steps.tokens.map("{:,}".format, na_action="ignore"),
        seconds=plan.steps.seconds.map("{:.0f}".format, na_action="ignore"),
    )
    show("steps", plan.steps, shown.to_string(index=False, na_rep="-"))
    typer.echo(f"\nThis machine multiplies at {plan.gflops:.0f} GFLOP/s.")
    if plan.model is None or plan.memory_mib is None:
        typer.echo(f"{settings.model}: its size is not known before it is loaded, nor its time.")
        return
    typer.echo(
        f"To do: about {plan.seconds / 60:.0f} minutes (to a factor of two) without analyses, and "
        f"{plan.memory_mib / 1024:.1f} GiB of memory in float32."
    )


def _print_findings(summary: Summary) -> None:
    """The three answers, the terms that it takes to read the numbers, and the findings."""
    from interp_culture.reporting.findings import basis, findings
    from interp_culture.reporting.glossary import READING_NOTE
    from interp_culture.reporting.overview import questions

    for question in questions(summary):
        typer.echo(f"\n{question.text}\n{question.finding}")
    typer.echo()
    for axis, poles in summary["axes"].items():
        typer.echo(f"{axis}: {poles['negative']} (0) to {poles['positive']} (1)")
    typer.echo(f"{READING_NOTE} {basis(summary)}\n")
    for number, finding in enumerate(findings(summary), start=1):
        typer.echo(f"{number}. {finding}")


@app.command(rich_help_panel=o.WHOLE, epilog="Example: interp-culture report results/quick")
def report(
    folder: Annotated[Path, typer.Argument(help="The folder of a finished study.")],
) -> None:
    """Write report.html of a finished study again, from its tables."""
    from interp_culture.reporting.html import write_report

    typer.echo(f"Report: {write_report(folder)}")
