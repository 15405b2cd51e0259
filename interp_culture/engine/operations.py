"""The formulas of edits: what an operation does to activations, given a vector and a strength."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from torch import Tensor

Operation = Literal["add", "ablate", "project", "add_preserving_norm"]

Activation = Float[Tensor, "*token d_model"]
Direction = Float[Tensor, " d_model"]
Change = Callable[[Activation, Direction, float], Activation]


def add(h: Activation, v: Direction, s: float) -> Activation:
    """`h + s v`, in the dtype of h."""
    return h + (s * v).to(h.dtype)


def ablate(h: Activation, v: Direction, s: float) -> Activation:
    """`h - s (h.u) u` with `u = v / |v|`."""
    return h - s * _along(h, v)


def project(h: Activation, v: Direction, s: float) -> Activation:
    """`h - s (h - (h.u) u)` with `u = v / |v|`."""
    return h - s * (h - _along(h, v))


def add_preserving_norm(h: Activation, v: Direction, s: float) -> Activation:
    """`(h + s v) |h| / |h + s v|`."""
    steered = h + s * v
    # The clamp avoids a division by zero where h = -s v.
    return steered * (_norm(h) / _norm(steered).clamp_min(1e-30))


def _along(h: Activation, v: Direction) -> Activation:
    """The component of h along v."""
    u = v / v.norm()
    return (h * u).sum(-1, keepdim=True) * u


def _norm(h: Activation) -> Float[Tensor, "*token 1"]:
    return h.norm(dim=-1, keepdim=True)


def _in_float32(change: Change) -> Change:
    """The same change computed in float32: in 16 bits, dot products and norms are inexact."""

    def changed(h: Activation, v: Direction, s: float) -> Activation:
        return change(h.float(), v.float(), s).to(h.dtype)

    return changed


OPERATIONS: dict[Operation, Change] = {
    "add": add,
    "ablate": _in_float32(ablate),
    "project": _in_float32(project),
    "add_preserving_norm": _in_float32(add_preserving_norm),
}
