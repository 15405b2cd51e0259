"""Forward passes: a whole one that is kept, and edited ones that go on from it.

What the work of a study contains twice is done once here. An edit at layer l leaves everything before l as it was, so
that its pass starts there; runs of many edits go through the blocks as one stacked batch, which each enters at its own
layer. Shared tokens are in `token_tree`, sizes in `batching`. Hooks are TransformerLens' own; none is left behind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from interp_culture.batching import batch_tokens
from interp_culture.interventions import Edit
from interp_culture.model import LanguageModel
from interp_culture.token_tree import Batch
from interp_culture.unhooked import unhooked


@dataclass(frozen=True)
class Part:
    """What one pass over the rows (or over their stem) left: `Trace` says which residual streams."""

    batch: Batch
    resid: dict[int, Float[Tensor, "row pos d_model"]]
    block_inputs: list[dict[str, Any]]


@dataclass(frozen=True)
class Trace:
    """One forward pass over a batch, kept so that edited passes can go on from any layer of it.

    `resid[l]` is the residual stream of the rows before block l (`resid_pre`), `resid[n_layers]` the one after the
    last block, before the final norm. Layers that were not asked for are absent.
    """

    rows: Part
    stem: Part | None

    @property
    def batch(self) -> Batch:
        return self.rows.batch

    @property
    def resid(self) -> dict[int, Float[Tensor, "row pos d_model"]]:
        return self.rows.resid

    @property
    def final(self) -> Float[Tensor, "row pos d_model"]:
        return self.resid[len(self.rows.block_inputs)]


class _StemCache(DynamicCache):
    """Keys and values of the stem, put before those of every row. The rows' own are not kept."""

    def __init__(self) -> None:
        super().__init__()
        self.is_filled = False
        self.held: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
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
    model: LanguageModel, batch: Batch, edits: Sequence[Edit] = (), layers: Sequence[int] = (), final: bool = True
) -> Trace:
    """A forward pass that keeps the residual stream before `layers` and, where `final`, after the last block.

    Without `final` the blocks after the last of `layers` are not computed.
    """
    batch = batch.to(model.device)
    wanted = {*layers, model.n_layers} if final else set(layers)
    cache = _StemCache() if batch.stem is not None else None
    stem = _whole(model, batch.stem, edits, wanted, cache) if batch.stem is not None else None
    if cache is not None:
        cache.is_filled = True
    return Trace(_whole(model, batch, edits, wanted, cache), stem)


def resume(model: LanguageModel, kept: Trace, runs: Sequence[Sequence[Edit]]) -> Float[Tensor, "run row pos d_model"]:
    """The final residual stream under each run's edits, going on from the first edited layer of a plain trace.

    Everything before that layer is as in the trace; each run equals `trace(batch, edits).final`. Runs go through the
    blocks as one stacked batch, which each of them enters at its own first layer.
    """
    for edits in runs:
        model.check_edits(edits)
    order = sorted(range(len(runs)), key=lambda run: first_stream(model, runs[run]))
    starts = [first_stream(model, runs[run]) for run in order]
    parts = [part for part in (kept.stem, kept.rows) if part is not None]
    hidden: list[Tensor | None] = [None] * len(parts)
    with torch.inference_mode(), Hooks(model, [runs[run] for run in order], starts) as hooks:
        for layer in range(starts[0], model.n_layers + 1):
            if layer in starts:
                hidden = [hooks.enter(part, layer, h) for part, h in zip(parts, hidden, strict=True)]
            if layer == model.n_layers:
                break
            cache = _StemCache() if kept.stem is not None else None
            for i, part in enumerate(parts):
                hooks.batch = part.batch
                inputs = {k: _stacked(v, hooks.running, part.batch) for k, v in part.block_inputs[layer].items()}
                hidden[i] = run_block(model, layer, hidden[i], inputs, cache)
                if cache is not None:
                    cache.is_filled = True
    final = hidden[-1]
    assert final is not None
    return final.unflatten(0, (len(runs), -1))[np.argsort(order)]


def run_block(
    model: LanguageModel, layer: int, hidden: Any, inputs: Mapping[str, Any], cache: DynamicCache | None = None
) -> Float[Tensor, "row pos d_model"]:
    """The residual stream after a block, with what the block was given when it was traced."""
    output = model.bridge.blocks[layer](hidden, **inputs, past_key_values=cache)
    return output[0] if isinstance(output, tuple) else output


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


def _whole(
    model: LanguageModel, batch: Batch, edits: Sequence[Edit], wanted: set[int], cache: _StemCache | None
) -> Part:
    resid: dict[int, Tensor] = {}
    block_inputs: list[dict[str, Any]] = []

    def keep(layer: int, module: Any, args: tuple, kwargs: dict) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        if layer < model.n_layers:
            block_inputs.append({k: v for k, v in kwargs.items() if k not in ("hidden_states", "past_key_values")})
        if layer in wanted:
            resid[layer] = hidden

    model.check_edits(edits)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(Hooks(model, [edits])).batch = batch
        for layer, module in enumerate([*model.bridge.blocks, model.bridge.ln_final]):
            handle = module.register_forward_pre_hook(partial(keep, layer), with_kwargs=True)
            stack.callback(handle.remove)
        stack.enter_context(_passed_through(model.bridge.blocks, max(wanted, default=0)))
        model.bridge(
            batch.tokens,
            attention_mask=_attention_mask(model, batch),
            position_ids=batch.position_ids,
            logits_to_keep=1,
            use_cache=False,
            past_key_values=cache,
        )
    return Part(batch, resid, block_inputs)


@contextmanager
def _passed_through(blocks: Any, start: int) -> Iterator[None]:
    """Blocks from `start` on (but the first) give back what they get: nobody asked for what they would compute."""
    skipped = blocks[max(1, start) :]
    gives_tuple = False

    def look(module: Any, args: Any, output: Any) -> None:
        nonlocal gives_tuple
        gives_tuple = isinstance(output, tuple)

    def forward(*args: Any, **kwargs: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        return (hidden,) if gives_tuple else hidden

    handle = blocks[0].register_forward_hook(look)
    try:
        for block in skipped:
            object.__setattr__(block, "forward", forward)
        yield
    finally:
        handle.remove()
        for block in skipped:
            block.__dict__.pop("forward", None)


class Hooks:
    """TransformerLens hooks for the edits of stacked runs, for the time of one pass.

    Edits on the residual stream where their run starts need none: `enter` applies them. `running` runs, the first
    ones, are in the stack; `batch` is what runs now.
    """

    def __init__(
        self, model: LanguageModel, runs: Sequence[Sequence[Edit]], starts: Sequence[int] | None = None
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

    def __enter__(self) -> Hooks:
        with ExitStack() as stack:
            stack.enter_context(self.context)
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


def _stacked(value: Any, runs: int, batch: Batch) -> Any:
    """What a block was given for a batch's rows, repeated for stacked runs."""
    if runs == 1:
        return value
    if isinstance(value, tuple | list):
        return type(value)(_stacked(v, runs, batch) for v in value)
    if isinstance(value, Tensor) and value.ndim > 1 and len(value) == len(batch.tokens):
        return value.repeat(runs, *[1] * (value.ndim - 1))
    return value


# -- masks --------------------------------------------------------------------------------------------------


def _attention_mask(model: LanguageModel, batch: Batch) -> Any:
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


def _additive(model: LanguageModel, visible: Tensor) -> Tensor:
    mask = torch.zeros(visible.shape, dtype=model.dtype, device=visible.device)
    return mask.masked_fill(~visible, torch.finfo(model.dtype).min)[:, None]
