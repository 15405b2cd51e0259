"""On a GPU everything gives what it gives on the CPU. Skipped where there is none."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ARCHITECTURES, byte_tokenizer, tiny_hf

from interp_culture.engine import batching
from interp_culture.engine.generation import generate
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.probing import read_runs
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.extraction import extract
from interp_culture.steering.sweep import layer_sweep

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
TOLERANCE = 2e-4


def on(device: str, architecture: str, dtype: torch.dtype = torch.float32) -> LanguageModel:
    hf_model = copy.deepcopy(tiny_hf(architecture)).to(device, dtype)
    return LanguageModel.wrap(hf_model, byte_tokenizer(), f"tiny-{architecture}")


@pytest.fixture(params=ARCHITECTURES)
def both(request: pytest.FixtureRequest) -> tuple[LanguageModel, LanguageModel]:
    return on("cpu", request.param), on("cuda", request.param)


def edits_of(model: LanguageModel) -> dict[str, list[Edit]]:
    generator = torch.Generator().manual_seed(3)
    vectors = torch.randn(model.n_layers, model.d_model, generator=generator)
    return {
        "": [],
        "one": [Edit(1, vectors[1], 2.0)],
        "more": [Edit(i, vectors[i], -1.0) for i in (0, 2, 3)],
    }


@pytest.mark.parametrize("readout", ["letters", "continuation"])
@pytest.mark.parametrize("system", [None, "You are a careful person of few words."])
def test_readouts_equal_those_of_the_cpu(
    both: Any, few: ScenarioSet, readout: Any, system: str | None
) -> None:
    tables = [
        read_runs(m, few, edits_of(m), readout=ReadoutFormat(readout, system=system)).logit_diff
        for m in both
    ]
    np.testing.assert_allclose(tables[0], tables[1], atol=TOLERANCE)


def test_vectors_and_sweeps_equal_those_of_the_cpu(both: Any, few: ScenarioSet) -> None:
    vectors = [extract(m, few) for m in both]
    for axis in few.axes:
        torch.testing.assert_close(
            vectors[0][axis].direction, vectors[1][axis].direction, atol=1e-3, rtol=1e-3
        )
    for method in ("exact", "gradient"):
        sweeps = [layer_sweep(m, few, vectors[0], alpha=0.5, method=method) for m in both]
        np.testing.assert_allclose(sweeps[0].logit_shift, sweeps[1].logit_shift, atol=1e-3)


def test_generation_equals_that_of_the_cpu(both: Any) -> None:
    prompts = [Prompt("How are you today?"), Prompt("Why?", system="Be kind.")]
    for edits in edits_of(both[0]).values():
        assert generate(both[0], prompts, 12, edits) == generate(both[1], prompts, 12, edits)


def test_bfloat16_is_near(few: ScenarioSet) -> None:
    exact, half = on("cpu", "llama"), on("cuda", "llama", torch.bfloat16)
    tables = [read_runs(m, few, {"": []}, readout="continuation").logit_diff for m in (exact, half)]
    assert np.corrcoef(*tables)[0, 1] > 0.99


@pytest.fixture
def little_memory() -> Iterator[None]:
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(2**30 / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_batches_too_large_for_the_memory_are_halved(
    little_memory: None, shipped: ScenarioSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = shipped.sample(8)
    model = on("cuda", "llama")
    vector = torch.randn(model.d_model)
    runs: dict[str, list[Edit]] = {"": [], "steered": [Edit(1, vector, 1.0)]}
    usual = read_runs(model, some, runs, readout="letters")
    assert model.batch_limit is None
    monkeypatch.setattr(batching, "_fitting_tokens", lambda model: 10**7)
    monkeypatch.setattr(batching, "GPU_TOKENS", (1024, 10**7))
    again = read_runs(model, some, runs, readout="letters")
    assert model.batch_limit is not None
    assert model.batch_limit < 10**6
    np.testing.assert_allclose(usual.logit_diff, again.logit_diff, atol=TOLERANCE)
