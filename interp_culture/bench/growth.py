"""How time grows with scenarios, layers and prompt length, on random Llama-shaped models."""

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

WIDTH, VOCABULARY = 256, 4096


def growth(tokenizer: Any, repeats: int = 3) -> pd.DataFrame:
    """Seconds of a steered readout, and of an exact sweep over all layers, as one size grows.

    Returns: work, size (what grows), n, seconds (best of `repeats`) and slope (of log seconds over log n, fitted to
    the work's rows; 1 is linear). A sweep over l layers goes through l (l + 1) / 2 blocks, so that 2 is linear in
    the work it has.
    """
    rows: list[dict[str, Any]] = []
    eight = random_llama(8, tokenizer)
    for n in (50, 100, 200, 400):
        rows.append(
            _row("readout", "scenarios", n, _best(partial(_read, eight, n, 64, [4]), repeats))
        )
    for n in (32, 64, 128, 256, 512):
        rows.append(
            _row("readout", "prompt tokens", n, _best(partial(_read, eight, 24, n, [4]), repeats))
        )
    for n in (8, 16, 32):
        model = random_llama(n, tokenizer)
        rows.append(
            _row("readout", "layers", n, _best(partial(_read, model, 24, 64, [n // 2]), repeats))
        )
        every = list(range(n))
        rows.append(
            _row("exact sweep", "layers", n, _best(partial(_read, model, 8, 64, every), repeats))
        )
    table = pd.DataFrame(rows)
    slopes = {
        key: np.polyfit(np.log(part.n), np.log(part.seconds), 1)[0]
        for key, part in table.groupby(["work", "size"])
    }
    return table.assign(
        slope=[slopes[work, size] for work, size in zip(table.work, table["size"], strict=True)]
    )


def random_llama(n_layers: int, tokenizer: Any) -> LanguageModel:
    """A Llama of random weights, small enough that its growth is measured in seconds."""
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


def _read(model: LanguageModel, scenarios: int, tokens: int, layers: list[int]) -> None:
    """Two answers of 12 tokens for every prompt of `tokens`, steered at each layer by itself."""
    generator = np.random.default_rng(0)

    def draw(n: int) -> tuple[int, ...]:
        return tuple(generator.integers(3, VOCABULARY, n).tolist())

    groups = []
    for _ in range(scenarios):
        prompt = draw(tokens)
        groups.append([TokenSequence(prompt, draw(12)) for _ in range(2)])
    vector = torch.ones(model.d_model)
    score_runs(
        model, groups, {layer: [Edit(layer, vector, 1.0)] for layer in layers}, answer_logprob
    )


def _best(work: Callable[[], None], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _row(work: str, size: str, n: int, seconds: float) -> dict[str, Any]:
    return {"work": work, "size": size, "n": n, "seconds": seconds}
