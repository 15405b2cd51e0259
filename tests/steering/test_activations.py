"""Activations: each text is read once, files and memory agree, and the model has to be plain."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering import activations as activations_module
from interp_culture.steering.activations import (
    cache_activations,
    contrastive_activations,
    load_activations,
    read_activations,
)
from interp_culture.steering.extraction import extract


def test_every_scenario_is_read_once(tiny: LanguageModel, few: ScenarioSet) -> None:
    ids = [i for batch in contrastive_activations(tiny, few) for i in batch.ids]
    assert sorted(ids) == sorted(s.id for s in few)


def test_cached_activations_equal_those_that_were_read(
    tiny: LanguageModel, few: ScenarioSet, tmp_path: Path
) -> None:
    cached = cache_activations(tiny, few, tmp_path / "a")
    assert cached.ids == tuple(s.id for s in few)
    for batch in contrastive_activations(tiny, few):
        rows = [cached.ids.index(i) for i in batch.ids]
        assert torch.equal(cached.positive[rows], batch.positive)
        assert torch.equal(cached.negative[rows], batch.negative)
    vectors = extract(tiny, few)["X"]
    rows_of_x = [row for row, s in enumerate(few) if s.axis == "X"]
    differences = (cached.positive - cached.negative)[rows_of_x]
    torch.testing.assert_close(differences.mean(0), vectors.direction, atol=1e-5, rtol=1e-5)


def test_changes_to_cached_activations_stay_in_memory(
    tiny: LanguageModel, few: ScenarioSet, tmp_path: Path
) -> None:
    cached = cache_activations(tiny, few, tmp_path / "a")
    cached.positive[:] = 0
    assert load_activations(tmp_path / "a").positive.abs().max() > 0


def test_a_cache_is_read_again_only_for_other_texts(
    tiny: LanguageModel, few: ScenarioSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = cache_activations(tiny, few, tmp_path / "a")

    def refuse(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(activations_module, "contrastive_activations", refuse)
    assert cache_activations(tiny, few, tmp_path / "a").ids == cached.ids
    other_texts = ScenarioSet(few.scenarios[1:], few.catalogue)
    with pytest.raises(AssertionError, match="read again"):
        cache_activations(tiny, other_texts, tmp_path / "a")
    # The failed call left the cache as it was.
    assert load_activations(tmp_path / "a").ids == cached.ids


def test_a_folder_without_activations_raises(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no cached activations there"):
        load_activations(tmp_path)


def test_activations_in_memory_equal_those_in_files(
    tiny: LanguageModel, few: ScenarioSet, tmp_path: Path
) -> None:
    read = read_activations(tiny, few)
    cached = cache_activations(tiny, few, tmp_path / "a")
    assert read.ids == cached.ids == tuple(s.id for s in few)
    assert torch.equal(read.positive, cached.positive)
    assert torch.equal(read.negative, cached.negative)


def test_rows_are_selected_by_id(tiny: LanguageModel, few: ScenarioSet) -> None:
    read = read_activations(tiny, few)
    rows = [5, 0, 5]
    ids = [read.ids[row] for row in rows]
    selected = read.select(ids)
    assert selected.ids == tuple(ids)
    assert torch.equal(selected.positive, read.positive[rows])
    assert torch.equal(selected.negative, read.negative[rows])
    with pytest.raises(
        InputError, match=f"no activations of nobody among those of {len(few)} scenarios"
    ):
        read.select([ids[0], "nobody"])


def test_a_hooked_model_is_refused(tiny: LanguageModel, few: ScenarioSet) -> None:
    hooks = [("blocks.1.hook_resid_post", lambda activation, hook: activation + 1)]
    with (
        tiny.bridge.hooks(fwd_hooks=hooks),
        pytest.raises(InputError, match="hooks are active on the model"),
    ):
        extract(tiny, few)
    extract(tiny, ScenarioSet(few.scenarios[:2], few.catalogue))
