"""Verbs on scenarios: validate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interp_culture.cli.common import Device, Strict, app, fault_policy
from interp_culture.errors import InputError

if TYPE_CHECKING:
    from interp_culture.scenarios.scenario import ScenarioSet


@app.command(
    epilog="Example: interp-culture validate my_scenarios.jsonl --report results/quality.md"
)
def validate(
    path: Annotated[
        Path | None, typer.Argument(help="A .jsonl or A/B .json file, a folder, or a shipped set.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write the findings as a Markdown page.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Also measure axis purity on this model (as in the other verbs)."),
    ] = None,
    layer: Annotated[
        int | None, typer.Option(help="Layer of the axis purity; the middle one by default.")
    ] = None,
    device: Device = None,
    strict: Strict = False,
) -> None:
    """Check a file of scenarios: faults, counts, near-duplicates, and whether options give themselves away."""
    from interp_culture.artifacts import make_folder, replacing
    from interp_culture.reporting.scenario_page import quality_page
    from interp_culture.scenarios.files import load_scenarios
    from interp_culture.scenarios.quality import check_quality

    if layer is not None and model is None:
        raise InputError("--layer is that of the axis purity, which takes a --model")
    found = load_scenarios(path, fault_policy(strict))
    purity, about = None, ""
    if model is not None:
        from interp_culture.coupling.purity import axis_purity
        from interp_culture.engine.loading import load_model

        loaded = load_model(model, device=device)
        layer = loaded.n_layers // 2 if layer is None else layer
        purity, about = (
            axis_purity(loaded, found, layer),
            f"{loaded.name}, after block {layer} of {loaded.n_layers}",
        )
    checks = check_quality(found)
    page = quality_page(found, purity, about, checks)
    typer.echo(page)
    if report is not None:
        make_folder(report.parent)
        with replacing(report) as part:
            part.write_text(page, encoding="utf-8")
    unsplittable = _split_fault(found)
    outside = [c.name for c in checks if not c.ok]
    verdict = (
        f"readable, but out of range: {', '.join(outside)}"
        if outside
        else "valid, every check within its range"
    )
    typer.echo(
        f"{len(found)} scenarios, axes {', '.join(found.axes)}, digest {found.digest}: {verdict}"
    )
    if unsplittable is not None:
        raise unsplittable


def _split_fault(scenarios: ScenarioSet) -> InputError | None:
    """Why the set cannot be split into halves, as every verb but `probe` does; None where it can."""
    try:
        scenarios.split()
    except InputError as error:
        return error
    return None
