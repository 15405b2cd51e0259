"""Edits: their positions and formulas, purity, no effect at strength 0, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import CHAT, byte_tokenizer, error_without_type_checks
from tokenizers import models, pre_tokenizers
from transformers import BatchEncoding, PreTrainedTokenizerFast

from interp_culture.engine.gradients import predict_runs
from interp_culture.engine.interventions import OPERATIONS, Edit
from interp_culture.engine.logprobs import next_token_logits
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.token_tree import Batch, TokenSequence, make_batches
from interp_culture.errors import InputError
from interp_culture.readout.prompts import continuation_prompts, letter_prompts
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.edits import steer
from interp_culture.steering.vectors import SteeringVectors


@pytest.fixture
def batch() -> Batch:
    options = ((1, 2),)
    groups = [
        [TokenSequence((3, 4, 5), (6, 7, 8), options), TokenSequence((3, 4, 5), (9, 9), options)],
        [TokenSequence((3,), (4, 5))],
    ]
    (made,) = make_batches(groups, pad=0, batch_tokens=1000)
    return made


@pytest.mark.parametrize(
    ("positions", "first", "second"),
    [
        ("all", [1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]),
        ("prompt", [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]),
        ("answer", [0, 0, 0, 1, 1, 1], [0, 1, 0, 0, 0, 0]),
        ("last", [0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]),
        ("options", [0, 1, 0, 1, 1, 1], [0, 1, 0, 0, 0, 0]),
        ((1, 4), [0, 1, 1, 1, 0, 1], [0, 1, 0, 0, 0, 0]),
    ],
)
def test_positions(batch: Batch, positions: object, first: list[int], second: list[int]) -> None:
    edit = Edit(0, torch.ones(2), 3.0, positions=positions)  # type: ignore[arg-type]
    before = torch.zeros(*batch.tokens.shape, 2)
    after = edit.apply(before, batch)
    assert (after[..., 0] / 3).int().tolist() == [first, second]
    assert torch.equal(before, torch.zeros_like(before))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_strength_zero_changes_no_bit_and_the_dtype_is_kept(batch: Batch, operation: Any) -> None:
    activation = torch.randn(*batch.tokens.shape, 8).bfloat16()
    activation[0, 0] = 0
    after = Edit(0, torch.randn(8), 0.0, operation).apply(activation, batch)
    assert after.dtype == torch.bfloat16
    assert torch.equal(after, activation)


def test_ablation_leaves_nothing_along_the_vector_and_projection_nothing_else(batch: Batch) -> None:
    h = torch.randn(*batch.tokens.shape, 8)
    v = torch.randn(8)
    along = (h @ v / (v @ v))[..., None] * v
    changed = {
        o: Edit(0, v, 1.0, o).apply(h, batch)[~batch.is_padding] for o in ("ablate", "project")
    }
    assert (changed["ablate"] @ v).abs().max() < 1e-5
    torch.testing.assert_close(changed["project"], along[~batch.is_padding], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(changed["ablate"] + changed["project"], h[~batch.is_padding])


def test_a_norm_is_preserved_and_the_direction_is_that_of_the_sum(batch: Batch) -> None:
    h = torch.randn(*batch.tokens.shape, 8)
    v = torch.randn(8)
    h[0, 0] = -2 * v  # h + 2 v is 0 there, which has no direction
    after = Edit(0, v, 2.0, "add_preserving_norm").apply(h, batch)
    assert torch.equal(after[0, 0], torch.zeros(8))
    assert (torch.nn.functional.cosine_similarity(after, h + 2 * v, dim=-1)[0, 1:] > 0.9999).all()
    torch.testing.assert_close(after.norm(dim=-1)[0, 1:], h.norm(dim=-1)[0, 1:])


def test_new_operations_compute_in_float32(batch: Batch) -> None:
    h = (100 * torch.randn(*batch.tokens.shape, 64)).bfloat16()
    v = torch.randn(64)
    for operation in ("ablate", "project", "add_preserving_norm"):
        edit = Edit(0, v, 1.0, operation)
        assert torch.equal(edit.apply(h, batch), edit.apply(h.float(), batch).bfloat16())


# -- the words of the options ---------------------------------------------------------------------


def options_of(model: LanguageModel, *prompts: Prompt) -> list[list[int]]:
    """For each prompt the tokens that an edit of the options changes."""
    (batch,) = make_batches([model.tokenise_all(prompts)], pad=0, batch_tokens=10_000)
    where = Edit(0, torch.ones(2), 1.0, positions="options").where(batch)
    return [where[path.row, path.positions].nonzero()[:, 0].tolist() for path in batch.paths]


@pytest.mark.parametrize(("system", "persona"), [(None, 0), ("Be Tea.", 18)])
def test_options_are_the_tokens_of_their_words(
    tiny: LanguageModel, few: ScenarioSet, system: str | None, persona: int
) -> None:
    """One token per byte, and é has two bytes. The words occur elsewhere in the prompt too."""
    words = {"situation": "Café? Tea.", "positive": "Tea", "negative": "Café"}
    scenario = few.scenarios[0].model_copy(update=words)
    letters = [p.prompt for p in letter_prompts(scenario, system=system)]
    # <|user|>, the situation, a blank line and "Option A: " are 31 bytes;
    # a line's end and "Option B: " are 11.
    first = persona + 31
    assert options_of(tiny, *letters) == [
        [*range(first, first + 3), *range(first + 14, first + 19)],
        [*range(first, first + 5), *range(first + 16, first + 19)],
    ]
    continuations = continuation_prompts(scenario, system)
    start = len(tiny.tokenise(continuations[0]).prompt)
    assert options_of(tiny, *continuations) == [
        [start, start + 1],
        [start, start + 1, start + 2, start + 3],
    ]
    assert options_of(tiny, Prompt("Tea?")) == [[]]
    assert options_of(tiny, Prompt("Tea?", system="Tea?", options=((0, 3),))) == [[23, 24, 25]]


def with_tokenizer(tiny: LanguageModel, tokenizer: Any) -> LanguageModel:
    return LanguageModel(tiny.bridge, tokenizer, "tiny")


def test_a_token_that_holds_a_part_of_an_option_counts_and_mere_space_before_it_does_not(
    tiny: LanguageModel,
) -> None:
    tokenizer = byte_tokenizer(CHAT.replace("m.content", "m.content | trim"))
    merges = [("Ġ", "T"), ("a", ".")]
    vocab = {**tokenizer.get_vocab(), "ĠT": 300, "a.": 301}
    tokenizer.backend_tokenizer.model = models.BPE(vocab=vocab, merges=merges)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    model = with_tokenizer(tiny, tokenizer)
    assert model.render(Prompt("  A Tea. ")) == "<|user|>A Tea.\n<|assistant|>"
    # " T", "e", "a."
    assert options_of(model, Prompt("  A Tea. ", options=((4, 7),))) == [[9, 10, 11]]
    # "e", "a.", after " "
    assert options_of(model, Prompt("A ea.", options=((2, 4),))) == [[10, 11]]


class Slow(PreTrainedTokenizerFast):
    """A tokenizer without character offsets, as slow ones are."""

    def __call__(self, *args: Any, **kwargs: Any) -> BatchEncoding:
        return BatchEncoding({"input_ids": super().__call__(*args, **kwargs).input_ids})


def test_options_that_cannot_be_found_raise_where_they_are_wanted(tiny: LanguageModel) -> None:
    slow = Slow(tokenizer_object=byte_tokenizer().backend_tokenizer)
    slow.chat_template = CHAT
    prompt = Prompt("Tea?", options=((0, 3),))
    for tokenizer in (slow, byte_tokenizer(CHAT.replace("m.content", "m.content | upper"))):
        model = with_tokenizer(tiny, tokenizer)
        with pytest.raises(
            InputError, match="the options' words cannot be found among the prompt's tokens"
        ):
            options_of(model, prompt)
        assert options_of(model, Prompt("Tea?", "Yes")) == [
            [len(model.tokenise(prompt).prompt) + n for n in range(2)]
        ]


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("hook_point='hook_resid'", "unknown hook point 'hook_resid'; known: hook_resid_pre"),
        ("positions='every'", "unknown positions 'every'; known: all, prompt, answer, last"),
        (
            "operation='multiply'",
            "unknown operation 'multiply'; known: add, ablate, project, add_preserving_norm",
        ),
    ],
)
def test_unknown_names_raise(wrong: str, message: str) -> None:
    call = (
        "import torch; from interp_culture.engine.interventions import Edit; "
        f"Edit(0, torch.ones(2), 1.0, {wrong})"
    )
    assert message in error_without_type_checks(call)


@pytest.mark.parametrize("operation", ["ablate", "project"])
def test_a_vector_without_a_direction_raises(operation: Any) -> None:
    with pytest.raises(
        InputError, match=f"field 'vector' has length 0, so it has no direction to {operation}"
    ):
        Edit(0, torch.zeros(3), 1.0, operation)
    Edit(0, torch.zeros(3), 1.0, "add_preserving_norm")


def test_gradients_predict_added_vectors_alone(tiny: LanguageModel) -> None:
    vectors = SteeringVectors(
        "X", "made", torch.ones(4, tiny.d_model), torch.ones(4), {"model": tiny.name}
    )
    edits = steer(vectors, [1, 2], 1.0, "options", "ablate")
    assert [(e.layer, e.operation, e.positions) for e in edits] == [
        (1, "ablate", "options"),
        (2, "ablate", "options"),
    ]
    with pytest.raises(
        InputError, match="operation 'ablate': gradients predict what an added vector does"
    ):
        predict_runs(
            tiny, [[TokenSequence((3, 4))]], {"": edits}, next_token_logits([5]), np.ones((1, 1, 2))
        )
