"""The nodes of a model: the attention heads and MLPs that write to its residual stream."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError

NodeKind = Literal["head", "attn", "mlp", "resid"]

# The input of the attention's output projection: the outputs of all heads, side by side.
HEADS = "attn.hook_z"
ATTENTION = "hook_attn_out"
MLP = "hook_mlp_out"
STREAM = "hook_resid_post"
# Hook points whose activations are one node.
POINT_OF_KIND: dict[NodeKind, str] = {"resid": STREAM, "attn": ATTENTION, "mlp": MLP}


@dataclass(frozen=True, order=True)
class Node:
    """An attention head, an attention, an MLP, or the residual stream after a block.

    >>> Node(3, "head", 1).name
    'L3.H1'

    Attributes:
        layer: the block, 0-based.
        kind: "head"; "mlp"; "attn", a whole attention; or "resid", the stream after the block.
        head: the number of a head, 0-based; -1 for the other kinds.
    """

    layer: int
    kind: NodeKind
    head: int = -1

    @property
    def name(self) -> str:
        """A short name, as the field writes it."""
        return f"L{self.layer}." + (f"H{self.head}" if self.kind == "head" else self.kind)


@dataclass(frozen=True)
class NodePoint:
    """A hook point and its nodes, whose outputs lie side by side in the last dimension.

    Attributes:
        name: the full name of the hook point.
        nodes: all have the same width there.
    """

    name: str
    nodes: tuple[Node, ...]

    @property
    def hook_point(self) -> str:
        """Its name within its block."""
        return self.name.removeprefix(f"blocks.{self.nodes[0].layer}.")

    def part(self, node: Node, width: int) -> slice:
        """The place of a node's output among the `width` values of the hook point."""
        size = width // len(self.nodes)
        start = self.nodes.index(node) * size
        return slice(start, start + size)


def node_points(model: LanguageModel) -> list[NodePoint]:
    """The hook points at which a model's nodes can be read, from the first block to the last.

    Raises:
        InputError: a model without hook points for its attentions and MLPs.

    >>> [node.name for node in node_points(model)[0].nodes]
    ['L0.H0', 'L0.H1', 'L0.H2', 'L0.H3']
    """
    hook_points = model.bridge.hook_dict
    points = []
    for layer in range(model.n_layers):
        heads = head_point(model, layer)
        if heads is not None:
            points.append(heads)
        elif f"blocks.{layer}.{ATTENTION}" in hook_points:
            points.append(NodePoint(f"blocks.{layer}.{ATTENTION}", (Node(layer, "attn"),)))
        if f"blocks.{layer}.{MLP}" in hook_points:
            points.append(NodePoint(f"blocks.{layer}.{MLP}", (Node(layer, "mlp"),)))
    if not points:
        raise InputError(
            f"{model.name} has no hook points for attention heads or MLPs; only its residual "
            "stream can be read"
        )
    return points


def points_of_kinds(model: LanguageModel, kinds: Collection[NodeKind]) -> list[NodePoint]:
    """The hook points of all nodes of these kinds, from the first block to the last.

    A whole attention and its heads may both be among them.

    Raises:
        InputError: a kind of which the model has no node.

    >>> [point.name for point in points_of_kinds(model, ["resid", "attn"])][:2]
    ['blocks.0.hook_resid_post', 'blocks.0.hook_attn_out']
    """
    points = []
    for layer in range(model.n_layers):
        for kind, hook_point in POINT_OF_KIND.items():
            name = f"blocks.{layer}.{hook_point}"
            if kind in kinds and name in model.bridge.hook_dict:
                points.append(NodePoint(name, (Node(layer, kind),)))
        heads = head_point(model, layer)
        if "head" in kinds and heads is not None:
            points.append(heads)
    found = {node.kind for node in nodes_of(points)}
    if missing := sorted(set(kinds) - found):
        raise InputError(
            f"{model.name} has no hook points of the kind {', '.join(missing)}; ask for the others"
        )
    return points


def nodes_of(points: Sequence[NodePoint]) -> tuple[Node, ...]:
    """The nodes of some hook points, one after the other."""
    return tuple(node for point in points for node in point.nodes)


def find_node(points: list[NodePoint], node: Node) -> NodePoint:
    """The hook point at which a node is read. Raises InputError for a node that is not there."""
    for point in points:
        if node in point.nodes:
            return point
    heads = max(len(point.nodes) for point in points)
    last = points[-1].nodes[0].layer
    raise InputError(
        f"no component {node.name}: the model has layers 0 to {last}, each with "
        f"{heads} heads and an MLP, or with whole attentions where heads cannot be told apart"
    )


def head_point(model: LanguageModel, layer: int) -> NodePoint | None:
    """The hook point of a block's heads; None where they cannot be told apart."""
    n_heads = _n_heads(model, layer)
    if not n_heads:
        return None
    heads = tuple(Node(layer, "head", head) for head in range(n_heads))
    return NodePoint(f"blocks.{layer}.{HEADS}", heads)


def _n_heads(model: LanguageModel, layer: int) -> int:
    """The number of heads that can be told apart; 0 where they cannot."""
    attention = getattr(model.bridge.blocks[layer], "attn", None)
    projection = getattr(attention, "o", None)
    if projection is None or f"blocks.{layer}.{HEADS}" not in model.bridge.hook_dict:
        return 0
    n_heads = int(getattr(model.text_config, "num_attention_heads", 0) or 0)
    width = _input_width(projection.original_component)
    return n_heads if n_heads and width and width % n_heads == 0 else 0


def _input_width(projection: Any) -> int:
    """The number of values that a linear layer reads; 0 where it is unknown."""
    # GPT-2's Conv1D has no `in_features`; its weight is [in, out].
    if hasattr(projection, "in_features"):
        return int(projection.in_features)
    weight = getattr(projection, "weight", None)
    return 0 if weight is None or weight.ndim != 2 else int(weight.shape[0])
