"""The application of the command line, and the functions that its verbs share."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from interp_culture.artifacts.files import DamageWarning
from interp_culture.cli.output import tables_as_json
from interp_culture.errors import InputError, check_known
from interp_culture.scenarios.data_faults import DataWarning

if TYPE_CHECKING:
    import pandas as pd

    from interp_culture.engine.model import LanguageModel
    from interp_culture.readout.formats import Readout, ReadoutFormat
    from interp_culture.readout.prompts import Labels, Order
    from interp_culture.scenarios.data_faults import FaultPolicy
    from interp_culture.scenarios.scenario import ScenarioSet
    from interp_culture.steering.sweep import SweepMethod
    from interp_culture.steering.vectors import SteeringVectors
    from interp_culture.survey.personas import Persona

    PassedContext = typer.Context
else:
    # What typer passes at run time is an object of the base class.
    PassedContext = typer.Context.__base__

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    # A bug shows Python's own traceback; `run` turns bad input into a message.
    pretty_exceptions_enable=False,
    help="Do two values in a language model move together, and why? "
    "Read, steer and explain coupled axes.",
    epilog="Start with: interp-culture study --preset quick",
)


@app.callback()
def _options(
    context: PassedContext,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print the tables of a verb as one JSON object, and all else on stderr."
        ),
    ] = False,
) -> None:
    if as_json:
        context.with_resource(tables_as_json())


TABLE = (".csv", ".parquet")
VECTORS = (".safetensors",)


def load(
    model: str,
    scenarios: Path | None,
    device: str | None,
    dtype: str | None,
    out: Path,
    suffixes: tuple[str, ...] = TABLE,
    take: Callable[[ScenarioSet], ScenarioSet] = lambda scenarios: scenarios,
    faults: FaultPolicy = "skip",
) -> tuple[LanguageModel, ScenarioSet]:
    """The model, and the scenarios that `take` selects.

    Loading a model takes longest, so everything that bad input can spoil is checked before.
    """
    # Imports of torch and pandas are inside the functions, so that the help appears at once.
    from interp_culture.artifacts.folders import prepare_file
    from interp_culture.engine.hardware import choose_threads
    from interp_culture.engine.loading import load_model
    from interp_culture.scenarios.files import load_scenarios

    whole = load_scenarios(scenarios, faults)
    prepare_file(out)
    if out.suffix not in suffixes:
        raise InputError(f"--out {out}: end the name in {' or '.join(suffixes)}")
    selected = take(whole)
    choose_threads()
    return load_model(model, device=device, dtype=dtype), selected


def training_half(seed: int, per_cell: int | None) -> Callable[[ScenarioSet], ScenarioSet]:
    """For `load`: the half from which vectors and layers are computed.

    The set is split before it is sampled, so a sample never meets the other half.
    """
    return lambda scenarios: scenarios.split(seed, per_cell=per_cell)[0]


def held_out_half(
    seed: int, per_cell: int | None, vectors: Iterable[SteeringVectors]
) -> Callable[[ScenarioSet], ScenarioSet]:
    """For `load`: the half on which steering is measured.

    The selection raises InputError if the vectors were computed from any of its scenarios.
    """

    def take(scenarios: ScenarioSet) -> ScenarioSet:
        from interp_culture.steering.vectors import check_held_out

        test = scenarios.split(seed, per_cell=per_cell)[1]
        for v in vectors:
            check_held_out(v, test)
        return test

    return take


def system_message(system: str | None, persona: str | None, facts: Path | None) -> str | None:
    """The system message, given in words or as a persona. Prints the gaps of the persona."""
    if persona is None:
        if facts is not None:
            raise InputError("--facts gives the figures of a persona; give a --persona too")
        return system
    if system is not None:
        raise InputError("--system and --persona both set the system message; give only one")
    from interp_culture.survey.personas import parse_persona
    from interp_culture.survey.wvs import load_facts

    parsed = parse_persona(persona, load_facts(facts))
    tell_gaps(persona, parsed)
    return parsed.text


def tell_gaps(label: str, persona: Persona) -> None:
    """Print on standard error the survey answers that a persona lacks."""
    if persona.missing:
        say(
            f"{label}: no mean is known of {', '.join(persona.missing)}; the persona leaves them "
            "out (add them with `wvs` and --facts)"
        )
    for note in persona.notes:
        say(f"{label}: {note}")


def fault_policy(strict: bool) -> FaultPolicy:
    """The policy on faulty records that `--strict` asks for."""
    return "refuse" if strict else "skip"


def run(application: Callable[[], object]) -> None:
    """Run an application with its errors and warnings as plain messages on standard error.

    An InputError ends the program with exit code 2; warnings about data and files are one line.
    SIGTERM ends it as Ctrl-C does: what is finished is written, and the device is freed.
    """
    signal.signal(signal.SIGTERM, _stop)
    with warnings.catch_warnings():
        _print_warnings()
        try:
            application()
        except InputError as error:
            typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
            # typer's code for a wrong option, which is bad input too.
            sys.exit(2)


def _stop(number: int, frame: object) -> None:
    # The exit code of a process that a signal ends.
    sys.exit(128 + number)


def _print_warnings() -> None:
    """Print warnings for users like any other message, without the line of code they come from."""
    show_others = warnings.showwarning

    def show_warning(
        message: Warning | str, category: type[Warning], *place: Any, **more: Any
    ) -> None:
        if issubclass(category, DataWarning | DamageWarning):
            say(str(message))
        else:
            show_others(message, category, *place, **more)

    warnings.showwarning = show_warning
    # By default Python shows a warning once per line of code; a second file would stay silent.
    for category in (DataWarning, DamageWarning):
        warnings.simplefilter("always", category)


def say(step: str) -> None:
    """Print a step on standard error, so that standard output holds results alone."""
    typer.secho(f"· {step}", fg=typer.colors.BLUE, err=True)


def parse_sweep(name: str) -> SweepMethod:
    """The sweep method of this name."""
    check_known("--method", name, ("exact", "gradient", "refined"))
    return cast("SweepMethod", name)


def parse_format(
    readout: str,
    *,
    order: str = "both",
    labels: str = "A/B",
    prefix: str | None = None,
    think: int | None = None,
    system: str | None = None,
    seed: int = 42,
) -> ReadoutFormat:
    """The readout format of these options.

    Only the letters readout has an order, labels and an answer prefix.
    """
    from interp_culture.readout.formats import READOUTS, ReadoutFormat
    from interp_culture.readout.prompts import LABELS

    check_known("--readout", readout, READOUTS)
    check_known("--order", order, ("both", "random"))
    check_known("--labels", labels, LABELS)
    # An option without effect would look as if it had been used.
    if readout != "letters" and (order, labels) != ("both", "A/B"):
        raise InputError(
            f"--order and --labels are for lettered options; --readout {readout} shows none"
        )
    if readout != "letters" and prefix is not None:
        raise InputError(f"--prefix is for lettered options; --readout {readout} has none")
    return ReadoutFormat(
        cast("Readout", readout),
        order=cast("Order", order),
        labels=cast("Labels", labels),
        prefix=prefix,
        think=think,
        system=system,
        seed=seed,
    )


def tell_prefix(model: LanguageModel, form: ReadoutFormat) -> None:
    """Print on standard error the answer prefix that was chosen for a letters readout."""
    if form.prefix is not None:
        return
    from interp_culture.readout.validity import check_readout

    validity = check_readout(model, form)
    say(
        f"answer prefix {validity.prefix!r}, chosen on {validity.n_choice} control items (give "
        "--prefix for another)"
    )


def parse_layers(text: str) -> list[int]:
    """The layers in `text`, separated by commas.

    >>> parse_layers("12,13")
    [12, 13]
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"--layers {text!r}: give numbers separated by commas, for example 12,13,14,15"
        ) from None


def parse_axis_layers(texts: Iterable[str]) -> dict[str, list[int]]:
    """The layers of each axis.

    >>> parse_axis_layers(["X=12,13", "Y=14"])
    {'X': [12, 13], 'Y': [14]}
    """
    by_axis: dict[str, list[int]] = {}
    for text in texts:
        axis, equals, layers = text.partition("=")
        if not equals:
            raise InputError(f"--layers {text!r}: give AXIS=layers, for example X=12,13,14,15")
        if axis in by_axis:
            raise InputError(
                f"--layers {text!r}: axis {axis} has layers already; "
                f"give all of them at once: {axis}=12,13"
            )
        by_axis[axis] = parse_layers(layers)
    return by_axis


def pick(vectors: dict[str, SteeringVectors], axis: str) -> SteeringVectors:
    """The vectors of one axis. Raises InputError if the file has none."""
    if axis not in vectors:
        raise InputError(f"the file has no vectors of axis {axis!r}; known: {', '.join(vectors)}")
    return vectors[axis]


def write_out(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV or parquet, by its suffix."""
    from interp_culture.artifacts.files import replacing
    from interp_culture.artifacts.tables import defused

    # A table that is cut off while it is written must not look like a finished one.
    with replacing(path) as part:
        if path.suffix == ".csv":
            defused(table).to_csv(part, index=False)
        else:
            table.to_parquet(part, index=False)
    typer.echo(f"Table: {path} ({len(table)} rows)")
