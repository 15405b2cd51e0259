"""The language model: chat formats, the unembedding, identity, edits that do not fit."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace

import pytest
import torch
from conftest import CHAT, Pair, byte_tokenizer, make_pair, tiny_hf

from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.unembedding import VOCABULARY_ROWS
from interp_culture.errors import InputError
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.steering.edits import steer
from interp_culture.steering.vectors import SteeringVectors


def test_chat_template_is_applied_once_without_a_second_bos() -> None:
    template = "{{ bos_token }}" + CHAT
    model = make_pair("llama", chat_template=template, bos=True).model
    tokens = model.tokenise(Prompt("hi", system="be brief")).prompt
    assert tokens.count(1) == 1
    assert tokens[0] == 1
    assert (
        model.render(Prompt("hi", system="be brief"))
        == "<bos><|system|>be brief\n<|user|>hi\n<|assistant|>"
    )


def test_persona_goes_to_the_user_turn_where_the_template_has_no_system_role() -> None:
    for template in (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        + CHAT,
        CHAT.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}"),
    ):
        model = make_pair("llama", chat_template=template).model
        assert (
            model.render(Prompt("hi", system="be brief")) == "<|user|>be brief\n\nhi\n<|assistant|>"
        )


def test_models_without_a_chat_template_get_the_plain_prompt() -> None:
    model = make_pair("llama", chat_template=None, bos=True).model
    sequence = model.tokenise(Prompt("hi", "yes", system="be brief"))
    assert model.tokenizer.decode(sequence.prompt) == "<bos>be brief\n\nhi\nAnswer:"
    assert model.tokenizer.decode(sequence.answer) == " yes"
    assert model.tokenise_text("hi").prompt == (
        1,
        *byte_tokenizer().encode("hi", add_special_tokens=False),
    )


def test_edits_that_do_not_fit_raise(tiny: LanguageModel) -> None:
    good = torch.zeros(tiny.d_model)
    with pytest.raises(InputError, match="layer 4 is out of range: tiny-llama has layers 0 to 3"):
        tiny.check_edits([Edit(4, good, 1.0)])
    with pytest.raises(InputError, match=r"shape \(3,\) does not fit tiny-llama \(d_model 32\)"):
        tiny.check_edits([Edit(0, torch.zeros(3), 1.0)])
    with pytest.raises(InputError, match="extracted on 'other', not on 'tiny-llama'"):
        tiny.check_edits([Edit(0, good, 1.0, model="other")])


def test_a_copy_measures_its_own_readouts(tiny: LanguageModel) -> None:
    """Its tokenizer may differ, so what was measured on the first model does not hold."""
    copy = replace(tiny, name="copy")
    form = ReadoutFormat("letters", prefix="")
    copy.readout_checks.validity[form] = "measured on the copy"
    assert tiny.readout_checks.validity.get(form) != "measured on the copy"


def test_edits_are_tied_to_the_weights_not_to_the_name(tiny: LanguageModel) -> None:
    other = make_pair("qwen3").model
    renamed = replace(tiny, name="renamed")
    good = torch.ones(tiny.d_model)
    weights = tiny.identity.weights
    renamed.check_edits([Edit(0, good, 1.0, model=tiny.name, weights=weights)])
    with pytest.raises(InputError, match=r'the weights are not.*origin="any"'):
        replace(other, name=tiny.name).check_edits(
            [Edit(0, good, 1.0, model=tiny.name, weights=weights)]
        )
    about = {"model": tiny.name, **asdict(tiny.identity)}
    v = SteeringVectors("X", "mean_diff", torch.ones(4, tiny.d_model), torch.ones(4), about)
    other.check_edits(steer(v, [0], 1.0, origin="any"))
    with pytest.raises(InputError, match="was extracted on 'tiny-llama'"):
        other.check_edits(steer(v, [0], 1.0))


def test_identity_depends_on_weights_and_not_on_name_and_dtype() -> None:
    plain = tiny_hf("llama")
    half = copy.deepcopy(plain).to(torch.bfloat16)
    one = LanguageModel.wrap(plain, byte_tokenizer(), "a")
    same = LanguageModel.wrap(half, byte_tokenizer(), "b")
    other = LanguageModel.wrap(tiny_hf("llama", seed=1), byte_tokenizer(None), "a")
    assert one.identity == same.identity
    assert one.identity.weights != other.identity.weights
    assert one.identity.tokenizer == other.identity.tokenizer
    assert other.identity.template is None
    same.tokenizer(["a", "bb"], padding=True, truncation=True, max_length=4)
    assert replace(same).identity.tokenizer == one.identity.tokenizer


def test_logits_of_a_16_bit_model_are_not_rounded_to_its_dtype() -> None:
    model = make_pair("llama").model
    model.bridge.original_model.bfloat16()
    model.bridge.unembed.original_component.weight.mul_(20)  # logits as large as in real models
    resid = torch.randn(6, model.d_model).bfloat16()
    weight = model.bridge.unembed.original_component.weight
    normed = model.bridge.ln_final(resid[None])[0]
    exact = normed.double() @ weight.double().T
    assert model.logits(resid).dtype == torch.float32
    torch.testing.assert_close(model.logits(resid).double(), exact, atol=1e-3, rtol=1e-5)
    rounded = (normed @ weight.T).double()
    assert (rounded - exact).abs().max() > 1e-2  # the error of logits in bfloat16


def test_answer_logits_go_through_the_vocabulary_in_pieces(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pair.model
    monkeypatch.setitem(VOCABULARY_ROWS, "cpu", 50)  # 320 tokens: the last piece is shorter
    torch.manual_seed(4)
    resid = torch.randn(5, model.d_model)
    tokens = torch.randint(0, 320, (5, 3))
    whole = model.logits(resid)
    read = model.answer_logits(resid, tokens)
    torch.testing.assert_close(read[:, :3], whole.gather(-1, tokens))
    torch.testing.assert_close(read[:, 3], whole.logsumexp(-1))


def test_soft_caps_and_biases_of_the_unembedding_are_applied() -> None:
    model = make_pair("gemma3_text").model
    model.text_config.final_logit_softcapping = 2.0
    linear = model.bridge.unembed.original_component
    linear.bias = torch.nn.Parameter(torch.randn(320), requires_grad=False)
    del model.unembedding  # examined before the change
    resid = torch.randn(3, model.d_model)
    raw = model.bridge.ln_final(resid[None])[0] @ linear.weight.T + linear.bias
    expected = 2.0 * torch.tanh(raw / 2.0)
    torch.testing.assert_close(model.logits(resid), expected)
    read = model.answer_logits(resid, torch.tensor([[7], [8], [9]]))
    torch.testing.assert_close(read[:, 0], expected[[0, 1, 2], [7, 8, 9]])
    torch.testing.assert_close(read[:, 1], expected.logsumexp(-1))
