"""The verbs that look after files and the installation: cache, verify, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interp_culture.cli import options as o
from interp_culture.cli.common import app, say
from interp_culture.cli.output import in_columns, show
from interp_culture.errors import InputError

cache_app = typer.Typer(no_args_is_help=True, help="List, compare and clean the cache of models.")
app.add_typer(
    cache_app, name="cache", rich_help_panel=o.UPKEEP, epilog="Example: interp-culture cache list"
)


@cache_app.command("list", epilog="Example: interp-culture cache list")
def list_() -> None:
    """List what the cache holds, with sizes."""
    _show_cache(verify=False)


@cache_app.command(epilog="Example: interp-culture cache verify")
def verify() -> None:
    """Compare every file of the cache with its checksum."""
    damaged = _show_cache(verify=True)
    if damaged:
        raise InputError(
            f"{', '.join(damaged)}: damaged; `interp-culture cache prune` removes it, and the next "
            "use unpacks or downloads it again"
        )


@cache_app.command(epilog="Example: interp-culture cache prune")
def prune() -> None:
    """Remove what is damaged, unfinished or of an earlier version; installed models stay."""
    from interp_culture.engine.model_cache import prune_cache

    removed = prune_cache()
    for row in removed.itertuples():
        say(f"removed {row.file} ({row.what}, {row.state})")
    typer.echo(f"{len(removed)} removed, {removed.mib.sum():.0f} MiB")


def _show_cache(verify: bool) -> list[str]:
    """Print the cache; returns the files that are damaged."""
    from interp_culture.artifacts.folders import cache_dir
    from interp_culture.engine.model_cache import free_bytes, list_cache

    listed = list_cache(verify=verify)
    if not listed.empty:
        shown = listed.assign(mib=listed.mib.map("{:.0f} MiB".format)).rename(
            columns={"mib": "size"}
        )
        show("cache", listed, shown.to_string(index=False))
    typer.echo(f"{cache_dir()}: {listed.mib.sum():.0f} MiB; {free_bytes() / 2**30:.1f} GiB free")
    return listed.file[listed.state == "damaged"].tolist()


@app.command(
    "verify", rich_help_panel=o.UPKEEP, epilog="Example: interp-culture verify results/quick"
)
def verify_folder(
    folder: Annotated[Path, typer.Argument(help="The folder of a finished study.")],
) -> None:
    """Compare the files of a study with the checksums from when they were written."""
    from interp_culture.study.verification import verify_study

    states = verify_study(folder)
    counts = states.state.value_counts()
    lines = [", ".join(f"{count} {state}" for state, count in counts.items())]
    for row in states[states.state != "whole"].itertuples():
        lines.append(f"{row.file}: {row.state}: {row.detail}")
    show("files", states, "\n".join(lines))
    wrong = int(states.state.isin(("damaged", "missing")).sum())
    if wrong:
        raise InputError(
            f"{folder}: {wrong} of {len(states)} files are damaged or missing; run the study again "
            f"with `interp-culture study --out {folder}`: whole tables are not computed again"
        )


@app.command(rich_help_panel=o.UPKEEP, epilog="Example: interp-culture doctor --model smollm2")
def doctor(model: o.Model = "smollm2", device: o.Device = None, dtype: o.Dtype = None) -> None:
    """Show the installation, and compare a model with plain Hugging Face.

    Its logits, residual streams, steered streams and steered generation are compared with passes
    from before it was hooked.
    """
    from pandas import DataFrame

    from interp_culture.engine.doctor import compare_with_plain, installation

    facts = installation()
    show("installation", DataFrame([facts]), in_columns(facts.items()))
    say(f"loading {model} and comparing it with plain Hugging Face")
    typer.echo(str(compare_with_plain(model, device, dtype)))
