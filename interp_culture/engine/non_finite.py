"""NaN and infinity: the hook point where they appear first, and what to do about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from interp_culture.engine.forward import Trace, trace
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.patches import Patch
from interp_culture.engine.token_tree import Batch
from interp_culture.errors import InputError

LOGITS = "in the logits"


def not_finite(
    model: LanguageModel, batch: Batch, edits: Sequence[Edit | Patch] = ()
) -> InputError:
    """The error for a pass that gave NaN or infinity, after a second pass that looks for the place.

    >>> from interp_culture.engine.token_tree import make_batches
    >>> group = [model.tokenise(ic.Prompt("Is it late?", " Yes."))]
    >>> (batch,) = make_batches([group], pad=0, batch_tokens=100)
    >>> print(not_finite(model, batch))
    the plain model gives NaN or infinite numbers, first in the logits (float32); ...
    """
    dtype, other = _dtypes(model)
    plain = _place(model, batch, ())
    if not edits or plain != LOGITS:
        return InputError(
            f"the plain model gives NaN or infinite numbers, first {plain} ({dtype}); load it with "
            f"dtype='{other}', and check its weights with `interp-culture doctor`"
        )
    steps = ", ".join(f"{e.strength:g} at layer {e.layer}" for e in edits if isinstance(e, Edit))
    return InputError(
        f"steering with strength {steps} gives NaN or infinite numbers, first "
        f"{_place(model, batch, edits)} ({dtype}); lower the strength"
    )


def gradient_not_finite(model: LanguageModel, gradients: Mapping[int, Tensor]) -> InputError:
    """The error for gradients by residual stream of which one is NaN or infinite."""
    dtype, other = _dtypes(model)
    stream = max(at for at, values in gradients.items() if not torch.isfinite(values).all())
    return InputError(
        f"the gradient is NaN or infinite from residual stream {stream} down ({dtype}); load the "
        f"model with dtype='{other}'"
    )


def _dtypes(model: LanguageModel) -> tuple[str, str]:
    """The model's dtype, and the one to try instead."""
    dtype = str(model.dtype).removeprefix("torch.")
    return dtype, "bfloat16" if dtype == "float32" else "float32"


def _place(model: LanguageModel, batch: Batch, edits: Sequence[Edit | Patch]) -> str:
    """The first residual stream that is not finite; the logits where all streams are."""
    kept = trace(model, batch, edits, layers=range(model.n_layers))
    for stream in range(model.n_layers + 1):
        if not _is_finite(kept, stream):
            block, point = max(stream - 1, 0), "hook_resid_post" if stream else "hook_resid_pre"
            return f"at blocks.{block}.{point}"
    return LOGITS


def _is_finite(kept: Trace, stream: int) -> bool:
    parts = [part for part in (kept.stem, kept.rows) if part is not None]
    return all(bool(torch.isfinite(part.resid[stream]).all()) for part in parts)
