"""Forward passes: whole ones that are recorded, and edited ones that go on from them.

Work that a study contains twice is done once. An edit at layer l leaves everything before l as it
was, so its pass starts there. Runs of many edits go through the blocks as one stacked batch, which
each run enters at its own layer. Shared tokens are in `token_tree`.

A model for which such a shortcut does not hold (`LanguageModel.usable_shortcuts`) runs whole passes
over single sequences. The numbers are the same and the work is more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.batching import batch_tokens
from interp_culture.engine.blocks import run_block
from interp_culture.engine.edit_hooks import Hooks
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.patches import Patch
from interp_culture.engine.shortcuts import Shortcuts
from interp_culture.engine.token_tree import Batch
from interp_culture.engine.whole_pass import Part, StemCache, tree_pass, unrolled_passes

Place = TypeVar("Place", int, str)  # the number of a stream, or the name of a hook point


@dataclass(frozen=True)
class Trace:
    """The record of a forward pass, from which edited passes can go on at any recorded layer.

    `resid[l]` is the residual stream of the rows before block l (`resid_pre`), `resid[n_layers]`
    the one after the last block, before the final norm. Layers that were not asked for are absent.

    Attributes:
        rows, stem: the passes over the rows and over their shared stem.
        can_resume: whether edited passes go on from this one; otherwise each is a whole pass.
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

    def at(self, layer: int, hook_point: str) -> Float[Tensor, "row pos width"]:
        """The activations at a hook point of a block, if they were recorded."""
        if hook_point == "hook_resid_post":
            return self.resid[layer + 1]
        return self.rows.points[f"blocks.{layer}.{hook_point}"]

    @property
    def final(self) -> Float[Tensor, "row pos d_model"]:
        return self.resid[self.n_layers]


def trace(
    model: LanguageModel,
    batch: Batch,
    edits: Sequence[Edit | Patch] = (),
    layers: Sequence[int] = (),
    final: bool = True,
    points: Sequence[str] = (),
) -> Trace:
    """A forward pass that records residual streams.

    Args:
        layers: the blocks before which the stream is recorded.
        final: whether the stream after the last block is recorded. Without it, the blocks after the
            last of `layers` do not run.
        points: the full names of the hook points whose activations are recorded too, such as
            "blocks.3.hook_attn_out", after the edits there.
    """
    batch = batch.to(model.device)
    wanted = {*layers, model.n_layers} if final else set(layers)
    shortcuts = model.usable_shortcuts
    if not _takes_trees(shortcuts, batch):
        passes = unrolled_passes(model, batch, edits, wanted, points=points)
        streams = {layer: passes.stream(layer) for layer in passes.parts[0].resid}
        at_points = {name: passes.point(name) for name in points}
        rows = Part(batch, _as_tree(batch, streams), [], _as_tree(batch, at_points))
        return Trace(rows, None, model.n_layers, can_resume=False)
    cache: StemCache | None = None
    stem: Part | None = None
    if batch.stem is not None:
        cache = StemCache()
        stem = tree_pass(model, batch.stem, edits, wanted, cache)
        # From here on the cache puts the stem's keys before those of the rows.
        cache.is_filled = True
    rows = tree_pass(model, batch, edits, wanted, cache, points)
    return Trace(rows, stem, model.n_layers, shortcuts.resume)


def can_resume(model: LanguageModel, batch: Batch) -> bool:
    """Whether edited passes over a batch may go on from a recorded one."""
    shortcuts = model.usable_shortcuts
    return shortcuts.resume and _takes_trees(shortcuts, batch)


def _takes_trees(shortcuts: Shortcuts, batch: Batch) -> bool:
    return shortcuts.trees and shortcuts.holds_for(batch.longest)


def _as_tree(
    batch: Batch, streams: Mapping[Place, Float[Tensor, "path token _"]]
) -> dict[Place, Float[Tensor, "row pos _"]]:
    """The streams of single sequences, put at the places of their tokens in the batch."""
    stem = batch.stem.tokens.shape[1] if batch.stem else 0
    resid = {}
    for layer, by_path in streams.items():
        by_row = by_path.new_zeros(*batch.tokens.shape, by_path.shape[-1])
        for stream, path in zip(by_path, batch.paths, strict=True):
            by_row[path.row, path.positions] = stream[stem : stem + len(path.positions)]
        resid[layer] = by_row
    return resid


def resume(
    model: LanguageModel, kept: Trace, runs: Sequence[Sequence[Edit | Patch]]
) -> Float[Tensor, "run row pos d_model"]:
    """The final residual stream under each run's edits, going on from a plain trace.

    Each run equals `trace(model, batch, edits).final`. Where the trace can be resumed, runs go
    through the blocks as one stacked batch, which each enters at its first edited layer.
    """
    for edits in runs:
        model.check_edits(edits)
    if not kept.can_resume:
        return torch.stack([_final(model, kept, edits) for edits in runs])
    # A stack grows at its end, so that runs must be in the order in which they enter.
    order = sorted(range(len(runs)), key=lambda run: first_stream(model, runs[run]))
    sorted_runs = [runs[run] for run in order]
    starts = [first_stream(model, edits) for edits in sorted_runs]
    with torch.inference_mode(), Hooks(model, sorted_runs, starts) as hooks:
        final = _stacked_final(model, kept, hooks)
    # Back in the order in which the runs were given.
    by_run = rearrange(final, "(run row) ... -> run row ...", run=len(runs))
    return by_run[np.argsort(order)]


def _stacked_final(
    model: LanguageModel, kept: Trace, hooks: Hooks
) -> Float[Tensor, "run_row pos d_model"]:
    """The final residual stream of the stacked runs of `hooks`, in their order."""
    parts = [part for part in (kept.stem, kept.rows) if part is not None]
    hidden: list[Tensor | None] = [None] * len(parts)
    for layer in range(hooks.starts[0], model.n_layers + 1):
        # A new one for each layer, since `is_filled` is one flag for all layers of a cache.
        cache = StemCache() if kept.stem is not None else None
        for i, part in enumerate(parts):
            hooks.batch = part.batch
            stream = hidden[i]
            if layer in hooks.starts:
                stream = hooks.enter(part.resid[layer], layer, stream)
            assert stream is not None
            # Stream n_layers is the final one: runs may still enter there, but no block follows.
            if layer < model.n_layers:
                call = part.calls[layer].stacked(hooks.running, len(part.batch.tokens))
                stream = run_block(model.bridge.blocks[layer], stream, call, cache)
                if cache is not None:
                    cache.is_filled = True
            hidden[i] = stream
    final = hidden[-1]
    assert final is not None
    return final


def _final(
    model: LanguageModel, kept: Trace, edits: Sequence[Edit | Patch]
) -> Float[Tensor, "row pos d_model"]:
    """The final residual stream under edits by a whole pass; without edits the recorded one."""
    if not edits and model.n_layers in kept.resid:
        return kept.final
    return trace(model, kept.batch, edits).final


def stacks(
    model: LanguageModel, runs: Mapping[Any, Sequence[Edit | Patch]], batch: Batch
) -> Iterator[dict[Any, Sequence[Edit | Patch]]]:
    """The runs in stacks as large as the device holds with this batch's rows.

    Runs are sorted by their first edited stream, so that those of a stack start close together.
    """
    size = max(1, batch_tokens(model) // batch.tokens.numel())
    keys = sorted(runs, key=lambda key: first_stream(model, runs[key]))
    for start in range(0, len(keys), size):
        yield {key: runs[key] for key in keys[start : start + size]}


def first_stream(model: LanguageModel, edits: Sequence[Edit | Patch]) -> int:
    """The first residual stream that the edits change; the final one where there are none."""
    return min((edit.stream for edit in edits), default=model.n_layers)
