"""The verb on scenario files: validate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interp_culture.cli import options as o
from interp_culture.cli.common import app, fault_policy
from interp_culture.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from interp_culture.scenarios.scenario import ScenarioSet


@app.command(
    rich_help_panel=o.SCENARIOS,
    epilog="Example: interp-culture validate my_scenarios.jsonl --report results/quality.md",
)
def validate(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A .jsonl file, an A/B .json file, a folder, or the name of a shipped set.",
            show_default="culture",
        ),
    ] = None,
    strict: o.Strict = False,
    model: Annotated[
        str | None,
        typer.Option(
            help=f"Also measure axis purity, on this model: {o.MODEL_HELP}",
            show_default=False,
            rich_help_panel=o.MODEL,
        ),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(
            help="Layer at which axis purity is measured.",
            show_default="the middle one",
            rich_help_panel=o.MODEL,
        ),
    ] = None,
    device: o.Device = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Also write the result as a Markdown page.",
            show_default=False,
            rich_help_panel=o.OUTPUT,
        ),
    ] = None,
) -> None:
    """Check scenarios: faults, counts, near-duplicates, and options that give themselves away."""
    from interp_culture.artifacts.folders import prepare_file
    from interp_culture.reporting.scenario_page import quality_page
    from interp_culture.scenarios.files import load_scenarios
    from interp_culture.scenarios.quality import check_quality

    if layer is not None and model is None:
        raise InputError("--layer is the layer of axis purity, which needs a --model")
    if report is not None:
        prepare_file(report)
    scenarios = load_scenarios(path, fault_policy(strict))
    purity, about = (None, "") if model is None else _axis_purity(scenarios, model, layer, device)
    checks = check_quality(scenarios)
    page = quality_page(scenarios, purity, about, checks)
    typer.echo(page)
    if report is not None:
        _write_page(page, report)
    out_of_range = [check.name for check in checks if not check.ok]
    verdict = (
        f"readable, but out of range: {', '.join(out_of_range)}"
        if out_of_range
        else "valid, every check within its range"
    )
    typer.echo(
        f"{len(scenarios)} scenarios, axes {', '.join(scenarios.axes)}, "
        f"digest {scenarios.digest}: {verdict}"
    )
    # Raised last: the page above shows which cells are too small to be split.
    if fault := _split_fault(scenarios):
        raise fault


def _axis_purity(
    scenarios: ScenarioSet, model: str, layer: int | None, device: str | None
) -> tuple[pd.DataFrame, str]:
    """The axis purity of the scenarios on a model, and the model and layer in words."""
    from interp_culture.coupling.purity import axis_purity
    from interp_culture.engine.hardware import choose_threads
    from interp_culture.engine.loading import load_model

    choose_threads()
    loaded = load_model(model, device=device)
    at = loaded.n_layers // 2 if layer is None else layer
    about = f"{loaded.name}, after block {at} of {loaded.n_layers}"
    return axis_purity(loaded, scenarios, at), about


def _write_page(page: str, path: Path) -> None:
    from interp_culture.artifacts.files import replacing

    with replacing(path) as part:
        part.write_text(page, encoding="utf-8")


def _split_fault(scenarios: ScenarioSet) -> InputError | None:
    """Why the set cannot be split into halves, which every verb except `probe` needs."""
    try:
        scenarios.split()
    except InputError as error:
        return error
    return None
