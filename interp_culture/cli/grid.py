"""The verb that runs many studies: grid."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interp_culture.cli import options as o
from interp_culture.cli.common import app, say, write_out
from interp_culture.cli.output import show
from interp_culture.errors import InputError


@app.command(rich_help_panel=o.WHOLE, epilog="Example: interp-culture grid grid.yaml --jobs 2")
def grid(
    file: Annotated[
        Path, typer.Argument(help="A YAML file: preset, out, fields of all studies, and over.")
    ],
    jobs: Annotated[int, typer.Option(min=1, help="How many studies run at once.")] = 1,
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="A device for one study at a time, such as cuda:0. Give it once for each device.",
            show_default="as the studies choose",
        ),
    ] = None,
    retries: Annotated[
        int, typer.Option(min=0, help="How often a study is started again after it died.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells and which are finished, and stop.")
    ] = False,
) -> None:
    """Run a study for every combination of models, methods, seeds or other fields.

    Each has a folder and a process of its own. Studies that are finished are not run again.
    """
    from pandas import DataFrame

    from interp_culture.study.grid import load_grid
    from interp_culture.study.grid_runs import grid_table, run_grid

    cells = load_grid(file)
    if dry_run:
        states = [(c.name, "finished" if c.is_finished else "to do") for c in cells]
        show("cells", DataFrame(states, columns=["cell", "state"]))
        return
    table = run_grid(cells, jobs=jobs, devices=device or (), retries=retries, on_step=say)
    out = cells[0].folder.parent
    write_out(table, out / "grid.csv")
    done = [c for c, state in zip(cells, table.state, strict=True) if state.endswith("finished")]
    if done:
        write_out(grid_table(done), out / "matrix.csv")
    show("grid", table.drop(columns="folder"))
    if len(done) < len(cells):
        raise InputError(
            f"{len(cells) - len(done)} of {len(cells)} studies did not finish; each folder has its "
            "log in cell.log. Run the grid again after mending them: finished studies are kept"
        )
    if len(done) > 1:
        typer.echo(f"Side by side: interp-culture compare {' '.join(str(c.folder) for c in done)}")
