"""Passes that autograd can go back through, which go on from a recorded one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from interp_culture.engine.batching import graph_fits
from interp_culture.engine.blocks import run_block
from interp_culture.engine.edit_hooks import Hooks
from interp_culture.engine.forward import Trace
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.whole_pass import Part


@contextmanager
def graph_from(
    model: LanguageModel,
    plain: Trace,
    start: int,
    edits: Sequence[Edit] = (),
    points: Sequence[str] = (),
) -> Iterator[Part]:
    """The pass under edits from a residual stream on, as a graph that begins there.

    Where the graph of all blocks does not fit the device, none is kept: every block runs a second
    time in the backward pass (activation checkpointing). Go back within the context, where this
    second time has the same hooks.

    Args:
        plain: a pass without edits that recorded the stream `start`.
        start: no edit acts before it.
        points: the full names of the hook points in later blocks that are recorded too.
    """
    found: dict[str, Tensor] = {}
    reads: dict[str, Callable] = {name: partial(_kept_once, found, name) for name in points}
    run: Callable[..., Tensor] = run_block
    if not graph_fits(model, plain.batch):
        run = partial(checkpoint, run_block, use_reentrant=False, preserve_rng_state=False)
    copied = _Copies()
    with Hooks(model, [edits], [start], reads) as hooks, torch.enable_grad():
        hooks.batch = plain.batch
        hidden = copied(hooks.enter(plain.resid[start], start, None)).requires_grad_()
        resid = {start: hidden}
        for layer in range(start, model.n_layers):
            call = plain.rows.calls[layer].map(copied)
            hidden = run(model.bridge.blocks[layer], hidden, call)
            resid[layer + 1] = hidden
        yield Part(plain.batch, resid, [], found)


class _Copies:
    """One copy of each tensor: PyTorch saves no tensor of inference mode for a backward pass."""

    def __init__(self) -> None:
        self.by_id: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        # The tensor is kept beside its copy, so that no other one gets its id.
        if id(value) not in self.by_id:
            self.by_id[id(value)] = (value, value.clone())
        return self.by_id[id(value)][1]


def _kept_once(found: dict[str, Tensor], name: str, activation: Tensor, hook: Any = None) -> Tensor:
    """Record an activation, heads side by side, in the first of the passes over its block."""
    flat = activation.flatten(2)
    found.setdefault(name, flat)
    # Handed back, since TransformerLens shows hooks a reshaped copy of some activations, which the
    # score does not depend on.
    return flat.view_as(activation)
