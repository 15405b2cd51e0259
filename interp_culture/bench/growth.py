"""Growth of time with scenarios, layers and prompt length, on random Llama-shaped models."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import answer_logprob, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import TokenSequence

# Small, so that all sizes together take seconds.
WIDTH = 256
VOCABULARY = 4096


def growth(tokenizer: Any, repeats: int = 3) -> pd.DataFrame:
    """Seconds of a steered readout, and of an exact sweep over all layers, as one size grows.

    Returns:
        work, size (the size that grows), n, seconds (best of `repeats`) and slope (of log seconds
        over log n, fitted to the rows of the same work and size; 1 is linear). A sweep over l
        layers runs l (l + 1) / 2 blocks, so that for it a slope of 2 is linear in the work.
    """
    rows: list[dict[str, Any]] = []

    def measure(work: str, size: str, n: int, task: Callable[[], None]) -> None:
        rows.append({"work": work, "size": size, "n": n, "seconds": _best(task, repeats)})

    eight_layers = random_llama(8, tokenizer)
    for n in (50, 100, 200, 400):
        measure("readout", "scenarios", n, partial(_read, eight_layers, n, 64, [4]))
    for n in (32, 64, 128, 256, 512):
        measure("readout", "prompt tokens", n, partial(_read, eight_layers, 24, n, [4]))
    for n in (8, 16, 32):
        model = random_llama(n, tokenizer)
        measure("readout", "layers", n, partial(_read, model, 24, 64, [n // 2]))
        measure("exact sweep", "layers", n, partial(_read, model, 8, 64, list(range(n))))
    return _with_slopes(pd.DataFrame(rows))


def random_llama(n_layers: int, tokenizer: Any) -> LanguageModel:
    """A small Llama with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LanguageModel.wrap(LlamaForCausalLM(config), tokenizer, f"llama-{n_layers}")


def _with_slopes(table: pd.DataFrame) -> pd.DataFrame:
    parts = []
    for _, part in table.groupby(["work", "size"], sort=False):
        slope = np.polyfit(np.log(part.n), np.log(part.seconds), 1)[0]
        parts.append(part.assign(slope=slope))
    # sort_index restores the order of measurement.
    return pd.concat(parts).sort_index()


def _read(model: LanguageModel, scenarios: int, tokens: int, layers: list[int]) -> None:
    """Score two answers of 12 tokens for every prompt of `tokens`, steered at each layer alone."""
    generator = np.random.default_rng(0)

    def draw(n: int) -> tuple[int, ...]:
        # Tokens 0 to 2 are left out, since they may be special.
        return tuple(generator.integers(3, VOCABULARY, n).tolist())

    groups = []
    for _ in range(scenarios):
        prompt = draw(tokens)
        groups.append([TokenSequence(prompt, draw(12)) for _ in range(2)])
    vector = torch.ones(model.d_model)
    runs = {layer: [Edit(layer, vector, 1.0)] for layer in layers}
    score_runs(model, groups, runs, answer_logprob)


def _best(work: Callable[[], None], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    # Other work on the machine can only make a run slower, so the fastest is nearest to the truth.
    return min(seconds)
