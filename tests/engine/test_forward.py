"""Batched, shared, stacked and resumed passes equal single passes of plain Hugging Face."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import torch
from conftest import Pair, byte_tokenizer, make_pair
from prompt_groups import groups_of
from reference import forward
from torch import Tensor
from transformer_lens.model_bridge import generalized_components
from zoo import entry

from interp_culture.engine import batching
from interp_culture.engine.batching import over_batches
from interp_culture.engine.components import Component, attention_class, transparent_classes
from interp_culture.engine.forward import resume, stacks, trace
from interp_culture.engine.interventions import HOOK_POINTS, OPERATIONS, Edit
from interp_culture.engine.logprobs import answer_logprob, next_token_logits, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.token_tree import Batch, TokenSequence, make_batches
from interp_culture.errors import InputError

TOLERANCE = 1e-4
POSITIONS: list[Any] = ["all", "prompt", "answer", "last", "options", (2, 40)]
BY_HAND: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "add": lambda h, v, s: h + s * v,
    "ablate": lambda h, v, s: h @ (torch.eye(len(v)) - s * torch.outer(v, v) / (v @ v)),
    "project": lambda h, v, s: h @ ((1 - s) * torch.eye(len(v)) + s * torch.outer(v, v) / (v @ v)),
    "add_preserving_norm": lambda h, v, s: (
        torch.nn.functional.normalize(h + s * v, dim=-1) * h.norm(dim=-1)[..., None]
    ),
}


def batches_of(
    model: LanguageModel, groups: list[list[TokenSequence]], share: bool, size: int = 3000
) -> list[Batch]:
    return make_batches(groups, pad=model.pad_token, batch_tokens=size, share_stem=share)


def edited_tokens(sequence: TokenSequence, positions: Any) -> Tensor:
    """Which input tokens an edit of these positions changes, by hand."""
    depth = torch.arange(len(sequence.inputs))
    start = len(sequence.prompt)
    if isinstance(positions, tuple):
        return (depth >= positions[0]) & (depth < positions[1])
    by_name = {
        "all": depth >= 0,
        "prompt": depth < start,
        "answer": depth >= start,
        "last": depth == start - 1,
    }
    by_name["options"] = by_name["answer"].clone()
    for first, stop in sequence.options or ():
        by_name["options"][first:stop] = True
    return by_name[positions]


def by_hand(
    edits: Sequence[Edit], sequence: TokenSequence
) -> dict[int, Callable[[Tensor], Tensor]]:
    def change(edit: Edit) -> Callable[[Tensor], Tensor]:
        where = edited_tokens(sequence, edit.positions)[:, None]
        return lambda h: torch.where(
            where, BY_HAND[edit.operation](h, edit.vector, edit.strength), h
        )

    return {edit.layer: change(edit) for edit in edits}


def worst_difference(
    pair: Pair,
    groups: list[list[TokenSequence]],
    runs: Sequence[Sequence[Edit]],
    share: bool = True,
    size: int = 3000,
) -> float:
    """Largest absolute difference of logits between resumed runs and single sequences."""
    worst = 0.0
    for batch in batches_of(pair.model, groups, share, size):
        kept = trace(pair.model, batch, layers=range(pair.model.n_layers + 1))
        for edits, final in zip(runs, resume(pair.model, kept, runs), strict=True):
            for path in batch.paths:
                sequence = groups[path.group][path.member]
                expected, _ = forward(pair.plain, sequence.inputs, by_hand(edits, sequence))
                ours = pair.model.logits(final[path.row, torch.from_numpy(path.reads)])
                worst = max(worst, float((ours - expected[len(sequence.prompt) - 1 :]).abs().max()))
    return worst


def edit(
    model: LanguageModel, layer: int, seed: int = 0, strength: float = 3.0, **kwargs: Any
) -> Edit:
    width = model.width_at(layer, kwargs.get("hook_point", "hook_resid_post"))
    vector = torch.randn(width, generator=torch.Generator().manual_seed(seed + layer))
    return Edit(layer, vector, strength, **kwargs)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("positions", POSITIONS)
def test_stacked_runs_equal_hand_written_hooks(pair: Pair, positions: Any, share: bool) -> None:
    """First, last, several layers and none in one stack; grouped queries, sliding windows."""
    model = pair.model
    groups = groups_of(model)
    assert any(b.stem is not None for b in batches_of(model, groups, share)) == share
    last = model.n_layers - 1
    runs = [
        [edit(model, n, positions=positions) for n in layers]
        for layers in ((last,), (0, 2, last), (1,), (0,))
    ]
    assert worst_difference(pair, groups, [*runs, []], share) <= TOLERANCE


@pytest.mark.parametrize("strength", [1.0, -0.6])
def test_every_operation_equals_hand_written_hooks(pair: Pair, strength: float) -> None:
    """At the start of a run and after it, in one stack with the others."""
    model = pair.model
    groups = groups_of(model)
    runs = [
        [
            edit(model, layer, strength=strength, operation=operation, positions=positions)
            for layer in (n // 2, 3)
        ]
        for n, (operation, positions) in enumerate(
            zip(OPERATIONS, ("all", "options", "prompt", "all"), strict=True)
        )
    ]
    (batch,) = batches_of(model, groups, share=True)
    plain = trace(model, batch, layers=range(4))
    assert all((final - plain.final).abs().max() > 0.01 for final in resume(model, plain, runs))
    assert worst_difference(pair, groups, runs) <= TOLERANCE


def test_strength_zero_is_the_plain_pass(tiny: LanguageModel) -> None:
    (batch,) = batches_of(tiny, groups_of(tiny), share=True)
    plain = trace(tiny, batch, layers=[1])
    for final in resume(
        tiny, plain, [[edit(tiny, 0, strength=0.0, operation=o)] for o in OPERATIONS]
    ):
        torch.testing.assert_close(final, plain.final, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 3000])
def test_plain_passes_equal_plain_hugging_face_in_batches_of_any_size(
    pair: Pair, size: int
) -> None:
    groups = groups_of(pair.model)
    assert len({len(s.inputs) for members in groups for s in members}) > 3
    assert worst_difference(pair, groups, [[]], size=size) <= TOLERANCE


@pytest.mark.parametrize("side", ["left", "right"])
def test_reads_equal_padded_batches_of_plain_hugging_face(pair: Pair, side: str) -> None:
    """The padding side of the other implementation makes no difference."""
    model = pair.model
    groups = groups_of(model)
    scores = score_runs(model, groups, {"": ()}, next_token_logits([5, 7]))[""]
    ours = scores[..., :2].reshape(-1, 2)
    prompts = [s.prompt for members in groups for s in members]
    width = max(map(len, prompts))
    tokens = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros(len(prompts), width)
    for row, prompt in enumerate(prompts):
        where = slice(width - len(prompt), width) if side == "left" else slice(0, len(prompt))
        tokens[row, where] = torch.tensor(prompt)
        mask[row, where] = 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0).long()
    with torch.no_grad():
        logits = pair.plain(
            tokens, attention_mask=mask.long(), position_ids=positions, use_cache=False
        ).logits
    at = torch.full((len(prompts),), width - 1) if side == "left" else mask.sum(-1).long() - 1
    expected = logits[torch.arange(len(prompts)), at][:, [5, 7]]
    torch.testing.assert_close(torch.from_numpy(ours).float(), expected, atol=TOLERANCE, rtol=1e-4)


def test_residual_streams_equal_plain_hugging_face_at_every_layer(pair: Pair) -> None:
    groups = groups_of(pair.model)
    for batch in batches_of(pair.model, groups, share=True):
        kept = trace(pair.model, batch, layers=range(1, pair.model.n_layers + 1))
        assert kept.stem is not None
        for path in batch.paths:
            _, resid = forward(pair.plain, groups[path.group][path.member].inputs)
            for layer, expected in enumerate(resid, 1):
                rows = kept.resid[layer][path.row, torch.from_numpy(path.positions)]
                ours = torch.cat([kept.stem.resid[layer][0], rows])
                torch.testing.assert_close(ours, expected, atol=TOLERANCE, rtol=1e-4)


def test_long_prompts_and_stems_respect_the_sliding_window() -> None:
    pair = make_pair("gemma3_text")
    model = pair.model
    window = model.text_config.sliding_window
    groups = [
        [
            model.tokenise(Prompt("word " * 12 + end, answer))
            for answer in ("yes it is", "no, not at all")
        ]
        for end in ("and this is quite long", "or short")
    ]
    (batch,) = batches_of(model, groups, share=True)
    assert batch.stem is not None
    assert batch.stem.tokens.shape[1] > 2 * window
    assert batch.tokens.shape[1] > window
    runs = [[], [edit(model, 1)]]
    assert worst_difference(pair, groups, runs, share=True) <= TOLERANCE
    assert worst_difference(pair, groups, runs, share=False) <= TOLERANCE


@pytest.mark.parametrize("hook_point", HOOK_POINTS)
def test_resuming_equals_a_whole_steered_pass(pair: Pair, hook_point: str) -> None:
    model = pair.model
    runs = [
        [edit(model, layer, hook_point=hook_point) for layer in layers] for layers in ((1, 3), (2,))
    ]
    for batch in batches_of(model, groups_of(model), share=True):
        plain = trace(model, batch, layers=[1, 2, 3])
        resumed = resume(model, plain, [*runs, []])
        for edits, final in zip(runs, resumed, strict=False):
            torch.testing.assert_close(
                final, trace(model, batch, edits).final, atol=1e-5, rtol=1e-5
            )
            assert (final - plain.final).abs().max() > 0.1
        torch.testing.assert_close(resumed[-1], plain.final, atol=1e-5, rtol=1e-5)
        assert torch.equal(resume(model, plain, [[]])[0], plain.final)


def test_edits_on_one_stream_act_in_the_order_of_their_hook_points(tiny: LanguageModel) -> None:
    """The output of a block comes before the input of the next one, however they are listed."""
    (batch,) = batches_of(tiny, groups_of(tiny), share=True)
    vector = torch.linspace(-1, 1, tiny.d_model)
    after = Edit(1, vector, 2.0)
    before_next = Edit(2, vector, 1.0, operation="ablate", hook_point="hook_resid_pre")
    whole = trace(tiny, batch, [before_next, after]).final
    (resumed,) = resume(tiny, trace(tiny, batch, layers=[2]), [[before_next, after]])
    torch.testing.assert_close(resumed, whole, rtol=1e-5, atol=1e-5)


def test_blocks_after_the_last_wanted_layer_are_not_computed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pair.model
    groups = groups_of(model)
    (batch,) = batches_of(model, groups, share=True)
    whole = trace(model, batch, layers=[1, 2])
    ran: list[int] = []
    # Counted without hooks, since the user's hooks see whole passes.
    for n, block in enumerate(model.bridge.blocks):
        mlp = block.mlp.original_component
        counted = lambda *args, n=n, own=mlp.forward: (ran.append(n), own(*args))[1]  # noqa: E731
        monkeypatch.setattr(mlp, "forward", counted)
    cut = trace(model, batch, layers=[1, 2], final=False)
    monkeypatch.undo()
    assert set(ran) == {0, 1}
    assert set(cut.resid) == {1, 2}
    assert all(torch.equal(cut.resid[layer], whole.resid[layer]) for layer in (1, 2))
    edits = [edit(model, 1), edit(model, 3)]
    assert torch.equal(resume(model, cut, [edits]), resume(model, whole, [edits]))
    assert torch.equal(trace(model, batch).final, whole.final)  # no block is still skipped


def test_scores_are_the_same_however_the_work_is_cut(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = [members[2:4] for members in groups_of(tiny)]
    runs = {
        "plain": (),
        **{(layer, seed): [edit(tiny, layer, seed)] for layer in (0, 3) for seed in (1, 2)},
    }
    whole = score_runs(tiny, groups, runs, answer_logprob)
    for size in (1, 100):
        monkeypatch.setitem(batching.BATCH_TOKENS, "cpu", size)
        cut = score_runs(tiny, groups, runs, answer_logprob)
        assert list(cut) == list(runs)
        for key, values in whole.items():
            assert abs(values - cut[key]).max() <= TOLERANCE


def test_runs_stack_up_to_the_batch_in_the_order_of_their_layers(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batches([[TokenSequence((1, 2, 3, 4))]], pad=0, batch_tokens=100)[0]
    monkeypatch.setitem(batching.BATCH_TOKENS, "cpu", 8)  # two rows
    runs = {
        "a": [edit(tiny, 1)],
        "b": [edit(tiny, 2)],
        "c": [edit(tiny, 0)],
        "d": [edit(tiny, 1)],
        "e": [],
    }
    assert [list(stack) for stack in stacks(tiny, runs, batch)] == [["c", "a"], ["d", "b"], ["e"]]


def test_batches_are_halved_when_memory_runs_out() -> None:
    tiny = make_pair("llama").model
    groups = [[TokenSequence((*range(20, 30), 3, n))] for n in range(13)]
    sizes = []

    def work(batch: Batch) -> list[int]:
        sizes.append(len(batch.tokens))
        if len(batch.tokens) > 3:
            raise torch.OutOfMemoryError("on purpose")
        return [p.group for p in batch.paths]

    done = [group for part in over_batches(tiny, groups, work) for group in part]
    assert sorted(done) == list(range(13))
    assert max(sizes) == 13
    assert sizes.count(13) == 1
    sizes.clear()
    assert sum(len(part) for part in over_batches(tiny, groups, work)) == 13
    assert max(sizes) <= 3  # the model remembers the limit
    assert tiny.batch_limit is not None


def test_a_row_that_does_not_fit_and_other_errors_are_raised(tiny: LanguageModel) -> None:
    def full(batch: Batch) -> None:
        raise RuntimeError("MPS backend out of memory")

    def broken(batch: Batch) -> None:
        raise RuntimeError("on purpose")

    groups = [[TokenSequence((1, 2, 3))]]
    with pytest.raises(InputError, match="one row of 3 tokens does not fit the device's memory"):
        list(over_batches(tiny, groups, full))
    with pytest.raises(RuntimeError, match="on purpose"):
        list(over_batches(tiny, groups, broken))


def test_no_hook_survives_an_exception(tiny: LanguageModel) -> None:
    (batch,) = batches_of(tiny, [[tiny.tokenise(Prompt("hello"))]], share=True)
    before = trace(tiny, batch)

    class Broken(Edit):
        def apply(self, activation, batch):  # type: ignore[no-untyped-def]
            raise RuntimeError("on purpose")

    broken = Broken(1, torch.ones(tiny.d_model), 5.0, hook_point="hook_attn_out")
    with pytest.raises(RuntimeError, match="on purpose"):
        trace(tiny, batch, [broken])
    with pytest.raises(RuntimeError, match="on purpose"):
        resume(tiny, trace(tiny, batch, layers=[1]), [[broken]])
    assert not tiny.is_hooked
    assert torch.equal(trace(tiny, batch).final, before.final)


# -- components without hook points ---------------------------------------------------------------


def class_counts(components: Iterable[Component]) -> Counter[type]:
    return Counter(type(component.module) for component in components)


def test_components_are_recognised_by_the_classes_of_transformer_lens() -> None:
    """Fails where TransformerLens renames or moves a class, or builds a Llama of other ones."""
    components = make_pair("llama").model.components
    linear = generalized_components.LinearBridge
    assert class_counts(components.attentions) == {attention_class(): 4}
    assert class_counts(part for a in components.attentions for part in a.parts) == {linear: 16}
    assert class_counts(components.others) == {
        linear: 12,
        generalized_components.RMSNormalizationBridge: 9,
        generalized_components.GatedMLPBridge: 4,
    }


def test_layer_norms_and_plain_mlps_are_recognised_and_attentions_of_another_class_are_not() -> (
    None
):
    gpt2 = LanguageModel.wrap(entry("GPT-2").build(), byte_tokenizer(), "gpt2")
    assert gpt2.components.attentions == ()
    assert class_counts(gpt2.components.others) == {
        generalized_components.NormalizationBridge: 9,
        generalized_components.LinearBridge: 8,
        generalized_components.MLPBridge: 4,
    }
    assert {type(c.module) for c in gpt2.components.others} <= transparent_classes()


def test_subclasses_of_transparent_classes_are_left_as_they_are() -> None:
    """A subclass may compute something else."""
    model = make_pair("llama").model

    class Doubled(generalized_components.GatedMLPBridge):
        pass

    model.bridge.blocks[1].mlp.__class__ = Doubled
    assert Doubled not in class_counts(model.components.others)
    assert class_counts(model.components.others)[generalized_components.GatedMLPBridge] == 3


@pytest.mark.slow
def test_embedded_model_equals_plain_hugging_face(smollm2: Pair) -> None:
    groups = groups_of(smollm2.model)
    torch.manual_seed(3)
    edits = [Edit(layer, torch.randn(smollm2.model.d_model) * 0.3, 4.0) for layer in (5, 20)]
    assert worst_difference(smollm2, groups, [[], edits]) <= TOLERANCE
