"""What single nodes do to a score: to first order for all nodes at once, and by real ablation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from interp_culture.engine.backward import AtPoint, backward
from interp_culture.engine.batching import groups_of_rows, over_batches
from interp_culture.engine.forward import Trace, can_resume, first_stream, resume, stacks, trace
from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import Score
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.nodes import Node, NodePoint, find_node, node_points
from interp_culture.engine.patches import Patch
from interp_culture.engine.token_tree import Batch, TokenSequence
from interp_culture.errors import InputError

# Mean outputs, by the full name of the hook point.
Means = Mapping[str, Float[Tensor, " _"]]


@dataclass(frozen=True)
class Ablation:
    """A run in which some nodes do not do what they would do.

    Attributes:
        edits: of the run; none for the plain model.
        nodes: their outputs are replaced.
        means: what replaces them at every token, see `node_means`; without it, what the nodes put
            out at the same token in the plain run.
    """

    edits: Sequence[Edit]
    nodes: Sequence[Node]
    means: Means | None = None


@dataclass(frozen=True)
class NodeEffects:
    """What restoring each node alone does to the score of an edited run, to first order.

    Attributes:
        nodes: of all blocks after the first edited one.
        score: `(scores * weights)` of the edited run, summed over each group.
        effect: its change where one node puts out what it does in the plain run.
    """

    nodes: tuple[Node, ...]
    score: Float[np.ndarray, " group"]
    effect: Float[np.ndarray, "group node"]


def restoring_effects(
    model: LanguageModel,
    groups: Sequence[Sequence[TokenSequence]],
    score: Score,
    weights: Float[np.ndarray, "group member value"],
    edits: Sequence[Edit],
    title: str | None = None,
) -> NodeEffects:
    """How the score of the edited run changes where one node puts out what it does without edits.

    To first order, for all nodes at once: the difference between the plain and the edited output,
    times the gradient of the score at the edited one, summed over tokens (attribution patching).
    One plain pass, one edited pass and a backward pass.

    Args:
        groups, score, weights: as for `predict_runs`.
        edits: they add their vectors after blocks.

    Raises:
        InputError: no edits, edits that do not fit or act elsewhere, a model without nodes.
    """
    model.check_edits(edits)
    first = first_stream(model, edits)
    points = [point for point in node_points(model) if point.nodes[0].layer >= first]
    if not points:
        raise InputError("no block follows the edits, so that no component carries them")
    names = [point.name for point in points]
    nodes = tuple(node for point in points for node in point.nodes)
    scores = np.zeros(len(groups))
    effects = np.zeros((len(groups), len(nodes)))
    with tqdm(total=len(groups), desc=title, unit="text", delay=1, disable=title is None) as bar:

        def work(
            batch: Batch,
        ) -> tuple[list[int], Float[Tensor, " row"], dict[str, Float[Tensor, "row _"]]]:
            rows = batch if can_resume(model, batch) else batch.unrolled()
            plain = trace(model, rows, points=names).rows.points
            back = backward(model, rows, score, weights, first, edits, names)
            padding = back.rows.is_padding
            found: dict[str, Tensor] = {}
            with closing(back.streams):
                for at in back.streams:
                    for name, here in at.points.items():
                        found[name] = _restored(plain[name], here, padding)
            bar.update(len({path.group for path in batch.paths}))
            parts = {
                point.name: reduce(
                    found[point.name], "row (node size) -> row node", "sum", node=len(point.nodes)
                )
                for point in points
            }
            return groups_of_rows(back.rows), back.score, parts

        for of_rows, values, parts in over_batches(model, groups, work, share_stem=False):
            by_node = torch.cat([parts[name] for name in names], dim=-1)
            np.add.at(scores, of_rows, values.cpu().numpy())
            np.add.at(effects, of_rows, by_node.cpu().numpy())
    return NodeEffects(nodes, scores, effects)


def ablated_scores(
    model: LanguageModel,
    groups: Sequence[Sequence[TokenSequence]],
    runs: Mapping[Any, Ablation],
    score: Score,
    title: str | None = None,
) -> dict[Any, Float[np.ndarray, "group member value"]]:
    """Score every sequence in runs whose nodes are really replaced.

    Args:
        groups, score: as for `score_runs`.
        runs: what is done in each run.

    Raises:
        InputError: edits or nodes that do not fit the model.
    """
    for run in runs.values():
        model.check_edits(run.edits)
    points = node_points(model)
    wanted = {node: find_node(points, node) for run in runs.values() for node in run.nodes}
    starts = sorted({_start(model, run) for run in runs.values()})
    names = sorted({point.name for point in wanted.values()})
    values: dict[Any, np.ndarray] = {}
    with tqdm(
        total=len(groups) * len(runs), desc=title, unit="read", delay=1, disable=title is None
    ) as bar:

        def read(batch: Batch) -> list[tuple[Batch, dict[Any, Float[Tensor, "path value"]]]]:
            pieces = [batch] if can_resume(model, batch) else _singly(batch)
            return [(piece, _scores(piece)) for piece in pieces]

        def _scores(batch: Batch) -> dict[Any, Float[Tensor, "path value"]]:
            kept = trace(model, batch, layers=starts, points=names)
            edited: dict[Any, list[Edit | Patch]] = {
                key: [*run.edits, *_patches(run, kept, wanted)] for key, run in runs.items()
            }
            by_run: dict[Any, Tensor] = {}
            for stack in stacks(model, edited, batch):
                finals = resume(model, kept, list(stack.values()))
                by_run |= {
                    key: score(model, final, kept.batch)
                    for key, final in zip(stack, finals, strict=True)
                }
                bar.update(len({path.group for path in batch.paths}) * len(stack))
            return by_run

        for pieces in over_batches(model, groups, read, share_stem=False):
            for batch, by_run in pieces:
                where = ([p.group for p in batch.paths], [p.member for p in batch.paths])
                for key, on_device in by_run.items():
                    at = on_device.double().cpu().numpy()
                    empty = np.full((len(groups), len(groups[0]), at.shape[1]), np.nan)
                    values.setdefault(key, empty)[where] = at
    return {key: values[key] for key in runs}


def node_means(
    model: LanguageModel,
    groups: Sequence[Sequence[TokenSequence]],
    nodes: Sequence[Node],
) -> dict[str, Float[Tensor, " _"]]:
    """The mean output over all tokens of all sequences, at the hook points of these nodes."""
    points = node_points(model)
    names = sorted({find_node(points, node).name for node in nodes})
    sums: dict[str, Tensor] = {}
    count = 0

    def work(batch: Batch) -> tuple[int, dict[str, Float[Tensor, " _"]]]:
        kept = trace(model, batch, points=names)
        is_token = ~kept.batch.is_padding
        return int(is_token.sum()), {
            name: values[is_token].double().sum(0) for name, values in kept.rows.points.items()
        }

    for n, parts in over_batches(model, groups, work, share_stem=False):
        count += n
        sums = {name: sums.get(name, 0) + part for name, part in parts.items()}
    return {name: (total / count).float() for name, total in sums.items()}


def _restored(
    plain: Float[Tensor, "row pos width"], edited: AtPoint, padding: Tensor
) -> Float[Tensor, "row width"]:
    change = (plain.float() - edited.values.float()) * edited.gradient.float()
    return change.masked_fill(padding[..., None], 0).double().sum(1)


def _patches(run: Ablation, kept: Trace, wanted: Mapping[Node, NodePoint]) -> list[Patch]:
    """The replacements of a run, for the tokens of one batch."""
    patches = []
    for node in run.nodes:
        name = wanted[node].name
        plain = kept.rows.points[name]
        replaced = plain if run.means is None else run.means[name]
        hook_point = name.removeprefix(f"blocks.{node.layer}.")
        part = wanted[node].part(node, plain.shape[-1])
        patches.append(Patch(node.layer, hook_point, part, replaced))
    return patches


def _start(model: LanguageModel, run: Ablation) -> int:
    """The first residual stream from which the run's pass differs from the plain one."""
    return min(first_stream(model, run.edits), *(node.layer for node in run.nodes), model.n_layers)


def _singly(batch: Batch) -> list[Batch]:
    """Each sequence as a batch of its own, for models that read no trees.

    There a pass lays out its rows itself; one sequence has one layout only.
    """
    rows = batch.unrolled()
    return [rows.select([p.row], len(p.positions)) for p in rows.paths]
