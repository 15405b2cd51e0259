"""How much runs at once: batches that fit the device, halved where its memory runs out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import Batch, TokenSequence, make_batches
from interp_culture.errors import InputError

T = TypeVar("T")

# Tokens that run at once. Two cores reach their peak at about 1000; a stem is read once a batch.
BATCH_TOKENS = {"cpu": 5120, "mps": 8192}
GPU_TOKENS = (1024, 65536)
BATCH_LIMIT = "batch_tokens"  # in a model's memo, once memory ran out


def over_batches(
    model: LanguageModel,
    groups: Sequence[Sequence[TokenSequence]],
    work: Callable[[Batch], T],
    *,
    share_stem: bool = True,
) -> Iterator[T]:
    """What `work` gives for each batch of token trees of `groups` (the prompts of one scenario are one group).

    Where the device's memory runs out, that batch and all after it are halved and it goes on. Raises InputError
    when a single row does not fit.
    """
    waiting = deque(lay_out(model, groups, share_stem=share_stem))
    ahead: Batch | None = None
    while waiting:
        batch = waiting.popleft()
        here = ahead or batch.to(model.device)
        ahead = (
            waiting[0].to(model.device) if waiting else None
        )  # travels while this one is worked on
        try:
            result = work(here)
        except RuntimeError as error:
            _explain_memory(error, batch)
        else:
            yield result
            continue
        ahead = None
        most = batch.tokens.numel() // 2
        model.memo[BATCH_LIMIT] = most
        waiting = deque(
            part for b in (batch, *waiting) for part in (b.halves() if _exceeds(b, most) else (b,))
        )
        if model.device.type == "cuda":
            torch.cuda.empty_cache()


def lay_out(
    model: LanguageModel, groups: Sequence[Sequence[TokenSequence]], *, share_stem: bool = True
) -> list[Batch]:
    """Batches of half of what the device holds: the other half is for stacked runs.

    Sequences whose every token depends on how long they are share none (see `Shortcuts.longest`).
    """
    shortcuts = model.usable_shortcuts
    batches = make_batches(
        groups,
        pad=model.pad_token,
        batch_tokens=batch_tokens(model) // 2,
        share_stem=share_stem and shortcuts.stem,
    )
    return [batch if shortcuts.holds_for(batch.longest) else batch.unrolled() for batch in batches]


def batch_tokens(model: LanguageModel) -> int:
    """How many tokens may run at once: on a GPU by its free memory and the model's width; less once it ran out."""
    return min(_fitting_tokens(model), model.memo.get(BATCH_LIMIT, GPU_TOKENS[1]))


def _fitting_tokens(model: LanguageModel) -> int:
    if model.device.type != "cuda":
        return BATCH_TOKENS.get(model.device.type, BATCH_TOKENS["cpu"])
    free, _ = torch.cuda.mem_get_info(model.device)
    free += torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    config = model.text_config
    # The streams kept at every layer and a block's own activations; masks and scores where attention is not fused.
    values = model.d_model * (model.n_layers + 12) + 3 * getattr(
        config, "intermediate_size", 4 * model.d_model
    )
    bytes_per_token = values * model.dtype.itemsize + 3 * 4 * 256 * config.num_attention_heads
    low, high = GPU_TOKENS
    return min(high, max(low, free // 2 // bytes_per_token))


def _exceeds(batch: Batch, tokens: int) -> bool:
    return batch.tokens.numel() > tokens and len(batch.tokens) > 1


def _explain_memory(error: RuntimeError, batch: Batch) -> None:
    """Return for a lack of memory that a smaller batch may cure; raise for everything else."""
    if not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in str(error):
        raise error
    if len(batch.tokens) == 1:
        raise InputError(
            f"one row of {batch.tokens.shape[1]} tokens does not fit the device's memory: use a smaller model, "
            "dtype='bfloat16' or shorter texts"
        ) from error
