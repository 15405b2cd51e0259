"""The benchmark's tasks give equal outputs on all sides, and its summary is that of the timings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import byte_tokenizer, make_pair, tiny_hf

from interp_culture.bench import growth as growth_module
from interp_culture.bench.benchmark import OURS, best_layers, summarise
from interp_culture.bench.limits import answer_flops, pass_flops
from interp_culture.bench.memory import peak_memory
from interp_culture.bench.plain import PlainHuggingFace, PlainTransformerLens
from interp_culture.bench.tasks import Setting, Task, make_tasks, spread
from interp_culture.engine.token_tree import TokenSequence, make_batches
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.extraction import extract


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text"])
def test_every_task_gives_what_plain_implementations_give(
    architecture: str, shipped: ScenarioSet
) -> None:
    pair = make_pair(architecture)
    setting = Setting(pair.model, extract(pair.model, spread(shipped, 4)), (1, 2))
    sides = [
        PlainHuggingFace(pair.plain, pair.model.tokenizer),
        PlainTransformerLens(pair.model.bridge, pair.model.tokenizer),
    ]
    compared = 0
    for task in make_tasks(setting, shipped, 2, 3):
        ours = task.comparable(task.ours())
        if task.theirs is None:
            continue
        for side in sides:
            theirs = task.theirs(side)
            if isinstance(ours, list):
                assert ours == theirs
            else:
                assert ours.shape == theirs.shape
                np.testing.assert_allclose(ours, theirs, atol=2e-5, rtol=1e-4)
                assert np.abs(ours).max() > 2e-4
            compared += 1
    assert compared == 10


def test_ratios_are_of_the_same_round() -> None:
    read = Task("read", lambda: None, lambda worker: None, 0.1)
    fast = Task("fast", lambda: None, None, None, "read")
    times = {("read", OURS): (1, 2, 4), ("read", "theirs"): (4, 4, 4), ("fast", OURS): (1, 1, 1)}
    timed = [
        {"task": t, "side": s, "round": n, "seconds": float(x)}
        for (t, s), xs in times.items()
        for n, x in enumerate(xs)
    ]
    outputs = {("read", OURS): np.array([1.0, 2.0]), ("read", "theirs"): np.array([1.0, 2.25])}
    rows = {(r["task"], r["against"]): r for r in summarise(timed, [read, fast], outputs)}
    row = rows["read", "theirs"]
    assert (row["ours"], row["theirs"], row["ratio"], row["ratio_low"], row["ratio_high"]) == (
        2,
        4,
        2,
        1,
        4,
    )
    assert row["difference"] == 0.25
    assert rows["fast", "theirs"]["ratio"] == 4
    assert rows["fast", OURS]["ratio"] == 2
    assert rows["fast", OURS]["difference"] is None
    assert set(rows) == {("read", "theirs"), ("fast", "theirs"), ("fast", OURS)}
    json.dumps(list(rows.values()))


def test_best_layers_of_the_three_sweeps(shipped: ScenarioSet) -> None:
    model = make_pair("llama").model
    setting = Setting(model, extract(model, spread(shipped, 4)), (1, 2))
    tasks = {t.name: t for t in make_tasks(setting, shipped, 2, 3)}
    outputs = {
        (name, OURS): tasks[name].ours()
        for name in ("exact sweep", "gradient sweep", "refined sweep")
    }
    best = best_layers(outputs, k=2)
    assert best["refined"] == best["exact"]
    assert best["measured"] == 4


def test_operations_are_counted_by_hand() -> None:
    model = make_pair("llama").model
    groups = [[TokenSequence((1, 2, 3), (4, 5)), TokenSequence((1, 2, 3), (6, 7))]]
    (batch,) = make_batches(groups, pad=0, batch_tokens=100)
    # d_model 32, 4 heads and 2 key-value heads of 8, d_mlp 64, 4 layers.
    # 5 tokens: 1 2 3, then 4 or 6.
    weights = 4 * (32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64)
    attended = 1 + 2 + 3 + 4 + 4
    assert pass_flops(model, batch) == 2 * weights * 5 + 4 * attended * 32 * 4
    assert answer_flops(model, batch) == 2 * 4 * 32 * 320
    stem = [[TokenSequence((*range(20, 30), n))] for n in range(2)]
    (shared,) = make_batches(stem, pad=0, batch_tokens=100)
    (alone,) = make_batches(stem, pad=0, batch_tokens=100, share_stem=False)
    attention = 4 * 32 * 4
    assert pass_flops(model, alone) == 2 * weights * 22 + attention * 2 * 66
    assert pass_flops(model, shared) == 2 * weights * 12 + attention * (55 + 2 * 11)


def test_growth_fits_the_slope_of_each_work(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(growth_module, "random_llama", lambda n, tokenizer: n)
    monkeypatch.setattr(
        growth_module, "_best", lambda work, repeats: seen.append(work.args) or float(len(seen))
    )
    table = growth_module.growth(None)
    assert set(zip(table.work, table["size"], strict=True)) == {
        ("readout", "scenarios"), ("readout", "prompt tokens"),
        ("readout", "layers"), ("exact sweep", "layers"),
    }  # fmt: skip
    by_scenarios = table[table["size"] == "scenarios"]
    expected = np.polyfit(np.log([50, 100, 200, 400]), np.log([1, 2, 3, 4]), 1)[0]
    np.testing.assert_allclose(by_scenarios.slope, expected)


def test_memory_is_measured_in_separate_processes(tmp_path: Path) -> None:
    hf_model = tiny_hf("llama")
    hf_model.save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    groups = [[TokenSequence((5, 6, 7), (8, 9)), TokenSequence((5, 6, 7), (4, 9, 3))]]
    table = peak_memory(tmp_path, groups, [0, 3])
    assert list(table.side) == ["ours", "transformer lens", "hugging face"]
    assert (table.peak_mib > 100).all()


@pytest.mark.slow
def test_the_protocol_runs_at_a_small_shape_without_a_gpu(tmp_path: Path) -> None:
    out = tmp_path / "protocol.json"
    command = [sys.executable, "-m", "interp_culture.bench.protocol", "--shape", "small"]
    subprocess.run([*command, "--out", str(out)], check=True, capture_output=True)
    results = json.loads(out.read_text())
    if not torch.cuda.is_available():
        assert results["largest_difference_from_float32"] < 1e-4
    assert len(results["seconds"]) == 5
    assert 0 < results["readout"]["share"] < 1.5
