"""Read weights and tokenizers of packaged models, .gguf files, folders and the Hub."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from interp_culture.artifacts.stores import folder_once
from interp_culture.engine.checkpoints import check_weights
from interp_culture.engine.gguf_header import check_gguf
from interp_culture.engine.installation import check_space, checked_gguf
from interp_culture.engine.packaged import PACKAGED, packaged_model
from interp_culture.errors import InputError, first_line


def from_packaged(name: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The Hugging Face model and tokenizer of an installed packaged model.

    The unpacked weights are kept in the cache, since unpacking takes many times as long as loading.
    """
    model = packaged_model(name)

    def unpack(part: Path) -> None:
        gguf = checked_gguf(model)
        check_space(part, model.memory, f"unpacking {name}")
        # In float32, so that one unpacked copy serves every dtype. The quantised weights are
        # products of more bits than 16-bit numbers have, so that bfloat16 would round them.
        hf_model, tokenizer = from_gguf(gguf, torch.float32)
        with _quiet_transformers():
            hf_model.save_pretrained(part)
            tokenizer.save_pretrained(part)

    folder = folder_once(model.unpacked, {"gguf": model.sha256}, unpack)
    return from_pretrained(str(folder), dtype, None)


def from_gguf(path: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """The Hugging Face model and tokenizer in a .gguf file, unpacked to `dtype`."""
    # Unlike `Path.is_file`, it takes a name that is too long.
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such .gguf file")
    check_gguf(path)
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        # Unpacking takes so long that the progress bar of transformers stays on.
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=dtype,
            quantization_config=GgufConfig(gguf_file=path.name, dequantize=True),
            output_loading_info=True,
        )
        hf_model, report = loaded
    except Exception as error:  # a file of anybody's making fails in any way
        raise InputError(
            f"{path}: not a .gguf file that transformers can unpack: {first_line(error)}"
        ) from error
    check_weights(str(path), report, type(hf_model).__name__)
    _restore_normalizer(tokenizer)
    return hf_model, tokenizer


def _restore_normalizer(tokenizer: Any) -> None:
    """Give Qwen's tokenizer the Unicode normalisation (NFC) of the published one.

    A .gguf file does not state it, and transformers then leaves it out: an accent that is written
    as a character of its own would have other tokens than in the original model.
    """
    from tokenizers import normalizers
    from transformers import Qwen2Tokenizer

    if isinstance(tokenizer, Qwen2Tokenizer):
        tokenizer.backend_tokenizer.normalizer = normalizers.NFC()


def from_pretrained(name: str, dtype: torch.dtype, revision: str | None) -> tuple[Any, Any]:
    """The Hugging Face model and tokenizer of a folder or a Hub id."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    # Code of a checkpoint is not run: False raises an error instead of a question on the terminal.
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    try:
        with _quiet_transformers():
            config = AutoConfig.from_pretrained(name, **options)
            if getattr(config, "is_encoder_decoder", False):
                raise InputError(
                    f"{name} has an encoder; only causal (decoder-only) language models can be read"
                )
            tokenizer = AutoTokenizer.from_pretrained(name, **options)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name,
                dtype=dtype,
                output_loading_info=True,
                # A pickle runs code when it is read.
                use_safetensors=True,
                # Then the report names the weights of another shape; the error would not.
                ignore_mismatched_sizes=True,
                **options,
            )
        hf_model, report = loaded
    except InputError:
        raise
    except Exception as error:  # a checkpoint of anybody's making fails in any way
        raise InputError(_failure_message(name, error)) from error
    check_weights(name, report, type(hf_model).__name__)
    return hf_model, tokenizer


def _failure_message(name: str, error: Exception) -> str:
    """Why a model could not be loaded, and what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    causes = [error, *_causes(error)]
    message = first_line(error)
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return (
            f"{name}: this model is gated; accept its licence on the Hub, then set HF_TOKEN to a "
            "token of yours"
        )
    if "trust_remote_code" in str(error):
        return (
            f"{name}: this model comes with code of its own, which is not run here; load it with "
            "transformers (trust_remote_code=True) and give load_model(model, tokenizer=tokenizer)"
        )
    if Path(name).exists():
        return (
            f"{name}: no model that transformers can load in this folder: "
            f"{type(error).__name__}: {message}"
        )
    if any(isinstance(cause, RevisionNotFoundError) for cause in causes):
        return f"{name}: the Hub has no such revision of this model: {message}"
    if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
        return (
            f"{name}: the Hub has no such model, or it is private: check the name, or set HF_TOKEN"
        )
    return (
        f"unknown model {name!r}: it is no packaged model ({', '.join(PACKAGED)}), no local "
        f"folder, no .gguf file, and the Hub did not give it (wrong name, no network, or no "
        f"access): {message}"
    )


def _causes(error: BaseException) -> list[BaseException]:
    """The errors behind an error: transformers raises an OSError for most answers of the Hub."""
    causes: list[BaseException] = []
    cause = error.__cause__ or error.__context__
    # Errors may refer to each other in a circle.
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """transformers without its progress bars and notices; its settings are restored afterwards."""
    from transformers.utils import logging as hf_logging

    verbosity = hf_logging.get_verbosity()
    had_bars = hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.ERROR)
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if had_bars:
            hf_logging.enable_progress_bar()
