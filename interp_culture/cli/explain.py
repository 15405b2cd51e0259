"""The verb that explains why steering one axis moves another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interp_culture.cli import options as o
from interp_culture.cli.common import (
    app,
    fault_policy,
    parse_axis_layers,
    parse_format,
    tell_prefix,
    write_out,
)

TABLES = ("gains", "causes", "texts", "gains_by_layer", "causes_by_layer")


@app.command(
    rich_help_panel=o.WHOLE,
    epilog="Example: interp-culture explain --readout continuation --out results/explain",
)
def explain(
    model: o.Model = "smollm2",
    device: o.Device = None,
    dtype: o.Dtype = None,
    scenarios: o.Scenarios = None,
    strict: o.Strict = False,
    per_cell: o.PerCell = None,
    seed: Annotated[
        int, typer.Option(help="Seed of the split into halves.", rich_help_panel=o.DATA)
    ] = 42,
    readout: o.Reading = "letters",
    prefix: o.Prefix = None,
    think: o.Think = None,
    vectors: Annotated[
        Path | None,
        typer.Option(
            help="A file that `extract` wrote, with this --seed and these --scenarios.",
            show_default="the mean difference of the training half",
            rich_help_panel=o.STEERING,
        ),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            help="AXIS=layers that are steered together, for example X=12,13. Give it once for "
            "each axis.",
            show_default="the four at which the axis itself moves most",
            rich_help_panel=o.STEERING,
        ),
    ] = None,
    whiten: Annotated[
        bool,
        typer.Option(
            "--whiten",
            help="Compare the vectors of two axes after whitening by the residual stream.",
            rich_help_panel=o.STEERING,
        ),
    ] = False,
    out: Annotated[
        Path, typer.Option(help="Folder for the tables.", rich_help_panel=o.OUTPUT)
    ] = Path("results/explain"),
) -> None:
    """Say why steering one axis moves another: size, causes, and the texts they come from.

    To first order, from one backward pass over the held-out half; no model is steered.
    """
    from interp_culture.artifacts.folders import make_folder
    from interp_culture.coupling.explanation import explain as explained
    from interp_culture.engine.hardware import choose_threads
    from interp_culture.engine.loading import load_model
    from interp_culture.scenarios.files import load_scenarios
    from interp_culture.steering.extraction import extract
    from interp_culture.steering.vector_files import load_vectors
    from interp_culture.steering.vectors import check_held_out

    # Everything that can be wrong is checked before the model is loaded.
    form = parse_format(readout, prefix=prefix, think=think)
    by_axis = None if layers is None else parse_axis_layers(layers)
    whole = load_scenarios(scenarios, fault_policy(strict))
    train, test = whole.split(seed, per_cell=per_cell)
    given = None if vectors is None else load_vectors(vectors)
    for of_axis in (given or {}).values():
        check_held_out(of_axis, test)
    folder = make_folder(out)
    choose_threads()
    loaded = load_model(model, device=device, dtype=dtype)
    tell_prefix(loaded, form)
    steered = extract(loaded, train) if given is None else given
    why = explained(
        loaded, train, test, steered, layers=by_axis, readout=form, whiten=whiten, seed=seed
    )
    for name in TABLES:
        write_out(getattr(why, name), folder / f"{name}.csv")
    typer.echo(f"\n{why}")
