"""Gradients and components in the benchmark: this package and the plain loop give the same numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import byte_tokenizer, make_pair, tiny_hf

from interp_culture.bench.autograd import PlainAutograd
from interp_culture.bench.benchmark import Benchmark, chosen_tasks
from interp_culture.bench.explaining import explaining
from interp_culture.bench.gradient_tasks import make_gradient_tasks
from interp_culture.bench.plain import PlainTransformerLens
from interp_culture.bench.tasks import Setting, Task, spread
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.extraction import extract

AXES = """
name: short
axes: {X: {negative: worse, positive: better}, Y: {negative: later, positive: sooner}}
domains: [only]
items: {X1: {axis: X, label: one}, Y1: {axis: Y, label: two}}
"""


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text"])
def test_both_sides_give_the_same(architecture: str, shipped: ScenarioSet) -> None:
    pair = make_pair(architecture)
    scenarios = spread(shipped, 4)
    setting = Setting(pair.model, extract(pair.model, scenarios), (0, 1))
    side = PlainAutograd(pair.plain, pair.model.tokenizer)
    gradients, components = make_gradient_tasks(setting, scenarios)
    # Scenario, layer and d_model; pair of axes, and the nodes of three blocks.
    for task, shape in ((gradients, (4, 4, 32)), (components, (4, 3 * 5))):
        ours = task.comparable(task.ours())
        assert task.theirs is not None
        theirs = task.theirs(side)
        assert ours.shape == theirs.shape == shape
        # Relative to the largest number: an absolute tolerance would pass small ones.
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max(), rtol=0)
        assert np.abs(theirs).reshape(len(theirs), -1).max(1).min() > 1e-4


def test_plain_hugging_face_alone_takes_gradients(shipped: ScenarioSet) -> None:
    pair = make_pair("llama")
    lens = PlainTransformerLens(pair.model.bridge, pair.model.tokenizer)
    for task in make_gradient_tasks(Setting(pair.model, {}, (0,)), spread(shipped, 4)):
        assert task.can_be_done_by(PlainAutograd(pair.plain, pair.model.tokenizer))
        assert not task.can_be_done_by(lens)


def test_a_chosen_task_comes_with_its_rival() -> None:
    tasks = [
        Task("slow", lambda: None, lambda side: None, 0.1),
        Task("fast", lambda: None, None, None, "slow"),
        Task("other", lambda: None, lambda side: None, 0.1),
    ]
    assert chosen_tasks(tasks, ()) == tasks
    assert chosen_tasks(tasks, ["fast", "memory"]) == tasks[:2]
    assert chosen_tasks(tasks, ["memory"]) == []
    with pytest.raises(InputError, match="unknown task 'fats'; known: slow, fast, other, util"):
        chosen_tasks(tasks, ["fats"])
    with pytest.raises(InputError, match="give 4 or more"):
        Benchmark(1, 4, 4, 3, peers=False)


def test_what_explains_is_measured_for_two_numbers_of_scenarios(tmp_path: Path) -> None:
    tiny_hf("llama").save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    scenarios = tmp_path / "scenarios"
    scenarios.mkdir()
    (scenarios / "axes.yaml").write_text(AXES)
    lines = [
        {"id": f"{axis}{n}", "axis": axis, "item": f"{axis}1", "domain": "only"}
        | {"situation": f"{axis}, {n} or {n + 9}?", "positive": "a" * n + axis, "negative": "b"}
        for axis in "XY"
        for n in range(1, 9)
    ]
    (scenarios / "all.jsonl").write_text("\n".join(map(json.dumps, lines)))
    table = explaining(tmp_path / "model", 8, str(scenarios))
    assert table.scenarios.tolist() == [8, 16]
    assert (table.seconds > 0).all()
    assert (table.peak_mib >= table.loaded_mib).all()
    assert (table.loaded_mib > 100).all()
