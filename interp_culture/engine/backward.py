"""Backward passes from a score down the residual streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.forward import Trace, can_resume, first_stream, trace
from interp_culture.engine.graph import graph_from
from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import Score
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.non_finite import gradient_not_finite, not_finite
from interp_culture.engine.token_tree import Batch
from interp_culture.engine.whole_pass import Passes, unrolled_passes

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
    """A backward pass.

    Attributes:
        score: the weighted score of each row.
        rows: the batch in the layout of the gradients.
        at_stream: from the final stream down.
    """

    score: Float[Tensor, " row"]
    rows: Batch
    at_stream: list[AtStream]


def backward(
    model: LanguageModel,
    batch: Batch,
    score: Score,
    weights: Float[np.ndarray, "group member value"],
    first: int,
    edits: Sequence[Edit] = (),
    points: Sequence[str] = (),
    plain: Trace | None = None,
) -> Backward:
    """The gradients of the weighted score at every stream from the final one down to `first`.

    Args:
        edits: active in the forward pass; they add their vectors after blocks, which does not
            change a gradient.
        points: full names of hook points within blocks, from block `first` on, at which gradients
            are taken too.
        plain: a pass over the batch without edits, which recorded the first stream that is edited
            or asked for: the pass of the gradients then goes on from there.
    """
    batch = batch.to(model.device)
    if not can_resume(model, batch):
        wanted = {*range(first, model.n_layers + 1)}
        passes = unrolled_passes(model, batch, edits, wanted, points=points, differentiable=True)
        return _backward(model, passes, batch.unrolled(), edits, score, weights, first)
    start = min(first, first_stream(model, edits))
    if plain is None:
        plain = trace(model, batch, layers=[start], final=False)
    with graph_from(model, plain, start, edits, points) as part:
        passes = Passes([[*range(len(batch.tokens))]], [part])
        return _backward(model, passes, batch, edits, score, weights, first)


def _backward(
    model: LanguageModel,
    passes: Passes,
    rows: Batch,
    edits: Sequence[Edit],
    score: Score,
    weights: Float[np.ndarray, "group member value"],
    first: int,
) -> Backward:
    """From the score back through passes over `rows`, to all that they recorded."""
    with torch.enable_grad():
        weighted = _weighted(model, passes.stream(model.n_layers), rows, score, weights)
    if not torch.isfinite(weighted).all():
        raise not_finite(model, rows, edits)
    streams = range(first, model.n_layers + 1)
    points = list(passes.parts[0].points)
    at = [
        *([part.resid[stream] for part in passes.parts] for stream in streams),
        *([part.points[name] for part in passes.parts] for name in points),
    ]
    # No row depends on another, so the gradient of the sum has each row's own gradient.
    gradients = iter(torch.autograd.grad(weighted.sum(), [value for of in at for value in of]))
    by_place = [passes.joined([next(gradients) for _ in passes.parts]) for _ in at]
    by_point = dict(zip(points, by_place[len(streams) :], strict=True))
    # What is not finite at one stream is not at those below, so that the lowest tells for all.
    if not torch.isfinite(by_place[0]).all():
        raise gradient_not_finite(model, dict(zip(streams, by_place, strict=False)))
    at_stream = []
    for stream, gradient in zip(streams, by_place, strict=False):
        here = {
            name: AtPoint(passes.point(name).detach(), of_point)
            for name, of_point in by_point.items()
            if name.startswith(f"blocks.{stream}.")
        }
        at_stream.append(AtStream(stream, passes.stream(stream).detach(), gradient, here))
    return Backward(_by_row(weighted, rows), rows, at_stream[::-1])


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
