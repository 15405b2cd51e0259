"""Activations of one run that take the place of another's, where both end in the same tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.backward import backward
from interp_culture.engine.batching import lay_out
from interp_culture.engine.forward import can_resume, trace
from interp_culture.engine.logprobs import Score, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.nodes import Node, NodePoint, nodes_of
from interp_culture.engine.patches import Patch
from interp_culture.engine.token_tree import Batch, TokenSequence

Members = tuple[TokenSequence, ...]


@dataclass(frozen=True)
class Ending:
    """Sequences of one group, with an ending that those of another context have too.

    Attributes:
        members: they differ from each other in their endings alone.
        start: the first token of the endings.
    """

    members: Members
    start: int

    @property
    def endings(self) -> list[tuple[int, ...]]:
        return [member.inputs[self.start :] for member in self.members]

    def only(self, member: int) -> Ending:
        """One of the sequences alone."""
        return Ending((self.members[member],), self.start)


@dataclass(frozen=True)
class Donation:
    """What the activations of a donor's ending do in a receiver's run.

    Attributes:
        nodes: each is patched alone, at all tokens of the ending.
        donor, receiver: the weighted score of both runs.
        patched: that of the receiver with each node patched.
    """

    nodes: tuple[Node, ...]
    donor: float
    receiver: float
    patched: Float[np.ndarray, " node"]


def patched_for_real(
    model: LanguageModel,
    donor: Ending,
    receiver: Ending,
    points: Sequence[NodePoint],
    score: Score,
    weights: Float[np.ndarray, "member value"],
) -> Donation:
    """Run the receiver once for each node, with the donor's activations of the node.

    Args:
        donor, receiver: with the same endings.
        points: the nodes that are patched.
        score, weights: `(scores * weights)`, summed over the members, is the score.
    """
    nodes = nodes_of(points)
    totals: dict[Node | str, float] = dict.fromkeys([*nodes, "donor", "receiver"], 0.0)
    for part in _parts(model, donor, receiver, weights):
        kept = trace(model, part.donor_batch, points=[point.name for point in points])
        runs: dict[Node | str, list[Patch]] = {"receiver": []}
        for point in points:
            given = kept.rows.points[point.name][:, part.donor.start :]
            for node in point.nodes:
                at = point.part(node, given.shape[-1])
                runs[node] = [Patch(node.layer, point.hook_point, at, given, part.receiver.start)]
        scores = score_runs(model, [part.receiver.members], runs, score)
        scores |= score_runs(model, [part.donor.members], {"donor": []}, score)
        for key, values in scores.items():
            totals[key] += float((values[0] * part.weights).sum())
    patched = np.array([totals[node] for node in nodes])
    return Donation(nodes, totals["donor"], totals["receiver"], patched)


def patched_to_first_order(
    model: LanguageModel,
    donor: Ending,
    receiver: Ending,
    points: Sequence[NodePoint],
    score: Score,
    weights: Float[np.ndarray, "member value"],
) -> Donation:
    """`patched_for_real` to first order: a forward and a backward pass for all nodes.

    The difference between the donor's and the receiver's activations, times the gradient of the
    score in the receiver's run, summed over the tokens of the ending (attribution patching).
    """
    nodes = nodes_of(points)
    names = [point.name for point in points]
    at_donor = at_receiver = 0.0
    changes = np.zeros(len(nodes))
    for part in _parts(model, donor, receiver, weights):
        kept = trace(model, part.donor_batch, points=names)
        back = backward(
            model, part.receiver_batch, score, part.weights[None], first=0, points=names
        )
        found: dict[str, Tensor] = {}
        for at in back.at_stream:
            for name, here in at.points.items():
                given = kept.rows.points[name][:, part.donor.start :].float()
                change = given - here.values[:, part.receiver.start :].float()
                found[name] = change * here.gradient[:, part.receiver.start :].float()
        by_node = [
            reduce(found[p.name].double(), "row pos (node size) -> node", "sum", node=len(p.nodes))
            for p in points
        ]
        changes += torch.cat(by_node).cpu().numpy()
        at_receiver += float(back.score.sum())
        scores = score_runs(model, [part.donor.members], {"": []}, score)[""]
        at_donor += float((scores[0] * part.weights).sum())
    return Donation(nodes, at_donor, at_receiver, at_receiver + changes)


@dataclass(frozen=True)
class _Part:
    """Sequences that are read as one row, of both runs."""

    donor: Ending
    receiver: Ending
    donor_batch: Batch
    receiver_batch: Batch
    weights: Float[np.ndarray, "member value"]


def _parts(
    model: LanguageModel,
    donor: Ending,
    receiver: Ending,
    weights: Float[np.ndarray, "member value"],
) -> Iterator[_Part]:
    """All members in one row of trees, or one by one where the model reads no trees.

    Trees of both runs differ in the length of what comes before the ending alone, since members
    differ only there. So the ending's tokens are in the same order in both.
    """
    together = _part(model, donor, receiver, weights)
    if can_resume(model, together.donor_batch) and can_resume(model, together.receiver_batch):
        yield together
        return
    for member in range(len(donor.members)):
        alone = weights[member : member + 1]
        yield _part(model, donor.only(member), receiver.only(member), alone)


def _part(
    model: LanguageModel,
    donor: Ending,
    receiver: Ending,
    weights: Float[np.ndarray, "member value"],
) -> _Part:
    return _Part(donor, receiver, _row(model, donor), _row(model, receiver), weights)


def _row(model: LanguageModel, ending: Ending) -> Batch:
    (batch,) = lay_out(model, [ending.members], share_stem=False)
    return batch.to(model.device)
