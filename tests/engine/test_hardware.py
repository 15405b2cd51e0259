"""Rates of matrix products, and the choice of the fastest thread count and dtype."""

from __future__ import annotations

import pytest
import torch

from interp_culture.engine import hardware
from interp_culture.engine.loading import load_model


def test_a_rate_is_operations_over_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    # A warm-up of 9 seconds, then products that take 2, 3 and 8.
    clock = iter([0.0, 9.0, 10.0, 12.0, 20.0, 23.0, 30.0, 38.0])
    monkeypatch.setattr(hardware.time, "perf_counter", lambda: next(clock))
    assert hardware.matmul_rate(shape=(2, 3, 4), repeats=3) == 2 * 2 * 3 * 4 / 3.0


def test_the_fastest_thread_count_is_chosen_unless_one_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(hardware.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(hardware, "matmul_rate", lambda: {2: 9.0}.get(torch.get_num_threads(), 1.0))
    try:
        assert hardware.choose_threads() == 2
        assert torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        assert hardware.choose_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_the_fastest_dtype_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from conftest import byte_tokenizer, tiny_hf

    monkeypatch.setattr(
        hardware, "matmul_rate", lambda dtype, device: 2.0 if dtype == torch.bfloat16 else 1.0
    )
    model = load_model(tiny_hf("llama"), tokenizer=byte_tokenizer(), device="cpu", dtype="fastest")
    assert model.dtype == torch.bfloat16
