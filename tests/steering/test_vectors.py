"""Vectors against means worked out by hand; saving, refusing, randomness."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Pair
from reference import forward

from interp_culture.engine.interventions import Edit
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
from interp_culture.steering.edits import steer
from interp_culture.steering.vector_files import load_vectors, save_vectors
from interp_culture.steering.vectors import extract, random_like


def test_mean_difference_by_hand(pair: Pair, few: ScenarioSet) -> None:
    vectors = extract(pair.model, few)
    encode = pair.model.tokenizer.encode
    for axis in ("X", "Y"):
        differences, norms = [], []
        for s in few.filter(axis=axis):
            ends = []
            for option in (s.positive, s.negative):
                tokens = encode(f"{s.situation} {option}", add_special_tokens=False)
                ends.append(torch.stack([r[-1] for r in forward(pair.plain, tokens)[1]]))
            differences.append(ends[0] - ends[1])
            norms += [e.norm(dim=-1) for e in ends]
        v = vectors[axis]
        torch.testing.assert_close(
            v.direction, torch.stack(differences).mean(0), atol=1e-4, rtol=1e-4
        )
        torch.testing.assert_close(v.resid_norm, torch.stack(norms).mean(0), atol=1e-4, rtol=1e-4)
        assert v.provenance["n_scenarios"] == len(differences)
        assert v.provenance["model"] == pair.model.name


def test_every_scenario_is_read_once(tiny: LanguageModel, few: ScenarioSet) -> None:
    ids = [i for batch in contrastive_activations(tiny, few) for i in batch.ids]
    assert sorted(ids) == sorted(s.id for s in few)


def test_cached_activations_are_those_that_were_read(
    tiny: LanguageModel, few: ScenarioSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = cache_activations(tiny, few, tmp_path / "a")
    assert cached.ids == tuple(s.id for s in few)
    for batch in contrastive_activations(tiny, few):
        rows = [cached.ids.index(i) for i in batch.ids]
        assert torch.equal(cached.positive[rows], batch.positive)
        assert torch.equal(cached.negative[rows], batch.negative)
    v = extract(tiny, few)["X"]
    own = [i for i, s in enumerate(few) if s.axis == "X"]
    torch.testing.assert_close(
        (cached.positive - cached.negative)[own].mean(0), v.direction, atol=1e-5, rtol=1e-5
    )
    cached.positive[:] = 0  # in memory alone
    assert load_activations(tmp_path / "a").positive.abs().max() > 0

    def refuse(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(activations_module, "contrastive_activations", refuse)
    assert cache_activations(tiny, few, tmp_path / "a").ids == cached.ids
    with pytest.raises(AssertionError, match="read again"):
        cache_activations(tiny, ScenarioSet(few.scenarios[1:], few.catalogue), tmp_path / "a")
    assert load_activations(tmp_path / "a").ids == cached.ids  # the failed one left the old one
    with pytest.raises(InputError, match="no cached activations there"):
        load_activations(tmp_path)


def test_activations_in_memory_are_those_of_the_files(
    tiny: LanguageModel, few: ScenarioSet, tmp_path: Path
) -> None:
    read, cached = read_activations(tiny, few), cache_activations(tiny, few, tmp_path / "a")
    assert read.ids == cached.ids == tuple(s.id for s in few)
    assert torch.equal(read.positive, cached.positive)
    assert torch.equal(read.negative, cached.negative)


def test_rows_are_selected_by_name(tiny: LanguageModel, few: ScenarioSet) -> None:
    read = read_activations(tiny, few)
    ids = [read.ids[i] for i in (5, 0, 5)]
    some = read.select(ids)
    assert some.ids == tuple(ids)
    assert torch.equal(some.positive, read.positive[[5, 0, 5]])
    assert torch.equal(some.negative, read.negative[[5, 0, 5]])
    with pytest.raises(
        InputError, match=f"no activations of nobody among those of {len(few)} scenarios"
    ):
        read.select([ids[0], "nobody"])


def test_swapping_the_poles_flips_the_vector(tiny: LanguageModel, few: ScenarioSet) -> None:
    swapped = ScenarioSet(
        tuple(s.model_copy(update={"positive": s.negative, "negative": s.positive}) for s in few),
        few.catalogue,
    )
    one, two = extract(tiny, few)["X"].direction, extract(tiny, swapped)["X"].direction
    torch.testing.assert_close(one, -two, atol=1e-5, rtol=1e-5)
    assert one.norm() > 0.01


def test_extraction_refuses_a_hooked_model(tiny: LanguageModel, few: ScenarioSet) -> None:
    hooks = [("blocks.1.hook_resid_post", lambda activation, hook: activation + 1)]
    with (
        tiny.bridge.hooks(fwd_hooks=hooks),
        pytest.raises(InputError, match="hooks are active on the model"),
    ):
        extract(tiny, few)
    extract(tiny, ScenarioSet(few.scenarios[:2], few.catalogue))


def test_random_vectors_have_the_norms_and_nothing_else(
    tiny: LanguageModel, few: ScenarioSet
) -> None:
    v = extract(tiny, few)["X"]
    drawn = random_like(v, 50, seed=1)
    directions = torch.stack([r.direction for r in drawn])
    norms = v.direction.norm(dim=-1)
    torch.testing.assert_close(directions.norm(dim=-1), norms.expand(50, -1), rtol=1e-5, atol=1e-6)
    cosines = torch.nn.functional.cosine_similarity(directions, v.direction[None], dim=-1)
    assert abs(float(cosines.mean())) < 0.06
    assert float(cosines.std()) == pytest.approx(tiny.d_model**-0.5, rel=0.25)
    assert torch.equal(random_like(v, 3, seed=1)[2].direction, directions[2])
    assert {r.method for r in drawn} == {"random"}


def test_saved_vectors_come_back(tiny: LanguageModel, few: ScenarioSet, tmp_path: Path) -> None:
    vectors = extract(tiny, few)
    save_vectors(tmp_path / "v.safetensors", vectors)
    back = load_vectors(tmp_path / "v.safetensors")
    assert list(back) == ["X", "Y"]
    for axis, v in vectors.items():
        assert torch.equal(back[axis].direction, v.direction)
        assert torch.equal(back[axis].resid_norm, v.resid_norm)
        assert (back[axis].method, back[axis].provenance) == (v.method, v.provenance)


def test_files_that_are_no_vectors_raise(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_vectors(tmp_path / "v.safetensors")
    (tmp_path / "v.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="not a file that save_vectors wrote"):
        load_vectors(tmp_path / "v.safetensors")


def test_steer_gives_one_edit_a_layer(tiny: LanguageModel, few: ScenarioSet) -> None:
    v = extract(tiny, few)["Y"]
    edits = steer(v, [1, 3], alpha=-0.5)
    assert [(e.layer, e.strength, e.hook_name) for e in edits] == [
        (1, -0.5, "blocks.1.hook_resid_post"), (3, -0.5, "blocks.3.hook_resid_post"),
    ]  # fmt: skip
    assert torch.equal(edits[1].vector, v.direction[3])
    with pytest.raises(
        InputError, match="layer 9 is out of range: these vectors have layers 0 to 3"
    ):
        steer(v, [9], 1.0)
    LanguageModel(tiny.bridge, tiny.tokenizer, "elsewhere").check_edits(edits)  # the same weights
    with pytest.raises(InputError, match="extracted on"):
        tiny.check_edits([replace(edits[0], weights="of another model")])


def test_unknown_method_names_the_known(tiny: LanguageModel, few: ScenarioSet) -> None:
    with pytest.raises(
        InputError,
        match="unknown method 'ica'; known: mean_diff, pca, pca_centred, lda, logistic, random",
    ):
        extract(tiny, few, method="ica")


@pytest.mark.slow
def test_embedded_models_vector_by_hand(smollm2: Pair, few: ScenarioSet) -> None:
    three = ScenarioSet(few.filter(axis="Y").scenarios[:3], few.catalogue)
    v = extract(smollm2.model, three)["Y"]
    differences = []
    for s in three:
        ends = []
        for option in (s.positive, s.negative):
            tokens = smollm2.model.tokenizer.encode(
                f"{s.situation} {option}", add_special_tokens=False
            )
            ends.append(torch.stack([r[-1] for r in forward(smollm2.plain, tokens)[1]]))
        differences.append(ends[0] - ends[1])
    expected = torch.stack(differences).mean(0)
    torch.testing.assert_close(v.direction, expected, atol=2e-2, rtol=1e-3)
    assert (
        float(torch.nn.functional.cosine_similarity(v.direction, expected, dim=-1).min()) > 0.99999
    )
    assert isinstance(steer(v, [29], 1.0)[0], Edit)
