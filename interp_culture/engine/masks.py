"""Attention masks of token trees: which tokens each token attends to, for every kind of attention of a model.

Windows go by a token's position in its own sequence (its depth), not by its place in the row.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import Batch


def attention_mask(model: LanguageModel, batch: Batch) -> Any:
    """Additive 4D masks: one, or one for each kind of attention that the layers have."""
    config = model.text_config
    depth, visible = batch.position_ids, batch.visible
    of_keys = depth
    if batch.stem is not None:
        stem = batch.stem.position_ids.expand(len(depth), -1)
        of_keys = torch.cat([stem, depth], dim=1)
        visible = torch.cat([visible.new_ones(*visible.shape[:2], stem.shape[1]), visible], dim=2)
    full = _additive(model, visible)
    window = getattr(config, "sliding_window", None)
    if window is None:
        return full
    sliding = _additive(model, visible & ((depth[:, :, None] - of_keys[:, None, :]) < window))
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return sliding
    return {kind: sliding if kind == "sliding_attention" else full for kind in set(kinds)}


def _additive(
    model: LanguageModel, visible: Bool[Tensor, "row pos key"]
) -> Float[Tensor, "row 1 pos key"]:
    mask = torch.zeros(visible.shape, dtype=model.dtype, device=visible.device)
    return mask.masked_fill(~visible, torch.finfo(model.dtype).min)[:, None]
