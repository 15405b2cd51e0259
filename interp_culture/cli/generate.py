"""The verb that asks a teacher model for scenarios: generate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interp_culture.cli import options as o
from interp_culture.cli.common import app, say
from interp_culture.errors import InputError

if TYPE_CHECKING:
    from interp_culture.scenarios.scenario import Catalogue
    from interp_culture.scenarios.teacher.pipeline import TeacherConfig

TASK = "Scenarios to write"
TEACHER = "Teacher"
RULES = "Rules for a valid candidate"
EXAMPLE = (
    "Example: interp-culture generate --item Y01 --domain family "
    "--endpoint http://127.0.0.1:8000/v1 --model my-model --out my/Y01-family.jsonl"
)


@app.command(rich_help_panel=o.SCENARIOS, epilog=EXAMPLE)
def generate(
    item: Annotated[
        str,
        typer.Option(help="The item of the dilemmas, as named in axes.yaml.", rich_help_panel=TASK),
    ],
    domain: Annotated[str, typer.Option(help="The domain of the dilemmas.", rich_help_panel=TASK)],
    endpoint: Annotated[
        str,
        typer.Option(
            help="Base URL of an OpenAI-compatible endpoint. The key is read from OPENAI_API_KEY.",
            rich_help_panel=TEACHER,
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="The teacher model, by its name at the endpoint.", rich_help_panel=TEACHER
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="File of the set, .jsonl. The pool of candidates and a manifest are written "
            "next to it.",
            rich_help_panel=o.OUTPUT,
        ),
    ],
    n: Annotated[
        int,
        typer.Option("--n", help="Number of valid candidates in the pool.", rich_help_panel=TASK),
    ] = 40,
    select: Annotated[
        int,
        typer.Option(
            help="Number of candidates, the most varied ones, that make the set.",
            rich_help_panel=TASK,
        ),
    ] = 20,
    scenarios: Annotated[
        Path | None,
        typer.Option(
            help="A folder with an axes.yaml, or the name of a shipped set.",
            show_default="culture",
            rich_help_panel=TASK,
        ),
    ] = None,
    about: Annotated[
        str,
        typer.Option(
            help="The meaning of the item, in your words, for the teacher.",
            show_default=False,
            rich_help_panel=TASK,
        ),
    ] = "",
    first: Annotated[
        int,
        typer.Option(
            help="Number in the first id. Give more than 1 to extend a set.", rich_help_panel=TASK
        ),
    ] = 1,
    seed: Annotated[
        int,
        typer.Option(help="Seed of the cues and of the teacher's sampling.", rich_help_panel=TASK),
    ] = 42,
    per_request: Annotated[
        int, typer.Option(help="Number of candidates per request.", rich_help_panel=TEACHER)
    ] = 5,
    temperature: Annotated[
        float, typer.Option(help="Sampling temperature of the teacher.", rich_help_panel=TEACHER)
    ] = 1.0,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for an answer.", rich_help_panel=TEACHER)
    ] = 120.0,
    max_retries: Annotated[
        int,
        typer.Option(
            help="Retries of a request after 429, 5xx or a lost connection.",
            rich_help_panel=TEACHER,
        ),
    ] = 5,
    price_in: Annotated[
        float | None,
        typer.Option(
            help="Price of a million tokens sent.", show_default=False, rich_help_panel=TEACHER
        ),
    ] = None,
    price_out: Annotated[
        float | None,
        typer.Option(
            help="Price of a million tokens received.", show_default=False, rich_help_panel=TEACHER
        ),
    ] = None,
    max_length_difference: Annotated[
        int,
        typer.Option(
            help="Largest difference between the lengths of two options, in words.",
            rich_help_panel=RULES,
        ),
    ] = 3,
    max_likeness: Annotated[
        float,
        typer.Option(help="Largest TF-IDF cosine between two situations.", rich_help_panel=RULES),
    ] = 0.5,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the next prompt and send nothing.", rich_help_panel=TEACHER
        ),
    ] = False,
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
