"""Edits of the residual stream at hook points, declared as data.

The hook function is derived from an `Edit`, so an `Edit` can be described in a manifest and handed
to another engine. Applying it is pure: it never changes its input activations in place.
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

from interp_culture.engine.operations import OPERATIONS, Operation
from interp_culture.engine.token_tree import Batch
from interp_culture.errors import InputError, check_known

NamedPositions = Literal["all", "prompt", "answer", "last", "options"]
Positions = NamedPositions | tuple[int, int]

STREAM_POINTS = (
    "hook_resid_pre",
    "hook_resid_mid",
    "hook_resid_post",
    "hook_attn_out",
    "hook_mlp_out",
)
# Queries, keys and values (before any rotation), and the heads' outputs before they are projected.
HEAD_POINTS = ("attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z")
HOOK_POINTS = (*STREAM_POINTS, *HEAD_POINTS)

# The norm layer squares activations in float32. The square of a longer step is infinite, and the
# logits would all be 0.
LARGEST_STEP = math.sqrt(torch.finfo(torch.float32).max)


# No generated `==`: comparing two tensors gives a tensor, which has no single truth value.
@dataclass(frozen=True, eq=False)
class Edit:
    """One intervention at one hook point.

    With h an activation, v the vector, `u = v / |v|` and s the strength:

        add: h' = h + s v (paper, equation 3)
        ablate: h' = h - s (h.u) u; at s = 1 the component along v is 0
        project: h' = h - s (h - (h.u) u); at s = 1 only the component along v remains
        add_preserving_norm: h' = (h + s v) |h| / |h + s v|

    Strength 0 changes nothing.

    >>> Edit(14, torch.ones(576), 2.0).hook_name
    'blocks.14.hook_resid_post'

    Attributes:
        layer: the block, 0-based.
        vector: direction in the residual stream, in the stream's units (not normalised). At a
            hook point of heads, the values of all heads side by side: `LanguageModel.width_at`
            tells how many.
        strength: the paper's alpha; positive moves to the positive pole of the vector's axis. For
            "ablate" and "project", the share of the component that is removed.
        operation: one of the formulas above; "add" is the paper's.
        hook_point: name within the block, as in TransformerLens: one of `HOOK_POINTS`.
        positions: the tokens that are edited: "all"; the "prompt"; the "answer"; the "last" prompt
            token, from which the answer is read; the words of the "options", which are part of the
            prompt (letters) or the scored answer (continuation); or (start, stop), token positions
            counted from the first token of the prompt, 0 <= start < stop.
        model: name of the model that the vector was computed on, for messages; None if the vector
            fits any model of the same width.
        weights: hash of that model's weights (`LanguageModel.identity`). It decides whether the
            edit fits a model. None if the hash is unknown (`model` decides then) or if the vector
            fits any model of the same width.
    """

    layer: int
    vector: Float[Tensor, " width"]
    strength: float
    operation: Operation = "add"
    hook_point: str = "hook_resid_post"
    positions: Positions = "all"
    model: str | None = None
    weights: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer", _layer(self.layer))
        object.__setattr__(self, "vector", _vector(self.vector))
        object.__setattr__(self, "positions", as_positions(self.positions))
        check_known("operation", self.operation, OPERATIONS)
        check_hook_point(self.hook_point)
        self._check_step()

    def _check_step(self) -> None:
        is_number = isinstance(self.strength, int | float | np.number)
        if not is_number or not math.isfinite(self.strength):
            raise InputError(
                f"field 'strength' is {self.strength!r}; give a number, neither NaN nor infinite"
            )
        # In float64, where the norm of a long vector does not overflow.
        length = float(self.vector.double().norm())
        if self.operation in ("ablate", "project"):
            if not length > 0:
                raise InputError(
                    f"field 'vector' has length {length:g}, so it has no direction to "
                    f"{self.operation}; give a vector with a length above 0"
                )
            # Both formulas use u = v / |v| alone, whose length is 1.
            length = 1.0
        step = abs(self.strength) * length
        if step > LARGEST_STEP:
            raise InputError(
                f"strength {self.strength:g} at layer {self.layer} is a step of {step:g}, "
                "beyond what numbers hold; lower the strength"
            )

    @property
    def hook_name(self) -> str:
        """The full TransformerLens name, for example `blocks.5.hook_resid_post`."""
        return f"blocks.{self.layer}.{self.hook_point}"

    @property
    def stream(self) -> int:
        """The first residual stream that is not as in the plain pass.

        Stream l is the input of block l. An edit within block l gives l as well, since that block
        has to run again.
        """
        return self.layer + (self.hook_point == "hook_resid_post")

    @property
    def is_on_stream(self) -> bool:
        """Whether it acts on the residual stream between blocks: no block has to run for it."""
        return self.hook_point in ("hook_resid_pre", "hook_resid_post")

    def where(self, batch: Batch) -> Bool[Tensor, "row pos"]:
        """The tokens of a batch that this edit changes.

        Raises:
            InputError: positions "options" where the options' words were not located.
        """
        return tokens_at(self.positions, batch)

    def apply(
        self, activation: Float[Tensor, "row pos *width"], batch: Batch
    ) -> Float[Tensor, "row pos *width"]:
        """The edited activation, in the dtype and on the device of the input."""
        # TransformerLens gives heads an axis of their own.
        flat = activation.flatten(2)
        changed = self._changed(flat)
        return torch.where(self.where(batch)[..., None], changed, flat).view_as(activation)

    def _changed(self, flat: Float[Tensor, "row pos width"]) -> Float[Tensor, "row pos width"]:
        return OPERATIONS[self.operation](flat, self.vector.to(flat.device), self.strength)

    def hook(self) -> tuple[str, Callable[..., Tensor]]:
        """Name of the hook point and hook function, for plain passes of the raw bridge.

        The tokens must be [batch, pos], every row beginning with its first token.

        Raises:
            InputError: positions other than "all" and (start, stop); a row of tokens does not say
                where its prompt, answer and options are.

        >>> tokens = model.bridge.to_tokens("Is it late?")
        >>> hook = Edit(1, torch.ones(32), 2.0).hook()
        >>> model.bridge.run_with_hooks(tokens, fwd_hooks=[hook]).shape[:2] == tokens.shape
        True
        """
        if isinstance(self.positions, str) and self.positions != "all":
            raise InputError(
                f"positions={self.positions!r}: a plain pass knows no prompt, answer or options; "
                "use 'all' or (start, stop), or use probe and generate, which support them"
            )
        edited = slice(None) if isinstance(self.positions, str) else slice(*self.positions)

        def edit(activation: Float[Tensor, "batch pos *width"], hook: Any = None) -> Tensor:
            flat = activation.flatten(2)
            changed = flat.clone()
            changed[:, edited] = self._changed(flat[:, edited])
            return changed.view_as(activation)

        return self.hook_name, edit

    def describe(self) -> dict[str, Any]:
        """The fields that a manifest records; of the vector, its norm."""
        return {
            "operation": self.operation,
            "hook": self.hook_name,
            "strength": self.strength,
            "vector_norm": float(self.vector.norm()),
            "positions": self.positions,
        }


def tokens_at(positions: Positions, batch: Batch) -> Bool[Tensor, "row pos"]:
    """The tokens of a batch at `positions` (see `Edit`).

    Raises InputError for "options" where the options' words were not located.
    """
    if positions == "all":
        return ~batch.is_padding
    if positions == "prompt":
        return ~batch.is_answer & ~batch.is_padding
    if positions == "answer":
        return batch.is_answer
    if positions == "last":
        return batch.is_final
    if positions == "options":
        _check_options(batch)
        return batch.is_option
    start, stop = positions
    return (batch.position_ids >= start) & (batch.position_ids < stop) & ~batch.is_padding


def _check_options(batch: Batch) -> None:
    if not batch.options_found:
        raise InputError(
            "positions='options': the options' words cannot be found among the prompt's tokens "
            "(the tokenizer gives no character offsets, or the chat template changes the text); "
            "use other positions or readout='continuation'"
        )


def as_edits(edits: Any) -> tuple[Edit, ...]:
    """Edits as a tuple; a single Edit becomes a tuple of one.

    Raises:
        InputError: anything else.

    >>> len(as_edits(Edit(3, torch.ones(8), 1.0)))
    1
    """
    if isinstance(edits, Edit):
        return (edits,)
    if isinstance(edits, str) or not isinstance(edits, Sequence):
        raise InputError(
            f"edits is a {type(edits).__name__}; give a list of Edit, as "
            "steer(vectors, layers, alpha) does"
        )
    for edit in edits:
        if not isinstance(edit, Edit):
            raise InputError(
                f"edits holds a {type(edit).__name__}; give Edit, as "
                "steer(vectors, layers, alpha) does"
            )
    return tuple(edits)


def as_runs(runs: Any) -> dict[Any, tuple[Edit, ...]]:
    """Runs, a mapping from name to edits, with the edits of each as a tuple (see `as_edits`).

    Raises:
        InputError: anything but a mapping; a value that `as_edits` refuses.

    >>> as_runs({"plain": (), "steered": Edit(3, torch.ones(8), 1.0)})["plain"]
    ()
    """
    if not isinstance(runs, Mapping):
        raise InputError(
            f"runs is a {type(runs).__name__}; give edits by name: "
            '{"plain": (), "steered": edits}'
        )
    return {key: as_edits(edits) for key, edits in runs.items()}


def check_hook_point(name: str) -> None:
    """Raise InputError unless `name` is one of `HOOK_POINTS`."""
    if name not in HOOK_POINTS:
        raise InputError(f"unknown hook point {name!r}; known: {', '.join(HOOK_POINTS)}")


def _layer(layer: Any) -> int:
    # A bool is an int too.
    if isinstance(layer, bool) or not isinstance(layer, int | np.integer):
        raise InputError(
            f"field 'layer' is {layer!r}; an Edit acts at one layer, a number: "
            "steer(vectors, layers, alpha) gives one Edit for each"
        )
    return int(layer)


def _vector(vector: Any) -> Float[Tensor, " width"]:
    """A vector as a tensor of finite floats; an array is converted to float32."""
    tensor = _as_tensor(vector)
    if tensor.ndim != 1 or not tensor.is_floating_point():
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise InputError(
            f"field 'vector' has shape {tuple(tensor.shape)} and dtype {dtype}; "
            "give floats in one dimension, such as vectors.direction[layer]"
        )
    if not bool(tensor.isfinite().all()):
        raise InputError(
            "field 'vector' holds NaN or infinity; compute it again in float32 or bfloat16"
        )
    return tensor


def _as_tensor(vector: Any) -> Tensor:
    if isinstance(vector, Tensor):
        return vector
    try:
        # A copy: `from_numpy` would share the caller's array, which may change later.
        return torch.tensor(np.asarray(vector, dtype=np.float32))
    except (TypeError, ValueError):
        kind = type(vector).__name__
        raise InputError(
            f"field 'vector' is a {kind}; give a tensor or an array of numbers"
        ) from None


def as_positions(positions: Any) -> Positions:
    """A name of positions, or a range of them as a tuple. Raises InputError for anything else.

    >>> as_positions([2, 5])
    (2, 5)
    """
    names = get_args(NamedPositions)
    known = ", ".join(names)
    if isinstance(positions, str):
        if positions not in names:
            raise InputError(f"unknown positions {positions!r}; known: {known}, or (start, stop)")
        return positions  # type: ignore[return-value]
    if not isinstance(positions, Sequence) or len(positions) != 2:
        raise InputError(f"positions is {positions!r}; give one of {known}, or (start, stop)")
    start, stop = positions
    are_integers = all(isinstance(place, int | np.integer) for place in positions)
    if not are_integers or not 0 <= start < stop:
        raise InputError(
            f"positions {tuple(positions)}: give 0 <= start < stop, counted from the prompt's "
            "first token. Positions from the end are not supported, since texts share tokens; "
            "use 'last', 'answer' or 'options'"
        )
    return int(start), int(stop)
