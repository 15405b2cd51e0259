"""What a model is, whatever it is called: hashes of its weights, its tokenizer and its chat template."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import torch

SAMPLED = 64  # of each parameter, for the hash of the weights: 135M parameters in 272 tensors take a tenth of a second


@dataclass(frozen=True)
class ModelIdentity:
    """What a model is, whatever it is called and wherever it lies.

    Attributes:
        weights: hash of the name, the shape and some 64 elements of every parameter, rounded to bfloat16, so that
            one checkpoint in float32 and in bfloat16 is the same model.
        tokenizer: hash of the tokenizer's vocabulary, rules and special tokens.
        template: hash of the chat template; None for a model without one.
    """

    weights: str
    tokenizer: str
    template: str | None


def identity_of(hf_model: Any, tokenizer: Any) -> ModelIdentity:
    """What this model with this tokenizer is."""
    template = tokenizer.chat_template
    return ModelIdentity(
        _weights_hash(hf_model),
        _short_hash(_tokenizer_text(tokenizer)),
        _short_hash(json.dumps(template, sort_keys=True)) if template else None,
    )


def _weights_hash(hf_model: Any) -> str:
    digest = hashlib.sha256()
    for name, parameter in hf_model.named_parameters():
        flat = parameter.detach().reshape(-1)
        sampled = flat[:: max(1, len(flat) // SAMPLED)].to(torch.bfloat16).cpu()
        digest.update(f"{name} {tuple(parameter.shape)}".encode())
        digest.update(sampled.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]


def _tokenizer_text(tokenizer: Any) -> str:
    """Everything that decides its tokens, as text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return json.dumps([type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())])
    text = backend.to_str()
    # What stands before are the padding and truncation of the last call.
    return text[text.find('"added_tokens"') :]


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
