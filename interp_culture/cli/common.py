"""What the verbs share: the application, the options that return, and how tables are written and shown."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from interp_culture.errors import InputError
from interp_culture.scenarios.data_faults import DataWarning

if TYPE_CHECKING:
    import pandas as pd

    from interp_culture.engine.model import LanguageModel
    from interp_culture.readout.formats import ReadoutFormat
    from interp_culture.readout.prompts import Order
    from interp_culture.scenarios.data_faults import FaultPolicy
    from interp_culture.scenarios.scenario import ScenarioSet
    from interp_culture.steering.sweep import SweepMethod
    from interp_culture.steering.vectors import SteeringVectors
    from interp_culture.survey.personas import Persona

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Why do two values in a language model move together? Read, steer and explain coupled axes.",
    epilog="Start with: interp-culture study --preset quick",
)

TABLE = (".csv", ".parquet")
VECTORS = (".safetensors",)

Model = Annotated[str, typer.Option("--model", help="smollm2, a Hub id, a folder or a .gguf file.")]
Scenarios = Annotated[
    Path | None,
    typer.Option(
        "--scenarios",
        help="A .jsonl or A/B .json file, a folder, or a shipped set; culture by default.",
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Refuse scenario files with any faulty record; by default these are left out.",
    ),
]
Device = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda or mps; the fastest by default.")
]
Dtype = Annotated[
    str | None, typer.Option("--dtype", help="float32, bfloat16, float16, or fastest (measured).")
]
Reading = Annotated[str, typer.Option("--readout", help="letters or continuation.")]
System = Annotated[str | None, typer.Option("--system", help="A system message of your own.")]
PersonaName = Annotated[
    str | None,
    typer.Option(
        "--persona", help="basic:India, advanced:IND, respondent:3 or respondent:3:India."
    ),
]
FactsFolder = Annotated[
    Path | None, typer.Option("--facts", help="A folder that `wvs` wrote, over what is shipped.")
]
Vectors = Annotated[Path, typer.Option("--vectors", help="A file that `extract` wrote.")]
Layers = Annotated[str, typer.Option("--layers", help="Layers to steer, comma-separated, 0-based.")]
HookPoint = Annotated[
    str,
    typer.Option(
        "--hook-point",
        help="Where in the block: hook_resid_post, its output, or hook_resid_pre, ...",
    ),
]
Axis = Annotated[str, typer.Option("--axis", help="The axis to steer.")]
PerCell = Annotated[
    int | None,
    typer.Option("--per-cell", help="At most so many scenarios per item x domain; all by default."),
]


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
    """The model and what `take` takes of the scenarios; what bad input can spoil is checked before it is loaded."""
    from interp_culture.artifacts import make_folder
    from interp_culture.engine.hardware import choose_threads
    from interp_culture.engine.loading import load_model
    from interp_culture.scenarios.files import load_scenarios

    found = load_scenarios(scenarios, faults)
    make_folder(out.parent)
    if out.suffix not in suffixes:
        raise InputError(f"--out {out}: end the name in {' or '.join(suffixes)}")
    found = take(found)
    choose_threads()
    return load_model(model, device=device, dtype=dtype), found


def training_half(seed: int, per_cell: int | None) -> Callable[[ScenarioSet], ScenarioSet]:
    """For `load`: what vectors and layers come from. Split before sampling, so that it never meets the other half."""
    return lambda scenarios: scenarios.split(seed, per_cell=per_cell)[0]


def held_out_half(
    seed: int, per_cell: int | None, vectors: Iterable[SteeringVectors]
) -> Callable[[ScenarioSet], ScenarioSet]:
    """For `load`: what steering is read on. Raises InputError where the vectors come from some of it."""

    def take(scenarios: ScenarioSet) -> ScenarioSet:
        from interp_culture.steering.vectors import check_held_out

        test = scenarios.split(seed, per_cell=per_cell)[1]
        for v in vectors:
            check_held_out(v, test)
        return test

    return take


def system_message(system: str | None, persona: str | None, facts: Path | None) -> str | None:
    """The system message that is asked for, in words or as a persona, and what is missing of it said."""
    if persona is None:
        if facts is not None:
            raise InputError("--facts fills a persona; give a --persona too")
        return system
    if system is not None:
        raise InputError("--system and --persona both set the system message; give one of them")
    from interp_culture.survey.personas import parse_persona
    from interp_culture.survey.wvs import load_facts

    found = parse_persona(persona, load_facts(facts))
    tell_gaps(persona, found)
    return found.text


def tell_gaps(label: str, persona: Persona) -> None:
    """Say on standard error what a persona lacks."""
    if persona.missing:
        say(
            f"{label}: no mean is known of {', '.join(persona.missing)}; left out (fill them with `wvs` and --facts)"
        )
    for note in persona.notes:
        say(f"{label}: {note}")


def fault_policy(strict: bool) -> FaultPolicy:
    """What `--strict` says about faulty records."""
    return "refuse" if strict else "skip"


def run(application: Callable[[], object]) -> None:
    """InputError becomes a message on standard error and exit code 2, a DataWarning one line on standard error."""
    with warnings.catch_warnings():
        _say_data_warnings()
        try:
            application()
        except InputError as error:
            typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
            sys.exit(2)


def _say_data_warnings() -> None:
    """What was left out of a data file is said as every other message is, without the place in the code."""
    show_others = warnings.showwarning

    def show_warning(
        message: Warning | str, category: type[Warning], *place: Any, **more: Any
    ) -> None:
        if issubclass(category, DataWarning):
            say(str(message))
        else:
            show_others(message, category, *place, **more)

    warnings.showwarning = show_warning
    warnings.simplefilter("always", DataWarning)


def say(step: str) -> None:
    typer.secho(f"· {step}", fg=typer.colors.BLUE, err=True)


def parse_sweep(name: str) -> SweepMethod:
    if name not in ("exact", "gradient", "refined"):
        raise InputError(f"--method {name!r}: known are exact, gradient, refined")
    return cast("SweepMethod", name)


def parse_format(
    readout: str,
    *,
    order: str = "both",
    labels: str = "A/B",
    system: str | None = None,
    seed: int = 42,
) -> ReadoutFormat:
    """The readout's format; options that are for letters alone are refused for the other readout."""
    from interp_culture.readout.formats import READOUTS, ReadoutFormat
    from interp_culture.readout.prompts import LABELS

    if readout not in READOUTS:
        raise InputError(f"--readout {readout!r}: known are {', '.join(READOUTS)}")

    if order not in ("both", "random"):
        raise InputError(f"--order {order!r}: known are both, random")
    if labels not in LABELS:
        raise InputError(f"--labels {labels!r}: known are {', '.join(LABELS)}")
    if readout != "letters" and (order, labels) != ("both", "A/B"):
        raise InputError(
            f"--order and --labels are for lettered options; --readout {readout} shows none"
        )
    return ReadoutFormat(
        readout,
        order=cast("Order", order),
        labels=labels,
        system=system,
        seed=seed,
    )


def parse_layers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"--layers {text!r}: give numbers separated by commas, for example 12,13,14,15"
        ) from None


def parse_axis_layers(text: str) -> tuple[str, list[int]]:
    axis, equals, layers = text.partition("=")
    if not equals:
        raise InputError(f"--layers {text!r}: give AXIS=layers, for example X=12,13,14,15")
    return axis, parse_layers(layers)


def pick(vectors: dict[str, SteeringVectors], axis: str) -> SteeringVectors:
    if axis not in vectors:
        raise InputError(f"no vectors of axis {axis!r} in the file; it has {', '.join(vectors)}")
    return vectors[axis]


def write_out(table: pd.DataFrame, path: Path) -> None:
    from interp_culture.artifacts import replacing

    with replacing(path) as part:
        if path.suffix == ".csv":
            table.to_csv(part, index=False)
        else:
            table.to_parquet(part, index=False)
    typer.echo(f"Table: {path} ({len(table)} rows)")


def show(table: pd.DataFrame) -> None:
    typer.echo(table.to_string(index=False, float_format=lambda v: f"{v:.4g}"))
