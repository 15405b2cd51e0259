"""A leak: a coupling of known size, written into a model after one block."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from interp_culture.artifacts.tensors import READ_FAULTS
from interp_culture.errors import InputError, check_known

Kind = Literal["representational", "readout"]
METADATA = "interp_culture_leak"
DIGEST = "digest"


# No generated `==`: comparing two tensors gives a tensor, which has no single truth value.
@dataclass(frozen=True, eq=False)
class Leak:
    """A rank-one change of the residual stream after a block, at every token.

    `h' = h + size * (h . reads - centre) * writes`, with h the stream after the block and after
    any edit of it. So a step s that is added at or before this block arrives as
    `s + size * (s . reads) * writes`; a step that is added later is not changed.

    Attributes:
        block: the block after which it acts, 0-based. After the last block it acts on the final
            stream, before the final norm.
        reads: the direction that is read; it is normalised.
        writes: the direction that is written; it is normalised.
        size: kappa, how much is written per unit that is read. 0 changes nothing.
        centre: what `h . reads` is compared with, in units of the residual stream. Without it, the
            mean of the stream along `reads` would shift the plain model too.
        kind: "representational" where a direction in the stream is read between blocks; "readout"
            after the last block, where every step that moves one readout moves the other.

    >>> leak = Leak(1, torch.tensor([2.0, 0.0]), torch.tensor([0.0, 3.0]), size=0.5)
    >>> leak.apply(torch.tensor([4.0, 1.0]))
    tensor([4., 3.])
    """

    block: int
    reads: Float[Tensor, " d_model"]
    writes: Float[Tensor, " d_model"]
    size: float
    centre: float = 0.0
    kind: Kind = "representational"

    def __post_init__(self) -> None:
        check_known("kind", self.kind, get_args(Kind))
        object.__setattr__(self, "reads", _unit("reads", self.reads))
        object.__setattr__(self, "writes", _unit("writes", self.writes))
        if self.reads.shape != self.writes.shape:
            raise InputError(
                f"reads has shape {tuple(self.reads.shape)}, writes {tuple(self.writes.shape)}; "
                "give both the width of the model"
            )
        # `True` would be block 1.
        if isinstance(self.block, bool) or not isinstance(self.block, int) or self.block < 0:
            raise InputError(f"field 'block' is {self.block!r}; give a whole number, 0 or more")
        for name in ("size", "centre"):
            if not math.isfinite(getattr(self, name)):
                raise InputError(f"field {name!r} is {getattr(self, name)}; give a finite number")

    @property
    def stream(self) -> int:
        """The residual stream that it acts on, the input of the next block."""
        return self.block + 1

    @property
    def digest(self) -> str:
        """A hash of everything that decides what it does."""
        digest = hashlib.sha256(json.dumps(self._fields()).encode())
        for direction in (self.reads, self.writes):
            digest.update(direction.numpy().tobytes())
        return digest.hexdigest()[:16]

    def apply(self, h: Float[Tensor, "*token d_model"]) -> Float[Tensor, "*token d_model"]:
        """The stream with the leak, in the dtype and on the device of the input."""
        # In float32, since dot products in 16 bits are inexact.
        along = h.float() @ self.reads.to(h.device) - self.centre
        return h + (self.size * along[..., None] * self.writes.to(h.device)).to(h.dtype)

    def describe(self) -> dict[str, Any]:
        """What a manifest records: the fields without the directions, and their hash."""
        return {**self._fields(), "digest": self.digest}

    def _fields(self) -> dict[str, Any]:
        return {
            "block": self.block,
            "size": self.size,
            "centre": self.centre,
            "kind": self.kind,
        }


def save_leak(path: str | Path, leak: Leak) -> None:
    """Write a leak to a .safetensors file.

    >>> leak = Leak(1, torch.ones(4), torch.ones(4), size=0.5)
    >>> save_leak("leak.safetensors", leak)
    >>> load_leak("leak.safetensors").digest == leak.digest
    True
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    tensors = {"reads": leak.reads.contiguous(), "writes": leak.writes.contiguous()}
    # Metadata of safetensors are texts, hence JSON.
    metadata = {METADATA: json.dumps(leak._fields()), DIGEST: leak.digest}
    save_file(tensors, path, metadata=metadata)


def load_leak(path: str | Path) -> Leak:
    """The leak that `save_leak` wrote.

    Raises:
        InputError: no such file, or another file.

    >>> save_leak("leak.safetensors", Leak(1, torch.ones(4), torch.ones(4), size=0.5))
    >>> load_leak("leak.safetensors").block
    1
    """
    # Unlike `Path.exists`, it takes a name that is too long.
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file; write one with save_leak")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            fields = json.loads(metadata[METADATA])
            reads = file.get_tensor("reads")
            writes = file.get_tensor("writes")
        leak = Leak(reads=reads, writes=writes, **fields)
    except InputError as error:
        raise InputError(f"{path}: not a file that save_leak wrote: {error}") from error
    except READ_FAULTS as error:
        raise InputError(f"{path}: not a file that save_leak wrote") from error
    # A file of an earlier version has no digest, and no other metadata.
    others = metadata.keys() - {METADATA}
    if others and metadata.get(DIGEST) != leak.digest:
        raise InputError(f"{path}: not what save_leak wrote, by its digest; write the leak again")
    return leak


def _unit(name: str, direction: Tensor) -> Float[Tensor, " d_model"]:
    """The direction with norm 1, in float32 on the CPU."""
    direction = torch.as_tensor(direction).detach().double().cpu()
    norm = float(direction.norm())
    if direction.ndim != 1 or not math.isfinite(norm) or norm == 0:
        raise InputError(
            f"field {name!r} has shape {tuple(direction.shape)} and norm {norm:g}; give one "
            "direction [d_model] with a finite norm above 0"
        )
    # Already of norm 1 up to rounding: kept as it is, so that a stored leak has the same hash.
    if abs(norm - 1) < 1e-6:
        return direction.float()
    return (direction / norm).float()
