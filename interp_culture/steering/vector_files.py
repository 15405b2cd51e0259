"""Steering vectors in .safetensors files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from interp_culture.artifacts.files import replacing, set_aside
from interp_culture.artifacts.tensors import READ_FAULTS, tensor_bytes
from interp_culture.errors import InputError
from interp_culture.steering.foreign_files import (
    CONTROL_POINT,
    control_vector,
    placed,
    plain_tensors,
)
from interp_culture.steering.vectors import Provenance, SteeringVectors

METADATA = "interp_culture"  # the name under which methods and provenance are stored
KEY = "key"
CHECKSUM = "sha256"  # of the tensors and the other metadata


def save_vectors(path: str | Path, vectors: dict[str, SteeringVectors], key: str = "") -> None:
    """Write the vectors of all axes to one .safetensors file.

    Methods and provenance are in the metadata of the file.

    Args:
        path: of the file, which is replaced as a whole.
        vectors: by axis.
        key: of the study that the vectors belong to; `stored_vectors` compares it.

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
        metadata = {METADATA: json.dumps(about), KEY: key}
        metadata[CHECKSUM] = _checksum(tensors, metadata)
        save_file(tensors, part, metadata=metadata)


def stored_vectors(path: Path, key: str) -> dict[str, SteeringVectors] | None:
    """The vectors that `save_vectors` wrote with this key; None if there are none.

    Warns:
        DamageWarning: the file is not one that was written whole; it is set aside.
    """
    if not path.exists():
        return None
    try:
        stored_key, vectors = _read(path)
    except READ_FAULTS as error:
        set_aside(path, _reason(path, error))
        return None
    return vectors if stored_key == key else None


def load_vectors(
    path: str | Path,
    *,
    axis: str | None = None,
    n_layers: int | None = None,
    layers: Mapping[str, int] | None = None,
    hook_point: str | None = None,
) -> dict[str, SteeringVectors]:
    """Steering vectors by axis: those that `save_vectors` wrote, or those of another library.

    A GGUF control vector (llama.cpp, repeng) and a plain .safetensors file do not say of which axis
    they are and how many layers the model has. For these, say it.

    Args:
        axis: of a foreign file: whose poles its vectors separate.
        n_layers: of a foreign file: how many layers the model has.
        layers: of a plain .safetensors file: the layer of each tensor, by its name. Names such as
            blocks.12.hook_resid_post say it themselves.
        hook_point: of a plain .safetensors file: where in the block its vectors act.

    Raises:
        InputError: no such file, a file that is none of these, or something that it does not say.

    >>> ic.save_vectors("vectors.safetensors", vectors)
    >>> vectors = ic.load_vectors("vectors.safetensors")
    >>> edits = ic.steer(vectors["X"], layers=[1, 2], alpha=2.0)
    """
    # Unlike `Path.exists`, it takes a name that is too long.
    if not os.path.exists(path):
        raise InputError(
            f"{path}: no such file; write one with `interp-culture extract --out {path}`"
        )
    path = Path(path)
    said = {"axis": axis, "n_layers": n_layers, "layers": layers, "hook_point": hook_point}
    try:
        if path.suffix == ".gguf":
            found, point = control_vector(path), CONTROL_POINT
        elif _is_ours(path):
            _check_unsaid(path, said)
            return _read(path)[1]
        elif axis is None:
            raise KeyError(METADATA)
        else:
            found, point = placed(path, plain_tensors(path), layers, hook_point)
    except InputError:
        raise
    except READ_FAULTS as error:
        raise InputError(
            f"{path}: not a file that save_vectors wrote ({_reason(path, error)}); for vectors of "
            "another library say axis, n_layers, layers and hook_point, or turn them into "
            "SteeringVectors with SteeringVectors.from_tensors"
        ) from error
    if axis is None or n_layers is None:
        raise InputError(
            f"{path}: the file does not say of which axis its vectors are, and how many layers the "
            f"model has; say it: load_vectors({str(path)!r}, axis='X', n_layers=30)"
        )
    try:
        return {
            axis: SteeringVectors.from_tensors(axis, found, n_layers=n_layers, hook_point=point)
        }
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _is_ours(path: Path) -> bool:
    with safe_open(path, framework="pt") as file:
        return METADATA in (file.metadata() or {})


def _check_unsaid(path: Path, said: Mapping[str, object]) -> None:
    given = [name for name, value in said.items() if value is not None]
    if given:
        raise InputError(
            f"{path}: the file says its axes and layers itself; leave out {', '.join(given)}"
        )


def _read(path: Path) -> tuple[str | None, dict[str, SteeringVectors]]:
    """The key and the vectors of a file."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        about = json.loads(metadata[METADATA])
        # Otherwise a damaged name of the checksum would leave the file without one.
        if not metadata.keys() <= {METADATA, KEY, CHECKSUM}:
            raise ValueError("metadata that save_vectors does not write")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    # Files from before there were checksums have none.
    stored = metadata.pop(CHECKSUM, None)
    if stored is not None and stored != _checksum(tensors, metadata):
        raise ValueError("its checksum is wrong: the content is not what was written")
    if not about:
        raise ValueError("it has no axis")
    vectors = {axis: _of_axis(tensors, axis, entry) for axis, entry in about.items()}
    return metadata.get(KEY), vectors


def _checksum(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    """The SHA-256 of the names, the numbers and the metadata."""
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}\0".encode() + tensor_bytes(tensor))
    return digest.hexdigest()


def _of_axis(
    tensors: Mapping[str, torch.Tensor], axis: str, entry: dict[str, Any]
) -> SteeringVectors:
    direction, resid_norm = tensors[f"{axis}.direction"], tensors[f"{axis}.resid_norm"]
    if direction.ndim != 2 or resid_norm.shape != direction.shape[:1]:
        raise ValueError(
            f"axis {axis}: direction {tuple(direction.shape)}, resid_norm {tuple(resid_norm.shape)}"
        )
    if not direction.numel() or not direction.is_floating_point():
        raise ValueError(
            f"axis {axis}: direction has {direction.numel()} numbers of type {direction.dtype}"
        )
    if not bool(direction.isfinite().all()) or bool(resid_norm.isinf().any()):
        raise ValueError(f"axis {axis}: it holds NaN or infinity")
    if not isinstance(entry["method"], str) or not isinstance(entry["provenance"], dict):
        raise ValueError(f"axis {axis}: its method is not a text, or its provenance not an object")
    # Files of other versions may have other keys; none of them is dropped.
    provenance = cast(Provenance, dict(entry["provenance"]))
    return SteeringVectors(axis, entry["method"], direction, resid_norm, provenance)


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, KeyError) and error.args == (METADATA,):
        return "a .safetensors file without its metadata"
    if isinstance(error, SafetensorError):
        return f"a {path.suffix or 'nameless'} file that is not a complete .safetensors file"
    if isinstance(error, RecursionError):
        return "its metadata are nested too deeply"
    return f"{type(error).__name__}: {error}"
