"""How near the work comes to what the machine can do: model FLOP utilisation, least time, bfloat16 and its error."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch

from interp_culture.engine.batching import batch_tokens, lay_out
from interp_culture.engine.forward import resume, trace
from interp_culture.engine.hardware import matmul_rate
from interp_culture.engine.interventions import Edit
from interp_culture.engine.loading import load_model
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import Batch
from interp_culture.readout.formats import ReadoutFormat, token_groups
from interp_culture.readout.probing import read_runs
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import bootstrap_weights, weighted_means


def pass_flops(model: LanguageModel, batch: Batch) -> float:
    """Floating-point operations of one pass over a batch's tokens without padding: matrix products of the blocks.

    Two for every weight and token, and the attention of each token over what it sees (scores and values).
    """
    weights = sum(p.numel() for p in model.bridge.blocks.parameters() if p.ndim == 2)
    tokens = int((~batch.is_padding).sum())
    seen = int(batch.visible[~batch.is_padding].sum())
    if batch.stem is not None:
        stem = batch.stem.tokens.shape[1]
        seen += tokens * stem + stem * (stem + 1) // 2
        tokens += stem
    config = model.text_config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2.0 * weights * tokens + 4.0 * seen * config.num_attention_heads * head * model.n_layers


def answer_flops(model: LanguageModel, batch: Batch) -> float:
    """Floating-point operations of the unembedding at the positions that are read."""
    reads = sum(len(path.reads) for path in batch.paths)
    return 2.0 * reads * model.d_model * model.text_config.vocab_size


def readout_flops(model: LanguageModel, batches: Sequence[Batch]) -> float:
    """Floating-point operations of a plain readout: one pass over every batch, and what is read of it."""
    return sum(pass_flops(model, batch) + answer_flops(model, batch) for batch in batches)


def utilisation(model: LanguageModel, scenarios: ScenarioSet, repeats: int = 3) -> dict[str, float]:
    """Shares of the measured matrix-multiply peak, and the readout's time over the least that its tokens need.

    peak is in GFLOP/s, sustained, of the shape of the model's own products. All are medians of
    `repeats`, taken in turn.
    """
    form = ReadoutFormat("continuation")
    groups, _ = token_groups(model, scenarios, form)
    batches = lay_out(model, groups)
    shape = (
        batch_tokens(model) // 2,
        model.d_model,
        getattr(model.text_config, "intermediate_size", 4 * model.d_model),
    )
    peaks, passes, readouts = [], [], []
    whole = readout_flops(model, batches)
    kept = trace(model, batches[0], layers=[0])
    nothing = Edit(
        0, torch.zeros(model.d_model), 0.0, hook_point="hook_resid_pre"
    )  # all blocks run, and no more
    for _ in range(repeats):
        peaks.append(matmul_rate(model.dtype, str(model.device), shape, repeats=40))
        start = time.perf_counter()
        resume(model, kept, [[nothing]])
        passes.append(time.perf_counter() - start)
        start = time.perf_counter()
        read_runs(model, scenarios, {"": ()}, readout="continuation")
        readouts.append(time.perf_counter() - start)
    peak, blocks, readout = (statistics.median(values) for values in (peaks, passes, readouts))
    return {
        "peak_gflops": peak / 1e9,
        "blocks_share": pass_flops(model, batches[0]) / blocks / peak,
        "readout_share": whole / readout / peak,
        "readout_over_least_time": readout * peak / whole,
    }


def bfloat16(source: str, scenarios: ScenarioSet, model: LanguageModel) -> dict[str, float]:
    """bfloat16 against float32 on this machine: speed, and the error of the logit difference beside the noise.

    noise is the standard error of the mean logit difference by bootstrap over items and scenarios: an error of the
    mean below it does not show in a result.
    """
    half = load_model(source, device=str(model.device), dtype="bfloat16")
    start = time.perf_counter()
    full_table = read_runs(model, scenarios, {"": ()}, readout="continuation")
    between = time.perf_counter()
    half_table = read_runs(half, scenarios, {"": ()}, readout="continuation")
    end = time.perf_counter()
    error = (half_table.logit_diff - full_table.logit_diff).to_numpy()
    axes, items = full_table.axis.to_numpy(), full_table["item"].to_numpy()
    weights = bootstrap_weights(axes, items)
    means = [
        weighted_means(weights, full_table.logit_diff.to_numpy(), axes == axis)
        for axis in sorted(set(axes))
    ]
    return {
        "matmul_ratio": matmul_rate(torch.bfloat16, str(model.device))
        / matmul_rate(torch.float32, str(model.device)),
        "readout_ratio": (between - start) / (end - between),
        "rms_error": float(np.sqrt((error**2).mean())),
        "largest_error": float(np.abs(error).max()),
        "error_of_mean": float(abs(error.mean())),
        "noise_of_mean": float(np.mean([m.std() for m in means])),
    }
