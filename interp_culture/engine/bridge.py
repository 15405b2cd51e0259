"""TransformerLens' TransformerBridge around a Hugging Face model and its tokenizer."""

from __future__ import annotations

import copy
from typing import Any


def build_bridge(hf_model: Any, tokenizer: Any, architecture: str | None = None) -> Any:
    """Hook a loaded model in place.

    Hook names are the bridge's, and weights stay as they are (no folding).

    Args:
        architecture: TransformerLens' name of it; by default the name of the model's class.
    """
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    architecture = architecture or type(hf_model).__name__
    bridge = build_bridge_from_module(hf_model, architecture, hf_config=hf_model.config)
    _set_tokenizer(bridge, tokenizer)
    return bridge


def supported_architectures() -> frozenset[str]:
    """The names of the model classes that TransformerLens has an adapter for."""
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory

    # Adapters of other packages count only after this call.
    ArchitectureAdapterFactory.discover_entry_points()
    return frozenset(ArchitectureAdapterFactory._adapters)


def _set_tokenizer(bridge: Any, tokenizer: Any) -> None:
    """Give the bridge its tokenizer, so that `bridge.to_tokens` agrees with `tokenise_text`.

    `build_bridge_from_module` would replace a tokenizer by one that is loaded again with a BOS. A
    bridge pads even a single text, so a tokenizer without a pad token is copied and gets one.
    """
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        # A copy: the user's tokenizer must encode as before.
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.pad_token = tokenizer.eos_token
    bridge.tokenizer = tokenizer
    ids = tokenizer("a").input_ids
    has_bos = len(ids) > 1 and ids[0] in (tokenizer.bos_token_id, tokenizer.cls_token_id)
    bridge.cfg.tokenizer_prepends_bos = has_bos
    bridge.cfg.default_prepend_bos = has_bos
    bridge.cfg.tokenizer_appends_eos = len(ids) > 1 and ids[-1] == tokenizer.eos_token_id
