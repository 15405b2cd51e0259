"""The reference: plain Hugging Face forward passes, one unpadded sequence at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor


def blocks(plain: Any) -> Any:
    """The decoder layers of a plain model; of a multimodal one, those of its language part."""
    inner = plain.model
    return inner.language_model.layers if hasattr(inner, "language_model") else inner.layers


def forward(
    plain: Any, tokens: Sequence[int], change: dict[int, Callable[[Tensor], Tensor]] | None = None
) -> tuple[Tensor, list[Tensor]]:
    """One pass, with `change[layer]` applied to the residual stream after that block.

    Returns:
        The logits [pos, vocab], and the residual stream after each block [pos, d_model].
    """
    resid: list[Tensor] = []

    def hook(layer: int) -> Callable[..., Any]:
        def keep(module: Any, args: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            if change and layer in change:
                hidden = change[layer](hidden)
            resid.append(hidden[0].clone())
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        return keep

    with torch.no_grad(), ExitStack() as stack:
        for layer, block in enumerate(blocks(plain)):
            stack.callback(block.register_forward_hook(hook(layer)).remove)
        logits = plain(torch.tensor([list(tokens)]), use_cache=False).logits[0]
    return logits, resid
