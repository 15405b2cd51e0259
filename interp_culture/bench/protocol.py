"""Time, utilisation and memory of the paper's whole protocol, on a model of random weights.

The model has the shape of a published one, so speed and memory are those of the real checkpoint;
its answers mean nothing. Without a GPU a small shape runs, which only shows that the script works.

    python -m interp_culture.bench.protocol --shape qwen3-4b --out results/protocol.json
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from interp_culture.artifacts.files import write_json
from interp_culture.artifacts.folders import prepare_file
from interp_culture.bench.limits import readout_flops
from interp_culture.bench.plain import PlainHuggingFace
from interp_culture.bench.tasks import LETTERS, spread
from interp_culture.engine.batching import lay_out
from interp_culture.engine.generation import generate
from interp_culture.engine.hardware import matmul_rate
from interp_culture.engine.loading import load_model
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.readout.probing import read_runs
from interp_culture.readout.values import token_groups
from interp_culture.scenarios.files import load_scenarios
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.edits import steer
from interp_culture.steering.extraction import extract
from interp_culture.steering.layer_choice import top_layers
from interp_culture.steering.sweep import layer_sweep
from interp_culture.steering.vectors import SteeringVectors
from interp_culture.survey.personas import advanced_persona, basic_persona
from interp_culture.survey.wvs import TARGETS

# Sizes of the published config.json files.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3-4b": (
        "Qwen3Config",
        {
            "vocab_size": 151936, "hidden_size": 2560, "intermediate_size": 9728,
            "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
            "head_dim": 128,
        },
    ),
    "llama-3.2-3b": (
        "LlamaConfig",
        {
            "vocab_size": 128256, "hidden_size": 3072, "intermediate_size": 8192,
            "num_hidden_layers": 28, "num_attention_heads": 24, "num_key_value_heads": 8,
            "head_dim": 128,
        },
    ),
    "gemma-3-4b": (
        "Gemma3TextConfig",
        {
            "vocab_size": 262208, "hidden_size": 2560, "intermediate_size": 10240,
            "num_hidden_layers": 34, "num_attention_heads": 8, "num_key_value_heads": 4,
            "head_dim": 256, "sliding_window": 1024,
        },
    ),
    "small": (
        "LlamaConfig",
        {
            "vocab_size": 49152, "hidden_size": 128, "intermediate_size": 256,
            "num_hidden_layers": 6,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
        },
    ),
}  # fmt: skip
# The paper's coefficients.
ALPHA = 0.4
SWEEP_ALPHA = 0.2
# The paper computes perplexity over the first 128 generated tokens.
NEW_TOKENS = 128


def build(shape: str, device: str, dtype: torch.dtype) -> LanguageModel:
    """A model of the shape with random weights and the embedded model's tokenizer.

    Every shape's vocabulary is at least as large as that tokenizer's.
    """
    import transformers

    name, sizes = SHAPES[shape]
    config = getattr(transformers, name)(
        **sizes, tie_word_embeddings=True, max_position_embeddings=8192
    )
    torch.manual_seed(0)
    # On the device at once, without a copy of the weights in the CPU's memory.
    with torch.device(device):
        hf_model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    return LanguageModel.wrap(hf_model, tokenizer(), shape)


@cache
def tokenizer() -> Any:
    """The embedded model's tokenizer, read once for all shapes."""
    return load_model("smollm2", device="cpu", check="none").tokenizer


class Protocol:
    """Extraction, sweep, steering, nine personas and generation; `seconds` is by step."""

    def __init__(self, model: LanguageModel, scenarios: ScenarioSet, new_tokens: int) -> None:
        self.model = model
        self.new_tokens = new_tokens
        self.train, self.test = scenarios.split(42)
        self.seconds: dict[str, float] = {}

    def run(self) -> dict[str, float]:
        with self.step("extraction"):
            vectors = extract(self.model, self.train)
        with self.step("sweep, all layers, both signs"):
            alphas = [SWEEP_ALPHA, -SWEEP_ALPHA]
            sweep = layer_sweep(self.model, self.train, vectors, alpha=alphas, readout=LETTERS)
        edits = self.edits(vectors, {axis: top_layers(sweep, axis) for axis in vectors})
        runs = {"": (), **edits}
        with self.step("steering, both axes and signs"):
            read_runs(self.model, self.test, runs, readout=LETTERS)
        with self.step("nine personas, plain and steered"):
            for system in personas():
                read_runs(self.model, self.test, runs, readout=replace(LETTERS, system=system))
        questions = [Prompt(f"{s.situation} What would you do?") for s in self.test.scenarios[:16]]
        with self.step("generation"):
            for run in edits.values():
                generate(self.model, questions, self.new_tokens, run)
        return self.seconds

    def edits(
        self, vectors: dict[str, SteeringVectors], layers: dict[str, list[int]]
    ) -> dict[Any, Any]:
        """The edits of every axis and sign."""
        return {
            (axis, sign): steer(vector, layers[axis], sign * ALPHA)
            for axis, vector in vectors.items()
            for sign in (1, -1)
        }

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        synchronise(self.model)
        self.seconds[name] = time.perf_counter() - start
        typer.echo(f"{name}: {self.seconds[name]:.1f} s", err=True)


def personas() -> list[str | None]:
    """None, and the basic and the advanced persona of the paper's four countries."""
    systems: list[str | None] = [None]
    for iso3 in TARGETS:
        systems += [basic_persona(iso3).text, advanced_persona(iso3).text]
    return systems


def readout_share(model: LanguageModel, scenarios: ScenarioSet) -> dict[str, float]:
    """The share of the measured matrix-multiply peak that a plain readout reaches.

    The readout has an advanced persona.
    """
    system = advanced_persona("India").text
    groups, _ = token_groups(model, scenarios, replace(LETTERS, system=system))
    work = readout_flops(model, lay_out(model, groups))
    seconds = timed(
        model,
        lambda: read_runs(model, scenarios, {"": ()}, readout=replace(LETTERS, system=system)),
    )
    # Large enough that the product itself, not its launch, takes the time.
    size = 8192 if model.device.type == "cuda" else 1024
    peak = matmul_rate(model.dtype, str(model.device), (size, size, size))
    return {
        "tflops": work / seconds / 1e12,
        "peak_tflops": peak / 1e12,
        "share": work / seconds / peak,
    }


def against_plain(model: LanguageModel, scenarios: ScenarioSet) -> dict[str, float]:
    """Seconds of a steered readout by this package and by plain Hugging Face hooks.

    Both compute the same on the same model, under an advanced persona.
    """
    system = advanced_persona("India").text
    layer = model.n_layers // 2
    directions = torch.randn(model.n_layers, model.d_model)
    norms = directions.norm(dim=-1)
    vectors = SteeringVectors("X", "random", directions, norms, {"model": model.name})
    edits = steer(vectors, [layer], ALPHA)
    groups, _ = token_groups(model, scenarios, replace(LETTERS, system=system))
    prompts = [list(s.prompt) for members in groups for s in members]
    plain = PlainHuggingFace(model.bridge.original_model, model.tokenizer)
    run: Any = {"layers": [layer], "vectors": directions.numpy(), "alpha": ALPHA}
    ours = timed(
        model,
        lambda: read_runs(model, scenarios, {"": edits}, readout=replace(LETTERS, system=system)),
    )
    # Any token will do: the time does not depend on which logit is read.
    theirs = timed(model, lambda: plain.read(prompts, [5], [run]))
    return {"ours": ours, "plain": theirs, "ratio": theirs / ours}


def agreement(device: str, dtype: torch.dtype, scenarios: ScenarioSet) -> float:
    """The largest error of the logit difference on this device and dtype, for the small shape.

    The reference is float32 on the CPU.
    """
    reference = build("small", "cpu", torch.float32)
    tested = build("small", device, dtype)
    tested.bridge.original_model.load_state_dict(reference.bridge.original_model.state_dict())
    runs = {"": ()}
    expected = read_runs(reference, scenarios, runs, readout="continuation").logit_diff
    measured = read_runs(tested, scenarios, runs, readout="continuation").logit_diff
    return float(np.abs(expected - measured).max())


def timed(model: LanguageModel, work: Callable[[], Any]) -> float:
    """Seconds of the second of two runs; the first one warms up caches and the device."""
    work()
    synchronise(model)
    start = time.perf_counter()
    work()
    synchronise(model)
    return time.perf_counter() - start


def synchronise(model: LanguageModel) -> None:
    # CUDA runs asynchronously: without this, only the launch of the work would be timed.
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def main(
    shape: Annotated[
        str, typer.Option(help=f"One of {', '.join(SHAPES)}; small without a GPU.")
    ] = "",
    per_cell: Annotated[
        int,
        typer.Option(
            help="Scenarios per item and domain; 0: all, or 2 of one domain without a GPU."
        ),
    ] = 0,
    out: Annotated[Path, typer.Option(help="A .json file.")] = Path("results/protocol.json"),
) -> None:
    """Run the protocol and print its time and memory."""
    prepare_file(out)
    gpu = torch.cuda.is_available()
    device, dtype = ("cuda", torch.bfloat16) if gpu else ("cpu", torch.float32)
    shape = shape or ("qwen3-4b" if gpu else "small")
    chosen = load_scenarios() if gpu else load_scenarios().filter(domain="family")
    if per_cell or not gpu:
        chosen = chosen.sample(per_cell or 2)
    results: dict[str, Any] = {
        "shape": shape,
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "dtype": str(dtype),
        "scenarios": len(chosen),
        "largest_difference_from_float32": agreement(device, dtype, spread(chosen, 8)),
    }
    model = build(shape, device, dtype)
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    results["seconds"] = Protocol(model, chosen, NEW_TOKENS if gpu else 16).run()
    results["total_seconds"] = time.perf_counter() - start
    if gpu:
        results["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 2**30
    results["readout"] = readout_share(model, chosen)
    results["against_plain_hooks"] = against_plain(model, spread(chosen, min(60, len(chosen))))
    write_json(out, results)
    typer.echo(json.dumps(results, indent=2))


if __name__ == "__main__":
    typer.run(main)
