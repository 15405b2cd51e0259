"""Real packaged models: their weights, tokens and numbers equal those of their .gguf files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Pair
from prompt_groups import groups_of
from reference import forward

from interp_culture.engine.forward import resume, trace
from interp_culture.engine.installation import installed_gguf
from interp_culture.engine.interventions import Edit
from interp_culture.engine.loading import load_model
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.packaged import PACKAGED
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.token_tree import make_batches

# Of the largest logit, in float32 and in bfloat16.
RELATIVE = 1e-4
RELATIVE_BFLOAT16 = 0.1
# The steering vector has this part of the residual stream's norm.
STEP = 0.2
QWEN = "qwen2.5-coder-0.5b"
GEMMA = "gemma3-270m"
# A tensor of each quantisation and role: name in the file, name in the model, and what the file
# adds to it (Gemma's norms are stored with the 1 that the model adds).
TENSORS = {
    QWEN: [
        ("token_embd.weight", "model.embed_tokens.weight", 0),
        ("output.weight", "lm_head.weight", 0),
        ("blk.3.attn_q.weight", "model.layers.3.self_attn.q_proj.weight", 0),
        ("blk.3.attn_q.bias", "model.layers.3.self_attn.q_proj.bias", 0),
        ("blk.3.ffn_down.weight", "model.layers.3.mlp.down_proj.weight", 0),
        ("output_norm.weight", "model.norm.weight", 0),
    ],
    GEMMA: [
        ("token_embd.weight", "model.embed_tokens.weight", 0),
        ("token_embd.weight", "lm_head.weight", 0),
        ("blk.3.attn_q.weight", "model.layers.3.self_attn.q_proj.weight", 0),
        ("blk.3.attn_q_norm.weight", "model.layers.3.self_attn.q_norm.weight", 1),
        ("blk.3.ffn_down.weight", "model.layers.3.mlp.down_proj.weight", 0),
        ("blk.3.post_ffw_norm.weight", "model.layers.3.post_feedforward_layernorm.weight", 1),
        ("output_norm.weight", "model.norm.weight", 1),
    ],
}


@dataclass
class Loaded(Pair):
    """A packaged model, hooked and plain in float32."""

    name: str

    @cached_property
    def file(self) -> Any:
        from gguf import GGUFReader

        return GGUFReader(str(installed_gguf(PACKAGED[self.name])))

    def field(self, name: str) -> Any:
        return self.file.fields[f"tokenizer.ggml.{name}"].contents()


def loaded(name: str) -> Loaded:
    from transformers import AutoModelForCausalLM

    if installed_gguf(PACKAGED[name]) is None:
        pytest.skip(f"not installed: {PACKAGED[name].install_command}")
    model = load_model(name, device="cpu", dtype="float32")
    plain = AutoModelForCausalLM.from_pretrained(PACKAGED[name].unpacked, dtype=torch.float32)
    return Loaded(model, plain.eval(), name)


@pytest.fixture(scope="module", params=[QWEN, GEMMA])
def real(request: pytest.FixtureRequest) -> Loaded:
    return loaded(request.param)


def steering(pair: Pair) -> list[Edit]:
    """Two edits by random vectors, of a size that goes with the model's residual stream."""
    _, resid = forward(pair.plain, pair.model.tokenise(Prompt("A guest is late.")).inputs)
    generator = torch.Generator().manual_seed(0)
    edits = []
    for layer in (pair.model.n_layers // 4, pair.model.n_layers // 2):
        vector = torch.randn(pair.model.d_model, generator=generator)
        size = STEP * resid[layer].norm(dim=-1).median()
        edits.append(Edit(layer, vector / vector.norm() * size, 1.0))
    return edits


def relative_error(model: LanguageModel, plain: Any, edits: Sequence[Edit]) -> float:
    """The largest difference of logits from plain passes, over the largest logit."""
    groups = groups_of(model)
    changes = {edit.layer: lambda h, v=edit.vector: h + v for edit in edits}
    largest_difference = 0.0
    largest_logit = 0.0
    for batch in make_batches(groups, pad=model.pad_token, batch_tokens=3000, share_stem=True):
        kept = trace(model, batch, layers=range(model.n_layers + 1))
        (final,) = resume(model, kept, [edits])
        for path in batch.paths:
            sequence = groups[path.group][path.member]
            logits, _ = forward(plain, sequence.inputs, changes)
            expected = logits[len(sequence.prompt) - 1 :]
            ours = model.logits(final[path.row, torch.from_numpy(path.reads)])
            difference = float((ours - expected).abs().max())
            largest_difference = max(largest_difference, difference)
            largest_logit = max(largest_logit, float(expected.abs().max()))
    return largest_difference / largest_logit


@pytest.mark.slow
def test_every_shortcut_holds(real: Loaded) -> None:
    assert real.model.check == "passed"
    assert real.model.shortcuts.off == ()


@pytest.mark.slow
def test_logits_equal_plain_hugging_face(real: Loaded) -> None:
    edits = steering(real)
    plain_error = relative_error(real.model, real.plain, [])
    steered_error = relative_error(real.model, real.plain, edits)
    print(f"{real.name}, float32: {plain_error:.1e} plain, {steered_error:.1e} steered")
    assert max(plain_error, steered_error) <= RELATIVE
    # The comparison would not show an edit that is left out on both sides.
    assert relative_error(real.model, real.plain, edits[:1]) <= RELATIVE
    groups = groups_of(real.model)
    logits, _ = forward(real.plain, groups[0][0].inputs)
    change = {edit.layer: lambda h, v=edit.vector: h + v for edit in edits}
    steered, _ = forward(real.plain, groups[0][0].inputs, change)
    assert (steered - logits).abs().max() > 0.01 * logits.abs().max()


@pytest.mark.slow
def test_bfloat16_is_near_float32(real: Loaded) -> None:
    model = load_model(real.name, device="cpu", dtype="bfloat16")
    errors = [relative_error(model, real.plain, edits) for edits in ([], steering(real))]
    print(f"{real.name}, bfloat16: {errors[0]:.1e} plain, {errors[1]:.1e} steered")
    assert max(errors) <= RELATIVE_BFLOAT16
    assert model.check == "passed"


@pytest.mark.slow
def test_weights_are_those_of_the_file(real: Loaded) -> None:
    from gguf import dequantize

    in_file = {tensor.name: tensor for tensor in real.file.tensors}
    weights = real.plain.state_dict()
    for name, ours, added in TENSORS[real.name]:
        expected = dequantize(in_file[name].data, in_file[name].tensor_type)
        np.testing.assert_allclose(weights[ours].numpy() + added, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_tokens_are_those_of_the_file(real: Loaded) -> None:
    tokenizer = real.model.tokenizer
    in_file = real.field("tokens")
    assert tokenizer.convert_ids_to_tokens(list(range(len(in_file)))) == in_file
    assert tokenizer.eos_token_id == real.field("eos_token_id")
    assert tokenizer.pad_token_id == real.field("padding_token_id")
    begins_with_bos = real.model.tokenise_text("a").prompt[0] == real.field("bos_token_id")
    assert begins_with_bos == real.field("add_bos_token")


@pytest.mark.slow
def test_tokens_of_qwen() -> None:
    """Ids that are known of the published tokenizer."""
    model = loaded(QWEN).model
    assert model.tokenise_text("Hello world").prompt == (9707, 1879)
    assert model.tokenise_text("\n\n 12").prompt == (271, 220, 16, 17)
    # An accent as a character of its own is the same text.
    assert model.tokenise_text("e\u0301").prompt == model.tokenise_text("\u00e9").prompt
    assert model.tokenizer("<|im_start|><|im_end|>").input_ids == [151644, 151645]
    prompt = Prompt("Hi", system="Be kind.")
    assert model.render(prompt) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert model.tokenise(prompt).prompt[:3] == (151644, 8948, 198)


@pytest.mark.slow
def test_tokens_of_gemma() -> None:
    """Ids that are known of the published tokenizer; a base model has no chat template."""
    model = loaded(GEMMA).model
    assert model.tokenise_text("Hello world").prompt == (2, 9259, 1902)
    assert model.tokenise_text("\n").prompt == (2, 107)
    assert model.tokenise_text("\n\n\n").prompt == (2, 109)
    assert model.tokenise_text("12").prompt == (2, 236770, 236778)
    assert model.tokenizer.chat_template is None
    assert model.tokenise(Prompt("Hi")).prompt[0] == 2
    assert model.tokenise(Prompt("Hi")).prompt.count(2) == 1
