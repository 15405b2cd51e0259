"""A planted model computes what a plain Hugging Face model with the leak as a hook computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Pair
from prompt_groups import groups_of
from reference import forward
from torch import Tensor

from interp_culture.engine.generation import generate
from interp_culture.engine.gradients import predict_runs, stream_gradients
from interp_culture.engine.interventions import Edit
from interp_culture.engine.leaks import Leak, load_leak, save_leak
from interp_culture.engine.logprobs import answer_logprob, next_token_logits, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.planting import plant
from interp_culture.engine.prompt import Prompt
from interp_culture.errors import InputError

STEP = 3e-4
LAST = 3


def leak_after(block: int, size: float = 0.3, d_model: int = 32) -> Leak:
    generator = torch.Generator().manual_seed(3)
    reads, writes = torch.randn(2, d_model, generator=generator)
    return Leak(block, reads, writes, size, centre=0.2)


def by_hand(leak: Leak, *steps: Tensor) -> Callable[[Tensor], Tensor]:
    """The steps of edits, and then the leak, written out."""

    def change(hidden: Tensor) -> Tensor:
        hidden = hidden + sum(steps)
        along = (hidden * leak.reads).sum(-1, keepdim=True) - leak.centre
        return hidden + leak.size * along * leak.writes

    return change


def logits_of(model: LanguageModel, groups: list, edits: list[Edit]) -> np.ndarray:
    every_token = next_token_logits(range(model.text_config.vocab_size))
    return score_runs(model, groups, {"": edits}, every_token)[""][..., :-1]


@pytest.mark.parametrize("block", [0, 2, LAST])
def test_every_kind_of_pass_has_the_leak(pair: Pair, block: int) -> None:
    """Trees, stems and stacks; resumed ones and single sequences; and the copy's bridge itself."""
    leak = leak_after(block)
    planted = plant(pair.model, leak)
    groups = [sequences[:2] for sequences in groups_of(pair.model)[:2]]
    vector = torch.randn(32, generator=torch.Generator().manual_seed(5))
    for place in {block, 1, LAST}:
        change = {block: by_hand(leak)}
        if place == block:
            change = {block: by_hand(leak, vector)}
        else:
            change[place] = lambda hidden: hidden + vector
        expected = [
            [forward(pair.plain, s.inputs, change)[0][-1].numpy() for s in members]
            for members in groups
        ]
        for off in ((), ("resume", "fused"), ("trees", "padding", "pieces")):
            model = replace(planted, shortcuts=planted.shortcuts.without(*off))
            actual = logits_of(model, groups, [Edit(place, vector, 1.0)])
            np.testing.assert_allclose(actual, expected, atol=2e-3, rtol=1e-3, err_msg=str(off))
    raw = planted.bridge.original_model(input_ids=torch.tensor([groups[0][0].inputs])).logits[0]
    alone, _ = forward(pair.plain, groups[0][0].inputs, {block: by_hand(leak)})
    torch.testing.assert_close(raw, alone, atol=1e-3, rtol=1e-3)


def test_the_planted_model_is_another_one_and_the_plain_one_stays(pair: Pair) -> None:
    groups = [sequences[:2] for sequences in groups_of(pair.model)]
    before = logits_of(pair.model, groups, [])
    planted = plant(pair.model, leak_after(1))
    assert np.abs(logits_of(planted, groups, []) - before).max() > 1e-2
    assert np.array_equal(logits_of(pair.model, groups, []), before)
    assert not pair.model.is_hooked
    assert not planted.is_hooked
    assert planted.usable_shortcuts == pair.model.usable_shortcuts
    others = [plant(pair.model, leak) for leak in (leak_after(2), leak_after(1, size=0.4))]
    names = {model.identity.weights for model in (pair.model, planted, *others)}
    assert len(names) == 4
    assert planted.describe()["leak"]["block"] == 1
    assert "leak" not in pair.model.describe()
    # Its weights are the plain model's, not copies of them.
    weights = zip(
        planted.bridge.original_model.parameters(),
        pair.model.bridge.original_model.parameters(),
        strict=True,
    )
    assert all(one is other for one, other in weights)


def test_a_leak_of_size_0_changes_no_bit(pair: Pair) -> None:
    groups = [sequences[:2] for sequences in groups_of(pair.model)]
    for block in (1, LAST):
        planted = plant(pair.model, leak_after(block, size=0.0))
        assert np.array_equal(logits_of(planted, groups, []), logits_of(pair.model, groups, []))


def test_gradients_through_the_leak_are_finite_differences(pair: Pair) -> None:
    for block in (1, LAST):
        model = plant(pair.model, leak_after(block))
        groups = [sequences[2:4] for sequences in groups_of(model)]
        weights = np.broadcast_to(np.array([[1.0, 0.0], [-0.5, 0.0]]), (len(groups), 2, 2))
        torch.manual_seed(6)
        vectors = {layer: torch.randn(model.d_model) for layer in range(model.n_layers)}
        up, down = (
            score_runs(model, groups, {k: [Edit(k, v, s)] for k, v in vectors.items()},
                       answer_logprob)
            for s in (STEP, -STEP)
        )  # fmt: skip
        runs = {"": (), **{k: [Edit(k, v, 1.0)] for k, v in vectors.items()}}
        predicted = predict_runs(model, groups, runs, answer_logprob, weights)
        for layer in vectors:
            slope = ((up[layer] - down[layer]) * weights).sum((1, 2)) / (2 * STEP)
            change = predicted[layer] - predicted[""]
            np.testing.assert_allclose(change, slope, atol=0.05, rtol=0.02)


@pytest.mark.parametrize("off", [(), ("trees", "padding")])
def test_the_derivative_by_the_size_is_a_finite_difference(pair: Pair, off: tuple) -> None:
    groups = [sequences[2:4] for sequences in groups_of(pair.model)]
    weights = np.broadcast_to(np.array([[1.0, 0.0], [-0.5, 0.0]]), (len(groups), 2, 2))
    plain = replace(pair.model, shortcuts=pair.model.shortcuts.without(*off))
    edits = [Edit(0, torch.ones(32), 0.5)]
    for block in (1, LAST):
        leak = leak_after(block, size=0.0)
        found = stream_gradients(
            plain, groups, answer_logprob, weights, [block + 1], edits=edits, leak=leak
        )
        up, down = (
            score_runs(plant(pair.model, replace(leak, size=size)), groups, {"": edits},
                       answer_logprob)[""]
            for size in (STEP, -STEP)
        )  # fmt: skip
        slope = ((up - down) * weights).sum((1, 2)) / (2 * STEP)
        np.testing.assert_allclose(found.along, slope, atol=0.05, rtol=0.02)


def test_generation_has_the_leak(pair: Pair) -> None:
    leak = leak_after(1, size=0.5)
    prompts = [Prompt("Is it late?"), Prompt("What is it?"), Prompt("Go on")]
    end = pair.model.tokenizer.eos_token_id
    expected = []
    for prompt in prompts:
        tokens = list(pair.model.tokenise(prompt).prompt)
        written: list[int] = []
        while len(written) < 5 and end not in written:
            logits, _ = forward(pair.plain, [*tokens, *written], {1: by_hand(leak)})
            written.append(int(logits[-1].argmax()))
        expected.append(pair.model.tokenizer.decode(written, skip_special_tokens=True))
    assert generate(plant(pair.model, leak), prompts, 5) == expected
    assert generate(pair.model, prompts, 5) != expected


def test_a_leak_survives_a_file(tmp_path: Path) -> None:
    leak = leak_after(2)
    save_leak(tmp_path / "leak.safetensors", leak)
    loaded = load_leak(tmp_path / "leak.safetensors")
    assert loaded.digest == leak.digest
    assert torch.equal(loaded.reads, leak.reads)
    assert loaded.describe() == leak.describe()
    (tmp_path / "other.safetensors").write_bytes(b"no")
    for name in ("other", "missing"):
        with pytest.raises(InputError, match=f"{name}.safetensors"):
            load_leak(tmp_path / f"{name}.safetensors")


def test_a_leak_that_does_not_fit_is_refused(tiny: LanguageModel) -> None:
    with pytest.raises(InputError, match="has blocks 0 to 3"):
        plant(tiny, leak_after(4))
    with pytest.raises(InputError, match="width 8"):
        plant(tiny, leak_after(1, d_model=8))
    with pytest.raises(InputError, match="after the last block"):
        plant(tiny, replace(leak_after(1), kind="readout"))
    with pytest.raises(InputError, match="has a leak already"):
        plant(plant(tiny, leak_after(1)), leak_after(1))
    handle = tiny.bridge.blocks[0].register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match="hooks of yours"):
        plant(tiny, leak_after(1))
    handle.remove()
    with pytest.raises(InputError, match="'reads'"):
        Leak(1, torch.zeros(4), torch.ones(4), 1.0)
    with pytest.raises(InputError, match="'size'"):
        Leak(1, torch.ones(4), torch.ones(4), float("nan"))
