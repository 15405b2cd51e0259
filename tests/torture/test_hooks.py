"""Edits beside other people's hooks, nested, repeated, at strength 0, and in cached generation.

Everything is compared with plain Hugging Face passes that have PyTorch hooks of their own.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from conftest import Pair
from torch import Tensor

from interp_culture.engine.generation import generate
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import applied
from interp_culture.engine.prompt import Prompt
from torture.hook_cases import (
    WRITERS,
    adding,
    logits_of,
    logits_of_plain,
    pair_of,
    random_edit,
    random_text,
    written,
)
from torture.tally import Tally

CASES = 40
NEW_TOKENS = 6
CLOSE = {"atol": 2e-3, "rtol": 1e-3}


@pytest.fixture(scope="module", params=list(WRITERS))
def named(request: pytest.FixtureRequest) -> tuple[str, Pair]:
    return request.param, pair_of(request.param)


def tokens_of(pair: Pair, text: str) -> list[int]:
    return list(pair.model.tokenise(Prompt(text)).prompt)


@pytest.mark.parametrize("by", ["PyTorch", "TransformerLens"])
def test_hooks_of_the_user_act_in_every_pass_and_stay(
    named: tuple[str, Pair], by: str, tally: Tally
) -> None:
    architecture, pair = named
    rng = random.Random(1)
    for _ in range(CASES):
        own, edit = random_edit(rng, pair.model), random_edit(rng, pair.model)
        tokens = tokens_of(pair, random_text(rng))
        step = own.strength * own.vector
        calls: list[int] = []
        if by == "PyTorch":
            block = pair.model.bridge.blocks[own.layer]

            def hook(*args: Any, step: Tensor = step, calls: list[int] = calls) -> Any:
                calls.append(1)
                return adding(step)(*args)

            handle = block.register_forward_hook(hook)
        else:

            def tl_hook(
                value: Tensor, hook: Any, step: Tensor = step, calls: list[int] = calls
            ) -> Tensor:
                calls.append(1)
                return value + step

            pair.model.bridge.add_hook(own.hook_name, tl_hook)
        try:
            for edits in ([], [edit], []):
                before = len(calls)
                found = logits_of(pair.model, tokens, edits)
                assert len(calls) > before
                with written(pair.plain, architecture, [own, *edits]):
                    torch.testing.assert_close(found, logits_of_plain(pair.plain, tokens), **CLOSE)
            # Still there, and seen by the bridge's own pass.
            assert pair.model.is_hooked
            with torch.no_grad(), written(pair.plain, architecture, [own]):
                raw = pair.model.bridge(torch.tensor([tokens]))[0, -1]
                torch.testing.assert_close(raw, logits_of_plain(pair.plain, tokens), **CLOSE)
        finally:
            handle.remove() if by == "PyTorch" else pair.model.bridge.reset_hooks()
        assert not pair.model.is_hooked
        tally.add("hooks", f"hooks of the user by {by} beside edits", 1)


def test_nested_and_repeated_edits_act_once(named: tuple[str, Pair], tally: Tally) -> None:
    architecture, pair = named
    rng = random.Random(2)
    for _ in range(CASES):
        outer, inner = random_edit(rng, pair.model), random_edit(rng, pair.model)
        tokens = tokens_of(pair, random_text(rng))
        with written(pair.plain, architecture, [inner]):
            alone = logits_of_plain(pair.plain, tokens)
        with written(pair.plain, architecture, [outer, inner]):
            both = logits_of_plain(pair.plain, tokens)
        with applied(pair.model, outer):
            for _ in range(2):
                torch.testing.assert_close(logits_of(pair.model, tokens, [inner]), both, **CLOSE)
        for _ in range(2):
            torch.testing.assert_close(logits_of(pair.model, tokens, [inner]), alone, **CLOSE)
        tally.add("hooks", "nested and repeated edits", 1)


def test_strength_0_after_steering_is_the_plain_model_bit_for_bit(
    named: tuple[str, Pair], tally: Tally
) -> None:
    _, pair = named
    rng = random.Random(3)
    for _ in range(CASES):
        edit = random_edit(rng, pair.model)
        tokens = tokens_of(pair, random_text(rng))
        zero = Edit(edit.layer, edit.vector, 0.0)
        plain = logits_of(pair.model, tokens, [])
        steered = logits_of(pair.model, tokens, [edit])
        assert not torch.equal(steered, plain)
        assert torch.equal(logits_of(pair.model, tokens, [zero]), plain)
        assert torch.equal(logits_of(pair.model, tokens, []), plain)
        tally.add("hooks", "strength 0 after steering", 1)


def test_positions_hold_in_cached_generation(named: tuple[str, Pair], tally: Tally) -> None:
    """Against whole passes of the plain model, one for each new token."""
    _, pair = named
    rng = random.Random(4)
    for _ in range(CASES // 4):
        texts = [random_text(rng) for _ in range(3)]
        start = rng.randrange(0, 40)
        some: Any = rng.choice(["all", "prompt", "answer", "last", (start, start + 9)])
        edit = random_edit(rng, pair.model, positions=some)
        found = generate(pair.model, texts, NEW_TOKENS, edit)
        for text, written_text in zip(texts, found, strict=True):
            assert written_text == greedy(pair, tokens_of(pair, text), edit)
        tally.add("hooks", "token positions in cached generation", 1)


def greedy(pair: Pair, prompt: list[int], edit: Edit) -> str:
    """The greedy text of the plain model, without a cache, under an edit at its positions."""
    tokens = list(prompt)
    step = edit.strength * edit.vector

    def hook(module: Any, args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        place = torch.arange(hidden.shape[1])
        masks = {
            "all": place >= 0,
            "prompt": place < len(prompt),
            "answer": place >= len(prompt),
            "last": place == len(prompt) - 1,
        }
        if isinstance(edit.positions, tuple):
            mask = (place >= edit.positions[0]) & (place < edit.positions[1])
        else:
            mask = masks[edit.positions]
        changed = hidden + mask[:, None] * step
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = pair.plain.model.layers[edit.layer].register_forward_hook(hook)
    try:
        for _ in range(NEW_TOKENS):
            token = int(logits_of_plain(pair.plain, tokens).argmax())
            if token == pair.model.tokenizer.eos_token_id:
                break
            tokens.append(token)
    finally:
        handle.remove()
    return pair.model.tokenizer.decode(tokens[len(prompt) :], skip_special_tokens=True)


@pytest.mark.parametrize("hook_point", ["hook_attn_out", "hook_mlp_out"])
def test_the_stream_moves_by_exactly_what_is_added(
    named: tuple[str, Pair], hook_point: str, tally: Tally
) -> None:
    architecture, pair = named
    rng = random.Random(5)
    for _ in range(CASES):
        edit = random_edit(rng, pair.model, hook_point=hook_point)
        tokens = tokens_of(pair, random_text(rng))
        with written(pair.plain, architecture, [edit]):
            expected = logits_of_plain(pair.plain, tokens)
        torch.testing.assert_close(logits_of(pair.model, tokens, [edit]), expected, **CLOSE)
        tally.add("hooks", f"what {hook_point} adds to the stream", 1)
