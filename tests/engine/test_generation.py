"""Steered generation with a cache, compared with a whole pass over the sequence for every token."""

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


NEW_TOKENS = 8


def uncached(model: LanguageModel, prompt: Prompt, edits: list[Edit], new_tokens: int) -> str:
    """The greedy text, with one whole uncached pass for each token, alone in its batch."""
    start = model.tokenise(prompt).prompt
    answer: tuple[int, ...] = ()
    for _ in range(new_tokens):
        (batch,) = make_batches([[TokenSequence(start, (*answer, 0))]], pad=0, batch_tokens=1000)
        final = trace(model, batch, edits).final[0, int(batch.paths[0].reads[-1])]
        token = int(model.logits(final[None])[0].argmax())
        if token == model.tokenizer.eos_token_id:
            break
        answer = (*answer, token)
    return model.tokenizer.decode(answer, skip_special_tokens=True)


@pytest.fixture(scope="module")
def plain_texts(pair: Pair) -> list[str]:
    return [uncached(pair.model, prompt, [], NEW_TOKENS) for prompt in PROMPTS]


@pytest.mark.parametrize("operation", ["ablate", "project", "add_preserving_norm"])
def test_every_operation_writes_the_texts_of_uncached_single_prompts(
    pair: Pair, plain_texts: list[str], operation: Any
) -> None:
    model = pair.model
    torch.manual_seed(5)
    edits = [
        Edit(layer, torch.randn(model.d_model), 4.0, operation, positions=positions)
        for layer, positions in ((0, "all"), (2, "answer"))
    ]
    expected = [uncached(model, prompt, edits, NEW_TOKENS) for prompt in PROMPTS]
    assert generate(model, PROMPTS, NEW_TOKENS, edits) == expected
    assert expected != plain_texts


def test_options_are_edited_in_the_prompt_and_not_in_the_new_tokens(tiny: LanguageModel) -> None:
    prompts = [
        Prompt("Tea or a walk?", options=((0, 3),)),
        Prompt("Eat? Wait?", system="Be kind.", options=((5, 9),)),
    ]
    vector = torch.randn(tiny.d_model, generator=torch.Generator().manual_seed(5))
    expected = []
    for prompt, words in zip(prompts, ("Tea", "Wait"), strict=True):
        start = tiny.render(prompt).index(words)  # one token per character
        edit = Edit(1, vector, 9.0, positions=(start, start + len(words)))
        expected.append(uncached(tiny, prompt, [edit], 12))
    edits = [Edit(1, vector, 9.0, positions="options")]
    assert generate(tiny, prompts, 12, edits) == expected
    assert expected != generate(tiny, prompts, 12)
    upper_case = make_pair("llama", CHAT.replace("m.content", "m.content | upper")).model
    with pytest.raises(InputError, match="the options' words cannot be found"):
        generate(upper_case, prompts, 1, edits)


@pytest.mark.parametrize("positions", ["all", "prompt", "answer", "last", (3, 30)])
def test_cached_batches_write_the_texts_of_uncached_single_prompts(
    pair: Pair, plain_texts: list[str], positions: Any
) -> None:
    model = pair.model
    torch.manual_seed(5)
    edits = [Edit(layer, torch.randn(model.d_model), 4.0, positions=positions) for layer in (0, 2)]
    expected = [uncached(model, prompt, edits, NEW_TOKENS) for prompt in PROMPTS]
    assert generate(model, PROMPTS, NEW_TOKENS, edits) == expected
    assert expected != plain_texts
    assert not model.is_hooked


@pytest.mark.parametrize("rows", [2, 5, 64])
def test_runs_in_one_batch_write_the_texts_of_each_run_alone(
    pair: Pair, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "BATCH_PROMPTS", 2)
    monkeypatch.setattr(generation, "STACKED_ROWS", rows)
    vectors = torch.randn(3, pair.model.d_model, generator=torch.Generator().manual_seed(5))
    runs = {
        n: [Edit(n, v, 6.0, positions="answer" if n else "all")] for n, v in enumerate(vectors)
    } | {"plain": []}
    texts = generate_runs(pair.model, PROMPTS, runs, NEW_TOKENS)
    assert list(texts) == list(runs)
    assert texts == {
        key: generate(pair.model, PROMPTS, NEW_TOKENS, edits) for key, edits in runs.items()
    }
    assert len({tuple(run_texts) for run_texts in texts.values()}) > 2


def test_sampled_runs_are_reproducible(tiny: LanguageModel) -> None:
    runs = {"plain": (), "steered": [Edit(1, torch.ones(tiny.d_model), 2.0)]}
    state = torch.random.get_rng_state()
    first = generate_runs(tiny, PROMPTS, runs, 12, temperature=0.7)
    assert first == generate_runs(tiny, PROMPTS, runs, 12, temperature=0.7)
    for key, edits in runs.items():
        assert first[key] == generate(tiny, PROMPTS, 12, edits, temperature=0.7)
    assert torch.equal(state, torch.random.get_rng_state())
    assert first != generate_runs(tiny, PROMPTS, runs, 12, temperature=0.7, seed=1)


@pytest.mark.parametrize(("fits", "temperature"), [(5, 0.0), (3, 0.7), (1, 0.7)])
def test_fewer_rows_are_written_when_memory_runs_out(
    tiny: LanguageModel, fits: int, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {"plain": (), "steered": [Edit(1, torch.ones(tiny.d_model), 2.0)]}
    expected = generate_runs(tiny, PROMPTS, runs, 6, temperature=temperature)
    tried: list[int] = []
    real = generation.write

    def write(model: LanguageModel, prompts: Any, n: int, edits: Any, *more: Any) -> Any:
        tried.append(len(prompts) * len(edits))
        if tried[-1] > fits:
            raise torch.OutOfMemoryError("on purpose")
        return real(model, prompts, n, edits, *more)

    monkeypatch.setattr(generation, "write", write)
    assert generate_runs(tiny, PROMPTS, runs, 6, temperature=temperature) == expected
    assert tried[0] > fits
    monkeypatch.setattr(generation, "BATCH_PROMPTS", 1)
    fits = 0
    with pytest.raises(InputError, match="does not fit the device's memory"):
        generate(tiny, PROMPTS, 6)


def test_neighbouring_seeds_and_batches_share_no_noise(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "BATCH_PROMPTS", 1)
    texts = [generate(tiny, [PROMPTS[0]] * 3, 12, temperature=0.7, seed=seed) for seed in (42, 43)]
    assert len({text for seed_texts in texts for text in seed_texts}) == 6


def test_tokens_are_drawn_from_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0])
    noise = generation._Noise(0.7, "3", 20_000, range(20_000))
    drawn = noise(torch.zeros(0), logits.repeat(20_000, 1)).argmax(-1).bincount() / 20_000
    torch.testing.assert_close(drawn, (logits / 0.7).softmax(-1), atol=0.01, rtol=0)


def test_texts_without_edits_are_plain_and_a_prompt_with_an_answer_is_refused(
    tiny: LanguageModel,
) -> None:
    assert generate(tiny, PROMPTS, 8) == [uncached(tiny, prompt, [], 8) for prompt in PROMPTS]
    with pytest.raises(InputError, match="leaves nothing to write"):
        generate(tiny, [Prompt("hi", "yes")])
