"""What this machine can do, measured: matrix-multiply rates by thread count and dtype."""

from __future__ import annotations

import os
import statistics
import time

import torch

SHAPE = (1024, 576, 1536)  # tokens, d_model, d_mlp of the embedded model
REPEATS = 5


def matmul_rate(
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    shape: tuple[int, int, int] = SHAPE,
    repeats: int = REPEATS,
) -> float:
    """FLOP/s of `[tokens, a] @ [a, b]`, the median of `repeats`: what a model of this shape can reach.

    A processor that is let alone runs its first products faster than it can go on: repeat for a second or two where
    that matters.
    """
    tokens, a, b = shape
    left, right = (
        torch.randn(tokens, a, dtype=dtype, device=device),
        torch.randn(b, a, dtype=dtype, device=device),
    )
    seconds = []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            start = time.perf_counter()
            torch.nn.functional.linear(left, right)
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    return 2 * tokens * a * b / statistics.median(seconds[1:])


def choose_threads() -> int:
    """Set torch to the thread count that multiplies fastest here: all, or one a core where cores have two threads.

    A count that OMP_NUM_THREADS names is kept.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    rates = {}
    for count in sorted(
        {os.cpu_count() or 1, max(1, (os.cpu_count() or 1) // 2), torch.get_num_threads()}
    ):
        torch.set_num_threads(count)
        rates[count] = matmul_rate()
    best = max(rates, key=lambda count: rates[count])
    torch.set_num_threads(best)
    return best


def fastest_dtype(device: str) -> torch.dtype:
    """float32 or bfloat16, whichever multiplies faster on the device."""
    return max((torch.float32, torch.bfloat16), key=lambda dtype: matmul_rate(dtype, device))
