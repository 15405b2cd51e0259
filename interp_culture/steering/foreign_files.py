"""Steering vectors in the files of other libraries: GGUF control vectors, plain .safetensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from interp_culture.engine.gguf_header import check_gguf
from interp_culture.errors import InputError

# TransformerLens' full name of a hook point, which says layer and place.
HOOK_NAME = re.compile(r"blocks\.(\d+)\.(hook_[a-z_]+)")
# The name that llama.cpp and repeng give to the vector that is added after a block.
CONTROL_NAME = re.compile(r"direction\.(\d+)")
CONTROL_POINT = "hook_resid_post"


def control_vector(path: Path) -> dict[int, Tensor]:
    """The vectors of a GGUF control vector, by the block after which llama.cpp adds them.

    Raises:
        InputError: another kind of file, or the package `gguf` is missing.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise InputError(
            f"{path}: reading a .gguf file needs the package gguf: "
            "python -m pip install 'interp-culture[gguf]'"
        ) from error
    # Checked before: a damaged header would make the reader fill the memory.
    check_gguf(path)
    found = {}
    for tensor in GGUFReader(path).tensors:
        match = CONTROL_NAME.fullmatch(str(tensor.name))
        if match is None or tensor.data.dtype not in (np.float32, np.float16):
            raise InputError(
                f"{path}: tensor {tensor.name} is not one of a control vector, which are "
                "direction.1, direction.2, ... in float32"
            )
        found[int(match[1])] = torch.from_numpy(tensor.data.astype(np.float32))
    if not found:
        raise InputError(f"{path}: a .gguf file without tensors; give a control vector")
    return found


def plain_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors file, by name."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def placed(
    path: Path,
    tensors: Mapping[str, Tensor],
    layers: Mapping[str, int] | None,
    hook_point: str | None,
) -> tuple[dict[int, Tensor], str]:
    """The vectors by layer, and the hook point of all of them.

    Args:
        layers: the layer of each tensor, by its name. Names such as blocks.12.hook_resid_post say
            it themselves.
        hook_point: of all tensors, where their names do not say it.

    Raises:
        InputError: a tensor whose layer or hook point is not said, or several hook points.
    """
    by_name = {name: HOOK_NAME.fullmatch(name) for name in tensors}
    said = {name: match for name, match in by_name.items() if match is not None}
    if layers is None and len(said) == len(tensors):
        points = {match[2] for match in said.values()}
        if len(points) > 1:
            raise InputError(
                f"{path}: vectors at several hook points ({', '.join(sorted(points))}); write one "
                "file for each"
            )
        return {int(match[1]): tensors[name] for name, match in said.items()}, points.pop()
    missing = sorted(set(tensors) - set(layers or {}))
    if missing:
        raise InputError(
            f"{path}: the file does not say at which layer {', '.join(missing[:5])} act"
            f"{'s' if len(missing) == 1 else ''}; say it: layers={{{missing[0]!r}: 12, ...}}"
        )
    unknown = sorted(set(layers or {}) - set(tensors))
    if unknown:
        raise InputError(
            f"{path}: no tensor {', '.join(unknown)}; it has {', '.join(sorted(tensors)[:8])}"
        )
    if hook_point is None:
        raise InputError(
            f"{path}: the file does not say where in the block its vectors act; say it: "
            "hook_point='hook_resid_post' (after the block), or another hook point"
        )
    assert layers is not None
    return {layer: tensors[name] for name, layer in layers.items()}, hook_point
