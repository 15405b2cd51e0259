"""Matrix-multiplication rates of this machine, by thread count, dtype and device."""

from __future__ import annotations

import os
import statistics
import time

import torch

SHAPE = (1024, 576, 1536)  # tokens, d_model and d_mlp of the embedded model
REPEATS = 5


def matmul_rate(
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    shape: tuple[int, int, int] = SHAPE,
    repeats: int = REPEATS,
) -> float:
    """The rate of a matrix product, an upper bound for a model of this shape.

    An idle processor runs its first products faster than it can sustain. Where that matters,
    measure for a second or two, with more `repeats`.

    Args:
        dtype: of both matrices.
        device: a torch device.
        shape: (tokens, a, b) of the product `[tokens, a] @ [a, b]`.
        repeats: number of products; one more is computed first and not counted.

    Returns:
        The median over the repeats, in FLOP/s.
    """
    tokens, n_inputs, n_outputs = shape
    left = torch.randn(tokens, n_inputs, dtype=dtype, device=device)
    right = torch.randn(n_outputs, n_inputs, dtype=dtype, device=device)
    seconds = []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            start = time.perf_counter()
            # As a model's layer multiplies: its weight is [outputs, inputs].
            torch.nn.functional.linear(left, right)
            # A call on CUDA or MPS returns before its work is done.
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            if device.startswith("mps"):
                torch.mps.synchronize()
            seconds.append(time.perf_counter() - start)
    # Two operations for each weight and token: a product and a sum.
    return 2 * tokens * n_inputs * n_outputs / statistics.median(seconds[1:])


def choose_threads() -> int:
    """Set torch to the thread count that multiplies fastest here, and return it.

    The counts that are tried: one thread per logical core, half as many (for cores with two
    threads), and torch's present count. A count set by OMP_NUM_THREADS is kept.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    n_logical = os.cpu_count() or 1
    counts = {n_logical, max(1, n_logical // 2), torch.get_num_threads()}
    rates = {}
    for count in sorted(counts):
        torch.set_num_threads(count)
        rates[count] = matmul_rate()
    fastest = max(rates, key=lambda count: rates[count])
    torch.set_num_threads(fastest)
    return fastest


def fastest_dtype(device: str) -> torch.dtype:
    """float32 or bfloat16, whichever multiplies faster on the device."""
    return max((torch.float32, torch.bfloat16), key=lambda dtype: matmul_rate(dtype, device))
