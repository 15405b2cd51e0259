"""Load a model: a packaged one, a Hub id, a folder, a .gguf file or a Hugging Face model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import torch

from interp_culture.engine.checkpoints import architecture_of, plain_model, refuse_hooks
from interp_culture.engine.hardware import fastest_dtype
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.packaged import PACKAGED
from interp_culture.engine.plain_passes import plain_passes
from interp_culture.engine.self_check import check_model
from interp_culture.engine.sources import from_gguf, from_packaged, from_pretrained
from interp_culture.engine.versions import warn_of_versions
from interp_culture.errors import InputError, first_line

Check = Literal["quick", "none"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    source: Any,
    *,
    tokenizer: Any = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    check: Check = "quick",
    **unknown: Any,
) -> LanguageModel:
    """Load and hook a causal language model.

    Args:
        source: a packaged model that is installed (`ic.engine.packaged_models`), such as "smollm2";
            a Hub id, a local folder, a .gguf file, or a loaded Hugging Face model, which is hooked
            in place and needs its `tokenizer`.
        tokenizer: replaces the one that comes with the source.
        device: cpu, cuda or mps; by default the first available of cuda, mps and cpu. A model that
            is quantised by bitsandbytes stays where it is.
        dtype: float32, bfloat16 or float16; "fastest" is float32 or bfloat16, by a short
            measurement; by default bfloat16 on cuda, else float32. A loaded model keeps its dtype
            by default.
        revision: commit or tag on the Hub.
        check: "quick" compares the hooked model with plain passes, which takes about a second:
            shortcuts that would change the numbers are switched off (`model.shortcuts`), and a
            model whose numbers change by hooking is refused. "none" skips this.

    Returns:
        The hooked model with its tokenizer.

    Raises:
        InputError: an unknown source, argument, device or dtype; a packaged model that is not
            installed; a gated or unreachable model; a missing package; weights that are missing or
            do not belong to the model; an architecture that cannot be hooked, is not causal or
            changes its numbers under TransformerLens.

    >>> import interp_culture as ic
    >>> model = ic.load_model("smollm2", device="cpu")  # doctest: +SKIP
    """
    _refuse_arguments(unknown)
    warn_of_versions()
    device = _device(device)
    torch_dtype = _dtype(dtype, device)
    if isinstance(source, str | Path):
        name = str(source)
        hf_model, own_tokenizer = _from_name(name, torch_dtype, revision)
        hf_model = _to_device(plain_model(hf_model), device)
        tokenizer = own_tokenizer if tokenizer is None else tokenizer
    else:
        hf_model = plain_model(source)
        if tokenizer is None:
            raise InputError(
                "a loaded model needs its tokenizer: load_model(model, tokenizer=tokenizer)"
            )
        name = getattr(hf_model.config, "_name_or_path", "") or type(hf_model).__name__
        hf_model = _to_device(hf_model, device, None if dtype is None else torch_dtype)
    return _hooked(hf_model, _tokenizer(tokenizer), name, revision, check)


def _refuse_arguments(unknown: dict[str, Any]) -> None:
    """Raise InputError for arguments of transformers, with more help than a bare TypeError."""
    if not unknown:
        return
    raise InputError(
        f"load_model has no argument {', '.join(unknown)}; known: tokenizer, device, dtype, "
        "revision, check. The model runs on one device, and the toolkit chooses its attention "
        "implementation; for anything else load it with transformers and give "
        "load_model(model, tokenizer=tokenizer)"
    )


def _from_name(name: str, dtype: torch.dtype, revision: str | None) -> tuple[Any, Any]:
    """The Hugging Face model and tokenizer of a name, folder or file."""
    if name in PACKAGED:
        return from_packaged(name, dtype)
    if name.endswith(".gguf"):
        return from_gguf(Path(name), dtype)
    return from_pretrained(name, dtype, revision)


def _hooked(
    hf_model: Any, tokenizer: Any, name: str, revision: str | None, check: Check
) -> LanguageModel:
    """The hooked model, compared with its own passes from before it was hooked."""
    if check not in get_args(Check):
        raise InputError(f"unknown check {check!r}; known: {', '.join(get_args(Check))}")
    architecture = architecture_of(hf_model)
    refuse_hooks(hf_model)
    # Before hooking, which is in place. In eval mode, since dropout would add noise.
    expected = plain_passes(hf_model.eval(), tokenizer) if check == "quick" else None
    try:
        model = LanguageModel.wrap(hf_model, tokenizer, name, revision, architecture)
    except InputError:
        raise
    except Exception as error:
        # TransformerLens has an adapter for a class of this name, but it does not fit the model.
        raise InputError(
            f"TransformerLens cannot hook this {type(hf_model).__name__}: {type(error).__name__}: "
            f"{first_line(error)}; use an unmodified model of the architecture"
        ) from error
    if expected is not None:
        check_model(model, expected)
    return model


def _to_device(hf_model: Any, device: str, dtype: torch.dtype | None = None) -> Any:
    if "bitsandbytes" in str(getattr(hf_model, "quantization_method", "")):
        if dtype is not None:
            raise InputError(
                "the model is quantised by bitsandbytes, so that its dtype cannot be changed; "
                "leave out dtype"
            )
        return hf_model
    try:
        return hf_model.to(device) if dtype is None else hf_model.to(device, dtype)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise InputError(
            f"{type(hf_model).__name__} cannot be moved to {device}: {first_line(error)}; load it "
            "whole, on one device, without device_map"
        ) from error


def _tokenizer(source: Any) -> Any:
    """A tokenizer, or the tokenizer of a multimodal model's processor."""
    from transformers import PreTrainedTokenizerBase

    tokenizer = getattr(source, "tokenizer", source)
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise InputError(
            f"tokenizer is a {type(source).__name__}; give a Hugging Face tokenizer, for example "
            "AutoTokenizer.from_pretrained(folder)"
        )
    return tokenizer


def _device(device: str | torch.device | None) -> str:
    is_available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device is None:
        return next(kind for kind in ("cuda", "mps", "cpu") if is_available[kind])
    device = str(device)
    kind = device.split(":")[0]
    if not is_available.get(kind, False):
        available = ", ".join(kind for kind, here in is_available.items() if here)
        raise InputError(f"device {device!r} is not available; this machine has: {available}")
    return device


def _dtype(dtype: str | torch.dtype | None, device: str) -> torch.dtype:
    if dtype is None:
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    dtype = str(dtype).removeprefix("torch.")
    if dtype == "fastest":
        return fastest_dtype(device)
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}, fastest")
    return DTYPES[dtype]
