"""The verb that times this package against others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from interp_culture.cli.common import app, say


@app.command(epilog="Example: interp-culture bench --rounds 3 --out results/bench.json")
def bench(
    rounds: Annotated[int, typer.Option(help="How often every side does every task, in turn.")] = 3,
    read: Annotated[
        int, typer.Option(help="Scenarios of readouts, extraction and generation.")
    ] = 16,
    sweep: Annotated[int, typer.Option(help="Scenarios of the sweep, which is long.")] = 4,
    peers: Annotated[
        bool, typer.Option(help="Dialz and steering-vectors, in an environment built once.")
    ] = True,
    out: Annotated[
        Path, typer.Option(help="A .json file with everything that was measured.")
    ] = Path("results/bench.json"),
) -> None:
    """Time this package, plain TransformerLens, plain Hugging Face, Dialz and steering-vectors side by side."""
    from interp_culture.artifacts import write_json
    from interp_culture.bench.benchmark import Benchmark

    results = Benchmark(rounds, read, sweep, peers=peers, on_step=say).run()
    write_json(out, results)
    _print(results)
    typer.echo(f"\nAll numbers: {out}")


def _print(results: dict[str, Any]) -> None:
    about = results["about"]
    typer.echo(
        f"\n{about['date']}, {about['threads']} threads, float32, peak {about['peak_gflops']:.0f} GFLOP/s"
    )
    typer.echo(
        "\nTimes as long as ours (least to most of the rounds), and the largest difference:\n"
    )
    for row in results["tasks"]:
        difference = "" if row["tolerance"] is None else f"  differs by {row['difference']:.0e}"
        typer.echo(
            f"  {row['task']:<16} {row['against']:<28} {row['ratio']:5.2f} "
            f"({row['ratio_low']:.2f} to {row['ratio_high']:.2f}){difference}"
        )
    sweep = results["sweep"]
    typer.echo(
        f"\nBest layers: exact {sweep['exact']}, refined {sweep['refined']} ({sweep['measured']} measured), gradient "
        f"{sweep['gradient']} (Spearman with exact {sweep['spearman']:.2f})"
    )
    for name in ("utilisation", "bfloat16"):
        typer.echo(
            f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in results[name].items())
        )
    slopes = {f"{row['work']} by {row['size']}": row["slope"] for row in results["growth"]}
    typer.echo(
        "growth (1 is linear): " + ", ".join(f"{key} {slope:.2f}" for key, slope in slopes.items())
    )
    typer.echo(
        "peak memory: " + ", ".join(f"{r['side']} {r['peak_mb']:.0f} MB" for r in results["memory"])
    )
