"""Whole forward passes that record residual streams, over token trees or single sequences.

Sizes of batches are in `batching`, hooks in `edit_hooks`. No hook is left behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from interp_culture.engine.blocks import (
    BlockCall,
    Finished,
    reset_rope,
    skipped,
    stream_of,
    take_call,
    with_stream,
)
from interp_culture.engine.edit_hooks import Hooks
from interp_culture.engine.interventions import Edit
from interp_culture.engine.masks import attention_mask
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.patches import Patch
from interp_culture.engine.token_tree import Batch


@dataclass(frozen=True)
class Part:
    """The record of one pass over a batch's rows, or over their stem.

    Attributes:
        resid: `resid[l]` is the residual stream before block l, `resid[n_layers]` the one after the
            last block; only those that were asked for.
        calls: the other arguments of each block that was reached.
        points: the activations at hook points, by their full name; only those that were asked for.
            Heads are side by side.
    """

    batch: Batch
    resid: dict[int, Float[Tensor, "row pos d_model"]]
    calls: list[BlockCall]
    points: dict[str, Float[Tensor, "row pos _"]] = field(default_factory=dict)


# A subclass, since `take_call` recognises caches by transformers' type.
class StemCache(DynamicCache):
    """The keys and values of the stem, which precede those of every row.

    The first pass over each layer, of the stem, fills it. The rows' keys and values are not stored.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_filled = False
        self.held: dict[int, tuple[Tensor, Tensor]] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> Any:
        if not self.is_filled:
            self.held[layer_idx] = (key_states, value_states)
            return key_states, value_states
        held_keys, held_values = self.held[layer_idx]
        return _after_stem(held_keys, key_states), _after_stem(held_values, value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.held[layer_idx][0].shape[-2] if self.is_filled else 0


def _after_stem(
    stem: Float[Tensor, "run head stem_key d_head"], rows: Float[Tensor, "run_row head key d_head"]
) -> Float[Tensor, "run_row head all_keys d_head"]:
    """The stem of each run before each of its rows."""
    n_rows = len(rows) // len(stem)
    return torch.cat([repeat(stem, "run ... -> (run row) ...", row=n_rows), rows], dim=-2)


def tree_pass(
    model: LanguageModel,
    batch: Batch,
    edits: Sequence[Edit | Patch],
    wanted: set[int],
    cache: StemCache | None,
    points: Sequence[str] = (),
) -> Part:
    """One pass over token trees, with the masks and positions of `batch`."""
    inputs: dict[str, Any] = {
        "attention_mask": attention_mask(model, batch),
        "position_ids": batch.position_ids,
    }
    if cache is not None:
        inputs["past_key_values"] = cache
    return _recorded(model, batch, edits, wanted, inputs, points=points)


@dataclass(frozen=True)
class Passes:
    """Passes that together read a batch.

    Attributes:
        rows: for each pass, the rows of the batch that it reads.
        parts: the record of each pass.
    """

    rows: list[list[int]]
    parts: list[Part]

    def joined(
        self, tensors: Sequence[Float[Tensor, "_ _ width"]]
    ) -> Float[Tensor, "path pos width"]:
        """The values of all sequences from one tensor for each pass; 0 at padding."""
        if len(tensors) == 1:
            return tensors[0]
        n_paths = sum(map(len, self.rows))
        width = max(tensor.shape[1] for tensor in tensors)
        joined = tensors[0].new_zeros(n_paths, width, tensors[0].shape[-1])
        for rows, tensor in zip(self.rows, tensors, strict=True):
            joined[rows, : tensor.shape[1]] = tensor
        return joined

    def stream(self, layer: int) -> Float[Tensor, "path pos d_model"]:
        """A residual stream of all sequences."""
        return self.joined([part.resid[layer] for part in self.parts])

    def point(self, name: str) -> Float[Tensor, "path pos width"]:
        """The activations at a hook point of all sequences."""
        return self.joined([part.points[name] for part in self.parts])


def unrolled_passes(
    model: LanguageModel,
    batch: Batch,
    edits: Sequence[Edit | Patch],
    wanted: set[int],
    *,
    points: Sequence[str] = (),
    differentiable: bool = False,
) -> Passes:
    """Plain passes over `batch.unrolled()`, whose masks and positions the model makes itself.

    One pass reads all sequences where padding changes nothing, else those of one length. The
    recorded streams of a `differentiable` pass are parts of a graph that begins at the first.
    """
    unrolled = batch.unrolled()
    lengths = [len(path.positions) for path in unrolled.paths]
    shortcuts = model.usable_shortcuts
    if shortcuts.padding and shortcuts.holds_for(max(lengths)):
        rows = [list(range(len(lengths)))]
        batches = [unrolled]
    else:
        rows = [_places(lengths, length) for length in sorted(set(lengths))]
        batches = [unrolled.select(same, lengths[same[0]]) for same in rows]
    parts = []
    for each in batches:
        # Padding is on the right, where a causal model needs no mask for it.
        inputs = {"attention_mask": torch.ones_like(each.tokens)}
        part = _recorded(
            model, each, edits, wanted, inputs, points=points, differentiable=differentiable
        )
        parts.append(part)
    return Passes(rows, parts)


def _places(values: Sequence[int], value: int) -> list[int]:
    return [place for place, each in enumerate(values) if each == value]


def _recorded(
    model: LanguageModel,
    batch: Batch,
    edits: Sequence[Edit | Patch],
    wanted: set[int],
    inputs: dict[str, Any],
    *,
    points: Sequence[str] = (),
    differentiable: bool = False,
) -> Part:
    """One pass of the model's own forward, without the blocks that no wanted stream needs."""
    model.check_edits(edits)
    form = model.block_form  # a pass of its own when first asked for, which must not be recorded
    recorder = _Recorder(model.n_layers, wanted, differentiable)
    blocks = model.bridge.blocks
    # Blocks after the last wanted stream return their input. The first block always runs.
    unneeded = blocks[max({1, *wanted}) :]
    with ExitStack() as stack:
        if not differentiable:
            stack.enter_context(torch.inference_mode())
        reads = {name: partial(recorder.at_point, name) for name in points}
        stack.enter_context(Hooks(model, [edits], reads=reads)).batch = batch
        for layer, block in enumerate(blocks):
            before = partial(recorder.before_block, layer)
            handle = block.register_forward_pre_hook(before, with_kwargs=True)
            stack.callback(handle.remove)
        stack.callback(blocks[-1].register_forward_hook(recorder.after_last_block).remove)
        stack.enter_context(skipped(unneeded, form))
        # Entered last, so that the exception ends before hooks are removed.
        stack.enter_context(suppress(Finished))
        # Only models whose RoPE changes with the longest position have such a length.
        if model.shortcuts.longest is not None:
            reset_rope(model.bridge.original_model)
        model.forward(batch.tokens, **inputs, use_cache=False)
    return Part(batch, recorder.resid, recorder.calls, recorder.points)


class _Recorder:
    """PyTorch hooks of one pass that keep the wanted residual streams and the blocks' calls."""

    def __init__(self, n_layers: int, wanted: set[int], differentiable: bool) -> None:
        self.n_layers = n_layers
        self.wanted = wanted
        self.differentiable = differentiable
        self.resid: dict[int, Tensor] = {}
        self.calls: list[BlockCall] = []
        self.points: dict[str, Tensor] = {}

    def before_block(
        self, layer: int, module: Any, args: tuple, kwargs: dict
    ) -> tuple[tuple, dict] | None:
        hidden, call = take_call(args, kwargs)
        self.calls.append(call)
        if layer not in self.wanted:
            return None
        self._keep(layer, hidden)
        return with_stream(self.resid[layer], args, kwargs)

    def at_point(self, name: str, activation: Tensor, hook: Any = None) -> Tensor | None:
        """A TransformerLens hook that changes nothing. Heads are recorded side by side."""
        self.points[name] = activation.flatten(2)
        # In a graph it is handed back, since TransformerLens shows hooks a reshaped copy of some
        # activations, which nothing else depends on.
        return self.points[name].view_as(activation) if self.differentiable else None

    def after_last_block(self, module: Any, args: tuple, output: Any) -> None:
        if self.n_layers in self.wanted:
            self._keep(self.n_layers, stream_of(output))
        raise Finished  # the unembedding runs separately, on the positions that are read

    def _keep(self, layer: int, hidden: Tensor) -> None:
        begins_graph = self.differentiable and not self.resid
        self.resid[layer] = hidden.detach().requires_grad_() if begins_graph else hidden
