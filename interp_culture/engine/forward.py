"""Forward passes: a whole one that is kept, and edited ones that go on from it.

What the work of a study contains twice is done once here. An edit at layer l leaves everything before l as it was, so
that its pass starts there; runs of many edits go through the blocks as one stacked batch, which each enters at its own
layer. Shared tokens are in `token_tree`, sizes in `batching`. Hooks are TransformerLens' own; none is left behind.

A model for which such a shortcut does not hold (`LanguageModel.usable_shortcuts`) runs whole passes over single
sequences: the numbers are the same, the work is more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from interp_culture.engine.batching import batch_tokens
from interp_culture.engine.blocks import (
    BlockCall,
    Finished,
    reset_rope,
    run_block,
    skipped,
    stream_of,
    take_call,
    with_stream,
)
from interp_culture.engine.hook_bypass import unhooked
from interp_culture.engine.interventions import Edit
from interp_culture.engine.masks import attention_mask
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.shortcuts import Shortcuts
from interp_culture.engine.token_tree import Batch


@dataclass(frozen=True)
class Part:
    """What one pass over the rows (or over their stem) left: `Trace` says which residual streams."""

    batch: Batch
    resid: dict[int, Float[Tensor, "row pos d_model"]]
    calls: list[BlockCall]


@dataclass(frozen=True)
class Trace:
    """One forward pass over a batch, kept so that edited passes can go on from any layer of it.

    `resid[l]` is the residual stream of the rows before block l (`resid_pre`), `resid[n_layers]` the one after the
    last block, before the final norm. Layers that were not asked for are absent.

    `can_resume` tells whether edited passes can go on from it; else each of them is a whole pass.
    """

    rows: Part
    stem: Part | None
    n_layers: int
    can_resume: bool = True

    @property
    def batch(self) -> Batch:
        return self.rows.batch

    @property
    def resid(self) -> dict[int, Float[Tensor, "row pos d_model"]]:
        return self.rows.resid

    @property
    def final(self) -> Float[Tensor, "row pos d_model"]:
        return self.resid[self.n_layers]


class _StemCache(DynamicCache):
    """Keys and values of the stem, put before those of every row. The rows' own are not kept."""

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
        new = (key_states, value_states)
        rows = len(key_states) // len(self.held[layer_idx][0])
        stem = (held.repeat_interleave(rows, dim=0) for held in self.held[layer_idx])
        return tuple(torch.cat(pair, dim=-2) for pair in zip(stem, new, strict=True))

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.held[layer_idx][0].shape[-2] if self.is_filled else 0


def trace(
    model: LanguageModel,
    batch: Batch,
    edits: Sequence[Edit] = (),
    layers: Sequence[int] = (),
    final: bool = True,
) -> Trace:
    """A forward pass that keeps the residual stream before `layers` and, where `final`, after the last block.

    Without `final` the blocks after the last of `layers` are not computed.
    """
    batch = batch.to(model.device)
    wanted = {*layers, model.n_layers} if final else set(layers)
    shortcuts = model.usable_shortcuts
    if not _takes_trees(shortcuts, batch):
        resid = _as_tree(batch, unrolled_streams(model, batch, edits, wanted))
        return Trace(Part(batch, resid, []), None, model.n_layers, can_resume=False)
    cache = _StemCache() if batch.stem is not None else None
    stem = _whole(model, batch.stem, edits, wanted, cache) if batch.stem is not None else None
    if cache is not None:
        cache.is_filled = True
    rows = _whole(model, batch, edits, wanted, cache)
    return Trace(rows, stem, model.n_layers, shortcuts.resume)


def can_resume(model: LanguageModel, batch: Batch) -> bool:
    """Whether edited passes over a batch may go on from a kept one."""
    shortcuts = model.usable_shortcuts
    return shortcuts.resume and _takes_trees(shortcuts, batch)


def _takes_trees(shortcuts: Shortcuts, batch: Batch) -> bool:
    return shortcuts.trees and shortcuts.holds_for(batch.longest)


def resume(
    model: LanguageModel, kept: Trace, runs: Sequence[Sequence[Edit]]
) -> Float[Tensor, "run row pos d_model"]:
    """The final residual stream under each run's edits, going on from the first edited layer of a plain trace.

    Everything before that layer is as in the trace; each run equals `trace(batch, edits).final`. Runs go through the
    blocks as one stacked batch, which each of them enters at its own first layer.
    """
    for edits in runs:
        model.check_edits(edits)
    if not kept.can_resume:
        return torch.stack([_final(model, kept, edits) for edits in runs])
    order = sorted(range(len(runs)), key=lambda run: first_stream(model, runs[run]))
    starts = [first_stream(model, runs[run]) for run in order]
    parts = [part for part in (kept.stem, kept.rows) if part is not None]
    hidden: list[Tensor | None] = [None] * len(parts)
    with torch.inference_mode(), Hooks(model, [runs[run] for run in order], starts) as hooks:
        for layer in range(starts[0], model.n_layers + 1):
            if layer in starts:
                hidden = [
                    hooks.enter(part, layer, h) for part, h in zip(parts, hidden, strict=True)
                ]
            if layer == model.n_layers:
                break
            cache = _StemCache() if kept.stem is not None else None
            for i, part in enumerate(parts):
                hooks.batch = part.batch
                call = part.calls[layer].stacked(hooks.running, len(part.batch.tokens))
                stream = hidden[i]
                assert stream is not None
                hidden[i] = run_block(model.bridge.blocks[layer], stream, call, cache)
                if cache is not None:
                    cache.is_filled = True
    final = hidden[-1]
    assert final is not None
    return final.unflatten(0, (len(runs), -1))[np.argsort(order)]


def _final(
    model: LanguageModel, kept: Trace, edits: Sequence[Edit]
) -> Float[Tensor, "row pos d_model"]:
    """The final residual stream under edits by a whole pass; without any the kept one, where there is one."""
    if not edits and model.n_layers in kept.resid:
        return kept.final
    return trace(model, kept.batch, edits).final


def stacks(
    model: LanguageModel, runs: Mapping[Any, Sequence[Edit]], batch: Batch
) -> Iterator[dict[Any, Sequence[Edit]]]:
    """The runs in stacks that, with this batch's rows, fill what the device holds; near first layers together."""
    most = max(1, batch_tokens(model) // batch.tokens.numel())
    keys = sorted(runs, key=lambda key: first_stream(model, runs[key]))
    for first in range(0, len(keys), most):
        yield {key: runs[key] for key in keys[first : first + most]}


def first_stream(model: LanguageModel, edits: Sequence[Edit]) -> int:
    """The first residual stream that the edits change, from which their pass goes on; the last one without any."""
    return min((edit.stream for edit in edits), default=model.n_layers)


def unrolled_streams(
    model: LanguageModel,
    batch: Batch,
    edits: Sequence[Edit],
    wanted: set[int],
    *,
    differentiable: bool = False,
) -> dict[int, Float[Tensor, "path pos d_model"]]:
    """The residual streams of `batch.unrolled()`, by plain passes: sequences side by side where padding does no harm,
    else those of one length at a time. `differentiable` ones are parts of a graph that begins at the first of them.
    """
    rows = batch.unrolled()
    lengths = [len(path.positions) for path in rows.paths]
    shortcuts = model.usable_shortcuts
    if shortcuts.padding and shortcuts.holds_for(max(lengths)):
        return _whole(
            model, rows, edits, wanted, None, plain=True, differentiable=differentiable
        ).resid
    streams: dict[int, Tensor] = {}
    for length in sorted(set(lengths)):
        own = [row for row, n in enumerate(lengths) if n == length]
        part = _whole(
            model,
            rows.select(own, length),
            edits,
            wanted,
            None,
            plain=True,
            differentiable=differentiable,
        )
        for layer, resid in part.resid.items():
            whole = streams.setdefault(
                layer, resid.new_zeros(len(lengths), max(lengths), resid.shape[-1])
            )
            whole[own, :length] = resid
    return streams


def _as_tree(
    batch: Batch, streams: Mapping[int, Float[Tensor, "path token d_model"]]
) -> dict[int, Float[Tensor, "row pos d_model"]]:
    """Streams of single sequences where their tokens lie in the batch: shared tokens have one stream."""
    stem = batch.stem.tokens.shape[1] if batch.stem else 0
    found = {}
    for layer, values in streams.items():
        resid = values.new_zeros(*batch.tokens.shape, values.shape[-1])
        for of_path, path in zip(values, batch.paths, strict=True):
            resid[path.row, path.positions] = of_path[stem : stem + len(path.positions)]
        found[layer] = resid
    return found


def _whole(
    model: LanguageModel,
    batch: Batch,
    edits: Sequence[Edit],
    wanted: set[int],
    cache: _StemCache | None,
    *,
    plain: bool = False,
    differentiable: bool = False,
) -> Part:
    """One pass through the model; a `plain` one leaves masks and positions to the model."""
    resid: dict[int, Tensor] = {}
    calls: list[BlockCall] = []
    blocks = model.bridge.blocks

    def keep(layer: int, module: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        hidden, call = take_call(args, kwargs)
        calls.append(call)
        if layer not in wanted:
            return None
        resid[layer] = start(hidden)
        return with_stream(resid[layer], args, kwargs)

    def finish(module: Any, args: tuple, output: Any) -> None:
        if model.n_layers in wanted:
            resid[model.n_layers] = start(stream_of(output))
        raise Finished  # the unembedding is gone through by itself

    def start(hidden: Tensor) -> Tensor:
        """The first stream that is kept is where a graph begins."""
        return hidden.detach().requires_grad_() if differentiable and not resid else hidden

    model.check_edits(edits)
    inputs = (
        {}
        if plain
        else {"attention_mask": attention_mask(model, batch), "position_ids": batch.position_ids}
    )
    if plain:
        inputs["attention_mask"] = torch.ones_like(batch.tokens)
    if cache is not None:
        inputs["past_key_values"] = cache
    unneeded = blocks[max({1, *wanted}) :]  # nobody asked for what they would compute
    with ExitStack() as stack:
        if not differentiable:
            stack.enter_context(torch.inference_mode())
        stack.enter_context(Hooks(model, [edits])).batch = batch
        for layer, block in enumerate(blocks):
            handle = block.register_forward_pre_hook(partial(keep, layer), with_kwargs=True)
            stack.callback(handle.remove)
        stack.callback(blocks[-1].register_forward_hook(finish).remove)
        stack.enter_context(skipped(unneeded, model.block_form))
        stack.enter_context(suppress(Finished))
        if model.shortcuts.longest is not None:
            reset_rope(model.bridge.original_model)
        model.forward(batch.tokens, **inputs, use_cache=False)
    return Part(batch, resid, calls)


class Hooks:
    """TransformerLens hooks for the edits of stacked runs, for the time of one pass.

    Edits on the residual stream where their run starts need none: `enter` applies them. `running` runs, the first
    ones, are in the stack; `batch` is what runs now.
    """

    def __init__(
        self,
        model: LanguageModel,
        runs: Sequence[Sequence[Edit]],
        starts: Sequence[int] | None = None,
    ) -> None:
        self.model, self.runs = model, runs
        self.starts = starts if starts is not None else [-1] * len(runs)
        self.running = sum(start < 0 for start in self.starts)
        self.batch: Batch
        points: dict[str, list[tuple[int, Edit]]] = defaultdict(list)
        for run, edits in enumerate(runs):
            for edit in edits:
                if not self._at_start(run, edit):
                    points[edit.hook_name].append((run, edit))
        hooks = [(name, partial(self._apply, at)) for name, at in points.items()]
        self.context = model.bridge.hooks(fwd_hooks=hooks)
        self.fuses = model.usable_shortcuts.fused  # before our own hooks are on it

    def __enter__(self) -> Hooks:
        with ExitStack() as stack:
            stack.enter_context(self.context)
            if self.fuses:
                stack.enter_context(unhooked(self.model))  # after the hooks, which it looks for
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)

    def enter(
        self, part: Part, layer: int, hidden: Float[Tensor, "run_row pos d_model"] | None
    ) -> Float[Tensor, "more_run_row pos d_model"]:
        """The stack and the runs that start at `layer`, with the edits that act right there."""
        self.batch = part.batch
        entering = [run for run, start in enumerate(self.starts) if start == layer]
        self.running = entering[-1] + 1
        plain, new = part.resid[layer], []
        for run in entering:
            stream = plain
            for edit in self.runs[run]:
                stream = edit.apply(stream, part.batch) if self._at_start(run, edit) else stream
            new.append(stream)
        return torch.cat([*([hidden] if hidden is not None else []), *new])

    def _at_start(self, run: int, edit: Edit) -> bool:
        return edit.is_on_stream and edit.stream == self.starts[run]

    def _apply(self, at: list[tuple[int, Edit]], activation: Tensor, hook: Any = None) -> Tensor:
        parts = list(activation.unflatten(0, (self.running, -1)).unbind(0))
        for run, edit in at:
            parts[run] = edit.apply(parts[run], self.batch)
        return torch.cat(parts) if len(parts) > 1 else parts[0]
