"""The command line: thin verbs over the public functions.

Exit codes: 0 success, 2 bad input (one message, no traceback), 1 anything else.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interp_culture.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from interp_culture.model import LanguageModel
    from interp_culture.prompts import Order
    from interp_culture.readout import Readout
    from interp_culture.scenarios import ScenarioSet
    from interp_culture.vectors import SteeringVectors

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Why do two values in a language model move together? Read, steer and explain coupled axes.",
    epilog="Start with: interp-culture study --preset quick",
)

OUT_SUFFIXES = (".csv", ".parquet", ".safetensors")

Model = Annotated[str, typer.Option("--model", help="smollm2, a Hub id, a folder or a .gguf file.")]
Scenarios = Annotated[
    Path | None, typer.Option("--scenarios", help="Your .jsonl file or folder; the shipped set by default.")
]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda or mps; the fastest by default.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="float32, bfloat16 or float16.")]
Reading = Annotated[str, typer.Option("--readout", help="letters or continuation.")]
System = Annotated[str | None, typer.Option("--system", help="A persona, given as the system message.")]
Vectors = Annotated[Path, typer.Option("--vectors", help="A file that `extract` wrote.")]
Layers = Annotated[str, typer.Option("--layers", help="Layers to steer, comma-separated, 0-based.")]
Axis = Annotated[str, typer.Option("--axis", help="The axis to steer.")]
PerCell = Annotated[
    int | None, typer.Option("--per-cell", help="At most so many scenarios per item x domain; all by default.")
]


@app.command(epilog="Example: interp-culture study --preset quick --out results/quick")
def study(
    config: Annotated[Path | None, typer.Argument(help="A YAML file with any field of the configuration.")] = None,
    preset: Annotated[str, typer.Option(help="quick (minutes) or full.")] = "full",
    model: Annotated[str | None, typer.Option(help="smollm2, a Hub id, a folder or a .gguf file.")] = None,
    scenarios: Scenarios = None,
    device: Device = None,
    dtype: Dtype = None,
    out: Annotated[str | None, typer.Option(help="Folder for tables, vectors, summary and report.")] = None,
    n_random: Annotated[int | None, typer.Option(help="Random vectors for the null, 20 or more.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the split, the samples and the random vectors.")] = None,
) -> None:
    """Run the whole experiment and write the report; what is finished in --out is not computed again."""
    from interp_culture.config import load_config
    from interp_culture.report import findings, write_report
    from interp_culture.study import run_study

    loaded = load_config(
        config,
        preset,
        model=model,
        scenarios=str(scenarios) if scenarios else None,
        device=device,
        dtype=dtype,
        out=out,
        n_random=n_random,
        seed=seed,
    )
    summary = run_study(loaded, on_step=_say)
    path = write_report(loaded.out)
    typer.echo()
    for number, finding in enumerate(findings(summary), start=1):
        typer.echo(f"{number}. {finding}")
    typer.echo(f"\n{summary['seconds']:.0f} s. Report: {path}")


@app.command(epilog="Example: interp-culture probe --readout continuation --system 'You are a person living in India.'")
def probe(
    model: Model = "smollm2",
    scenarios: Scenarios = None,
    readout: Reading = "letters",
    order: Annotated[str, typer.Option(help="both, or random as in the paper.")] = "both",
    system: System = None,
    per_cell: PerCell = None,
    device: Device = None,
    dtype: Dtype = None,
    out: Annotated[Path, typer.Option(help="Table, .csv or .parquet.")] = Path("results/probe.csv"),
) -> None:
    """Read the model's choice on every scenario."""
    from interp_culture.readout import probe as read

    loaded, items = _load(model, scenarios, per_cell, device, dtype, out)
    table = read(loaded, items, readout=_readout(readout), order=_order(order), system=system)
    _write(table, out)
    _show(table.groupby(["axis", "item"]).p_positive.agg(["mean", "size"]).reset_index())


@app.command(epilog="Example: interp-culture extract --out results/vectors.safetensors")
def extract(
    model: Model = "smollm2",
    scenarios: Scenarios = None,
    method: Annotated[str, typer.Option(help="mean_diff.")] = "mean_diff",
    per_cell: PerCell = None,
    seed: Annotated[int, typer.Option(help="Seed of the split; vectors come from its training half.")] = 42,
    device: Device = None,
    dtype: Dtype = None,
    out: Annotated[Path, typer.Option(help="A .safetensors file.")] = Path("results/vectors.safetensors"),
) -> None:
    """Compute steering vectors from the training half of the scenarios."""
    from interp_culture.vectors import extract as compute
    from interp_culture.vectors import save_vectors

    loaded, items = _load(model, scenarios, per_cell, device, dtype, out)
    vectors = compute(loaded, items.split(seed)[0], method)
    save_vectors(out, vectors)
    for axis, v in vectors.items():
        share = (v.direction.norm(dim=-1) / v.resid_norm).max()
        typer.echo(
            f"{axis}: {v.method} from {v.provenance['n_scenarios']} scenarios, norm up to {share:.1%} of the residual"
        )
    typer.echo(f"Vectors: {out}")


@app.command(
    epilog="Example: interp-culture sweep --vectors results/vectors.safetensors --alpha 4 --readout continuation"
)
def sweep(
    vectors: Vectors = Path("results/vectors.safetensors"),
    model: Model = "smollm2",
    scenarios: Scenarios = None,
    alpha: Annotated[list[float], typer.Option(help="Strength; may be given several times.")] = [1.0],  # noqa: B006
    readout: Reading = "letters",
    top_k: Annotated[int, typer.Option(help="How many layers to name.")] = 4,
    per_cell: PerCell = None,
    seed: Annotated[int, typer.Option(help="Seed of the split; the sweep reads its training half.")] = 42,
    device: Device = None,
    dtype: Dtype = None,
    out: Annotated[Path, typer.Option(help="Table, .csv or .parquet.")] = Path("results/sweep.csv"),
) -> None:
    """Steer every layer alone and name the layers that move the answers most."""
    from interp_culture.sweep import layer_sweep, summarise_sweep, top_layers
    from interp_culture.vectors import load_vectors

    found = load_vectors(vectors)
    loaded, items = _load(model, scenarios, None, device, dtype, out)
    train = items.split(seed)[0]
    train = train.sample(per_cell, seed) if per_cell else train
    table = layer_sweep(loaded, train, found, alpha=alpha, readout=_readout(readout))
    _write(table, out)
    _show(summarise_sweep(table).sort_values("differential", ascending=False).head(10))
    for axis in found:
        typer.echo(f"{axis}: {','.join(map(str, top_layers(table, axis, top_k)))}")


@app.command(epilog="Example: interp-culture steer --axis X --layers 12,13,14,15 --alpha 4 --readout continuation")
def steer(
    axis: Axis,
    layers: Layers,
    alpha: Annotated[float, typer.Option(help="Strength; negative steers to the negative pole.")] = 1.0,
    vectors: Vectors = Path("results/vectors.safetensors"),
    model: Model = "smollm2",
    scenarios: Scenarios = None,
    readout: Reading = "letters",
    system: System = None,
    per_cell: PerCell = None,
    seed: Annotated[int, typer.Option(help="Seed of the split; the held-out half is read.")] = 42,
    device: Device = None,
    dtype: Dtype = None,
    out: Annotated[Path, typer.Option(help="Table, .csv or .parquet.")] = Path("results/steered.csv"),
) -> None:
    """Read the held-out scenarios plain and steered, and print what moved."""
    from interp_culture.coupling import entanglement
    from interp_culture.readout import probe as read
    from interp_culture.readout import shifts_from
    from interp_culture.vectors import load_vectors
    from interp_culture.vectors import steer as edits_of

    found = load_vectors(vectors)
    edits = edits_of(_pick(found, axis), _layers(layers), alpha)
    loaded, items = _load(model, scenarios, None, device, dtype, out)
    test = items.split(seed)[1]
    test = test.sample(per_cell, seed) if per_cell else test
    before = read(loaded, test, readout=_readout(readout), system=system)
    after = read(loaded, test, edits=edits, readout=_readout(readout), system=system)
    _write(shifts_from(before, after), out)
    typer.echo(str(entanglement(before, after, axis)))


@app.command(
    epilog="Example: interp-culture entangle --layers X=12,13 --layers Y=14,15 --alpha 4 --readout continuation"
)
def entangle(
    layers: Annotated[list[str], typer.Option(help="AXIS=l1,l2,...; one for each axis.")],
    alpha: Annotated[float, typer.Option(help="Strength; both signs are run.")] = 1.0,
    vectors: Vectors = Path("results/vectors.safetensors"),
    model: Model = "smollm2",
    scenarios: Scenarios = None,
    readout: Reading = "letters",
    n_random: Annotated[int, typer.Option(help="Norm-matched random vectors for the null.")] = 20,
    per_cell: PerCell = None,
    seed: Annotated[int, typer.Option(help="Seed of the split; the held-out half is read.")] = 42,
    device: Device = None,
    dtype: Dtype = None,
    out: Annotated[Path, typer.Option(help="Table of the response, .csv or .parquet.")] = Path("results/response.csv"),
) -> None:
    """Response matrix and entanglement ratio on the held-out half, with intervals and a random-vector null."""
    from interp_culture.coupling import response, response_matrix, steered_readouts
    from interp_culture.vectors import load_vectors

    found = load_vectors(vectors)
    chosen = dict(_axis_layers(text) for text in layers)
    picked = {axis: _pick(found, axis) for axis in chosen}
    loaded, items = _load(model, scenarios, None, device, dtype, out)
    test = items.split(seed)[1]
    test = test.sample(per_cell, seed) if per_cell else test
    table = steered_readouts(
        loaded, test, picked, chosen, alphas=[alpha, -alpha], n_random=n_random, readout=_readout(readout), seed=seed
    )
    summary = response(table)
    _write(summary, out)
    _show(summary)
    _show(response_matrix(table))


@app.command(epilog="Example: interp-culture report results/quick")
def report(folder: Annotated[Path, typer.Argument(help="A folder that `study` wrote.")]) -> None:
    """Render report.html anew from a study's tables."""
    from interp_culture.report import write_report

    typer.echo(f"Report: {write_report(folder)}")


@app.command(epilog="Example: interp-culture validate my_scenarios.jsonl --report results/quality.md")
def validate(
    path: Annotated[Path | None, typer.Argument(help="A .jsonl file or folder; the shipped set by default.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the findings as a Markdown page.")] = None,
) -> None:
    """Check a file of scenarios: faults, counts, near-duplicates, and whether options give themselves away."""
    from interp_culture.quality import quality_page
    from interp_culture.scenarios import load_scenarios
    from interp_culture.store import make_folder, replacing

    found = load_scenarios(path)
    page = quality_page(found)
    typer.echo(page)
    if report is not None:
        make_folder(report.parent)
        with replacing(report) as part:
            part.write_text(page, encoding="utf-8")
    typer.echo(f"{len(found)} scenarios, axes {', '.join(found.axes)}, digest {found.digest}: valid")


def main() -> None:
    """Entry point: InputError becomes a message on standard error and exit code 2."""
    try:
        app()
    except InputError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        sys.exit(2)


def _load(
    model: str, scenarios: Path | None, per_cell: int | None, device: str | None, dtype: str | None, out: Path
) -> tuple[LanguageModel, ScenarioSet]:
    """Everything that bad input can spoil is checked before the model is loaded."""
    from interp_culture.loading import load_model
    from interp_culture.scenarios import load_scenarios
    from interp_culture.store import make_folder

    found = load_scenarios(scenarios)
    make_folder(out.parent)
    if out.suffix not in OUT_SUFFIXES:
        raise InputError(f"--out {out}: end the name in one of {', '.join(OUT_SUFFIXES)}")
    found = found.sample(per_cell) if per_cell else found
    return load_model(model, device=device, dtype=dtype), found


def _say(step: str) -> None:
    typer.secho(f"· {step}", fg=typer.colors.BLUE, err=True)


def _readout(name: str) -> Readout:
    if name not in ("letters", "continuation"):
        raise InputError(f"--readout {name!r}: known are letters, continuation")
    return "letters" if name == "letters" else "continuation"


def _order(name: str) -> Order:
    if name not in ("both", "random"):
        raise InputError(f"--order {name!r}: known are both, random")
    return "both" if name == "both" else "random"


def _layers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--layers {text!r}: give numbers separated by commas, for example 12,13,14,15") from None


def _axis_layers(text: str) -> tuple[str, list[int]]:
    axis, equals, layers = text.partition("=")
    if not equals:
        raise InputError(f"--layers {text!r}: give AXIS=layers, for example X=12,13,14,15")
    return axis, _layers(layers)


def _pick(vectors: dict[str, SteeringVectors], axis: str) -> SteeringVectors:
    if axis not in vectors:
        raise InputError(f"no vectors of axis {axis!r} in the file; it has {', '.join(vectors)}")
    return vectors[axis]


def _write(table: pd.DataFrame, path: Path) -> None:
    from interp_culture.store import replacing

    with replacing(path) as part:
        if path.suffix == ".csv":
            table.to_csv(part, index=False)
        else:
            table.to_parquet(part, index=False)
    typer.echo(f"Table: {path} ({len(table)} rows)")


def _show(table: pd.DataFrame) -> None:
    typer.echo(table.to_string(index=False, float_format=lambda v: f"{v:.4g}"))
