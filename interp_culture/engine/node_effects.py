"""What single nodes do to a score: to first order for all at once, and replaced for real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from interp_culture.engine.backward import AtPoint, backward
from interp_culture.engine.batching import groups_of_rows, over_batches
from interp_culture.engine.forward import Trace, can_resume, first_stream, trace
from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import Score
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.nodes import Node, NodePoint, find_node, node_points, nodes_of
from interp_culture.engine.patches import Patch
from interp_culture.engine.token_tree import Batch, TokenSequence
from interp_culture.errors import InputError

# Mean outputs, by the full name of the hook point.
Means = Mapping[str, Float[Tensor, " _"]]
# The group, the score and the effects of each node, row by row.
_Restored = tuple[list[int], Float[Tensor, " row"], Float[Tensor, "row node"]]


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
    runs: Sequence[Sequence[Edit]],
    title: str | None = None,
) -> list[NodeEffects]:
    """How the score of each edited run changes where one node puts out what it does without edits.

    To first order, for all nodes at once: the difference between the plain and the edited output,
    times the gradient of the score at the edited one, summed over tokens (attribution patching).
    One plain pass for all runs, and for each an edited pass and a backward pass.

    Args:
        groups, score, weights: as for `predict_runs`.
        runs: the edits of each run; they add their vectors after blocks.

    Raises:
        InputError: no edits, edits that do not fit or act elsewhere, a model without nodes.
    """
    carriers = [_Carriers.of(model, edits, len(groups)) for edits in runs]
    names = sorted({point.name for run in carriers for point in run.points})
    with tqdm(total=len(groups), desc=title, unit="text", delay=1, disable=title is None) as bar:

        def work(batch: Batch) -> list[_Restored]:
            rows = batch if can_resume(model, batch) else batch.unrolled()
            plain = trace(model, rows, layers=[run.first for run in carriers], points=names)
            restored = [run.restored(model, rows, score, weights, plain) for run in carriers]
            bar.update(len({path.group for path in batch.paths}))
            return restored

        batches = over_batches(model, groups, work, share_stem=False, with_graph=True)
        for restored in batches:
            for run, (of_rows, values, by_node) in zip(carriers, restored, strict=True):
                np.add.at(run.scores, of_rows, values.cpu().numpy())
                np.add.at(run.effects, of_rows, by_node.cpu().numpy())
    return [NodeEffects(run.nodes, run.scores, run.effects) for run in carriers]


@dataclass(frozen=True)
class _Carriers:
    """The nodes after the first edit of a run, and the sums over the batches so far."""

    edits: Sequence[Edit]
    first: int
    points: Sequence[NodePoint]
    nodes: tuple[Node, ...]
    scores: Float[np.ndarray, " group"]
    effects: Float[np.ndarray, "group node"]

    @classmethod
    def of(cls, model: LanguageModel, edits: Sequence[Edit], n_groups: int) -> _Carriers:
        model.check_edits(edits)
        first = first_stream(model, edits)
        points = [point for point in node_points(model) if point.nodes[0].layer >= first]
        if not points:
            raise InputError("no block follows the edits, so that no component carries them")
        nodes = nodes_of(points)
        effects = np.zeros((n_groups, len(nodes)))
        return cls(edits, first, points, nodes, np.zeros(n_groups), effects)

    def restored(
        self,
        model: LanguageModel,
        rows: Batch,
        score: Score,
        weights: Float[np.ndarray, "group member value"],
        plain: Trace,
    ) -> _Restored:
        """What restoring each node does in the rows of a batch."""
        names = [point.name for point in self.points]
        back = backward(model, rows, score, weights, self.first, self.edits, names, plain)
        padding = back.rows.is_padding
        found: dict[str, Tensor] = {}
        for at in back.at_stream:
            for name, here in at.points.items():
                found[name] = _restored(plain.rows.points[name], here, padding)
        by_node = [
            reduce(found[point.name], "row (node size) -> row node", "sum", node=len(point.nodes))
            for point in self.points
        ]
        return groups_of_rows(back.rows), back.score, torch.cat(by_node, dim=-1)


def node_patches(
    model: LanguageModel, nodes: Sequence[Node], means: Means | None = None
) -> list[Patch]:
    """Patches that replace the outputs of nodes, for `score_runs`.

    Args:
        means: what replaces them at every token, see `node_means`; without it, what the nodes put
            out at the same token in the plain run.

    Raises:
        InputError: a node that the model does not have.

    >>> from interp_culture.engine.nodes import Node
    >>> [patch.hook_name for patch in node_patches(model, [Node(2, "head", 1)])]
    ['blocks.2.attn.hook_z']
    """
    points = node_points(model)
    patches = []
    for node in nodes:
        point = find_node(points, node)
        part = point.part(node, model.width_at(node.layer, point.hook_point))
        values = None if means is None else means[point.name]
        patches.append(Patch(node.layer, point.hook_point, part, values))
    return patches


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
