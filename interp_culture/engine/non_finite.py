"""NaN and infinity: the hook point where they appear first, and what to do about them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from interp_culture.engine.forward import Trace, trace
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.patches import Patch
from interp_culture.engine.token_tree import Batch
from interp_culture.errors import InputError


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
    dtype = str(model.dtype).removeprefix("torch.")
    plain = _place(model, batch, ())
    if not edits or plain != LOGITS:
        other = "bfloat16" if dtype == "float32" else "float32"
        return InputError(
            f"the plain model gives NaN or infinite numbers, first {plain} ({dtype}); load it with "
            f"dtype='{other}', and check its weights with `interp-culture doctor`"
        )
    steps = ", ".join(f"{e.strength:g} at layer {e.layer}" for e in edits if isinstance(e, Edit))
    return InputError(
        f"steering with strength {steps} gives NaN or infinite numbers, first "
        f"{_place(model, batch, edits)} ({dtype}); lower the strength"
    )


LOGITS = "in the logits"


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
