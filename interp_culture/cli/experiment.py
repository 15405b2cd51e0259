"""Verbs that run a model: study, probe, extract, sweep, steer, entangle, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interp_culture.cli.common import (
    VECTORS,
    Axis,
    Device,
    Dtype,
    FactsFolder,
    HookPoint,
    Layers,
    Model,
    PerCell,
    PersonaName,
    Reading,
    Scenarios,
    Strict,
    System,
    Vectors,
    app,
    fault_policy,
    held_out_half,
    load,
    parse_axis_layers,
    parse_format,
    parse_layers,
    parse_sweep,
    pick,
    say,
    show,
    system_message,
    training_half,
    write_out,
)
from interp_culture.errors import InputError

Strengths = Annotated[list[float], typer.Option(help="Strength; may be given several times.")]


@app.command(epilog="Example: interp-culture study --preset quick --out results/quick")
def study(
    config: Annotated[
        Path | None, typer.Argument(help="A YAML file with any field of the configuration.")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="quick (a subset) and paper run every analysis too; full runs none.")
    ] = "full",
    model: Annotated[
        str | None, typer.Option(help="smollm2, a Hub id, a folder or a .gguf file.")
    ] = None,
    scenarios: Scenarios = None,
    strict: Strict = False,
    device: Device = None,
    dtype: Dtype = None,
    out: Annotated[
        str | None, typer.Option(help="Folder for tables, vectors, summary and report.")
    ] = None,
    n_random: Annotated[
        int | None, typer.Option(help="Random vectors for the null, 20 or more.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the split, the samples and the random vectors.")
    ] = None,
    analysis: Annotated[
        list[str] | None,
        typer.Option(help="An analysis to run too, by name, or all; may be given several times."),
    ] = None,
) -> None:
    """Run the whole experiment and write the report; what is finished in --out is not computed again."""
    from interp_culture.engine.hardware import choose_threads
    from interp_culture.reporting.findings import findings
    from interp_culture.reporting.html import write_report
    from interp_culture.scenarios.files import load_scenarios
    from interp_culture.study.config import load_config
    from interp_culture.study.study import run_study

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
        analyses=analysis,
    )
    if strict:
        load_scenarios(loaded.scenarios, "refuse")
    choose_threads()
    summary = run_study(loaded, on_step=say)
    path = write_report(loaded.out)
    typer.echo()
    for number, finding in enumerate(findings(summary), start=1):
        typer.echo(f"{number}. {finding}")
    typer.echo(f"\n{summary['seconds']:.0f} s. Report: {path}")


@app.command(epilog="Example: interp-culture probe --readout continuation --persona basic:India")
def probe(
    model: Model = "smollm2",
    scenarios: Scenarios = None,
    strict: Strict = False,
    readout: Reading = "letters",
    order: Annotated[str, typer.Option(help="both, or random as in the paper.")] = "both",
    labels: Annotated[str, typer.Option(help="A/B, or 1/2 or X/Y as a control.")] = "A/B",
    system: System = None,
    persona: PersonaName = None,
    facts: FactsFolder = None,
    per_cell: PerCell = None,
    seed: Annotated[int, typer.Option(help="Seed of the sample and of --order random.")] = 42,
    device: Device = None,
    dtype: Dtype = None,
    out: Annotated[Path, typer.Option(help="Table, .csv or .parquet.")] = Path("results/probe.csv"),
) -> None:
    """Read the model's choice on every scenario."""
    from interp_culture.readout.probing import probe as read

    told = system_message(system, persona, facts)
    form = parse_format(readout, order=order, labels=labels, system=told, seed=seed)
    loaded, items = load(
        model,
        scenarios,
        device,
        dtype,
        out,
        take=lambda whole: whole if per_cell is None else whole.sample(per_cell, seed),
        faults=fault_policy(strict),
    )
    table = read(loaded, items, readout=form)
    write_out(table, out)
    show(table.groupby(["axis", "item"]).p_positive.agg(["mean", "size"]).reset_index())


@app.command(epilog="Example: interp-culture extract --out results/vectors.safetensors")
def extract(
    model: Model = "smollm2",
    scenarios: Scenarios = None,
    strict: Strict = False,
    method: Annotated[
        str, typer.Option(help="mean_diff, pca, pca_centred, lda, logistic or random.")
    ] = "mean_diff",
    per_cell: PerCell = None,
    seed: Annotated[
        int, typer.Option(help="Seed of the split, whose training half is used, and of random.")
    ] = 42,
    device: Device = None,
    dtype: Dtype = None,
    out: Annotated[Path, typer.Option(help="A .safetensors file.")] = Path(
        "results/vectors.safetensors"
    ),
) -> None:
    """Compute steering vectors from the training half of the scenarios."""
    from interp_culture.steering.directions import check_method
    from interp_culture.steering.vector_files import save_vectors
    from interp_culture.steering.vectors import extract as compute

    check_method(method)
    take = training_half(seed, per_cell)
    loaded, train = load(model, scenarios, device, dtype, out, VECTORS, take, fault_policy(strict))
    vectors = compute(loaded, train, method, seed)
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
    strict: Strict = False,
    alpha: Strengths = [1.0],  # noqa: B006
    readout: Reading = "letters",
    method: Annotated[
        str,
        typer.Option(
            help="exact, gradient (one backward pass) or refined (its best proposals, measured)."
        ),
    ] = "exact",
    top_k: Annotated[int, typer.Option(help="How many layers to name.")] = 4,
    per_cell: PerCell = None,
    seed: Annotated[
        int, typer.Option(help="Seed of the split; the sweep reads its training half.")
    ] = 42,
    device: Device = None,
    dtype: Dtype = None,
    out: Annotated[Path, typer.Option(help="Table, .csv or .parquet.")] = Path("results/sweep.csv"),
) -> None:
    """Steer every layer alone and name the layers that move the answers most."""
    from interp_culture.steering.layer_choice import top_layers
    from interp_culture.steering.sweep import layer_sweep, summarise_sweep, sweep_agreement
    from interp_culture.steering.vector_files import load_vectors

    found = load_vectors(vectors)
    form = parse_format(readout)
    how = parse_sweep(method)
    take = training_half(seed, per_cell)
    loaded, train = load(
        model, scenarios, device, dtype, out, take=take, faults=fault_policy(strict)
    )
    table = layer_sweep(loaded, train, found, alpha=alpha, readout=form, method=how, k=top_k)
    write_out(table, out)
    show(summarise_sweep(table).sort_values("differential", ascending=False).head(10))
    if method == "refined":
        show(sweep_agreement(table))
    for axis in found:
        typer.echo(f"{axis}: {','.join(map(str, top_layers(table, axis, top_k)))}")


@app.command(
    epilog="Example: interp-culture steer --axis X --layers 12,13,14,15 --alpha 4 --readout continuation"
)
def steer(
    axis: Axis,
    layers: Layers,
    alpha: Annotated[
        float, typer.Option(help="Strength; negative steers to the negative pole.")
    ] = 1.0,
    hook_point: HookPoint = "hook_resid_post",
    vectors: Vectors = Path("results/vectors.safetensors"),
    model: Model = "smollm2",
    scenarios: Scenarios = None,
    strict: Strict = False,
    readout: Reading = "letters",
    system: System = None,
    persona: PersonaName = None,
    facts: FactsFolder = None,
    per_cell: PerCell = None,
    seed: Annotated[int, typer.Option(help="Seed of the split; the held-out half is read.")] = 42,
    device: Device = None,
    dtype: Dtype = None,
    out: Annotated[Path, typer.Option(help="Table, .csv or .parquet.")] = Path(
        "results/steered.csv"
    ),
) -> None:
    """Read the held-out scenarios plain and steered, and print what moved."""
    from interp_culture.coupling.ratio import entanglement
    from interp_culture.readout.probing import probe as read
    from interp_culture.readout.tables import shifts_from
    from interp_culture.steering.edits import steer as edits_of
    from interp_culture.steering.vector_files import load_vectors

    found = load_vectors(vectors)
    edits = edits_of(pick(found, axis), parse_layers(layers), alpha, hook_point=hook_point)
    told = system_message(system, persona, facts)
    form = parse_format(readout, system=told)
    take = held_out_half(seed, per_cell, [found[axis]])
    loaded, test = load(
        model, scenarios, device, dtype, out, take=take, faults=fault_policy(strict)
    )
    before = read(loaded, test, readout=form)
    after = read(loaded, test, edits=edits, readout=form)
    write_out(shifts_from(before, after), out)
    typer.echo(str(entanglement(before, after, axis)))


@app.command(
    epilog="Example: interp-culture entangle --layers X=12,13 --layers Y=14,15 --alpha 4 --readout continuation"
)
def entangle(
    layers: Annotated[list[str], typer.Option(help="AXIS=l1,l2,...; one for each axis.")],
    alpha: Annotated[float, typer.Option(help="Strength; both signs are run.")] = 1.0,
    hook_point: HookPoint = "hook_resid_post",
    vectors: Vectors = Path("results/vectors.safetensors"),
    model: Model = "smollm2",
    scenarios: Scenarios = None,
    strict: Strict = False,
    readout: Reading = "letters",
    n_random: Annotated[
        int, typer.Option(help="Norm-matched random vectors for the null, 20 or more.")
    ] = 20,
    per_cell: PerCell = None,
    seed: Annotated[int, typer.Option(help="Seed of the split; the held-out half is read.")] = 42,
    device: Device = None,
    dtype: Dtype = None,
    out: Annotated[Path, typer.Option(help="Table of the response, .csv or .parquet.")] = Path(
        "results/response.csv"
    ),
) -> None:
    """Response matrix and entanglement ratio on the held-out half, with intervals and a random-vector null."""
    from interp_culture.coupling.responses import moved_alone, response, response_matrix
    from interp_culture.coupling.steered import steered_readouts
    from interp_culture.engine.interventions import check_hook_point
    from interp_culture.stats import LEAST_RANDOM
    from interp_culture.steering.vector_files import load_vectors

    check_hook_point(hook_point)
    found = load_vectors(vectors)
    chosen = dict(parse_axis_layers(text) for text in layers)
    picked = {axis: pick(found, axis) for axis in chosen}
    form = parse_format(readout)
    if n_random < LEAST_RANDOM:
        raise InputError(
            f"--n-random {n_random}: it takes {LEAST_RANDOM} or more to show anything at p 0.05"
        )
    take = held_out_half(seed, per_cell, picked.values())
    loaded, test = load(
        model, scenarios, device, dtype, out, take=take, faults=fault_policy(strict)
    )
    table = steered_readouts(
        loaded,
        test,
        picked,
        chosen,
        alphas=[alpha, -alpha],
        n_random=n_random,
        readout=form,
        seed=seed,
        hook_point=hook_point,
    )
    summary = response(table)
    write_out(summary, out)
    matrix = response_matrix(table)
    show(summary)
    show(matrix)
    for sentence in moved_alone(matrix, summary):
        typer.echo(sentence)


@app.command(epilog="Example: interp-culture report results/quick")
def report(folder: Annotated[Path, typer.Argument(help="A folder that `study` wrote.")]) -> None:
    """Render report.html anew from a study's tables."""
    from interp_culture.reporting.html import write_report

    typer.echo(f"Report: {write_report(folder)}")
