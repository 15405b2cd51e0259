"""The verb that asks a teacher model: generate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interp_culture.cli.common import app, say
from interp_culture.errors import InputError

if TYPE_CHECKING:
    from interp_culture.scenarios.scenario import Catalogue
    from interp_culture.scenarios.teacher.pipeline import TeacherConfig

EXAMPLE = (
    "Example: interp-culture generate --item Y01 --domain family --endpoint http://127.0.0.1:8000/v1 "
    "--model my-model --out my/Y01-family.jsonl"
)


@app.command(epilog=EXAMPLE)
def generate(
    item: Annotated[
        str, typer.Option(help="The item that the dilemmas ask, as named in axes.yaml.")
    ],
    domain: Annotated[str, typer.Option(help="The domain that they are set in.")],
    endpoint: Annotated[
        str,
        typer.Option(
            help="Base of an OpenAI-compatible endpoint; a key comes from OPENAI_API_KEY."
        ),
    ],
    model: Annotated[str, typer.Option(help="The teacher, by the name that the endpoint knows.")],
    out: Annotated[
        Path, typer.Option(help="The set, .jsonl; its pool and its manifest stand beside it.")
    ],
    n: Annotated[int, typer.Option("--n", help="Valid candidates to gather in the pool.")] = 40,
    select: Annotated[
        int, typer.Option(help="How many of them, the most varied, make the set.")
    ] = 20,
    scenarios: Annotated[
        Path | None,
        typer.Option(
            help="A folder with an axes.yaml, or the name of a shipped set; culture by default."
        ),
    ] = None,
    about: Annotated[
        str, typer.Option(help="What the item means, in your words, for the teacher.")
    ] = "",
    first: Annotated[
        int, typer.Option(help="Number in the first id; more than 1 to extend a set.")
    ] = 1,
    per_request: Annotated[int, typer.Option(help="Candidates to ask for at a time.")] = 5,
    temperature: Annotated[float, typer.Option(help="Of the teacher's sampling.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the cues and of the teacher's sampling.")] = 42,
    max_length_difference: Annotated[
        int, typer.Option(help="Words by which two options may differ.")
    ] = 3,
    max_likeness: Annotated[
        float, typer.Option(help="TF-IDF cosine that two situations may have.")
    ] = 0.5,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.")] = 120.0,
    max_retries: Annotated[
        int, typer.Option(help="Retries of a request after 429, 5xx, or a lost connection.")
    ] = 5,
    price_in: Annotated[float | None, typer.Option(help="Price of a million tokens sent.")] = None,
    price_out: Annotated[
        float | None, typer.Option(help="Price of a million tokens received.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the next prompt and send nothing.")
    ] = False,
) -> None:
    """Ask a teacher model for a pool of dilemmas and select the most varied; the same command resumes a pool."""
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
    from interp_culture.resources import DATA
    from interp_culture.scenarios.files import find_set, load_catalogue

    found = DATA / "culture" if scenarios is None else find_set(scenarios)
    axes = (found if found.is_dir() else found.parent) / "axes.yaml"
    if not axes.exists():
        raise InputError(
            f"--scenarios {scenarios}: there is no {axes}; declare axes, domains and items in it"
        )
    return load_catalogue(axes.parent), axes


def _run(config: TeacherConfig) -> dict[str, Any]:
    """What stops a run on the way leaves the pool as it is, ready to go on from."""
    from interp_culture.scenarios.teacher.client import EndpointError
    from interp_culture.scenarios.teacher.pipeline import generate as write

    try:
        return write(config, say)
    except (EndpointError, KeyboardInterrupt) as stopped:
        reason = "interrupted" if isinstance(stopped, KeyboardInterrupt) else str(stopped)
        typer.secho(f"error: {reason}", fg=typer.colors.RED, err=True)
        typer.echo(
            f"{config.pool_path} keeps what has come so far; the same command goes on from there",
            err=True,
        )
        raise typer.Exit(130 if isinstance(stopped, KeyboardInterrupt) else 1) from None


def _show_prompt(config: TeacherConfig) -> None:
    from interp_culture.scenarios.teacher.candidates import read_pool
    from interp_culture.scenarios.teacher.pipeline import build_messages, check_config

    check_config(config)
    for message in build_messages(config, read_pool(config.pool_path, config.origin)):
        typer.echo(f"--- {message['role']}\n{message['content']}\n")


def _show_manifest(config: TeacherConfig, found: dict[str, Any]) -> None:
    from interp_culture.scenarios.teacher.candidates import Tally
    from interp_culture.scenarios.teacher.pipeline import describe_rejected

    tally = Tally(**{name: found[name] for name in Tally.model_fields})
    selected, random = found["spread"]["selected"], found["spread"]["random"]
    typer.echo(
        f"Pool: {config.pool_path} ({found['candidates']} candidates; refused: {describe_rejected(tally)})"
    )
    typer.echo(
        f"Set: {config.out} ({found['selected']} scenarios), manifest {config.manifest_path.name}"
    )
    typer.echo(
        f"Distance to the nearest neighbour: least {selected['minimum']:.3f}, mean {selected['mean']:.3f}; "
        f"in random selections {random['minimum']:.3f} and {random['mean']:.3f}"
    )
    price = "" if found["cost"] is None else f", cost {found['cost']:.4f}"
    lower = (
        f" (at least: {tally.unmetered} answers came without a count)" if tally.unmetered else ""
    )
    typer.echo(
        f"{tally.answers} answers, {tally.tokens_in} tokens in, {tally.tokens_out} out{price}{lower}"
    )
    typer.echo(f"Read every record, then: interp-culture validate {config.out}")
