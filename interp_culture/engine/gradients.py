"""Gradients of scores by added vectors, and the first-order predictions that they give of edits.

One forward and one backward pass serve all edits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from interp_culture.engine.backward import Backward, Resid, backward
from interp_culture.engine.batching import groups_of_rows, over_batches
from interp_culture.engine.forward import first_stream
from interp_culture.engine.interventions import Edit, Positions, tokens_at
from interp_culture.engine.kept_batches import KeptGradients, RowGradients
from interp_culture.engine.leaks import Leak
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
    """Predict `(scores * weights)`, summed over each group, to first order in the edits' vectors.

    The prediction is the plain value, plus for each edit the dot product of its step (strength
    times vector) with the gradient, summed over the tokens that it edits. It is exact in the limit
    of small strengths.

    Args:
        groups: sequences that share a prefix, equally many in each group.
        runs: the edits of each run; none for the plain model.
        score: a differentiable score, such as `answer_logprob`.
        weights: the weight of each value of the score.
        title: the name of the progress bar; None for no bar.

    Returns:
        For each run the predicted value of each group.

    Raises:
        InputError: edits that do not fit the model, that act within a block, or that do not add
            their vector.
    """
    for edits in runs.values():
        model.check_edits(edits)
        _check_added_on_stream(edits)
    first = min((first_stream(model, edits) for edits in runs.values()), default=model.n_layers)
    predictions = {key: np.zeros(len(groups)) for key in runs}
    with tqdm(
        total=len(groups), desc=title, unit="gradient", delay=1, disable=title is None
    ) as bar:

        def work(batch: Batch) -> tuple[list[int], dict[Any, Float[Tensor, " row"]]]:
            back = backward(model, batch, score, weights, first)
            values = {key: back.score.clone() for key in runs}
            for at in back.at_stream:
                _add_first_order(values, runs, at.stream, at.gradient, back.rows)
            bar.update(len({path.group for path in batch.paths}))
            return groups_of_rows(back.rows), values

        # With a shared stem, its gradient would be the sum over all rows.
        batches = over_batches(model, groups, work, share_stem=False, with_graph=True)
        for of_rows, values in batches:
            for key, value in values.items():
                # A group may have several rows here, of which `+=` would add only the last.
                np.add.at(predictions[key], of_rows, value.cpu().numpy())
    return predictions


@dataclass(frozen=True)
class StreamGradients:
    """The weighted score of each group and its gradients at residual streams.

    Attributes:
        score: `(scores * weights)`, summed over each group.
        gradient: by stream, with respect to a vector that is added there: its dot product with a
            vector is the vector's effect on the score, to first order.
        at_point: the same at hook points within blocks, by full name, of what is read there.
        along: `(h . reads - centre) (gradient . writes)` of a leak, summed over all tokens: the
            derivative of the score by the leak's size, at size 0. None without a leak.
    """

    score: Float[np.ndarray, " group"]
    gradient: dict[int, Float[np.ndarray, "group d_model"]]
    at_point: dict[str, Float[np.ndarray, "group d_model"]]
    along: Float[np.ndarray, " group"] | None


def stream_gradients(
    model: LanguageModel,
    groups: Sequence[Sequence[TokenSequence]],
    score: Score,
    weights: Float[np.ndarray, "group member value"],
    streams: Collection[int],
    *,
    positions: Positions = "all",
    edits: Sequence[Edit] = (),
    leak: Leak | None = None,
    points: Sequence[str] = (),
    title: str | None = None,
) -> StreamGradients:
    """The gradients of `(scores * weights)` at residual streams, in a pass under edits.

    Args:
        groups, score, weights, title: as for `predict_runs`.
        streams: numbers of residual streams: l is the input of block l, `n_layers` the final one.
        positions: the tokens at which a vector is added.
        edits: active meanwhile, so that the gradient is that of the steered model. They add their
            vectors at "hook_resid_post".
        leak: also take the derivative by the size of this leak, which acts on one of the streams.
        points: full names of hook points as wide as the stream, in blocks from the first of
            `streams` on.

    Raises:
        InputError: no group, edits that do not fit the model or that act elsewhere.

    >>> from interp_culture.engine.logprobs import answer_logprob
    >>> group = [model.tokenise(ic.Prompt("Is it late?", answer)) for answer in ("Yes.", "No.")]
    >>> weights = np.array([[[1.0, 0.0], [-1.0, 0.0]]])
    >>> by_stream = stream_gradients(model, [group], answer_logprob, weights, [3, 4]).gradient
    >>> by_stream[4].shape  # group, d_model
    (1, 32)
    """
    if not groups:
        raise InputError("no text to take a gradient of; give one scenario or more")
    model.check_edits(edits)
    _check_added_after_block(edits)
    first = min(streams)
    scores = np.zeros(len(groups))
    places: list[int | str] = [*streams, *points]
    gradients = {place: np.zeros((len(groups), model.d_model)) for place in places}
    along = np.zeros(len(groups))
    kept = KeptGradients(edits, [places, positions, torch.from_numpy(weights)], len(places))
    with tqdm(
        total=len(groups), desc=title, unit="gradient", delay=1, disable=title is None
    ) as bar:

        def work(batch: Batch) -> tuple[RowGradients, Tensor | None]:
            name = kept.name(batch)
            # What belongs to a leak is not kept: it is small, and read in no long pass.
            found = kept.get(name) if leak is None else None
            by_leak = None
            if found is None:
                back = backward(model, batch, score, weights, first, edits, points)
                found = _by_row(back, positions, places)
                if leak is None:
                    kept.put(name, found)
                else:
                    (at,) = [at for at in back.at_stream if at.stream == leak.stream]
                    by_leak = _along(leak, at.resid, at.gradient)
            bar.update(len({path.group for path in batch.paths}))
            return found, by_leak

        # With a shared stem, the model would read its tokens once instead of once for each row.
        batches = over_batches(model, groups, work, share_stem=False, with_graph=True)
        for (of_rows, values, by_place), by_leak in batches:
            np.add.at(scores, of_rows, values)
            for place, rows in zip(places, by_place, strict=True):
                np.add.at(gradients[place], of_rows, rows)
            if by_leak is not None:
                np.add.at(along, of_rows, by_leak.cpu().numpy())
    return StreamGradients(
        scores,
        {stream: gradients[stream] for stream in streams},
        {name: gradients[name] for name in points},
        None if leak is None else along,
    )


def _by_row(back: Backward, positions: Positions, places: Sequence[int | str]) -> RowGradients:
    """The group and score of each row, and its gradients summed over the tokens at `positions`."""
    where = tokens_at(positions, back.rows)[..., None]
    sums: dict[int | str, Tensor] = {}
    for at in back.at_stream:
        if at.stream in places:
            sums[at.stream] = (at.gradient * where).double().sum(1)
        for name, here in at.points.items():
            sums[name] = (here.gradient * where).double().sum(1)
    by_place = torch.stack([sums[place] for place in places])
    groups = np.array(groups_of_rows(back.rows))
    return groups, back.score.double().cpu().numpy(), by_place.cpu().numpy()


def _along(leak: Leak, resid: Resid, gradient: Resid) -> Float[Tensor, " row"]:
    read = resid.detach().float() @ leak.reads.to(resid.device) - leak.centre
    written = gradient.float() @ leak.writes.to(resid.device)
    return (read * written).double().sum(-1)


def _add_first_order(
    values: dict[Any, Float[Tensor, " row"]],
    runs: Mapping[Any, Sequence[Edit]],
    stream: int,
    gradient: Float[Tensor, "row pos d_model"],
    batch: Batch,
) -> None:
    """Add the first-order effects of all edits of one residual stream to the runs' `values`."""
    for key, edits in runs.items():
        for edit in edits:
            if edit.stream == stream:
                values[key] += _first_order(edit, gradient, batch)


def _first_order(
    edit: Edit, gradient: Float[Tensor, "row pos d_model"], batch: Batch
) -> Float[Tensor, " row"]:
    """`strength * sum over edited tokens of (gradient . vector)`."""
    along = (gradient.float() @ edit.vector.to(gradient.device, torch.float32)) * edit.where(batch)
    return edit.strength * along.sum(-1).double()


def _check_added_after_block(edits: Sequence[Edit]) -> None:
    """Raise InputError for an edit through which a gradient would not pass unchanged."""
    for edit in edits:
        if (edit.operation, edit.hook_point) != ("add", "hook_resid_post"):
            raise InputError(
                f"{edit.operation!r} at {edit.hook_name}: gradients of a steered model are taken "
                "under vectors that are added at hook_resid_post"
            )


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
