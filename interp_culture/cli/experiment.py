"""The verbs of the experiment's steps: probe, extract, sweep, steer, entangle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interp_culture.cli import options as o
from interp_culture.cli.common import (
    VECTORS,
    app,
    fault_policy,
    held_out_half,
    load,
    parse_axis_layers,
    parse_format,
    parse_layers,
    parse_sweep,
    pick,
    system_message,
    tell_prefix,
    training_half,
    write_out,
)
from interp_culture.cli.output import show
from interp_culture.errors import InputError

VECTORS_FILE = Path("results/vectors.safetensors")
TableFile = Annotated[
    Path,
    typer.Option("--out", help="File of the table, .csv or .parquet.", rich_help_panel=o.OUTPUT),
]


@app.command(
    rich_help_panel=o.STEPS,
    epilog="Example: interp-culture probe --readout continuation --persona basic:India",
)
def probe(
    model: o.Model = "smollm2",
    device: o.Device = None,
    dtype: o.Dtype = None,
    scenarios: o.Scenarios = None,
    strict: o.Strict = False,
    per_cell: o.PerCell = None,
    seed: Annotated[
        int, typer.Option(help="Seed of the sample and of --order random.", rich_help_panel=o.DATA)
    ] = 42,
    readout: o.Reading = "letters",
    prefix: o.Prefix = None,
    think: o.Think = None,
    order: o.Order = "both",
    labels: o.Labels = "A/B",
    system: o.System = None,
    persona: o.PersonaName = None,
    facts: o.FactsFolder = None,
    out: TableFile = Path("results/probe.csv"),
) -> None:
    """Read the model's choice on every scenario."""
    from interp_culture.readout.probing import probe as read

    message = system_message(system, persona, facts)
    form = parse_format(
        readout, order=order, labels=labels, prefix=prefix, think=think, system=message, seed=seed
    )
    loaded, selected = load(
        model,
        scenarios,
        device,
        dtype,
        out,
        # The whole set: nothing was computed from it, so no half is held out.
        take=lambda whole: whole if per_cell is None else whole.sample(per_cell, seed),
        faults=fault_policy(strict),
    )
    tell_prefix(loaded, form)
    table = read(loaded, selected, readout=form)
    write_out(table, out)
    by_item = table.groupby(["axis", "item"]).p_positive.agg(["mean", "size"]).reset_index()
    show("by_item", by_item)


@app.command(
    rich_help_panel=o.STEPS,
    epilog="Example: interp-culture extract --out results/vectors.safetensors",
)
def extract(
    model: o.Model = "smollm2",
    device: o.Device = None,
    dtype: o.Dtype = None,
    scenarios: o.Scenarios = None,
    strict: o.Strict = False,
    per_cell: o.PerCell = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Seed of the split into halves, of which the training half is used, and of the "
            "method random.",
            rich_help_panel=o.DATA,
        ),
    ] = 42,
    method: Annotated[
        str,
        typer.Option(
            help="How a direction is computed: mean_diff, pca, pca_centred, lda, logistic or "
            "random from activations; gradient or optimised from a readout.",
            rich_help_panel=o.STEERING,
        ),
    ] = "mean_diff",
    site: Annotated[
        str,
        typer.Option(
            help="Where activations are read: last (token of the plain text), answer_mean or "
            "answer_last (the option as the assistant's answer), letter (of the answer to the "
            "lettered prompt) or prompt_persona (system messages that describe the poles).",
            rich_help_panel=o.STEERING,
        ),
    ] = "last",
    readout: Annotated[
        str | None,
        typer.Option(
            "--readout",
            help="The readout that --method gradient or optimised moves: letters or continuation.",
            show_default=False,
            rich_help_panel=o.READING,
        ),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layers",
            help="AXIS=layers that --method optimised trains together, for example X=12,13. Give "
            "it once for each axis.",
            show_default=False,
            rich_help_panel=o.STEERING,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="File of the vectors, .safetensors.", rich_help_panel=o.OUTPUT)
    ] = VECTORS_FILE,
) -> None:
    """Compute steering vectors from the training half of the scenarios."""
    from interp_culture.steering.extraction import READOUT_METHODS, check_method
    from interp_culture.steering.extraction import extract as compute
    from interp_culture.steering.sites import as_site
    from interp_culture.steering.vector_files import save_vectors

    # Before the model is loaded, which takes longest.
    check_method(method)
    as_site(site)
    # An option without effect would look as if it had been used.
    if (readout is not None) != (method in READOUT_METHODS):
        needed = ", ".join(READOUT_METHODS)
        raise InputError(f"--method {method}: give --readout with {needed}, and only with them")
    if (layers is not None) != (method == "optimised"):
        raise InputError(f"--method {method}: give --layers with optimised, and only with it")
    form = None if readout is None else parse_format(readout)
    by_axis = None if layers is None else parse_axis_layers(layers)
    take = training_half(seed, per_cell)
    loaded, train = load(model, scenarios, device, dtype, out, VECTORS, take, fault_policy(strict))
    vectors = compute(loaded, train, method, seed, site=site, readout=form, layers=by_axis)
    save_vectors(out, vectors)
    for axis, v in vectors.items():
        share = (v.direction.norm(dim=-1) / v.resid_norm).max()
        typer.echo(
            f"{axis}: {v.method} of {v.provenance['n_scenarios']} scenarios, read at {site}; the "
            f"norm is at most {share:.1%} of the activations'"
        )
    typer.echo(f"Vectors: {out}")


@app.command(
    rich_help_panel=o.STEPS,
    epilog="Example: interp-culture sweep --vectors results/vectors.safetensors --alpha 4 "
    "--readout continuation",
)
def sweep(
    model: o.Model = "smollm2",
    device: o.Device = None,
    dtype: o.Dtype = None,
    scenarios: o.Scenarios = None,
    strict: o.Strict = False,
    per_cell: o.PerCell = None,
    seed: o.TrainingSeed = 42,
    readout: o.Reading = "letters",
    prefix: o.Prefix = None,
    think: o.Think = None,
    vectors: o.Vectors = VECTORS_FILE,
    alpha: o.Alphas = [1.0],  # noqa: B006  (typer copies the default)
    method: Annotated[
        str,
        typer.Option(
            help="exact (steer every layer), gradient (predict all from one backward pass) or "
            "refined (steer only the layers that the gradient proposes).",
            rich_help_panel=o.STEERING,
        ),
    ] = "exact",
    top_k: Annotated[
        int, typer.Option(help="Number of layers to name.", rich_help_panel=o.STEERING)
    ] = 4,
    out: TableFile = Path("results/sweep.csv"),
) -> None:
    """Steer every layer alone and name the layers that move the answers most."""
    from interp_culture.steering.edits import check_strength
    from interp_culture.steering.layer_choice import check_k, top_layers
    from interp_culture.steering.sweep import layer_sweep, summarise_sweep, sweep_agreement
    from interp_culture.steering.vector_files import load_vectors

    check_k(top_k)
    for strength in alpha:
        check_strength(strength)
    by_axis = load_vectors(vectors)
    form = parse_format(readout, prefix=prefix, think=think)
    how = parse_sweep(method)
    take = training_half(seed, per_cell)
    loaded, train = load(
        model, scenarios, device, dtype, out, take=take, faults=fault_policy(strict)
    )
    tell_prefix(loaded, form)
    table = layer_sweep(loaded, train, by_axis, alpha=alpha, readout=form, method=how, k=top_k)
    write_out(table, out)
    best = summarise_sweep(table).sort_values("differential", ascending=False).head(10)
    show("best_layers", best)
    if method == "refined":
        show("agreement", sweep_agreement(table))
    for axis in by_axis:
        typer.echo(f"{axis}: {','.join(map(str, top_layers(table, axis, top_k)))}")


@app.command(
    rich_help_panel=o.STEPS,
    epilog="Example: interp-culture steer --axis X --layers 12,13,14,15 --alpha 4 "
    "--readout continuation",
)
def steer(
    axis: o.Axis,
    layers: o.Layers,
    model: o.Model = "smollm2",
    device: o.Device = None,
    dtype: o.Dtype = None,
    scenarios: o.Scenarios = None,
    strict: o.Strict = False,
    per_cell: o.PerCell = None,
    seed: o.HeldOutSeed = 42,
    readout: o.Reading = "letters",
    prefix: o.Prefix = None,
    think: o.Think = None,
    system: o.System = None,
    persona: o.PersonaName = None,
    facts: o.FactsFolder = None,
    alpha: Annotated[
        float,
        typer.Option(
            help="Strength of steering; a negative one steers toward the negative pole.",
            rich_help_panel=o.STEERING,
        ),
    ] = 1.0,
    vectors: o.Vectors = VECTORS_FILE,
    hook_point: o.HookPoint = None,
    out: TableFile = Path("results/steered.csv"),
) -> None:
    """Read the held-out scenarios without and with steering, and print what changed."""
    from interp_culture.coupling.ratio import entanglement
    from interp_culture.readout.probing import probe as read
    from interp_culture.readout.tables import shifts_from
    from interp_culture.steering.edits import check_strength
    from interp_culture.steering.edits import steer as edits_of
    from interp_culture.steering.vector_files import load_vectors

    check_strength(alpha)
    # Built first, so that a wrong layer or hook point shows before the model is loaded.
    axis_vectors = pick(load_vectors(vectors), axis)
    edits = edits_of(axis_vectors, parse_layers(layers), alpha, hook_point=hook_point)
    message = system_message(system, persona, facts)
    form = parse_format(readout, prefix=prefix, think=think, system=message)
    take = held_out_half(seed, per_cell, [axis_vectors])
    loaded, test = load(
        model, scenarios, device, dtype, out, take=take, faults=fault_policy(strict)
    )
    # Before the plain reading, which may take minutes.
    loaded.check_edits(edits)
    tell_prefix(loaded, form)
    before = read(loaded, test, readout=form)
    after = read(loaded, test, edits=edits, readout=form)
    write_out(shifts_from(before, after), out)
    typer.echo(str(entanglement(before, after, axis)))


@app.command(
    rich_help_panel=o.STEPS,
    epilog="Example: interp-culture entangle --layers X=12,13 --layers Y=14,15 --alpha 4 "
    "--readout continuation",
)
def entangle(
    layers: o.AxisLayers,
    model: o.Model = "smollm2",
    device: o.Device = None,
    dtype: o.Dtype = None,
    scenarios: o.Scenarios = None,
    strict: o.Strict = False,
    per_cell: o.PerCell = None,
    seed: o.HeldOutSeed = 42,
    readout: o.Reading = "letters",
    prefix: o.Prefix = None,
    think: o.Think = None,
    alpha: Annotated[
        float,
        typer.Option(help="Strength of steering; both signs are run.", rich_help_panel=o.STEERING),
    ] = 1.0,
    vectors: o.Vectors = VECTORS_FILE,
    hook_point: o.HookPoint = None,
    n_random: Annotated[
        int,
        typer.Option(
            help="Number of random vectors of the same norm that effects are compared with, 20 or "
            "more.",
            rich_help_panel=o.STEERING,
        ),
    ] = 20,
    out: TableFile = Path("results/response.csv"),
) -> None:
    """Steer every axis on the held-out half and measure how far each axis moves.

    Prints the effects with 95% intervals and the band of random vectors, then the response matrix
    with the entanglement ratio.
    """
    from interp_culture.coupling.responses import moved_alone, response, response_matrix
    from interp_culture.coupling.steered import steered_readouts
    from interp_culture.engine.interventions import check_hook_point
    from interp_culture.stats import LEAST_RANDOM
    from interp_culture.steering.edits import check_strength
    from interp_culture.steering.vector_files import load_vectors

    # Everything that can be wrong is checked before the model is loaded.
    check_strength(alpha)
    if hook_point is not None:
        check_hook_point(hook_point)
    by_axis = load_vectors(vectors)
    chosen_layers = parse_axis_layers(layers)
    steered = {axis: pick(by_axis, axis) for axis in chosen_layers}
    form = parse_format(readout, prefix=prefix, think=think)
    if n_random < LEAST_RANDOM:
        raise InputError(
            f"--n-random {n_random}: give {LEAST_RANDOM} or more; with fewer, the "
            "spread of their effects is too uncertain"
        )
    take = held_out_half(seed, per_cell, steered.values())
    loaded, test = load(
        model, scenarios, device, dtype, out, take=take, faults=fault_policy(strict)
    )
    tell_prefix(loaded, form)
    table = steered_readouts(
        loaded,
        test,
        steered,
        chosen_layers,
        # Both signs, since the response matrix is the slope between them.
        alphas=[alpha, -alpha],
        n_random=n_random,
        readout=form,
        seed=seed,
        hook_point=hook_point,
    )
    effects = response(table)
    write_out(effects, out)
    matrix = response_matrix(table)
    show("effects", effects)
    show("matrix", matrix)
    for sentence in moved_alone(matrix):
        typer.echo(sentence)
