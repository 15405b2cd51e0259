"""The model against plain Hugging Face, sequence by sequence."""

from __future__ import annotations

import pytest
import torch
from conftest import CHAT, Pair, byte_tokenizer, make_pair
from reference import forward

from interp_culture.errors import InputError
from interp_culture.interventions import Edit
from interp_culture.model import LanguageModel
from interp_culture.prompts import Prompt, continuation_prompts, letter_prompts
from interp_culture.scenarios import ScenarioSet
from interp_culture.token_tree import TokenSequence

TOLERANCE = 1e-4


def groups_of(model: LanguageModel, scenarios: ScenarioSet) -> list[list[TokenSequence]]:
    """Both readouts' prompts: shared prefixes, unequal lengths, answers of several tokens."""
    prompts = [
        [*(p.prompt for p in letter_prompts(s)), *continuation_prompts(s, system="You are careful.")] for s in scenarios
    ]
    return [[model.tokenise(p) for p in members] for members in prompts]


def worst_difference(pair: Pair, groups: list[list[TokenSequence]], row_tokens: int, edits: list[Edit]) -> float:
    """Largest absolute difference of the logits at all read positions, batched trees against single sequences."""
    worst = 0.0
    change = {e.layer: (lambda h, e=e: h + e.strength * e.vector) for e in edits}
    for batch in pair.model.batches(groups, row_tokens=row_tokens):
        trace = pair.model.trace(batch, edits)
        for path in batch.paths:
            sequence = groups[path.group][path.member]
            expected, _ = forward(pair.plain, sequence.inputs, change)
            ours = pair.model.logits(trace.final[path.row, torch.from_numpy(path.reads)])
            worst = max(worst, float((ours - expected[len(sequence.prompt) - 1 :]).abs().max()))
    return worst


@pytest.mark.parametrize("row_tokens", [1, 2000])
def test_logits_equal_plain_hugging_face_in_batches_and_trees(pair: Pair, few: ScenarioSet, row_tokens: int) -> None:
    few = ScenarioSet(few.scenarios[::5], few.catalogue)
    groups = groups_of(pair.model, few)
    assert len({len(s.inputs) for members in groups for s in members}) > 3
    assert worst_difference(pair, groups, row_tokens, []) <= TOLERANCE


def test_steered_logits_equal_a_hand_written_hook(pair: Pair, few: ScenarioSet) -> None:
    few = ScenarioSet(few.scenarios[::7], few.catalogue)
    groups = groups_of(pair.model, few)
    torch.manual_seed(1)
    edits = [Edit(layer, torch.randn(pair.model.d_model), 3.0) for layer in (0, 2, 3)]
    assert worst_difference(pair, groups, 2000, edits) <= TOLERANCE
    assert worst_difference(pair, groups, 2000, edits[:1]) <= TOLERANCE


def test_residual_streams_equal_plain_hugging_face_at_every_layer(pair: Pair, few: ScenarioSet) -> None:
    groups = groups_of(pair.model, ScenarioSet(few.scenarios[:3], few.catalogue))
    for batch in pair.model.batches(groups):
        trace = pair.model.trace(batch, layers=range(1, pair.model.n_layers + 1))
        for path in batch.paths:
            _, resid = forward(pair.plain, groups[path.group][path.member].inputs)
            for layer, expected in enumerate(resid):
                ours = trace.resid[layer + 1][path.row, torch.from_numpy(path.positions)]
                torch.testing.assert_close(ours, expected, atol=TOLERANCE, rtol=1e-4)


def test_long_prompts_respect_the_sliding_window() -> None:
    pair = make_pair("gemma3_text")
    groups = [[pair.model.tokenise(Prompt("word " * 40, answer)) for answer in ("yes it is", "no, not at all")]]
    assert min(len(s.prompt) for s in groups[0]) > 3 * pair.model.text_config.sliding_window
    assert worst_difference(pair, groups, 2000, []) <= TOLERANCE


@pytest.mark.parametrize("hook_point", ["hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out"])
def test_resuming_equals_a_whole_steered_pass(pair: Pair, few: ScenarioSet, hook_point: str) -> None:
    model = pair.model
    torch.manual_seed(2)
    edits = [Edit(layer, torch.randn(model.d_model), 2.0, hook_point=hook_point) for layer in (1, 3)]
    for batch in model.batches(groups_of(model, ScenarioSet(few.scenarios[:4], few.catalogue))):
        plain = model.trace(batch, layers=[1])
        resumed = model.resume(plain, edits)
        torch.testing.assert_close(resumed, model.trace(batch, edits).final, atol=1e-5, rtol=1e-5)
        assert (resumed - plain.final).abs().max() > 0.1
        assert torch.equal(model.resume(plain, []), plain.final)


def test_no_hook_survives_an_exception(tiny: LanguageModel) -> None:
    batch = tiny.batches([[tiny.tokenise(Prompt("hello"))]])[0]
    before = tiny.trace(batch).final

    class Broken(Edit):
        def apply(self, activation, batch):  # type: ignore[no-untyped-def]
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        tiny.trace(batch, [Broken(1, torch.ones(tiny.d_model), 5.0)])
    assert not tiny.is_hooked
    assert torch.equal(tiny.trace(batch).final, before)


def test_chat_template_is_applied_once_without_a_second_bos() -> None:
    template = "{{ bos_token }}" + CHAT
    model = make_pair("llama", chat_template=template, bos=True).model
    tokens = model.tokenise(Prompt("hi", system="be brief")).prompt
    assert tokens.count(1) == 1
    assert tokens[0] == 1
    assert model.render(Prompt("hi", system="be brief")) == "<bos><|system|>be brief\n<|user|>hi\n<|assistant|>"


def test_persona_goes_to_the_user_turn_where_the_template_has_no_system_role() -> None:
    for template in (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT,
        CHAT.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}"),
    ):
        model = make_pair("llama", chat_template=template).model
        assert model.render(Prompt("hi", system="be brief")) == "<|user|>be brief\n\nhi\n<|assistant|>"


def test_models_without_a_chat_template_get_the_plain_prompt() -> None:
    model = make_pair("llama", chat_template=None, bos=True).model
    sequence = model.tokenise(Prompt("hi", "yes", system="be brief"))
    assert model.tokenizer.decode(sequence.prompt) == "<bos>be brief\n\nhi\nAnswer:"
    assert model.tokenizer.decode(sequence.answer) == " yes"
    assert model.tokenise_text("hi").prompt == (1, *byte_tokenizer().encode("hi", add_special_tokens=False))


def test_edits_that_do_not_fit_raise(tiny: LanguageModel) -> None:
    good = torch.zeros(tiny.d_model)
    with pytest.raises(InputError, match="layer 4 is out of range: tiny-llama has layers 0 to 3"):
        tiny.check_edits([Edit(4, good, 1.0)])
    with pytest.raises(InputError, match=r"shape \(3,\) does not fit tiny-llama \(d_model 32\)"):
        tiny.check_edits([Edit(0, torch.zeros(3), 1.0)])
    with pytest.raises(InputError, match="extracted on 'other', not on 'tiny-llama'"):
        tiny.check_edits([Edit(0, good, 1.0, model="other")])


@pytest.mark.slow
def test_embedded_model_equals_plain_hugging_face(smollm2: Pair, few: ScenarioSet) -> None:
    groups = groups_of(smollm2.model, ScenarioSet(few.scenarios[::6], few.catalogue))
    torch.manual_seed(3)
    edits = [Edit(layer, torch.randn(smollm2.model.d_model) * 0.3, 4.0) for layer in (5, 20)]
    assert worst_difference(smollm2, groups, 320, []) <= TOLERANCE
    assert worst_difference(smollm2, groups, 320, edits) <= TOLERANCE
