"""Writers: the components whose outputs add up to the residual stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.batching import lay_out
from interp_culture.engine.forward import trace
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.nodes import ATTENTION, HEADS, MLP, STREAM, Node, head_point
from interp_culture.engine.token_tree import TokenSequence

WriterKind = Literal["embed", "head", "attn", "mlp", "block"]

BEFORE = "hook_resid_pre"
# The stream between a block's attention and its MLP, where the one comes after the other.
MIDDLE = "hook_resid_mid"
# The largest error of a sum of parts, relative to the length of the whole, in float32. In a
# narrower type it is a few roundings.
TOLERANCE = 1e-5
ROUNDINGS = 4

# The activations of one token, by the full name of the hook point.
_Seen = Mapping[str, Float[Tensor, " _"]]


@dataclass(frozen=True, eq=False)
class Writer:
    """A component that adds to the residual stream, and how its output is read.

    Attributes:
        name: "embed", "L3.H1", "L3.attn", "L3.mlp", or "L3" for a block that cannot be split.
        layer: its block; -1 for the embedding.
        kind: "embed", "head", "attn" (a whole attention), "mlp" or "block".
        head: the number of a head; -1 for the other kinds.
        point: the full name of the hook point that is read.
        minus: the hook point whose activations are taken away from those; None for none.
        part: the values of the component there.
        matrix: what maps these values to the stream; None where they are in the stream already.
            Biases are left out, since they are the same for all texts.
    """

    name: str
    layer: int
    kind: WriterKind
    point: str
    head: int = -1
    minus: str | None = None
    part: slice = field(default_factory=lambda: slice(None))
    matrix: Float[Tensor, "width d_model"] | None = None

    @property
    def points(self) -> list[str]:
        return [self.point] if self.minus is None else [self.point, self.minus]

    def values(
        self, read: Mapping[str, Float[Tensor, "scenario _"]]
    ) -> Float[Tensor, "scenario width"]:
        """Its values, from those at the hook points, in float64."""
        values = read[self.point].double()
        if self.minus is not None:
            values = values - read[self.minus].double()
        return values[:, self.part]

    def along(
        self, values: Float[Tensor, "scenario width"], directions: Float[Tensor, "layer d_model"]
    ) -> Float[Tensor, "scenario layer"]:
        """The dot products of its output with directions."""
        if self.matrix is None:
            return values @ directions.T
        return values @ (self.matrix.double().cpu() @ directions.T)

    def output(self, values: Float[Tensor, " width"]) -> Float[Tensor, " d_model"]:
        """What it adds to the stream."""
        return values if self.matrix is None else values @ self.matrix.double().cpu()


def find_writers(model: LanguageModel, text: TokenSequence) -> list[Writer]:
    """The components that add up to the stream after the last block, the embedding first.

    Those of blocks 0 to l add up to the stream after block l. A block is split into attention and
    MLP, and an attention into heads, where the parts add up to the whole at the last token of
    `text`. They do not where a norm comes after the output projection (Gemma 2 and 3, OLMo 2): then
    the attention is one component. A block whose parts are scaled (Granite), or that has more parts
    than these, is split at the stream between attention and MLP; without such a place it is one
    component.

    >>> writers = find_writers(model, model.tokenise_text("The weather is"))
    >>> [writer.name for writer in writers][:6]
    ['embed', 'L0.H0', 'L0.H1', 'L0.H2', 'L0.H3', 'L0.mlp']
    """
    seen = _last_token(model, text)
    writers = [Writer("embed", -1, "embed", f"blocks.0.{BEFORE}")]
    for layer in range(model.n_layers):
        writers += _of_block(model, layer, seen)
    return writers


def _last_token(model: LanguageModel, text: TokenSequence) -> _Seen:
    points = (BEFORE, MIDDLE, STREAM, ATTENTION, MLP, HEADS)
    names = [f"blocks.{layer}.{point}" for layer in range(model.n_layers) for point in points]
    (batch,) = lay_out(model, [[text]], share_stem=False)
    known = [name for name in names if name in model.bridge.hook_dict]
    kept = trace(model, batch, points=known)
    return {name: kept.rows.points[name][0, -1].double().cpu() for name in known}


def _of_block(model: LanguageModel, layer: int, seen: _Seen) -> list[Writer]:
    """The writers of one block, as finely as they add up to it."""
    before, middle, after, attention, mlp = (
        f"blocks.{layer}.{point}" for point in (BEFORE, MIDDLE, STREAM, ATTENTION, MLP)
    )
    attention_name, mlp_name = Node(layer, "attn").name, Node(layer, "mlp").name
    if attention in seen and mlp in seen:
        total = seen[before] + seen[attention] + seen[mlp]
        if _are_equal(total, seen[after], model):
            whole = [Writer(attention_name, layer, "attn", attention)]
            split = _of_heads(model, layer, seen) or whole
            return [*split, Writer(mlp_name, layer, "mlp", mlp)]
    if middle in seen:
        return [
            Writer(attention_name, layer, "attn", middle, minus=before),
            Writer(mlp_name, layer, "mlp", after, minus=middle),
        ]
    return [Writer(f"L{layer}", layer, "block", after, minus=before)]


def _of_heads(model: LanguageModel, layer: int, seen: _Seen) -> list[Writer]:
    """The heads of an attention; none where they do not add up to its output."""
    heads = head_point(model, layer)
    if heads is None:
        return []
    projection = model.bridge.blocks[layer].attn.o.original_component
    values, whole = seen[heads.name], seen[f"blocks.{layer}.{ATTENTION}"]
    matrix = _matrix(projection, (len(values), len(whole)))
    if matrix is None:
        return []
    bias = getattr(projection, "bias", None)
    total = values @ matrix.double().cpu()
    if bias is not None:
        total = total + bias.detach().double().cpu()
    if not _are_equal(total, whole, model):
        return []
    parts = {node: heads.part(node, len(values)) for node in heads.nodes}
    return [
        Writer(node.name, layer, "head", heads.name, node.head, part=part, matrix=matrix[part])
        for node, part in parts.items()
    ]


def _matrix(projection: Any, shape: tuple[int, int]) -> Float[Tensor, "width d_model"] | None:
    """The weights of a linear layer, [in, out]; None where they are stored in another way."""
    weight = getattr(projection, "weight", None)
    if weight is None or weight.ndim != 2 or not weight.is_floating_point():
        return None
    # GPT-2's Conv1D has no `in_features`; its weight is [in, out].
    matrix = weight.T if hasattr(projection, "in_features") else weight
    return matrix.detach() if tuple(matrix.shape) == shape else None


def _are_equal(
    total: Float[Tensor, " _"], whole: Float[Tensor, " _"], model: LanguageModel
) -> bool:
    allowed = max(TOLERANCE, ROUNDINGS * torch.finfo(model.dtype).eps)
    return bool((total - whole).norm() <= allowed * whole.norm())
