"""How close the engine comes to the machine's limits: FLOP utilisation, least time, bfloat16."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from interp_culture.engine.batching import batch_tokens, lay_out
from interp_culture.engine.forward import resume, trace
from interp_culture.engine.hardware import matmul_rate
from interp_culture.engine.interventions import Edit
from interp_culture.engine.loading import load_model
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import Batch
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.probing import read_runs
from interp_culture.readout.values import token_groups
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import bootstrap_weights, weighted_means


def pass_flops(model: LanguageModel, batch: Batch) -> float:
    """Floating-point operations of the blocks in one pass over a batch, padding left out.

    Counted are two operations per weight and token, and the attention of each token over the
    tokens it sees (scores and values).
    """
    # Matrices alone: norms and biases take part in no matrix product.
    weights = sum(p.numel() for p in model.bridge.blocks.parameters() if p.ndim == 2)
    tokens = int((~batch.is_padding).sum())
    seen = int(batch.visible[~batch.is_padding].sum())
    if batch.stem is not None:
        # All rows see the whole stem, and the stem's own tokens see those before them.
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
    """Floating-point operations of a plain readout: one pass over every batch, with unembedding."""
    return sum(pass_flops(model, batch) + answer_flops(model, batch) for batch in batches)


def utilisation(model: LanguageModel, scenarios: ScenarioSet, repeats: int = 3) -> dict[str, float]:
    """Shares of the measured matrix-multiply peak. All are medians of `repeats`, taken in turn.

    Returns:
        peak_gflops (sustained, for the shape of the model's own products), blocks_share and
        readout_share (shares of the peak), readout_over_least_time (the readout's time over the
        least time that its tokens need).
    """
    groups, _ = token_groups(model, scenarios, ReadoutFormat("continuation"))
    batches = lay_out(model, groups)
    width = getattr(model.text_config, "intermediate_size", 4 * model.d_model)
    shape = (batch_tokens(model) // 2, model.d_model, width)
    whole = readout_flops(model, batches)
    plain_trace = trace(model, batches[0], layers=[0])
    # An edit of zero before block 0 makes every block run, and nothing else.
    zero_edit = Edit(0, torch.zeros(model.d_model), 0.0, hook_point="hook_resid_pre")
    peaks = []
    pass_seconds = []
    readout_seconds = []
    for _ in range(repeats):
        peaks.append(matmul_rate(model.dtype, str(model.device), shape, repeats=40))
        pass_seconds.append(_seconds(lambda: resume(model, plain_trace, [[zero_edit]])))
        readout_seconds.append(
            _seconds(lambda: read_runs(model, scenarios, {"": ()}, readout="continuation"))
        )
    peak = statistics.median(peaks)
    readout = statistics.median(readout_seconds)
    return {
        "peak_gflops": peak / 1e9,
        "blocks_share": pass_flops(model, batches[0]) / statistics.median(pass_seconds) / peak,
        "readout_share": whole / readout / peak,
        "readout_over_least_time": readout * peak / whole,
    }


def bfloat16(source: str, scenarios: ScenarioSet, model: LanguageModel) -> dict[str, float]:
    """Speed and error of bfloat16 against float32 on this machine.

    Returns:
        matmul_ratio, readout_ratio (speed of bfloat16 over float32); rms_error, largest_error (of
        the logit difference); error_of_mean and noise_of_mean (standard error of the mean logit
        difference by bootstrap over items and scenarios). An error of the mean below the noise
        does not show in a result.
    """
    half = load_model(source, device=str(model.device), dtype="bfloat16")
    start = time.perf_counter()
    full_table = read_runs(model, scenarios, {"": ()}, readout="continuation")
    between = time.perf_counter()
    half_table = read_runs(half, scenarios, {"": ()}, readout="continuation")
    end = time.perf_counter()
    logit_diffs = full_table.logit_diff.to_numpy()
    error = (half_table.logit_diff - full_table.logit_diff).to_numpy()
    axes = full_table.axis.to_numpy()
    weights = bootstrap_weights(axes, full_table["item"].to_numpy())
    draws = [weighted_means(weights, logit_diffs, axes == axis) for axis in sorted(set(axes))]
    half_rate = matmul_rate(torch.bfloat16, str(model.device))
    full_rate = matmul_rate(torch.float32, str(model.device))
    return {
        "matmul_ratio": half_rate / full_rate,
        "readout_ratio": (between - start) / (end - between),
        "rms_error": float(np.sqrt((error**2).mean())),
        "largest_error": float(np.abs(error).max()),
        "error_of_mean": float(abs(error.mean())),
        "noise_of_mean": float(np.mean([means.std() for means in draws])),
    }


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
