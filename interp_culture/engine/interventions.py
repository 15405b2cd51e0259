"""Edits of the residual stream at hook points, declared as data; the hook function is derived from them.

An `Edit` can be compared, described in a manifest and handed to another engine. Applying it is pure: the
activations that come in are never changed in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp_culture.engine.token_tree import Batch
from interp_culture.errors import InputError, check_known

Operation = Literal["add", "ablate", "project", "add_preserving_norm"]
NamedPositions = Literal["all", "prompt", "answer", "last", "options"]
Positions = NamedPositions | tuple[int, int]

HOOK_POINTS = (
    "hook_resid_pre",
    "hook_resid_mid",
    "hook_resid_post",
    "hook_attn_out",
    "hook_mlp_out",
)

# A longer step squares to infinity in float32 (as every norm does): the logits would all be 0.
LARGEST_STEP = math.sqrt(torch.finfo(torch.float32).max)

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
    moved = h + s * v
    return moved * (_norm(h) / _norm(moved).clamp_min(1e-30))  # no division by zero where h = -s v


def _along(h: Activation, v: Direction) -> Activation:
    u = v / v.norm()
    return (h * u).sum(-1, keepdim=True) * u


def _norm(h: Activation) -> Float[Tensor, "*token 1"]:
    return h.norm(dim=-1, keepdim=True)


def _in_float32(change: Change) -> Change:
    """A component or a norm summed up in 16 bits would not be the one that is meant."""

    def changed(h: Activation, v: Direction, s: float) -> Activation:
        return change(h.float(), v.float(), s).to(h.dtype)

    return changed


OPERATIONS: dict[Operation, Change] = {
    "add": add,
    "ablate": _in_float32(ablate),
    "project": _in_float32(project),
    "add_preserving_norm": _in_float32(add_preserving_norm),
}


@dataclass(frozen=True, eq=False)
class Edit:
    """One intervention at one hook point. With h an activation, v the vector, `u = v / |v|` and s the strength:

        add: h' = h + s v (paper, equation 3)
        ablate: h' = h - s (h.u) u; at s = 1 nothing is left along the vector
        project: h' = h - s (h - (h.u) u); at s = 1 nothing is left but what lies along it
        add_preserving_norm: h' = (h + s v) |h| / |h + s v|

    Strength 0 changes nothing.

    >>> Edit(14, torch.ones(576), 2.0).hook_name
    'blocks.14.hook_resid_post'

    Attributes:
        layer: the block, 0-based.
        vector: direction in the residual stream, in its own units (not normalised).
        strength: the paper's alpha; positive moves to the positive pole of the vector's axis. Of "ablate" and
            "project" the share of what is taken away.
        operation: what is done with the vector, see above; "add" is the paper's.
        hook_point: name within the block, as in TransformerLens.
        positions: "all" tokens; the "prompt"; the "answer"; the "last" prompt token, from which the answer is
            read; the words of the "options", in the prompt (letters) or as the answer that is scored (continuation);
            or (start, stop), token positions counted from the first token of the prompt, 0 <= start < stop.
        model: name of the model the vector was computed on, for messages; None where any of the same width will do.
        weights: hash of that model's weights (`LanguageModel.identity`), which decides whether the edit fits; None
            where it is not known (then the name decides) or where any model of the same width will do.
    """

    layer: int
    vector: Float[Tensor, " d_model"]
    strength: float
    operation: Operation = "add"
    hook_point: str = "hook_resid_post"
    positions: Positions = "all"
    model: str | None = None
    weights: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer", _layer(self.layer))
        object.__setattr__(self, "vector", _vector(self.vector))
        object.__setattr__(self, "positions", _positions(self.positions))
        check_known("operation", self.operation, OPERATIONS)
        check_hook_point(self.hook_point)
        self._check_step()

    def _check_step(self) -> None:
        if not isinstance(self.strength, int | float | np.number) or not math.isfinite(
            self.strength
        ):
            raise InputError(
                f"field 'strength' is {self.strength!r}; give a number, neither NaN nor infinite"
            )
        length = float(self.vector.double().norm())
        if self.operation in ("ablate", "project"):
            if not length > 0:
                raise InputError(
                    f"field 'vector' has length {length:g}, which is no direction to {self.operation}; "
                    "give a vector with a length above 0"
                )
            length = 1.0
        if abs(self.strength) * length > LARGEST_STEP:
            raise InputError(
                f"strength {self.strength:g} at layer {self.layer} is a step of {abs(self.strength) * length:g}, "
                "beyond what numbers hold; lower the strength"
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
        if self.positions == "options":
            _check_options(batch)
            return batch.is_option
        start, stop = self.positions
        return (batch.position_ids >= start) & (batch.position_ids < stop) & ~batch.is_padding

    def apply(
        self, activation: Float[Tensor, "row pos d_model"], batch: Batch
    ) -> Float[Tensor, "row pos d_model"]:
        """The edited activation, in the dtype and on the device of the one that came in."""
        changed = OPERATIONS[self.operation](
            activation, self.vector.to(activation.device), self.strength
        )
        return torch.where(self.where(batch)[..., None], changed, activation)

    def hook(self) -> tuple[str, Callable[..., Tensor]]:
        """Hook point and function for the raw bridge: `model.bridge.run_with_hooks(tokens, fwd_hooks=[edit.hook()])`.

        For plain passes over [batch, pos], where every row begins with its first token. Raises InputError for
        positions that a row of tokens does not tell: everything but "all" and (start, stop).
        """
        if isinstance(self.positions, str) and self.positions != "all":
            raise InputError(
                f"positions={self.positions!r}: a plain pass knows no prompt, answer or options; use 'all' or "
                "(start, stop), or probe and generate, which know them"
            )
        touched = slice(None) if isinstance(self.positions, str) else slice(*self.positions)

        def edit(activation: Float[Tensor, "batch pos d_model"], hook: Any = None) -> Tensor:
            vector = self.vector.to(activation.device)
            changed = activation.clone()
            changed[:, touched] = OPERATIONS[self.operation](
                activation[:, touched], vector, self.strength
            )
            return changed

        return self.hook_name, edit

    def describe(self) -> dict[str, Any]:
        """What a manifest records; the vector stands as its norm."""
        return {
            "operation": self.operation,
            "hook": self.hook_name,
            "strength": self.strength,
            "vector_norm": float(self.vector.norm()),
            "positions": self.positions,
        }


def _check_options(batch: Batch) -> None:
    if not batch.options_found:
        raise InputError(
            "positions='options': the options' words cannot be found among the prompt's tokens (the tokenizer gives no "
            "character offsets, or the chat template changes the text); use other positions or readout='continuation'"
        )


def as_edits(edits: Any) -> tuple[Edit, ...]:
    """Edits as a tuple; one Edit stands for itself. Raises InputError for anything else.

    >>> len(as_edits(Edit(3, torch.ones(8), 1.0)))
    1
    """
    if isinstance(edits, Edit):
        return (edits,)
    if isinstance(edits, str) or not isinstance(edits, Sequence):
        raise InputError(
            f"edits is a {type(edits).__name__}; give a list of Edit, as steer(vectors, layers, alpha) does"
        )
    for edit in edits:
        if not isinstance(edit, Edit):
            raise InputError(
                f"edits holds a {type(edit).__name__}; give Edit, as steer(vectors, layers, alpha) does"
            )
    return tuple(edits)


def as_runs(runs: Any) -> dict[Any, tuple[Edit, ...]]:
    """Runs, edits by name, each as `as_edits` takes them."""
    if not isinstance(runs, Mapping):
        raise InputError(
            f'runs is a {type(runs).__name__}; give edits by name: {{"plain": (), "steered": edits}}'
        )
    return {key: as_edits(edits) for key, edits in runs.items()}


def check_hook_point(name: str) -> None:
    """Raise InputError for a name that is no hook point of a block's residual stream."""
    if name not in HOOK_POINTS:
        raise InputError(f"unknown hook point {name!r}; known: {', '.join(HOOK_POINTS)}")


def _layer(layer: Any) -> int:
    if isinstance(layer, bool) or not isinstance(layer, int | np.integer):
        raise InputError(
            f"field 'layer' is {layer!r}; an Edit acts at one layer, a number: steer(vectors, layers, alpha) "
            "gives one Edit for each"
        )
    return int(layer)


def _vector(vector: Any) -> Tensor:
    """A vector as a tensor of floats; one of NumPy is converted."""
    try:
        tensor = (
            vector
            if isinstance(vector, Tensor)
            else torch.tensor(np.asarray(vector, dtype=np.float32))
        )
    except (TypeError, ValueError):
        raise InputError(
            f"field 'vector' is a {type(vector).__name__}; give a tensor or array of d_model numbers"
        ) from None
    if tensor.ndim != 1 or not tensor.is_floating_point():
        raise InputError(
            f"field 'vector' has shape {tuple(tensor.shape)} and dtype {str(tensor.dtype).removeprefix('torch.')}; "
            "give d_model floats, such as vectors.direction[layer]"
        )
    if not bool(tensor.isfinite().all()):
        raise InputError(
            "field 'vector' holds NaN or infinity; compute it anew, in float32 or bfloat16"
        )
    return tensor


def _positions(positions: Any) -> Positions:
    known = get_args(NamedPositions)
    if isinstance(positions, str):
        if positions not in known:
            raise InputError(
                f"unknown positions {positions!r}; known: {', '.join(known)}, or (start, stop)"
            )
        return positions  # type: ignore[return-value]
    if not isinstance(positions, Sequence) or len(positions) != 2:
        raise InputError(
            f"positions is {positions!r}; give one of {', '.join(known)}, or (start, stop)"
        )
    start, stop = positions
    whole = all(isinstance(place, int | np.integer) for place in positions)
    if not whole or not 0 <= start < stop:
        raise InputError(
            f"positions {tuple(positions)}: give 0 <= start < stop, counted from the prompt's first token. Places "
            "from the end are not those of one text, since texts share tokens; use 'last', 'answer' or 'options'"
        )
    return int(start), int(stop)
