"""Tiny random models, each with a plain Hugging Face copy, and other shared fixtures."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import wraps
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from interp_culture.engine.model import LanguageModel
from interp_culture.scenarios.files import load_controls, load_scenarios
from interp_culture.scenarios.neutral import load_neutral
from interp_culture.scenarios.scenario import ScenarioSet

ROOT = Path(__file__).parents[1]
ARCHITECTURES = ["llama", "qwen3", "gemma3_text", "gemma3"]
CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SIZES = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process waits for one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def byte_tokenizer(chat_template: str | None = CHAT, bos: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per byte, so that every text has a known tokenisation."""
    vocab = {"<pad>": 0, "<bos>": 1, "<eos>": 2}
    for symbol in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocab[symbol] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if bos:
        from tokenizers.processors import TemplateProcessing

        tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", 1)]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )
    fast.chat_template = chat_template
    return fast


def tiny_hf(architecture: str, seed: int = 0) -> Any:
    """A random model of the architecture, with weights large enough that layers matter."""
    torch.manual_seed(seed)
    if architecture == "llama":
        model: Any = LlamaForCausalLM(LlamaConfig(**SIZES))
    elif architecture == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**SIZES))
    elif architecture == "gemma3_text":
        model = Gemma3ForCausalLM(
            Gemma3TextConfig(**SIZES, sliding_window=16, sliding_window_pattern=2)
        )
    else:
        vision = {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        }
        text = Gemma3TextConfig(**SIZES, sliding_window=16, sliding_window_pattern=2)
        model = Gemma3ForConditionalGeneration(
            Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
        )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return model.eval()


@dataclass
class Pair:
    """A hooked model and the plain Hugging Face model with the same weights."""

    model: LanguageModel
    plain: Any


def make_pair(architecture: str, chat_template: str | None = CHAT, bos: bool = False) -> Pair:
    plain = tiny_hf(architecture)
    hooked = copy.deepcopy(plain)
    return Pair(
        LanguageModel.wrap(hooked, byte_tokenizer(chat_template, bos), f"tiny-{architecture}"),
        plain,
    )


@pytest.fixture(scope="session", autouse=True)
def analyses_of_this_checkout() -> Iterator[None]:
    """Entry points lead to the folder analyses/; the installed ones may lead to another checkout."""
    group = "interp_culture.analyses"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points = [
        EntryPoint(name, place.removeprefix("interp_culture_"), group)
        for name, place in project["entry-points"][group].items()
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("interp_culture.study.analysis.entry_points", lambda group: points)
        yield


@pytest.fixture(scope="session", autouse=True)
def few_controls() -> Iterator[None]:
    """A readout is checked on every fourth control item: all of them take seconds a tiny model."""
    controls = load_controls()
    few = ScenarioSet(controls.scenarios[::4], controls.catalogue)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("interp_culture.readout.validity.load_controls", lambda: few)
        yield


@pytest.fixture(scope="session", autouse=True)
def short_neutral_texts() -> Iterator[None]:
    """Neutral texts are cut: a token for each byte makes those of the package very long."""
    texts = {register: text[:100] for register, text in load_neutral().items()}

    @wraps(load_neutral)
    def beginnings() -> dict[str, str]:
        return texts

    with pytest.MonkeyPatch.context() as patch:
        for module in ("scenarios.neutral", "steering.fluency"):
            patch.setattr(f"interp_culture.{module}.load_neutral", beginnings)
        yield


@pytest.fixture(scope="module")
def all_controls() -> Iterator[None]:
    """From here on in this file a readout is checked on all control items.

    A model that was checked before keeps its verdict, so use another one.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("interp_culture.readout.validity.load_controls", load_controls)
        yield


@pytest.fixture(scope="session", params=ARCHITECTURES)
def pair(request: pytest.FixtureRequest) -> Pair:
    return make_pair(request.param)


@pytest.fixture(scope="session")
def tiny() -> LanguageModel:
    return make_pair("llama").model


@pytest.fixture(scope="session")
def shipped() -> ScenarioSet:
    return load_scenarios()


@pytest.fixture(scope="session")
def few(shipped: ScenarioSet) -> ScenarioSet:
    """Two scenarios of every item, from two domains."""
    picked: dict[str, list] = {}
    for s in shipped:
        mine = picked.setdefault(s.item, [])
        if len(mine) < 2 and s.domain not in {m.domain for m in mine}:
            mine.append(s)
    return ScenarioSet(tuple(s for mine in picked.values() for s in mine), shipped.catalogue)


@pytest.fixture(scope="session")
def smollm2() -> Pair:
    """The embedded model, and a plain copy loaded from the same unpacked weights."""
    from transformers import AutoModelForCausalLM

    from interp_culture.engine.loading import load_model
    from interp_culture.engine.packaged import PACKAGED

    model = load_model("smollm2", device="cpu", dtype="float32")
    plain = AutoModelForCausalLM.from_pretrained(PACKAGED["smollm2"].unpacked, dtype=torch.float32)
    return Pair(model, plain.eval())


@pytest.fixture
def loaded_once(smollm2: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that loads the embedded model gets the one that all tests share."""
    import interp_culture as ic
    from interp_culture.engine import loading

    def load(name: str, **options: Any) -> LanguageModel:
        assert name == "smollm2"
        return smollm2.model

    # The package looks its names up when they are asked for. Patched second, it would give the
    # stub as the value to put back, and every later test would load through the stub.
    monkeypatch.setattr(ic, "load_model", load, raising=False)
    monkeypatch.setattr(loading, "load_model", load)


def error_without_type_checks(code: str) -> str:
    """The error that `code` raises for a user, without the type checks of the tests."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "InputError" in done.stderr, done.stderr
    return done.stderr


@pytest.fixture
def write_lines(tmp_path: Path) -> Any:
    """Write records (or raw bytes) as lines of a .jsonl file; returns its path."""

    def write(*lines: dict | bytes, name: str = "mine.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(
            b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines) + b"\n"
        )
        return path

    return write
