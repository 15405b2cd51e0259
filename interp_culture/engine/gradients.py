"""What edits would do to first order: one forward and one backward pass for all layers, strengths and vectors."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from interp_culture.engine.batching import over_batches
from interp_culture.engine.blocks import run_block
from interp_culture.engine.forward import Trace, can_resume, first_stream, trace, unrolled_streams
from interp_culture.engine.hook_bypass import unhooked
from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import Score
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import Batch, TokenSequence
from interp_culture.errors import InputError


def predict_runs(
    model: LanguageModel,
    groups: Sequence[Sequence[TokenSequence]],
    runs: Mapping[Any, Sequence[Edit]],
    score: Score,
    weights: Float[np.ndarray, "group member value"],
    title: str | None = None,
) -> dict[Any, Float[np.ndarray, " group"]]:
    """`(scores * weights)` summed over each group, under every run, to first order in the edits' vectors.

    The plain value, plus for each edit its vector times the gradient at the tokens that it touches. Exact in the
    limit of small strengths. Raises InputError for edits within a block and for any that do not add their vector.
    """
    for edits in runs.values():
        model.check_edits(edits)
        _check_added_on_stream(edits)
    last = min((first_stream(model, edits) for edits in runs.values()), default=model.n_layers)
    out = {key: np.zeros(len(groups)) for key in runs}
    with tqdm(
        total=len(groups), desc=title, unit="gradient", delay=1, disable=title is None
    ) as bar:

        def work(batch: Batch) -> tuple[list[int], dict[Any, Float[Tensor, " row"]]]:
            gradients = _by_block if can_resume(model, batch) else _at_once
            totals, streams, rows = gradients(model, batch, score, weights, last)
            values = {key: totals.clone() for key in runs}
            with closing(streams):
                for stream, gradient in streams:
                    for key, edits in runs.items():
                        for edit in (e for e in edits if e.stream == stream):
                            values[key] += _first_order(edit, gradient, rows)
            bar.update(len({path.group for path in batch.paths}))
            group_of = {p.row: p.group for p in rows.paths}
            return [group_of[row] for row in range(len(rows.tokens))], values

        # A shared stem would add up the gradients of all rows.
        for groups_of_rows, values in over_batches(model, groups, work, share_stem=False):
            for key, value in values.items():
                np.add.at(out[key], groups_of_rows, value.cpu().numpy())
    return out


Streams = Generator[tuple[int, Float[Tensor, "row pos d_model"]]]
Gradients = tuple[Float[Tensor, " row"], Streams, Batch]


def _by_block(
    model: LanguageModel,
    batch: Batch,
    score: Score,
    weights: Float[np.ndarray, "group member value"],
    last: int,
) -> Gradients:
    """The weighted score of each row, its gradient at every stream from the final one down to `last`, and the rows.

    One block is gone through at a time. It runs once more for that, so that none has to be stored.
    """
    kept = trace(model, batch, layers=range(last, model.n_layers))
    final = kept.final.clone().requires_grad_()
    with torch.enable_grad():
        weighted = _weighted(model, final, kept.batch, score, weights)
        (gradient,) = torch.autograd.grad(weighted.sum(), final)

    def streams(after: Tensor) -> Streams:
        yield model.n_layers, after
        with unhooked(model) if model.shortcuts.fused else nullcontext():
            for layer in range(model.n_layers - 1, last - 1, -1):
                after = _before_block(model, kept, layer, after)
                yield layer, after

    return _by_row(weighted, kept.batch), streams(gradient), kept.batch


def _at_once(
    model: LanguageModel,
    batch: Batch,
    score: Score,
    weights: Float[np.ndarray, "group member value"],
    last: int,
) -> Gradients:
    """The same where passes cannot be resumed: a backward pass through whole passes over single sequences."""
    rows = batch.to(model.device).unrolled()
    wanted = range(last, model.n_layers + 1)
    with torch.enable_grad():
        kept = unrolled_streams(model, rows, (), set(wanted), differentiable=True)
        weighted = _weighted(model, kept[model.n_layers], rows, score, weights)
        found = torch.autograd.grad(weighted.sum(), [kept[stream] for stream in wanted])

    def streams() -> Streams:
        yield from zip(wanted, found, strict=True)

    return _by_row(weighted, rows), streams(), rows


def _weighted(
    model: LanguageModel,
    final: Float[Tensor, "row pos d_model"],
    batch: Batch,
    score: Score,
    weights: Float[np.ndarray, "group member value"],
) -> Float[Tensor, " path"]:
    of_path = np.stack([weights[p.group, p.member] for p in batch.paths])
    return (score(model, final, batch).double() * torch.from_numpy(of_path).to(final.device)).sum(
        -1
    )


def _by_row(weighted: Float[Tensor, " path"], batch: Batch) -> Float[Tensor, " row"]:
    rows = torch.tensor([p.row for p in batch.paths], device=weighted.device)
    totals = torch.zeros(len(batch.tokens), dtype=torch.float64, device=weighted.device)
    return totals.index_add_(0, rows, weighted.detach())


def _before_block(
    model: LanguageModel, kept: Trace, layer: int, gradient: Float[Tensor, "row pos d_model"]
) -> Float[Tensor, "row pos d_model"]:
    """The gradient before a block from the one after it."""
    hidden = kept.resid[layer].clone().requires_grad_()
    # What was made in inference mode cannot be saved for a backward pass; a copy can.
    call = kept.rows.calls[layer].map(
        lambda value: value.clone() if isinstance(value, Tensor) else value
    )
    with torch.enable_grad():
        (before,) = torch.autograd.grad(
            run_block(model.bridge.blocks[layer], hidden, call), hidden, gradient
        )
    return before


def _first_order(
    edit: Edit, gradient: Float[Tensor, "row pos d_model"], batch: Batch
) -> Float[Tensor, " row"]:
    along = (gradient.float() @ edit.vector.to(gradient.device, torch.float32)) * edit.where(batch)
    return edit.strength * along.sum(-1).double()


def _check_added_on_stream(edits: Sequence[Edit]) -> None:
    for edit in edits:
        if edit.operation != "add":
            raise InputError(
                f"operation {edit.operation!r}: gradients predict what an added vector does; "
                "use operation='add', or the exact sweep"
            )
        if not edit.is_on_stream:
            raise InputError(
                f"{edit.hook_name}: gradients are taken on the residual stream between blocks; "
                "use hook_resid_pre or hook_resid_post, or the exact sweep"
            )
