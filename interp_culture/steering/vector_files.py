"""Steering vectors in .safetensors files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from interp_culture.artifacts import replacing
from interp_culture.errors import InputError
from interp_culture.steering.vectors import Provenance, SteeringVectors

METADATA = "interp_culture"  # the name under which methods and provenance are stored


def save_vectors(path: str | Path, vectors: dict[str, SteeringVectors], key: str = "") -> None:
    """Write the vectors of all axes to one .safetensors file.

    Methods and provenance are in the metadata of the file.

    Args:
        path: of the file, which is replaced as a whole.
        vectors: by axis.
        key: of the study that the vectors belong to; `stored_key` reads it.

    >>> ic.save_vectors("vectors.safetensors", vectors)
    >>> sorted(ic.load_vectors("vectors.safetensors"))
    ['X', 'Y']
    """
    tensors: dict[str, torch.Tensor] = {}
    about: dict[str, dict[str, Any]] = {}
    for axis, axis_vectors in vectors.items():
        # safetensors refuses tensors that are not contiguous, such as slices.
        tensors[f"{axis}.direction"] = axis_vectors.direction.contiguous()
        tensors[f"{axis}.resid_norm"] = axis_vectors.resid_norm.contiguous()
        about[axis] = {"method": axis_vectors.method, "provenance": axis_vectors.provenance}
    with replacing(Path(path)) as part:
        # Metadata of safetensors are texts, hence JSON.
        save_file(tensors, part, metadata={METADATA: json.dumps(about), "key": key})


def stored_key(path: str | Path) -> str | None:
    """The key that `save_vectors` wrote; None if the file does not exist or cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("key")
    except (SafetensorError, OSError):
        return None


def load_vectors(path: str | Path) -> dict[str, SteeringVectors]:
    """The vectors that `save_vectors` wrote, by axis.

    Raises InputError if there is no such file or if it is another file.

    >>> ic.save_vectors("vectors.safetensors", vectors)
    >>> vectors = ic.load_vectors("vectors.safetensors")
    >>> edits = ic.steer(vectors["X"], layers=[1, 2], alpha=2.0)
    """
    if not Path(path).exists():
        raise InputError(
            f"{path}: no such file; write one with `interp-culture extract --out {path}`"
        )
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[METADATA])
            return {axis: _stored_vectors(file, axis, entry) for axis, entry in about.items()}
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise InputError(
            f"{path}: not a file that save_vectors wrote ({_reason(Path(path), error)}); turn "
            "vectors of your own into SteeringVectors with SteeringVectors.from_tensors"
        ) from error


def _stored_vectors(file: Any, axis: str, entry: dict[str, Any]) -> SteeringVectors:
    direction = file.get_tensor(f"{axis}.direction")
    resid_norm = file.get_tensor(f"{axis}.resid_norm")
    if direction.ndim != 2 or resid_norm.shape != direction.shape[:1]:
        raise ValueError(
            f"axis {axis}: direction {tuple(direction.shape)}, resid_norm {tuple(resid_norm.shape)}"
        )
    # Files of other versions may have other keys; none of them is dropped.
    provenance = cast(Provenance, dict(entry["provenance"]))
    return SteeringVectors(axis, entry["method"], direction, resid_norm, provenance)


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, KeyError) and error.args == (METADATA,):
        return "a .safetensors file without its metadata"
    if isinstance(error, SafetensorError):
        return f"a {path.suffix or 'nameless'} file that is not a complete .safetensors file"
    return f"{type(error).__name__}: {error}"
