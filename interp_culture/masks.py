"""Attention masks of token trees: which tokens each token attends to, for every kind of attention of a model.

Windows and chunks go by a token's position in its own sequence (its depth), not by its place in the row.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp_culture.model import LanguageModel
from interp_culture.token_tree import Batch


def attention_mask(model: LanguageModel, batch: Batch) -> Any:
    """Additive 4D masks: one, or one for each kind of attention that the layers have."""
    config = model.text_config
    depth, visible = batch.position_ids, batch.visible
    of_keys = depth
    if batch.stem is not None:
        stem = batch.stem.position_ids.expand(len(depth), -1)
        of_keys = torch.cat([stem, depth], dim=1)
        visible = torch.cat([visible.new_ones(*visible.shape[:2], stem.shape[1]), visible], dim=2)
    narrow = {
        "sliding_attention": _window(depth, of_keys, getattr(config, "sliding_window", None)),
        "chunked_attention": _chunk(depth, of_keys, getattr(config, "attention_chunk_size", None)),
    }
    kinds = getattr(config, "layer_types", None)
    full = _additive(model, visible)
    if kinds is None:
        within = narrow["sliding_attention"]
        return full if within is None else _additive(model, visible & within)
    masks = dict.fromkeys(kinds, full)
    for kind, within in narrow.items():
        if kind in masks and within is not None:
            masks[kind] = _additive(model, visible & within)
    is_one = all(within is None for within in narrow.values())
    return full if is_one else masks


def _window(
    depth: Int[Tensor, "row pos"], of_keys: Int[Tensor, "row key"], window: int | None
) -> Bool[Tensor, "row pos key"] | None:
    """The keys that lie less than a window before each token."""
    return None if window is None else (depth[:, :, None] - of_keys[:, None, :]) < window


def _chunk(
    depth: Int[Tensor, "row pos"], of_keys: Int[Tensor, "row key"], size: int | None
) -> Bool[Tensor, "row pos key"] | None:
    """The keys in the same chunk as each token (Llama 4)."""
    return None if size is None else (depth[:, :, None] // size) == (of_keys[:, None, :] // size)


def _additive(model: LanguageModel, visible: Bool[Tensor, "row pos key"]) -> Float[Tensor, "row 1 pos key"]:
    mask = torch.zeros(visible.shape, dtype=model.dtype, device=visible.device)
    return mask.masked_fill(~visible, torch.finfo(model.dtype).min)[:, None]
