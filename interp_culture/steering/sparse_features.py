"""Steering vectors beside the features of a sparse autoencoder whose decoder the user names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from interp_culture.errors import InputError
from interp_culture.steering.vectors import SteeringVectors, check_by_axis
from interp_culture.steering.vocabulary import N_RANDOM, PERCENTILE, unit_vector

# Names of decoders in files: SAELens and sparsify write the first, PyTorch's linear layer is the
# second.
ROWS = "W_dec"
LINEAR = "decoder.weight"


@dataclass(frozen=True)
class Decoder:
    """The decoder directions of a sparse autoencoder, of length 1.

    Attributes:
        units: one for each feature.
        tensor: its name in the file and how it was read, such as "W_dec [feature, d_model]".
    """

    units: Float[Tensor, "feature d_model"]
    tensor: str


def sae_features(
    vectors: Mapping[str, SteeringVectors],
    path: str | Path,
    layer: int,
    k: int = 10,
    *,
    n_random: int = N_RANDOM,
    seed: int = 42,
) -> pd.DataFrame:
    """The features of a sparse autoencoder whose decoder directions are most like each vector.

    Args:
        vectors: by axis.
        path: a .safetensors file with `W_dec` [feature, d_model]. A `decoder.weight` is taken too:
            [d_model, feature], as PyTorch's linear layers have it, or [feature, d_model], whichever
            its shape says. The autoencoder must be one of this layer's residual stream.
        layer: the block whose vectors are compared.
        k: features of each axis, those with the largest |cosine|.
        n_random: random unit vectors that are compared with the same decoder.
        seed: of the random vectors.

    Returns:
        axis, layer, rank (from 1), feature (its number, from 0), cosine (of its decoder direction
        with v; above 0 it points to the positive pole), projection (of v on the decoder direction,
        in units of the residual stream at alpha 1), null_mean and null_high (mean and 95th
        percentile, over random vectors, of the largest |cosine| with any feature), beyond (whether
        |cosine| is above null_high), shared_with (where it is beyond, the other axes for which it
        is too, such as "Y", or "-Y" with the opposite sign) and tensor (what was read, and how).

    Raises:
        InputError: a k or a number of random vectors below 1, a layer that the vectors do not have
            or where one is 0, or a file without a decoder of this width whose rows are finite and
            not 0.

    >>> from safetensors.torch import save_file
    >>> decoder = torch.randn(100, 32, generator=torch.Generator().manual_seed(0))
    >>> decoder[7] = vectors["X"].direction[2]
    >>> save_file({"W_dec": decoder}, "sae.safetensors")
    >>> table = sae_features({"X": vectors["X"]}, "sae.safetensors", layer=2, k=1)
    >>> table[["axis", "feature", "beyond", "tensor"]].to_dict("records")
    [{'axis': 'X', 'feature': 7, 'beyond': True, 'tensor': 'W_dec [feature, d_model]'}]
    """
    check_by_axis(vectors=vectors)
    for name, number in (("k", k), ("n_random", n_random)):
        if number < 1:
            raise InputError(f"{name} is {number}; give 1 or more")
    units = {axis: _unit_at(of_axis, layer) for axis, of_axis in vectors.items()}
    d_model = len(next(iter(units.values())))
    decoder = read_decoder(path, d_model)
    random = torch.randn(n_random, d_model, generator=torch.Generator().manual_seed(seed))
    random = torch.nn.functional.normalize(random, dim=-1)
    tops = (random @ decoder.units.T).abs().amax(-1).numpy()
    high = float(np.percentile(tops, PERCENTILE))
    cosines = {axis: decoder.units @ unit for axis, unit in units.items()}
    rows = []
    for axis, of_axis in cosines.items():
        length = float(vectors[axis].direction[layer].norm())
        top = of_axis.abs().topk(min(k, len(of_axis))).indices.tolist()
        for rank, feature in enumerate(top, start=1):
            cosine = float(of_axis[feature])
            shared = _shared_with(axis, feature, cosines, high)
            row = (axis, layer, rank, feature, cosine, cosine * length, float(tops.mean()), high)
            rows.append((*row, abs(cosine) > high, shared, decoder.tensor))
    names = ["axis", "layer", "rank", "feature", "cosine", "projection", "null_mean", "null_high"]
    return pd.DataFrame(rows, columns=[*names, "beyond", "shared_with", "tensor"])


def read_decoder(path: str | Path, d_model: int) -> Decoder:
    """The decoder directions in a .safetensors file, with length 1.

    Args:
        d_model: the width that they must have.

    Raises:
        InputError: no such file, another kind of file, no decoder in it, one of another width or of
            a shape that has two readings, or rows that are not finite or 0.
    """
    key, tensor = _stored(Path(path))
    where = f"{path}: {key} {list(tensor.shape)}"
    if tensor.ndim != 2 or d_model not in tensor.shape or not tensor.numel():
        raise InputError(f"{where} does not fit vectors of width {d_model}; {_expected(d_model)}")
    if not tensor.is_floating_point():
        raise InputError(f"{where} holds {tensor.dtype}, not floats; save the decoder as floats")
    order = "feature, d_model"
    if key == LINEAR and tensor.shape[0] == tensor.shape[1]:
        raise InputError(
            f"{where} is square, so that rows and columns may be the features; "
            f"save it as {ROWS} [feature, d_model]"
        )
    if key == LINEAR and tensor.shape[0] == d_model:
        tensor = tensor.T
        order = "d_model, feature"
    if tensor.shape[1] != d_model:
        raise InputError(f"{where} does not fit vectors of width {d_model}; {_expected(d_model)}")
    directions = tensor.float()
    lengths = directions.norm(dim=-1)
    _refuse(where, ~lengths.isfinite(), "hold NaN or infinity")
    _refuse(where, lengths == 0, "are 0, which is no direction")
    return Decoder(directions / lengths[:, None], f"{key} [{order}]")


def _stored(path: Path) -> tuple[str, Tensor]:
    # Unlike `Path.is_file`, it takes a name that is too long.
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file; name the .safetensors file of an autoencoder")
    try:
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
            for key in (ROWS, LINEAR):
                if key in keys:
                    return key, file.get_tensor(key)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not a complete .safetensors file ({error})") from error
    raise InputError(
        f"{path}: neither {ROWS} nor {LINEAR} is in it, but {', '.join(sorted(keys)[:8])}; "
        f"save the decoder as {ROWS} [feature, d_model]"
    )


def _expected(d_model: int) -> str:
    return f"expected {ROWS} [feature, {d_model}] or {LINEAR} [{d_model}, feature]"


def _refuse(where: str, faulty: Tensor, what: str) -> None:
    features = faulty.nonzero().flatten().tolist()
    if features:
        raise InputError(
            f"{where}: {len(features)} rows {what}, the first of feature {features[0]}; "
            "give a complete file, or leave these features out"
        )


def _unit_at(vectors: SteeringVectors, layer: int) -> Float[Tensor, " d_model"]:
    n_layers = len(vectors.direction)
    if not 0 <= layer < n_layers:
        raise InputError(
            f"layer {layer} is out of range: the vectors of {vectors.axis} have layers 0 to "
            f"{n_layers - 1}"
        )
    return unit_vector(vectors, layer)


def _shared_with(axis: str, feature: int, cosines: Mapping[str, Tensor], high: float) -> str:
    """The other axes that have this feature beyond the null too, if this one has."""
    own = cosines[axis][feature]
    names = []
    for other, of_other in cosines.items():
        cosine = of_other[feature]
        if other != axis and min(abs(own), abs(cosine)) > high:
            names.append(other if own * cosine > 0 else f"-{other}")
    return ", ".join(names)
