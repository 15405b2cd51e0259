"""The verb that asks a teacher model for scenarios: generate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from interp_culture.cli import options as o
from interp_culture.cli import teacher_options as t
from interp_culture.cli.common import app, say
from interp_culture.errors import InputError

if TYPE_CHECKING:
    from interp_culture.scenarios.catalogue import Catalogue
    from interp_culture.scenarios.teacher.pipeline import TeacherConfig

EXAMPLE = (
    "Example: interp-culture generate --item Y01 --domain family "
    "--endpoint http://127.0.0.1:8000/v1 --model my-model --out my/Y01-family.jsonl"
)


@app.command(rich_help_panel=o.SCENARIOS, epilog=EXAMPLE)
def generate(
    item: t.Item,
    domain: t.Domain,
    endpoint: t.Endpoint,
    model: t.Model,
    out: t.Out,
    n: t.Number = 40,
    select: t.Selected = 20,
    scenarios: t.Catalogue = None,
    about: t.About = "",
    first: t.First = 1,
    seed: t.Seed = 42,
    per_request: t.PerRequest = 5,
    temperature: t.Temperature = 1.0,
    timeout: t.Timeout = 120.0,
    max_retries: t.MaxRetries = 5,
    price_in: t.PriceIn = None,
    price_out: t.PriceOut = None,
    max_length_difference: t.MaxLengthDifference = 3,
    max_likeness: t.MaxLikeness = 0.5,
    dry_run: t.DryRun = False,
) -> None:
    """Ask a teacher model for a pool of dilemmas and select the most varied.

    The same command continues a pool that was interrupted.
    """
    from interp_culture.scenarios.teacher.candidates import Rules
    from interp_culture.scenarios.teacher.pipeline import TeacherConfig

    catalogue, axes = _find_catalogue(scenarios)
    config = TeacherConfig(
        catalogue=catalogue,
        axes=axes,
        item=item,
        domain=domain,
        endpoint=endpoint,
        model=model,
        out=out,
        n=n,
        select=select,
        about=about,
        first=first,
        seed=seed,
        per_request=per_request,
        temperature=temperature,
        timeout=timeout,
        max_retries=max_retries,
        price_in=price_in,
        price_out=price_out,
        rules=Rules(max_length_difference, max_likeness),
    )
    if dry_run:
        _show_prompt(config)
    else:
        _show_manifest(config, _run(config))


def _find_catalogue(scenarios: Path | None) -> tuple[Catalogue, Path]:
    """The catalogue of a set, and its axes.yaml."""
    from interp_culture.resources import DATA
    from interp_culture.scenarios.files import find_set, load_catalogue

    place = DATA / "culture" if scenarios is None else find_set(scenarios)
    axes = (place if place.is_dir() else place.parent) / "axes.yaml"
    # `load_catalogue` would fall back on the cultural set; here the user named another one.
    if not axes.exists():
        raise InputError(
            f"--scenarios {scenarios}: there is no {axes}; declare axes, domains and items in it"
        )
    return load_catalogue(axes.parent), axes


def _run(config: TeacherConfig) -> dict[str, Any]:
    """The manifest of the finished set. An interrupted run leaves its pool, ready to continue."""
    from interp_culture.scenarios.teacher.client import EndpointError
    from interp_culture.scenarios.teacher.pipeline import generate as write

    try:
        return write(config, say)
    except (EndpointError, KeyboardInterrupt) as stopped:
        interrupted = isinstance(stopped, KeyboardInterrupt)
        reason = "interrupted" if interrupted else str(stopped)
        typer.secho(f"error: {reason}", fg=typer.colors.RED, err=True)
        typer.echo(
            f"{config.pool_path} keeps what has come so far; the same command goes on from there",
            err=True,
        )
        # 130 is the shell's code for a program that was interrupted (128 + SIGINT).
        raise typer.Exit(130 if interrupted else 1) from None


def _show_prompt(config: TeacherConfig) -> None:
    from interp_culture.scenarios.teacher.candidates import read_pool
    from interp_culture.scenarios.teacher.pipeline import build_messages, check_config

    # The pool decides the prompt: it names candidates that the teacher should not repeat.
    check_config(config)
    for message in build_messages(config, read_pool(config.pool_path, config.origin)):
        typer.echo(f"--- {message['role']}\n{message['content']}\n")


def _show_manifest(config: TeacherConfig, manifest: dict[str, Any]) -> None:
    from interp_culture.scenarios.teacher.candidates import Tally
    from interp_culture.scenarios.teacher.pipeline import describe_rejected

    tally = Tally(**{name: manifest[name] for name in Tally.model_fields})
    selected = manifest["spread"]["selected"]
    random = manifest["spread"]["random"]
    typer.echo(
        f"Pool: {config.pool_path} ({manifest['candidates']} candidates; "
        f"refused: {describe_rejected(tally)})"
    )
    typer.echo(
        f"Set: {config.out} ({manifest['selected']} scenarios), "
        f"manifest {config.manifest_path.name}"
    )
    typer.echo(
        f"Distance to the nearest neighbour: least {selected['minimum']:.3f}, mean "
        f"{selected['mean']:.3f}; in random selections {random['minimum']:.3f} and "
        f"{random['mean']:.3f}"
    )
    price = "" if manifest["cost"] is None else f", cost {manifest['cost']:.4f}"
    at_least = (
        f" (at least: {tally.unmetered} answers came without a count)" if tally.unmetered else ""
    )
    typer.echo(
        f"{tally.answers} answers, {tally.tokens_in} tokens in, {tally.tokens_out} out"
        f"{price}{at_least}"
    )
    typer.echo(f"Read every record, then run: interp-culture validate {config.out}")
