"""Batch sizes: batches that fit the device, halved when its memory runs out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import Batch, TokenSequence, make_batches
from interp_culture.errors import InputError

T = TypeVar("T")

# The last two are those of torch's allocator on a CPU.
MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")

# Tokens that run at once. Two CPU cores reach their peak at about 1000; larger batches read the
# stem, which is read once a batch, fewer times.
BATCH_TOKENS = {"cpu": 5120, "mps": 8192}
GPU_TOKENS = (1024, 65536)  # smallest and largest
# A graph of all blocks is kept if it holds this many tokens, on a CPU in so much memory.
LEAST_GRAPH_TOKENS = 256
CPU_GRAPH_BYTES = 2**30


def over_batches(
    model: LanguageModel,
    groups: Sequence[Sequence[TokenSequence]],
    work: Callable[[Batch], T],
    *,
    share_stem: bool = True,
    with_graph: bool = False,
) -> Iterator[T]:
    """Apply `work` to each batch of token trees of `groups`, and yield its results.

    When the device runs out of memory, that batch and all later ones are halved, and the model's
    `batch_limit` is set, so that later calls begin with smaller batches.

    Args:
        groups: the prompts of one scenario are one group.
        share_stem, with_graph: see `lay_out`.

    Raises:
        InputError: a single row does not fit the device's memory.
    """
    waiting = deque(lay_out(model, groups, share_stem=share_stem, with_graph=with_graph))
    prefetched: Batch | None = None
    while waiting:
        batch = waiting.popleft()
        on_device = prefetched or batch.to(model.device)
        # The next batch is copied to the device while this one is worked on.
        prefetched = waiting[0].to(model.device) if waiting else None
        try:
            result = work(on_device)
        except RuntimeError as error:
            check_memory_error(error, *batch.tokens.shape)
        else:
            yield result
            continue
        # Outside the except clause, where the error's traceback would keep its tensors in memory.
        # The prefetched batch is dropped, since the next batch is now a half of this one.
        prefetched = None
        model.batch_limit = batch.tokens.numel() // 2
        waiting = _halved([batch, *waiting], model.batch_limit)
        if model.device.type == "cuda":
            torch.cuda.empty_cache()


def groups_of_rows(batch: Batch) -> list[int]:
    """The group of each row of a batch; a group may have several rows."""
    group_of = {path.row: path.group for path in batch.paths}
    return [group_of[row] for row in range(len(batch.tokens))]


def lay_out(
    model: LanguageModel,
    groups: Sequence[Sequence[TokenSequence]],
    *,
    share_stem: bool = True,
    with_graph: bool = False,
) -> list[Batch]:
    """Batches of half of the tokens that the device holds; the other half is for stacked runs.

    Batches with sequences longer than `Shortcuts.longest` are unrolled to one sequence per row.

    Args:
        share_stem: see `make_batches`.
        with_graph: batches whose graph is kept for a backward pass, where the device holds it.
    """
    shortcuts = model.usable_shortcuts
    limit = batch_tokens(model) // 2
    if with_graph and graph_tokens(model) >= LEAST_GRAPH_TOKENS:
        limit = min(limit, graph_tokens(model))
    batches = make_batches(
        groups,
        pad=model.pad_token,
        batch_tokens=limit,
        share_stem=share_stem and shortcuts.stem,
    )
    return [batch if shortcuts.holds_for(batch.longest) else batch.unrolled() for batch in batches]


def batch_tokens(model: LanguageModel) -> int:
    """How many tokens may run at once.

    On a GPU it depends on the free memory and the model's width, and is at most the model's
    `batch_limit` once memory ran out.
    """
    limit = GPU_TOKENS[1] if model.batch_limit is None else model.batch_limit
    return min(_fitting_tokens(model), limit)


def graph_fits(model: LanguageModel, batch: Batch) -> bool:
    """Whether the device holds the graph of all blocks of a pass over this batch."""
    return batch.tokens.numel() <= graph_tokens(model)


def graph_tokens(model: LanguageModel) -> int:
    """How many tokens may run at once where the graph of all blocks is kept."""
    free = _free_bytes(model) // 2 if model.device.type == "cuda" else CPU_GRAPH_BYTES
    # Per token and block: norms, attention's inputs and output, and those of the MLP's parts.
    values = 12 * model.d_model + 5 * _d_mlp(model)
    return int(free // (values * model.n_layers * model.dtype.itemsize))


def _fitting_tokens(model: LanguageModel) -> int:
    if model.device.type != "cuda":
        return BATCH_TOKENS.get(model.device.type, BATCH_TOKENS["cpu"])
    # Per token: the streams kept at every layer, the activations within one block, and three values
    # in float32 for each head and key (masks and scores where attention is not fused; 256 keys).
    values = model.d_model * (model.n_layers + 12) + 3 * _d_mlp(model)
    heads = model.text_config.num_attention_heads
    bytes_per_token = values * model.dtype.itemsize + 3 * 4 * 256 * heads
    low, high = GPU_TOKENS
    return min(high, max(low, _free_bytes(model) // 2 // bytes_per_token))


def _free_bytes(model: LanguageModel) -> int:
    """The free memory of the model's GPU; PyTorch's own cache, which CUDA counts as taken, too."""
    free, _ = torch.cuda.mem_get_info(model.device)
    cached = torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    return free + cached


def _d_mlp(model: LanguageModel) -> int:
    return getattr(model.text_config, "intermediate_size", 4 * model.d_model)


def _halved(batches: Sequence[Batch], limit: int) -> deque[Batch]:
    """The batches, those of more than `limit` tokens in halves."""
    halved: deque[Batch] = deque()
    for batch in batches:
        is_too_large = batch.tokens.numel() > limit and len(batch.tokens) > 1
        halved.extend(batch.halves() if is_too_large else (batch,))
    return halved


def check_memory_error(error: RuntimeError, n_rows: int, n_tokens: int) -> None:
    """Return if a smaller batch may cure the error; raise otherwise.

    Args:
        n_rows: of the batch that raised the error.
        n_tokens: of its longest row.
    """
    # Only CUDA has an error class for this; MPS and the CPU raise a plain RuntimeError.
    is_memory = any(words in str(error) for words in MEMORY_WORDS)
    if not isinstance(error, torch.OutOfMemoryError) and not is_memory:
        raise error
    if n_rows == 1:
        raise InputError(
            f"one row of {n_tokens} tokens does not fit the device's memory: use a "
            "smaller model, dtype='bfloat16' or shorter texts"
        ) from error
