"""Backward passes from a score down the residual streams, one block at a time where that is exact.

No graph of the whole model is kept, so that memory does not grow with the number of layers.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.blocks import run_block
from interp_culture.engine.forward import Trace, can_resume, trace
from interp_culture.engine.hook_bypass import unhooked
from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import Score
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import Batch
from interp_culture.engine.whole_pass import unrolled_passes

Resid = Float[Tensor, "row pos d_model"]
Values = Float[Tensor, "row pos width"]


@dataclass(frozen=True)
class AtPoint:
    """The activations at a hook point within a block, and the gradient of the score there."""

    values: Values
    gradient: Values


@dataclass(frozen=True)
class AtStream:
    """A residual stream and the gradient of the weighted score there.

    Attributes:
        stream: its number; l is the input of block l.
        points: by full name, those of the asked hook points that lie in block `stream`.
    """

    stream: int
    resid: Resid
    gradient: Resid
    points: dict[str, AtPoint] = field(default_factory=dict)


@dataclass(frozen=True)
class Backward:
    """A backward pass that goes on as its streams are asked for.

    Attributes:
        score: the weighted score of each row.
        streams: from the final stream down. Close it, after an error too: it holds hooks open.
        rows: the batch in the layout of the gradients.
    """

    score: Float[Tensor, " row"]
    streams: Generator[AtStream]
    rows: Batch


def backward(
    model: LanguageModel,
    batch: Batch,
    score: Score,
    weights: Float[np.ndarray, "group member value"],
    first: int,
    edits: Sequence[Edit] = (),
    points: Sequence[str] = (),
) -> Backward:
    """The gradients of the weighted score at every stream from the final one down to `first`.

    Args:
        edits: active in the forward pass; they add their vectors after blocks, which does not
            change a gradient.
        points: full names of hook points within blocks at which gradients are taken too.
    """
    way = _by_block if can_resume(model, batch) else _at_once
    return way(model, batch, score, weights, first, edits, points)


def _by_block(
    model: LanguageModel,
    batch: Batch,
    score: Score,
    weights: Float[np.ndarray, "group member value"],
    first: int,
    edits: Sequence[Edit],
    points: Sequence[str],
) -> Backward:
    """Each block runs a second time for its backward pass.

    What `edits` add after a block is not run again: it does not change a gradient.
    """
    kept = trace(model, batch, edits, layers=range(first, model.n_layers))
    # A copy, since a tensor of inference mode cannot require a gradient.
    final = kept.final.clone().requires_grad_()
    with torch.enable_grad():
        weighted = _weighted(model, final, kept.batch, score, weights)
        # No row depends on another, so the gradient of the sum has each row's own gradient.
        (gradient,) = torch.autograd.grad(weighted.sum(), final)

    def streams(after: Tensor) -> Generator[AtStream]:
        yield AtStream(model.n_layers, kept.final, after)
        with _captured(model, points) as seen:
            for layer in range(model.n_layers - 1, first - 1, -1):
                seen.clear()
                after, at_points = _before_block(model, kept, layer, after, seen)
                yield AtStream(layer, kept.resid[layer], after, at_points)

    return Backward(_by_row(weighted, kept.batch), streams(gradient), kept.batch)


@contextmanager
def _captured(model: LanguageModel, points: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """The activations at hook points in the passes of single blocks, by name."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, activation: Tensor, hook: Any = None) -> Tensor:
        seen[name] = activation.flatten(2)
        # Handed back, since TransformerLens shows hooks a reshaped copy of some activations, which
        # the score does not depend on.
        return seen[name].view_as(activation)

    hooks = [(name, partial(keep, name)) for name in points]
    with ExitStack() as stack:
        stack.enter_context(model.bridge.hooks(fwd_hooks=hooks))
        if model.shortcuts.fused:
            # After the hooks, since it leaves components with hooks as they are.
            stack.enter_context(unhooked(model))
        yield seen


def _before_block(
    model: LanguageModel, kept: Trace, layer: int, gradient: Resid, seen: dict[str, Tensor]
) -> tuple[Resid, dict[str, AtPoint]]:
    """The gradient before a block from the one after it, and those at the points within it."""
    hidden = kept.resid[layer].clone().requires_grad_()
    # PyTorch cannot save an inference-mode tensor for a backward pass, but it can save a copy.
    call = kept.rows.calls[layer].map(
        lambda value: value.clone() if isinstance(value, Tensor) else value
    )
    with torch.enable_grad():
        output = run_block(model.bridge.blocks[layer], hidden, call)
        before, *at_points = torch.autograd.grad(output, [hidden, *seen.values()], gradient)
    pairs = zip(seen.items(), at_points, strict=True)
    return before, {name: AtPoint(values.detach(), grad) for (name, values), grad in pairs}


def _at_once(
    model: LanguageModel,
    batch: Batch,
    score: Score,
    weights: Float[np.ndarray, "group member value"],
    first: int,
    edits: Sequence[Edit],
    points: Sequence[str],
) -> Backward:
    """The same where passes cannot be resumed: one backward pass through whole plain passes."""
    rows = batch.to(model.device).unrolled()
    layers = range(first, model.n_layers + 1)
    with torch.enable_grad():
        passes = unrolled_passes(
            model, rows, edits, set(layers), points=points, differentiable=True
        )
        weighted = _weighted(model, passes.stream(model.n_layers), rows, score, weights)
        at = [
            *([part.resid[layer] for part in passes.parts] for layer in layers),
            *([part.points[name] for part in passes.parts] for name in points),
        ]
        flat = [tensor for tensors in at for tensor in tensors]
        gradients = torch.autograd.grad(weighted.sum(), flat)
    n_passes = len(passes.parts)
    joined = [
        passes.joined(gradients[place : place + n_passes])
        for place in range(0, len(gradients), n_passes)
    ]
    by_stream = dict(zip(layers, joined, strict=False))
    by_point = dict(zip(points, joined[len(layers) :], strict=True))

    def streams() -> Generator[AtStream]:
        for layer in reversed(layers):
            here = {
                name: AtPoint(passes.point(name).detach(), gradient)
                for name, gradient in by_point.items()
                if name.startswith(f"blocks.{layer}.")
            }
            yield AtStream(layer, passes.stream(layer), by_stream[layer], here)

    return Backward(_by_row(weighted, rows), streams(), rows)


def _weighted(
    model: LanguageModel,
    final: Resid,
    batch: Batch,
    score: Score,
    weights: Float[np.ndarray, "group member value"],
) -> Float[Tensor, " path"]:
    """The weighted sum of each sequence's scores."""
    by_path = np.stack([weights[p.group, p.member] for p in batch.paths])
    values = score(model, final, batch).double()
    return (values * torch.from_numpy(by_path).to(final.device)).sum(-1)


def _by_row(weighted: Float[Tensor, " path"], batch: Batch) -> Float[Tensor, " row"]:
    rows = torch.tensor([p.row for p in batch.paths], device=weighted.device)
    totals = torch.zeros(len(batch.tokens), dtype=torch.float64, device=weighted.device)
    return totals.index_add_(0, rows, weighted.detach())
