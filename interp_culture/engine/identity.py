"""Hashes that identify a model by its content: its weights, its tokenizer and its chat template."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

import torch

# Elements per parameter in the hash of the weights: with 64, a model of 135M parameters in 272
# tensors takes a tenth of a second.
SAMPLED = 64


@dataclass(frozen=True)
class ModelIdentity:
    """Hashes that identify a model, whatever its name and wherever it is stored.

    Attributes:
        weights: hash of the name, the shape and about 64 elements of every parameter. The elements
            are rounded to bfloat16, so that a checkpoint has the same hash in float32 and bfloat16.
        tokenizer: hash of the tokenizer's vocabulary, rules and special tokens.
        template: hash of the chat template; None for a model without one.
    """

    weights: str
    tokenizer: str
    template: str | None

    def changed_by(self, digest: str) -> ModelIdentity:
        """The identity of the same model with a change that has this hash."""
        return replace(self, weights=_short_hash(f"{self.weights} {digest}"))


def identity_of(hf_model: Any, tokenizer: Any) -> ModelIdentity:
    """The hashes of a Hugging Face model and its tokenizer."""
    template = tokenizer.chat_template
    return ModelIdentity(
        weights=_weights_hash(hf_model),
        tokenizer=_short_hash(_tokenizer_text(tokenizer)),
        template=_short_hash(json.dumps(template, sort_keys=True)) if template else None,
    )


def _weights_hash(hf_model: Any) -> str:
    digest = hashlib.sha256()
    for name, parameter in hf_model.named_parameters():
        flat = parameter.detach().reshape(-1)
        step = max(1, len(flat) // SAMPLED)
        sampled = flat[::step].to(torch.bfloat16).cpu()
        digest.update(f"{name} {tuple(parameter.shape)}".encode())
        # numpy has no bfloat16: the same bytes are read as integers.
        digest.update(sampled.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]


def _tokenizer_text(tokenizer: Any) -> str:
    """Everything that decides the tokens of a text, as text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return json.dumps([type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())])
    text = backend.to_str()
    # The padding and truncation of the last call come before the added tokens; they are left out.
    return text[text.find('"added_tokens"') :]


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
