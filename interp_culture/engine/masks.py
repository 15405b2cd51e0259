"""Attention masks of token trees, one for each kind of attention of a model.

Sliding windows count a token's position in its own sequence (its depth), not its place in the row.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor

from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import Batch


def attention_mask(model: LanguageModel, batch: Batch) -> Any:
    """Additive masks [row, 1, pos, key]: one, or one for each kind of attention in the layers.

    The keys are the tokens of the stem, all of which are visible, then those of the row.
    """
    config = model.text_config
    depth = batch.position_ids
    key_depth = depth
    visible = batch.visible
    if batch.stem is not None:
        stem_depth = repeat(batch.stem.position_ids, "1 key -> row key", row=len(depth))
        key_depth = torch.cat([stem_depth, depth], dim=1)
        stem_visible = visible.new_ones(*visible.shape[:2], stem_depth.shape[1])
        visible = torch.cat([stem_visible, visible], dim=2)
    full = _additive(model, visible)
    window = getattr(config, "sliding_window", None)
    if window is None:
        return full
    # As in transformers: a window of n is the token itself and the n - 1 before it.
    is_near = (depth[:, :, None] - key_depth[:, None, :]) < window
    sliding = _additive(model, visible & is_near)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return sliding
    # transformers' models take ready masks by kind of layer as a dictionary.
    return {kind: sliding if kind == "sliding_attention" else full for kind in set(kinds)}


def _additive(
    model: LanguageModel, visible: Bool[Tensor, "row pos key"]
) -> Float[Tensor, "row 1 pos key"]:
    """0 where a key is visible, elsewhere the dtype's minimum, as in transformers."""
    # transformers passes a mask of four dimensions on as it is.
    mask = torch.zeros(visible.shape, dtype=model.dtype, device=visible.device)
    return mask.masked_fill(~visible, torch.finfo(model.dtype).min)[:, None]
