"""What edits would do to first order: one forward and one backward pass for all layers, strengths and vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from interp_culture.batching import over_batches
from interp_culture.errors import InputError
from interp_culture.interventions import Edit
from interp_culture.model import LanguageModel
from interp_culture.passes import Trace, first_stream, run_block, trace
from interp_culture.scores import Score
from interp_culture.token_tree import Batch, TokenSequence
from interp_culture.unhooked import unhooked


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
    with tqdm(total=len(groups), desc=title, unit="gradient", delay=1, disable=title is None) as bar:

        def work(batch: Batch) -> tuple[list[int], dict[Any, Float[Tensor, " row"]]]:
            kept = trace(model, batch, layers=range(last, model.n_layers))
            w = torch.from_numpy(np.stack([weights[p.group, p.member] for p in batch.paths])).to(model.device)
            totals, gradient = _at_end(model, kept, score, w)
            values = {key: totals.clone() for key in runs}
            with unhooked(model):
                for stream in range(model.n_layers, last - 1, -1):
                    for key, edits in runs.items():
                        for edit in (e for e in edits if e.stream == stream):
                            values[key] += _first_order(edit, gradient, batch)
                    if stream > last:
                        gradient = _before_block(model, kept, stream - 1, gradient)
            bar.update(len(batch.tokens))
            group_of = {p.row: p.group for p in batch.paths}
            return [group_of[row] for row in range(len(batch.tokens))], values

        # A shared stem would add up the gradients of all rows.
        for rows, values in over_batches(model, groups, work, share_stem=False):
            for key, value in values.items():
                out[key][rows] = value.cpu().numpy()
    return out


def _at_end(
    model: LanguageModel, kept: Trace, score: Score, weights: Float[Tensor, "path value"]
) -> tuple[Float[Tensor, " row"], Float[Tensor, "row pos d_model"]]:
    """The weighted score of each row, and its gradient at the final residual stream."""
    final = kept.final.clone().requires_grad_()
    with torch.enable_grad():
        weighted = (score(model, final, kept.batch).double() * weights).sum(-1)
        (gradient,) = torch.autograd.grad(weighted.sum(), final)
    rows = torch.tensor([p.row for p in kept.batch.paths], device=final.device)
    totals = torch.zeros(len(final), dtype=torch.float64, device=final.device)
    return totals.index_add_(0, rows, weighted.detach()), gradient


def _before_block(
    model: LanguageModel, kept: Trace, layer: int, gradient: Float[Tensor, "row pos d_model"]
) -> Float[Tensor, "row pos d_model"]:
    """The gradient before a block from the one after it. The block runs once more, so that none has to be stored."""
    hidden = kept.resid[layer].clone().requires_grad_()
    inputs = {name: _usable(value) for name, value in kept.rows.block_inputs[layer].items()}
    with torch.enable_grad():
        (before,) = torch.autograd.grad(run_block(model, layer, hidden, inputs), hidden, gradient)
    return before


def _usable(value: Any) -> Any:
    """What was made in inference mode cannot be saved for a backward pass; a copy can."""
    if isinstance(value, tuple | list):
        return type(value)(_usable(v) for v in value)
    return value.clone() if isinstance(value, Tensor) else value


def _first_order(edit: Edit, gradient: Float[Tensor, "row pos d_model"], batch: Batch) -> Float[Tensor, " row"]:
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
