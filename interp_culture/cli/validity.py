"""The verb on readouts: validity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from interp_culture.cli import options as o
from interp_culture.cli.common import app, parse_format, say
from interp_culture.cli.output import show

if TYPE_CHECKING:
    import pandas as pd

    from interp_culture.readout.verdict import Validity

COLUMNS = [
    "readout",
    "prefix",
    "n",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "mass",
    "consistency",
    "bias_ratio",
    "ok",
]


@app.command(
    rich_help_panel=o.STEPS,
    epilog="Example: interp-culture validity --model smollm2 --all-prefixes",
)
def validity(
    model: o.Model = "smollm2",
    device: o.Device = None,
    dtype: o.Dtype = None,
    order: o.Order = "both",
    labels: o.Labels = "A/B",
    prefix: o.Prefix = None,
    think: o.Think = None,
    all_prefixes: Annotated[
        bool,
        typer.Option(
            "--all-prefixes",
            help="Also read the letters with each candidate prefix, on all control items.",
            rich_help_panel=o.READING,
        ),
    ] = False,
) -> None:
    """Check both readouts on control items with a known right answer."""
    from pandas import DataFrame

    from interp_culture.engine.hardware import choose_threads
    from interp_culture.engine.loading import load_model
    from interp_culture.readout.validity import check_readout, compare_prefixes

    letters = parse_format("letters", order=order, labels=labels, prefix=prefix, think=think)
    words = parse_format("continuation", think=think)
    choose_threads()
    loaded = load_model(model, device=device, dtype=dtype)
    checks = [check_readout(loaded, form) for form in (letters, words)]
    _print("validity", DataFrame([check.row for check in checks]))
    for check in checks:
        typer.echo(verdict_text(check))
    if all_prefixes:
        say("letters with each prefix, on all control items; chosen: on every second one")
        _print("prefixes", compare_prefixes(loaded, letters), "chosen")


def _print(name: str, table: pd.DataFrame, *more: str) -> None:
    # Quoted, since a prefix may be empty; a continuation has none.
    prefixes = table.prefix.map(repr, na_action="ignore").fillna("")
    shown = table[[*COLUMNS, *more]].assign(prefix=prefixes)
    text = shown.to_string(index=False, na_rep="", float_format="{:.2f}".format)
    show(name, table, text)


def verdict_text(check: Validity) -> str:
    """The verdict on a readout in one sentence, and its cautions in another."""
    if check.failures:
        return f"{check.readout} fails: {'; '.join(check.failures)}."
    cautions = f" Caution: {'; '.join(check.cautions)}." if check.cautions else ""
    return f"{check.readout} passes on {check.n} control items.{cautions}"
