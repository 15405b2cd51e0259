"""Rates are rates, and the choice is the fastest measured."""

from __future__ import annotations

import pytest
import torch

from interp_culture.engine import hardware as machine
from interp_culture.engine.loading import load_model


def test_a_rate_is_operations_over_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(
        [0.0, 9.0, 10.0, 12.0, 20.0, 23.0, 30.0, 38.0]
    )  # a warm-up, then 2, 3 and 8 seconds
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(clock))
    assert machine.matmul_rate(shape=(2, 3, 4), repeats=3) == 2 * 2 * 3 * 4 / 3.0


def test_the_fastest_thread_count_is_taken_unless_one_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(machine, "matmul_rate", lambda: {2: 9.0}.get(torch.get_num_threads(), 1.0))
    try:
        assert machine.choose_threads() == 2
        assert torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        assert machine.choose_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_the_fastest_dtype_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from conftest import byte_tokenizer, tiny_hf

    monkeypatch.setattr(
        machine, "matmul_rate", lambda dtype, device: 2.0 if dtype == torch.bfloat16 else 1.0
    )
    model = load_model(tiny_hf("llama"), tokenizer=byte_tokenizer(), device="cpu", dtype="fastest")
    assert model.dtype == torch.bfloat16
