"""The verb that times this package against others: bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from interp_culture.cli import options as o
from interp_culture.cli.common import app, say


@app.command(
    rich_help_panel=o.SPEED,
    epilog="Example: interp-culture bench --rounds 3 --out results/bench.json",
)
def bench(
    rounds: Annotated[
        int, typer.Option(help="Number of rounds; in each, every side does every task once.")
    ] = 3,
    read: Annotated[
        int, typer.Option(help="Number of scenarios for readouts, extraction and generation.")
    ] = 16,
    sweep: Annotated[
        int, typer.Option(help="Number of scenarios for the layer sweep, the longest task.")
    ] = 4,
    explain: Annotated[
        int,
        typer.Option(
            help="Scenarios of every item and domain that are explained in a process of its own, "
            "and half as many; 20 is all 600."
        ),
    ] = 4,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only this task or measurement, such as gradients; repeatable."),
    ] = None,
    peers: Annotated[
        bool,
        typer.Option(
            help="Also time Dialz and steering-vectors, in an environment that is built once."
        ),
    ] = True,
    out: Annotated[
        Path,
        typer.Option(help="File of all measurements, .json.", rich_help_panel=o.OUTPUT),
    ] = Path("results/bench.json"),
) -> None:
    """Time this package against TransformerLens, Hugging Face, Dialz and steering-vectors."""
    from interp_culture.artifacts.files import write_json
    from interp_culture.artifacts.folders import prepare_file
    from interp_culture.bench.benchmark import Benchmark

    prepare_file(out)
    benchmark = Benchmark(rounds, read, sweep, explain, peers=peers, only=only or (), on_step=say)
    results = benchmark.run()
    write_json(out, results)
    _print_results(results)
    typer.echo(f"\nAll numbers: {out}")


def _print_results(results: dict[str, Any]) -> None:
    about = results["about"]
    typer.echo(
        f"\n{about['date']}, {about['threads']} threads, float32, "
        f"peak {about['peak_gflops']:.0f} GFLOP/s"
    )
    if "tasks" in results:
        _print_tasks(results["tasks"])
    if "sweep" in results:
        _print_sweep(results["sweep"])
    for name in ("utilisation", "bfloat16"):
        if name in results:
            figures = ", ".join(f"{key} {value:.3g}" for key, value in results[name].items())
            typer.echo(f"{name}: {figures}")
    if "growth" in results:
        slopes = [f"{row['work']} by {row['size']} {row['slope']:.2f}" for row in results["growth"]]
        typer.echo(f"growth (1 is linear): {', '.join(slopes)}")
    if "memory" in results:
        peaks = [f"{row['side']} {row['peak_mib']:.0f} MiB" for row in results["memory"]]
        typer.echo(f"peak memory: {', '.join(peaks)}")
    for row in results.get("explaining", []):
        typer.echo(
            f"gains, causes and components of {row['scenarios']} scenarios: "
            f"{row['seconds']:.0f} s, peak memory {row['peak_mib']:.0f} MiB "
            f"({row['loaded_mib']:.0f} MiB before)"
        )


def _print_tasks(rows: list[dict[str, Any]]) -> None:
    typer.echo(
        "\nTime of the other side, in multiples of ours (least and most of the rounds), and the "
        "largest difference between the results:\n"
    )
    for row in rows:
        difference = "" if row["tolerance"] is None else f"  differs by {row['difference']:.0e}"
        if row["largest"] is not None:
            difference += f" (largest number {row['largest']:.1g})"
        typer.echo(
            f"  {row['task']:<16} {row['against']:<28} {row['ratio']:5.2f} "
            f"({row['ratio_low']:.2f} to {row['ratio_high']:.2f}){difference}"
        )


def _print_sweep(sweep: dict[str, Any]) -> None:
    typer.echo(
        f"\nBest layers: exact {sweep['exact']}, refined {sweep['refined']} "
        f"({sweep['measured']} measured), gradient {sweep['gradient']} "
        f"(Spearman with exact {sweep['spearman']:.2f})"
    )
