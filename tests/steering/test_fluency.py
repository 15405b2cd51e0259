"""Divergence and perplexity against plain Hugging Face, one sequence at a time; calibration."""

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
from interp_culture.scenarios.neutral import load_neutral
from interp_culture.steering import fluency as fluency_module
from interp_culture.steering.edits import steer
from interp_culture.steering.fluency import calibrate, kl_on_neutral, perplexity
from interp_culture.steering.vectors import SteeringVectors

# The texts share a beginning that is long enough for a stem, and the longest text is longer than
# the sliding window of the tiny models.
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
    log_p = forward(plain, tokens)[0].double().log_softmax(-1)
    log_q = forward(plain, tokens, by_hand(edits))[0].double().log_softmax(-1)
    return float((log_p.exp() * (log_p - log_q)).sum(-1).mean())


def entropy(plain: Any, sequence: TokenSequence, edits: Sequence[Edit]) -> float:
    logits = forward(plain, sequence.inputs, by_hand(edits))[0][len(sequence.prompt) - 1 :]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(sequence.answer)))


@pytest.mark.parametrize("bos", [False, True])
def test_divergence_equals_plain_hugging_face(
    pair: Pair, bos: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts of different lengths, in one batch or several, with all positions at once or a few."""
    if bos:
        pair = make_pair(pair.model.name.removeprefix("tiny-"), bos=True)
    model = pair.model
    vectors = vectors_of(model)
    runs = {
        "plain": [],
        ("one", 1): steer(vectors, [1], 2.0),
        "more": steer(vectors, [0, 2, 3], -0.5),
    }
    table = kl_on_neutral(model, runs, TEXTS)
    assert list(table.columns) == ["run", "text", "kl", "n_tokens"]
    assert list(table.run) == [key for key in runs for _ in TEXTS]
    assert list(table.text) == [0, 1, 2] * 3
    assert list(table.n_tokens) == [len(text) + bos for text in TEXTS] * 3
    expected = [
        divergence(pair.plain, model.tokenise_text(text).prompt, edits)
        for edits in runs.values()
        for text in TEXTS
    ]
    np.testing.assert_allclose(table.kl, expected, atol=1e-4)
    assert (table.kl[:3] == 0).all()
    assert min(expected[3:]) > 0.01
    monkeypatch.setattr(fluency_module, "LOGITS_AT_ONCE", 7 * 320)
    monkeypatch.setitem(batching.BATCH_TOKENS, "cpu", 80)
    np.testing.assert_allclose(kl_on_neutral(model, runs, TEXTS).kl, expected, atol=1e-4)


def test_the_shipped_texts_are_read_by_default(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whole, where other tests read beginnings.
    monkeypatch.setattr("interp_culture.steering.fluency.load_neutral", load_neutral)
    table = kl_on_neutral(tiny, {"": ()})
    assert len(table) == 16
    assert (table.kl == 0).all()
    assert table.n_tokens.min() > 1000  # bytes


def test_perplexity_equals_plain_hugging_face(pair: Pair) -> None:
    model = pair.model
    runs = {"plain": (), "steered": steer(vectors_of(model), [0, 2], 0.5)}
    table = perplexity(model, PROMPTS, ANSWERS, runs)
    assert list(table.columns) == ["run", "text", "cross_entropy", "perplexity", "n_tokens"]
    assert list(table.n_tokens) == [len(text) for text in ANSWERS] * 2
    entropies = {}
    for run, edits in runs.items():
        of_run = table[table.run == run].set_index("text")
        entropies[run] = of_run.cross_entropy.dropna().to_numpy()
        assert of_run.loc[2].isna().sum() == 2  # the empty answer
        for index in (0, 1, 3):
            prompt = PROMPTS[index]
            sequence = model.tokenise(Prompt(prompt.user, ANSWERS[index], prompt.system))
            expected = entropy(pair.plain, sequence, edits)
            assert of_run.cross_entropy[index] == pytest.approx(expected, abs=1e-4)
            assert of_run.perplexity[index] == pytest.approx(np.exp(expected), rel=1e-4)
    assert abs(entropies["plain"] - entropies["steered"]).max() > 0.05


def test_an_empty_answer_has_no_perplexity(tiny: LanguageModel) -> None:
    table = perplexity(tiny, PROMPTS[:2], ["", ""], {"plain": ()})
    assert list(table.n_tokens) == [0, 0]
    assert table.perplexity.isna().all()


def test_without_a_template_the_space_that_the_model_wrote_is_not_doubled() -> None:
    model = make_pair("llama", chat_template=None).model
    with_space = perplexity(model, [Prompt("Why?")], [" yes"], {"": ()})
    without_space = perplexity(model, [Prompt("Why?")], ["yes"], {"": ()})
    assert with_space.equals(without_space)
    assert list(with_space.n_tokens) == [4]


@pytest.mark.parametrize(("budget", "sign"), [(1e-3, 1), (0.1, 1), (0.1, -1), (0.15, 1)])
def test_a_calibrated_strength_has_the_kl_of_its_budget(
    tiny: LanguageModel, budget: float, sign: int
) -> None:
    vectors = vectors_of(tiny)
    alpha = calibrate(tiny, vectors, [1, 2], budget, texts=TEXTS, sign=sign)
    table = kl_on_neutral(tiny, {"": steer(vectors, [1, 2], sign * alpha)}, TEXTS)
    assert alpha > 0
    assert table.kl.mean() == pytest.approx(budget, rel=0.02)


@pytest.mark.parametrize(
    "kl_of", [lambda a: a**0.2, lambda a: a**6, lambda a: 20 * a**4 / (1 + a**4), lambda a: 9 * a]
)
def test_the_search_needs_few_steps_for_any_dependence_on_alpha(
    kl_of: Callable[[float], float],
) -> None:
    tried: list[float] = []

    @cache
    def log_excess(log_alpha: float) -> float:
        tried.append(log_alpha)
        return math.log(kl_of(math.exp(log_alpha)) / 2.0)

    log_alpha = fluency_module._solve(log_excess, 2.0, math.log(64.0))
    assert kl_of(math.exp(log_alpha)) == pytest.approx(2.0, rel=0.02)
    assert len(tried) <= 14
    assert max(tried) <= math.log(64.0)


def test_an_error_names_a_budget_that_is_out_of_reach_and_the_largest_kl(
    tiny: LanguageModel,
) -> None:
    vectors = vectors_of(tiny)
    reached = kl_on_neutral(tiny, {"": steer(vectors, [1], 0.01)}, TEXTS).kl.mean()
    with pytest.raises(InputError, match=f"a KL of 0.5 nats per token: 0.01 gives {reached:.3g}"):
        calibrate(tiny, vectors, [1], 0.5, texts=TEXTS, high=0.01)


def test_wrong_input_raises(tiny: LanguageModel) -> None:
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


def test_sampled_texts_depend_only_on_the_seed(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny.bridge.original_model.generation_config
    # With these settings of a checkpoint every sample would be greedy; `generate` ignores them.
    for name, value in (("top_k", 1), ("top_p", 0.01), ("min_p", 1.0)):
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
def test_perplexity_of_the_embedded_model_equals_plain_hugging_face(smollm2: Pair) -> None:
    model = smollm2.model
    runs = {"plain": (), "steered": steer(vectors_of(model), [10, 20], 2.0)}
    prompts = PROMPTS[:2]
    texts = generate(model, prompts, 16, temperature=0.7)
    table = perplexity(model, prompts, texts, runs)
    answered = [Prompt(p.user, text, p.system) for p, text in zip(prompts, texts, strict=True)]
    sequences = model.tokenise_all(answered)
    expected = [entropy(smollm2.plain, s, edits) for edits in runs.values() for s in sequences]
    np.testing.assert_allclose(table.cross_entropy, expected, atol=1e-3)
    assert expected[2] - expected[0] > 0.1
