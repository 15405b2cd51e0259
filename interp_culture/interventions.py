"""Edits of the residual stream at hook points, declared as data; the hook function is derived from them.

An `Edit` can be compared, described in a manifest and handed to another engine. Applying it is pure: the
activations that come in are never changed in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp_culture.errors import InputError
from interp_culture.token_tree import Batch

Operation = Literal["add"]
Positions = Literal["all", "prompt", "answer", "last"] | tuple[int, int]

HOOK_POINTS = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out")


@dataclass(frozen=True, eq=False)
class Edit:
    """One intervention at one hook point: `h' = h + strength * vector` (paper, equation 3).

    Attributes:
        layer: the block, 0-based.
        vector: direction in the residual stream, in its own units (not normalised).
        strength: the paper's alpha; positive moves to the positive pole of the vector's axis.
        operation: what is done with the vector; "add" is the paper's.
        hook_point: name within the block, as in TransformerLens.
        positions: "all" tokens; the "prompt"; the "answer"; the "last" prompt token, from which the answer is
            read; or (start, stop), token positions counted from the first token of the prompt.
        model: name of the model the vector was computed on; None where any of the same width will do.
    """

    layer: int
    vector: Float[Tensor, " d_model"]
    strength: float
    operation: Operation = "add"
    hook_point: str = "hook_resid_post"
    positions: Positions = "all"
    model: str | None = None

    def __post_init__(self) -> None:
        if self.operation != "add":
            raise InputError(f"unknown operation {self.operation!r}; known: add")
        if self.hook_point not in HOOK_POINTS:
            raise InputError(f"unknown hook point {self.hook_point!r}; known: {', '.join(HOOK_POINTS)}")
        if isinstance(self.positions, str) and self.positions not in ("all", "prompt", "answer", "last"):
            raise InputError(
                f"unknown positions {self.positions!r}; known: all, prompt, answer, last, or (start, stop)"
            )

    @property
    def hook_name(self) -> str:
        """The full TransformerLens name, for example `blocks.5.hook_resid_post`."""
        return f"blocks.{self.layer}.{self.hook_point}"

    @property
    def stream(self) -> int:
        """The first residual stream that it changes: l before block l, l + 1 after it (or within it: l)."""
        return self.layer + (self.hook_point == "hook_resid_post")

    @property
    def is_on_stream(self) -> bool:
        """Whether it acts on the residual stream between blocks, so that no block has to run for it."""
        return self.hook_point in ("hook_resid_pre", "hook_resid_post")

    def where(self, batch: Batch) -> Bool[Tensor, "row pos"]:
        """The tokens of a batch that this edit touches."""
        if self.positions == "all":
            return ~batch.is_padding
        if self.positions == "prompt":
            return ~batch.is_answer & ~batch.is_padding
        if self.positions == "answer":
            return batch.is_answer
        if self.positions == "last":
            return batch.is_final
        start, stop = self.positions
        return (batch.position_ids >= start) & (batch.position_ids < stop) & ~batch.is_padding

    def apply(self, activation: Float[Tensor, "row pos d_model"], batch: Batch) -> Float[Tensor, "row pos d_model"]:
        """The edited activation, in the dtype and on the device of the one that came in."""
        step = (self.strength * self.vector).to(activation.device, activation.dtype)
        return torch.where(self.where(batch)[..., None], activation + step, activation)

    def describe(self) -> dict[str, Any]:
        """What a manifest records; the vector stands as its norm."""
        return {
            "operation": self.operation,
            "hook": self.hook_name,
            "strength": self.strength,
            "vector_norm": float(self.vector.norm()),
            "positions": self.positions,
        }
