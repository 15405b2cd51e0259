"""Steered generation with a key-value cache against reading the whole sequence anew for every token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import CHAT, Pair, make_pair

from interp_culture.engine import generation
from interp_culture.engine.forward import trace
from interp_culture.engine.generation import generate, generate_runs
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.token_tree import TokenSequence, make_batches
from interp_culture.errors import InputError

PROMPTS = [
    Prompt("How are you today?"),
    Prompt("Why?", system="Be kind."),
    Prompt("Name three colours, please"),
]


def written_anew(model: LanguageModel, prompt: Prompt, edits: list[Edit], new: int) -> str:
    """Greedy, one whole uncached pass a token, the sequence alone in its batch."""
    start, answer = model.tokenise(prompt).prompt, ()
    for _ in range(new):
        (batch,) = make_batches([[TokenSequence(start, (*answer, 0))]], pad=0, batch_tokens=1000)
        final = trace(model, batch, edits).final[0, int(batch.paths[0].reads[-1])]
        token = int(model.logits(final[None])[0].argmax())
        if token == model.tokenizer.eos_token_id:
            break
        answer = (*answer, token)
    return model.tokenizer.decode(answer, skip_special_tokens=True)


@pytest.mark.parametrize("operation", ["ablate", "project", "add_preserving_norm"])
def test_every_operation_writes_what_uncached_single_prompts_do(pair: Pair, operation: Any) -> None:
    model = pair.model
    torch.manual_seed(5)
    edits = [
        Edit(layer, torch.randn(model.d_model), 4.0, operation, positions=positions)
        for layer, positions in ((0, "all"), (2, "answer"))
    ]
    expected = [written_anew(model, prompt, edits, 12) for prompt in PROMPTS]
    assert generate(model, PROMPTS, 12, edits) == expected
    assert expected != [written_anew(model, prompt, [], 12) for prompt in PROMPTS]


def test_options_are_touched_in_the_prompt_and_not_in_what_is_written(tiny: LanguageModel) -> None:
    prompts = [
        Prompt("Tea or a walk?", options=((0, 3),)),
        Prompt("Eat? Wait?", system="Be kind.", options=((5, 9),)),
    ]
    vector = torch.randn(tiny.d_model, generator=torch.Generator().manual_seed(5))
    expected = []
    for prompt, words in zip(prompts, ("Tea", "Wait"), strict=True):
        start = tiny.render(prompt).index(words)  # a token a character
        edit = Edit(1, vector, 9.0, positions=(start, start + len(words)))
        expected += [written_anew(tiny, prompt, [edit], 12)]
    edits = [Edit(1, vector, 9.0, positions="options")]
    assert generate(tiny, prompts, 12, edits) == expected
    assert expected != generate(tiny, prompts, 12)
    loud = make_pair("llama", CHAT.replace("m.content", "m.content | upper")).model
    with pytest.raises(InputError, match="the options' words cannot be found"):
        generate(loud, prompts, 1, edits)


@pytest.mark.parametrize("positions", ["all", "prompt", "answer", "last", (3, 30)])
def test_cached_batches_write_what_uncached_single_prompts_do(pair: Pair, positions: Any) -> None:
    model = pair.model
    torch.manual_seed(5)
    edits = [Edit(layer, torch.randn(model.d_model), 4.0, positions=positions) for layer in (0, 2)]
    expected = [written_anew(model, prompt, edits, 12) for prompt in PROMPTS]
    assert generate(model, PROMPTS, 12, edits) == expected
    assert expected != [written_anew(model, prompt, [], 12) for prompt in PROMPTS]
    assert not model.is_hooked


@pytest.mark.parametrize("rows", [2, 5, 64])
def test_runs_side_by_side_write_what_each_writes_alone(
    pair: Pair, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "BATCH_PROMPTS", 2)
    monkeypatch.setattr(generation, "STACKED_ROWS", rows)
    vectors = torch.randn(3, pair.model.d_model, generator=torch.Generator().manual_seed(5))
    runs = {
        n: [Edit(n, v, 6.0, positions="answer" if n else "all")] for n, v in enumerate(vectors)
    } | {"plain": []}
    found = generate_runs(pair.model, PROMPTS, runs, 12)
    assert list(found) == list(runs)
    assert found == {key: generate(pair.model, PROMPTS, 12, edits) for key, edits in runs.items()}
    assert len({tuple(texts) for texts in found.values()}) > 2


def test_sampled_runs_are_the_same_again(tiny: LanguageModel) -> None:
    runs = {"plain": (), "steered": [Edit(1, torch.ones(tiny.d_model), 2.0)]}
    state = torch.random.get_rng_state()
    first, again = (generate_runs(tiny, PROMPTS, runs, 12, temperature=0.7) for _ in range(2))
    assert (
        first
        == again
        == {key: generate(tiny, PROMPTS, 12, e, temperature=0.7) for key, e in runs.items()}
    )
    assert torch.equal(state, torch.random.get_rng_state())
    assert first != generate_runs(tiny, PROMPTS, runs, 12, temperature=0.7, seed=1)


def test_neighbouring_seeds_and_batches_share_no_noise(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "BATCH_PROMPTS", 1)
    texts = [generate(tiny, [PROMPTS[0]] * 3, 12, temperature=0.7, seed=seed) for seed in (42, 43)]
    assert len({text for own in texts for text in own}) == 6


def test_tokens_are_drawn_from_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0])
    noise = generation._Noise(0.7, "3", 20_000)
    drawn = noise(torch.zeros(0), logits.repeat(20_000, 1)).argmax(-1).bincount() / 20_000
    torch.testing.assert_close(drawn, (logits / 0.7).softmax(-1), atol=0.01, rtol=0)


def test_without_edits_it_is_plain_and_an_answer_is_refused(tiny: LanguageModel) -> None:
    assert generate(tiny, PROMPTS, 8) == [written_anew(tiny, prompt, [], 8) for prompt in PROMPTS]
    with pytest.raises(InputError, match="leaves nothing to write"):
        generate(tiny, [Prompt("hi", "yes")])
