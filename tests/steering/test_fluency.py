"""Divergence and perplexity against logits of plain Hugging Face, one sequence at a time; strengths for a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Pair, make_pair
from reference import forward
from torch import Tensor

from interp_culture.engine import batching
from interp_culture.engine.generation import generate
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.token_tree import TokenSequence
from interp_culture.errors import InputError
from interp_culture.steering import fluency as coherence
from interp_culture.steering.edits import steer
from interp_culture.steering.fluency import calibrate, kl_on_neutral, perplexity
from interp_culture.steering.vectors import SteeringVectors

# They begin alike, in more tokens than make a stem, and the longest is longer than a sliding window.
TEXTS = [
    "The weather is fine.",
    "The weather: rain in the north, sun in the south, wind.",
    "The weather is",
]
PROMPTS = [
    Prompt("How are you?"),
    Prompt("Why?", system="Be kind."),
    Prompt("Say nothing"),
    Prompt("Name a colour"),
]
ANSWERS = ["I am well, thank you.", "Because", "", "Red or blue"]


def vectors_of(model: LanguageModel) -> SteeringVectors:
    direction = torch.randn(
        model.n_layers, model.d_model, generator=torch.Generator().manual_seed(3)
    )
    return SteeringVectors(
        "X", "random", direction, torch.ones(model.n_layers), {"model": model.name}
    )


def by_hand(edits: Sequence[Edit]) -> dict[int, Callable[[Tensor], Tensor]]:
    return {e.layer: lambda h, step=e.strength * e.vector: h + step for e in edits}


def divergence(plain: Any, tokens: Sequence[int], edits: Sequence[Edit]) -> float:
    p, q = (forward(plain, tokens, by_hand(e))[0].double().log_softmax(-1) for e in ((), edits))
    return float((p.exp() * (p - q)).sum(-1).mean())


def entropy(plain: Any, sequence: TokenSequence, edits: Sequence[Edit]) -> float:
    logits = forward(plain, sequence.inputs, by_hand(edits))[0][len(sequence.prompt) - 1 :]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(sequence.answer)))


@pytest.mark.parametrize("bos", [False, True])
def test_divergence_equals_plain_hugging_face(
    pair: Pair, bos: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of unequal texts in one batch and in several, a few positions at a time and all at once."""
    if bos:
        pair = make_pair(pair.model.name.removeprefix("tiny-"), bos=True)
    model, vectors = pair.model, vectors_of(pair.model)
    runs = {
        "plain": [],
        ("one", 1): steer(vectors, [1], 2.0),
        "more": steer(vectors, [0, 2, 3], -0.5),
    }
    found = kl_on_neutral(model, runs, TEXTS)
    assert list(found.columns) == ["run", "text", "kl", "n_tokens"]
    assert list(found.run) == [key for key in runs for _ in TEXTS]
    assert list(found.text) == [0, 1, 2] * 3
    assert list(found.n_tokens) == [len(text) + bos for text in TEXTS] * 3
    expected = [
        divergence(pair.plain, model.tokenise_text(t).prompt, edits)
        for edits in runs.values()
        for t in TEXTS
    ]
    np.testing.assert_allclose(found.kl, expected, atol=1e-4)
    assert (found.kl[:3] == 0).all()
    assert min(expected[3:]) > 0.01
    monkeypatch.setattr(coherence, "LOGITS_AT_ONCE", 7 * 320)
    monkeypatch.setitem(batching.BATCH_TOKENS, "cpu", 80)
    np.testing.assert_allclose(kl_on_neutral(model, runs, TEXTS).kl, expected, atol=1e-4)


def test_the_shipped_texts_are_read_by_default(tiny: LanguageModel) -> None:
    found = kl_on_neutral(tiny, {"": ()})
    assert len(found) == 16
    assert (found.kl == 0).all()
    assert found.n_tokens.min() > 1000  # bytes


def test_perplexity_equals_plain_hugging_face(pair: Pair) -> None:
    model, vectors = pair.model, vectors_of(pair.model)
    runs = {"plain": (), "steered": steer(vectors, [0, 2], 0.5)}
    found = perplexity(model, PROMPTS, ANSWERS, runs)
    assert list(found.columns) == ["run", "text", "cross_entropy", "perplexity", "n_tokens"]
    assert list(found.n_tokens) == [len(text) for text in ANSWERS] * 2
    for run, edits in runs.items():
        mine = found[found.run == run].set_index("text")
        assert mine.loc[2].isna().sum() == 2
        for index in (0, 1, 3):
            prompt = PROMPTS[index]
            sequence = model.tokenise(Prompt(prompt.user, ANSWERS[index], prompt.system))
            expected = entropy(pair.plain, sequence, edits)
            assert mine.cross_entropy[index] == pytest.approx(expected, abs=1e-4)
            assert mine.perplexity[index] == pytest.approx(np.exp(expected), rel=1e-4)
    one, other = (found[found.run == run].cross_entropy.dropna().to_numpy() for run in runs)
    assert abs(one - other).max() > 0.05


def test_nothing_written_has_no_perplexity(tiny: LanguageModel) -> None:
    found = perplexity(tiny, PROMPTS[:2], ["", ""], {"plain": ()})
    assert list(found.n_tokens) == [0, 0]
    assert found.perplexity.isna().all()


def test_without_a_template_the_space_that_the_model_wrote_is_not_doubled() -> None:
    model = make_pair("llama", chat_template=None).model
    written, bare = (
        perplexity(model, [Prompt("Why?")], [text], {"": ()}) for text in (" yes", "yes")
    )
    assert written.equals(bare)
    assert list(written.n_tokens) == [4]


@pytest.mark.parametrize(("budget", "sign"), [(1e-3, 1), (0.1, 1), (0.1, -1), (0.15, 1)])
def test_a_calibrated_strength_costs_its_budget(
    tiny: LanguageModel, budget: float, sign: int
) -> None:
    vectors = vectors_of(tiny)
    alpha = calibrate(tiny, vectors, [1, 2], budget, texts=TEXTS, sign=sign)
    found = kl_on_neutral(tiny, {"": steer(vectors, [1, 2], sign * alpha)}, TEXTS)
    assert alpha > 0
    assert found.kl.mean() == pytest.approx(budget, rel=0.02)


@pytest.mark.parametrize(
    "cost", [lambda a: a**0.2, lambda a: a**6, lambda a: 20 * a**4 / (1 + a**4), lambda a: 9 * a]
)
def test_the_search_ends_soon_whatever_the_law(cost: Callable[[float], float]) -> None:
    tried: list[float] = []

    @cache
    def excess(log_alpha: float) -> float:
        tried.append(log_alpha)
        return math.log(cost(math.exp(log_alpha)) / 2.0)

    found = coherence._solve(excess, 2.0, math.log(64.0))
    assert cost(math.exp(found)) == pytest.approx(2.0, rel=0.02)
    assert len(tried) <= 14
    assert max(tried) <= math.log(64.0)


def test_a_budget_that_is_not_met_names_itself_and_what_was_reached(tiny: LanguageModel) -> None:
    vectors = vectors_of(tiny)
    reached = kl_on_neutral(tiny, {"": steer(vectors, [1], 0.01)}, TEXTS).kl.mean()
    with pytest.raises(InputError, match=f"a KL of 0.5 nats per token: 0.01 gives {reached:.3g}"):
        calibrate(tiny, vectors, [1], 0.5, texts=TEXTS, high=0.01)


def test_what_cannot_be_used_is_said(tiny: LanguageModel) -> None:
    vectors = vectors_of(tiny)
    with pytest.raises(InputError, match="text 1 is no token"):
        kl_on_neutral(tiny, {"": ()}, ["a", ""])
    with pytest.raises(InputError, match="no text"):
        kl_on_neutral(tiny, {"": ()}, [])
    with pytest.raises(InputError, match="2 prompts and 1 texts"):
        perplexity(tiny, PROMPTS[:2], ["a"], {"": ()})
    with pytest.raises(InputError, match="answer already"):
        perplexity(tiny, [Prompt("a", "b")], ["a"], {"": ()})
    with pytest.raises(InputError, match="budget"):
        calibrate(tiny, vectors, [1], 0.0, texts=TEXTS)
    with pytest.raises(InputError, match="sign is 0"):
        calibrate(tiny, vectors, [1], 0.1, texts=TEXTS, sign=0)
    with pytest.raises(InputError, match=r"temperature is -0\.1"):
        generate(tiny, PROMPTS, 4, temperature=-0.1)


def test_sampled_texts_depend_on_the_seed_alone(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny.bridge.original_model.generation_config
    for name, value in (
        ("top_k", 1),
        ("top_p", 0.01),
        ("min_p", 1.0),
    ):  # a checkpoint's own: all would be greedy
        monkeypatch.setattr(settings, name, value)
    edits = steer(vectors_of(tiny), [1], 1.0)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    texts = generate(tiny, PROMPTS, 12, edits, temperature=0.7, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert generate(tiny, PROMPTS, 12, edits, temperature=0.7, seed=5) == texts
    assert generate(tiny, PROMPTS, 12, edits, temperature=0.7, seed=6) != texts
    greedy = generate(tiny, PROMPTS, 12, edits)
    assert texts != greedy
    assert generate(tiny, PROMPTS, 12, edits, temperature=1e-4) == greedy


@pytest.mark.slow
def test_the_embedded_model_reads_what_it_wrote_as_plain_hugging_face_does(smollm2: Pair) -> None:
    model, vectors = smollm2.model, vectors_of(smollm2.model)
    runs = {"plain": (), "steered": steer(vectors, [10, 20], 2.0)}
    texts = generate(model, PROMPTS[:2], 16, temperature=0.7)
    found = perplexity(model, PROMPTS[:2], texts, runs)
    sequences = model.tokenise_all(
        [Prompt(p.user, t, p.system) for p, t in zip(PROMPTS, texts, strict=False)]
    )
    expected = [entropy(smollm2.plain, s, edits) for edits in runs.values() for s in sequences]
    np.testing.assert_allclose(found.cross_entropy, expected, atol=1e-3)
    assert expected[2] - expected[0] > 0.1
