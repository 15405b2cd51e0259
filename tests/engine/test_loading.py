"""Checkpoints and model objects of many kinds are loaded right, or refused with a remedy."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from conftest import SIZES, byte_tokenizer, tiny_hf
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from safetensors.torch import load_file, save_file
from transformers.utils import logging as hf_logging

from interp_culture.engine.checkpoints import architecture_of
from interp_culture.engine.loading import load_model
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.errors import InputError


def load(hf_model: Any, **arguments: Any) -> LanguageModel:
    return load_model(hf_model, **{"tokenizer": byte_tokenizer(), "device": "cpu", **arguments})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of a tiny Llama."""
    tiny_hf("llama").save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def change_weights(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def logits(model: LanguageModel) -> torch.Tensor:
    with torch.inference_mode():
        return model.bridge(torch.tensor([model.tokenise(Prompt("hi")).prompt]))


# -- weights --------------------------------------------------------------------------------------


def test_a_whole_checkpoint_loads_as_it_was_saved(folder: Path) -> None:
    torch.testing.assert_close(
        logits(load_model(folder, device="cpu")), logits(load(tiny_hf("llama")))
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda weights: {f"_orig_mod.{k}": v for k, v in weights.items()},
            r"39 \(lm_head.weight, .* and 36 more\) missing, which would be random; "
            r"39 \(_orig_mod.* not of this model",
        ),
        (
            lambda weights: {k: v for k, v in weights.items() if ".2." not in k},
            r"9 \(model.layers.2.input_layernorm.weight, .* and 6 more\) missing, "
            r"which would be random\. Save",
        ),
        (
            lambda weights: {**weights, "v_head.weight": torch.zeros(3).clone()},
            r"1 \(v_head.weight\) not of this model",
        ),
        (
            lambda weights: {**weights, "lm_head.weight": torch.zeros(7, 32).clone()},
            r"1 \(lm_head.weight\) of another shape",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(folder: Path, change: Any, message: str) -> None:
    change_weights(folder, change)
    with pytest.raises(InputError, match=f"weights do not fit LlamaForCausalLM: {message}"):
        load_model(folder, device="cpu")


def test_stale_buffers_of_old_checkpoints_are_ignored(folder: Path) -> None:
    stale = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4),
        "position_ids": torch.zeros(4),
    }
    change_weights(folder, lambda weights: {**weights, **stale})
    load_model(folder, device="cpu")


def test_tied_heads_are_not_missing(tmp_path: Path) -> None:
    transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**SIZES, tie_word_embeddings=True)
    ).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    load_model(tmp_path, device="cpu")


@pytest.mark.parametrize("spoil", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_truncated_file_is_an_input_error(folder: Path, spoil: str) -> None:
    content = (folder / spoil).read_bytes()
    (folder / spoil).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="no model that transformers can load in this folder"):
        load_model(folder, device="cpu")


def test_a_broken_gguf_file_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(InputError, match=r"m.gguf: not a .gguf file that"):
        load_model(tmp_path / "m.gguf", device="cpu")


# -- the Hub --------------------------------------------------------------------------------------


class Answer:
    """The attributes of a response that the Hub's errors read."""

    headers: dict = {}  # noqa: RUF012
    request = None


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (
            GatedRepoError("no", response=Answer()),
            "someone/model: this model is gated; accept its licence",
        ),  # type: ignore[arg-type]
        (
            RepositoryNotFoundError("no", response=Answer()),
            "the Hub has no such model, or it is private",
        ),  # type: ignore[arg-type]
        (
            ConnectionError("error 401: a gated community"),
            "the Hub did not give it .*: 401 is in this message too",
        ),
    ],
)
def test_an_error_of_the_hub_is_recognised_by_its_type(
    monkeypatch: pytest.MonkeyPatch, cause: Exception, message: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("401 is in this message too") from cause

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", fail)
    with pytest.raises(InputError, match=message):
        load_model("someone/model", device="cpu")


@pytest.mark.parametrize(
    "switch", [hf_logging.disable_progress_bar, hf_logging.enable_progress_bar]
)
def test_progress_bars_are_left_as_they_were(folder: Path, switch: Any) -> None:
    before = hf_logging.is_progress_bar_enabled()
    try:
        switch()
        wanted = hf_logging.is_progress_bar_enabled()
        load_model(folder, device="cpu")
        assert hf_logging.is_progress_bar_enabled() == wanted
    finally:
        (hf_logging.enable_progress_bar if before else hf_logging.disable_progress_bar)()


# -- architectures --------------------------------------------------------------------------------


class Fancy(transformers.LlamaForCausalLM):
    """A user's own class."""


class Fancier(Fancy):
    pass


def test_subclasses_have_the_architecture_of_their_base_class() -> None:
    torch.manual_seed(0)
    hf_model = Fancier(transformers.LlamaConfig(**SIZES))
    assert architecture_of(hf_model) == "LlamaForCausalLM"
    expected = hf_model.eval()(torch.tensor([[5, 6]])).logits
    torch.testing.assert_close(load(hf_model).bridge(torch.tensor([[5, 6]])), expected)


SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
T5 = transformers.T5Config(d_model=16, d_ff=16, d_kv=8, num_layers=1, num_heads=2, vocab_size=300)
BERT = transformers.BertConfig(**SMALL, vocab_size=300)


@pytest.mark.parametrize(
    ("hf_model", "message"),
    [
        (
            lambda: transformers.T5ForConditionalGeneration(T5),
            "T5ForConditionalGeneration has an encoder; only causal",
        ),
        (
            lambda: transformers.BertForMaskedLM(BERT),
            "BertForMaskedLM is not causal: its numbers for a token change",
        ),
        (lambda: transformers.BertLMHeadModel(BERT), "BertLMHeadModel is not causal"),
        (
            lambda: transformers.LlamaModel(transformers.LlamaConfig(**SIZES)),
            "LlamaModel has no language-modelling head; load it as LlamaForCausalLM",
        ),
        (
            lambda: transformers.BioGptForCausalLM(
                transformers.BioGptConfig(**SMALL, vocab_size=300)
            ),
            "TransformerLens has no adapter for BioGptForCausalLM",
        ),
    ],
)
def test_a_model_that_is_not_causal_is_refused(hf_model: Any, message: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(InputError, match=message):
        load(hf_model())


def test_a_folder_of_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    transformers.T5ForConditionalGeneration(T5).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="has an encoder; only causal"):
        load_model(tmp_path, device="cpu")


def test_causal_models_pass_the_check_in_16_bits_too() -> None:
    for name in ("llama", "qwen3", "gemma3_text", "gemma3"):
        for dtype in (torch.float32, torch.bfloat16):
            model = load(tiny_hf(name).to(dtype))
            assert model.check == "passed"
            assert model.shortcuts.off == ()


# -- wrappers -------------------------------------------------------------------------------------


def test_a_compiled_model_is_read_as_the_plain_one() -> None:
    expected = logits(load(tiny_hf("llama")))
    in_place = tiny_hf("llama")
    in_place.compile(backend="eager")
    for compiled in (torch.compile(tiny_hf("llama"), backend="eager"), in_place):
        torch.testing.assert_close(logits(load(compiled)), expected)


class PeftModelForCausalLM(torch.nn.Module):
    """A wrapper with the name that the package peft uses."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.base_model = model
        self.config = model.config
        self.get_output_embeddings = model.get_output_embeddings


def offloaded() -> Any:
    model = tiny_hf("llama")
    model.hf_device_map = {"model.layers.0": 0, "model.layers.1": "cpu"}
    return model


def on_meta() -> Any:
    with torch.device("meta"):
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES))


def dynamically_quantised() -> Any:
    return torch.ao.quantization.quantize_dynamic(
        tiny_hf("llama"), {torch.nn.Linear}, dtype=torch.qint8
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            lambda: PeftModelForCausalLM(tiny_hf("llama")),
            r"has adapters; merge them first.*merge_and_unload\(\)",
        ),
        (
            lambda: torch.nn.DataParallel(tiny_hf("llama")),
            r"wrapped in DataParallel; give load_model\(model.module",
        ),
        (lambda: torch.nn.Linear(2, 2), "a Linear is not a Hugging Face model"),
        (
            lambda: SimpleNamespace(model=tiny_hf("llama"), tokenizer=None),
            "give load_model.pipeline.model, tokenizer=",
        ),
        (lambda: 7, "a int is not a model: give a name, a folder"),
        (
            offloaded,
            r"spread over devices, offloaded or not loaded \(0, cpu\); load it on one device",
        ),
        (on_meta, r"not loaded \(meta\)"),
        (dynamically_quantised, "is quantised by PyTorch"),
    ],
)
def test_wrapped_spread_and_quantised_models_are_refused(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(source())


def test_a_model_that_is_hooked_already_is_refused() -> None:
    hf_model = tiny_hf("llama")
    model = load(hf_model)
    with pytest.raises(InputError, match="LlamaForCausalLM is hooked already"):
        load(hf_model)
    with pytest.raises(InputError, match="this is a LanguageModel"):
        load(model)
    with pytest.raises(InputError, match="a TransformerBridge cannot be hooked again"):
        load(model.bridge)


# -- arguments ------------------------------------------------------------------------------------


def test_devices_and_dtypes_of_torch_are_known() -> None:
    model = load(tiny_hf("llama"), device=torch.device("cpu"), dtype=torch.bfloat16)
    assert (model.device.type, model.dtype) == ("cpu", torch.bfloat16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"device_map": "auto"},
            "load_model has no argument device_map; known: tokenizer, device, dtype, revision",
        ),
        ({"attn_implementation": "eager"}, "has no argument attn_implementation"),
        ({"tokenizer": None}, "a loaded model needs its tokenizer"),
        ({"tokenizer": "gpt2"}, "tokenizer is a str; give a Hugging Face tokenizer"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"device": "tpu"}, "device 'tpu' is not available"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(tiny_hf("llama"), **arguments)


def test_the_tokenizer_of_a_processor_is_used() -> None:
    tokenizer = byte_tokenizer()
    assert (
        load(tiny_hf("llama"), tokenizer=SimpleNamespace(tokenizer=tokenizer)).tokenizer
        is tokenizer
    )


# -- the bridge's tokenizer -----------------------------------------------------------------------


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("pad", [False, True])
def test_the_raw_bridge_tokenises_text_as_we_do(bos: bool, pad: bool) -> None:
    tokenizer = byte_tokenizer(bos=bos)
    if not pad:
        tokenizer.pad_token = None
    before = (
        tokenizer.pad_token,
        tokenizer.bos_token,
        tokenizer.padding_side,
        tokenizer.chat_template,
    )
    model = load(tiny_hf("llama"), tokenizer=tokenizer)
    tokens = model.bridge.to_tokens("some text")
    assert tuple(tokens[0].tolist()) == model.tokenise_text("some text").prompt
    assert model.bridge.to_tokens("some text", prepend_bos=False).shape[1] == 9
    with torch.inference_mode():
        torch.testing.assert_close(model.bridge("some text"), model.bridge(tokens))
    assert model.tokenizer is tokenizer
    assert (
        tokenizer.pad_token,
        tokenizer.bos_token,
        tokenizer.padding_side,
        tokenizer.chat_template,
    ) == before
