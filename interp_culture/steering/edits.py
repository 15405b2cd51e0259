"""Edits that steer with the vectors of one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from interp_culture.engine.interventions import Edit, Operation, Positions
from interp_culture.errors import InputError, check_known
from interp_culture.steering.vectors import SteeringVectors

Origin = Literal["same_model", "any"]


def steer(
    vectors: SteeringVectors,
    layers: Sequence[int],
    alpha: float,
    positions: Positions = "all",
    operation: Operation = "add",
    hook_point: str | None = None,
    origin: Origin = "same_model",
) -> list[Edit]:
    """Edits that add `alpha * direction[l]` in every block l of `layers` (paper, equation 3).

    Args:
        vectors: of one axis.
        layers: blocks, 0-based.
        alpha: the strength. Above 0 it moves the model to the positive pole, below 0 to the
            negative one.
        positions: the tokens that are edited, see `Edit`.
        operation: "add", or another operation of `Edit`. For "ablate" and "project" the norm of the
            direction does not matter, and alpha 1 is the whole ablation or projection.
        hook_point: the place within the block; by default the one where the vectors were read,
            and "hook_resid_post" where that is not known. An edit may add at every place where
            activations can be read.
        origin: "same_model" restricts the edits to the model that the vectors come from, which is
            recognised by its weights, not by its name. "any" allows any model of the same width.

    Returns:
        One edit for each layer.

    Raises:
        InputError: vectors of several axes, layers that are not a list of blocks of these vectors,
            an unknown origin, or an edit that is not possible.

    >>> vectors = SteeringVectors.from_tensors("X", np.ones((30, 576)))
    >>> [edit.hook_name for edit in steer(vectors, layers=[14, 15], alpha=2.0)]
    ['blocks.14.hook_resid_post', 'blocks.15.hook_resid_post']
    """
    _check_vectors(vectors)
    check_known("origin", origin, get_args(Origin))
    _check_layers(layers, len(vectors.direction))
    place = hook_point or vectors.provenance.get("hook_point", "hook_resid_post")
    # The hash of the weights decides whether an edit fits a model; without a hash the name does.
    model = vectors.provenance.get("model") if origin == "same_model" else None
    weights = vectors.provenance.get("weights") if origin == "same_model" else None
    return [
        Edit(
            layer,
            vectors.direction[layer],
            alpha,
            operation,
            place,
            positions,
            model=model,
            weights=weights,
        )
        for layer in layers
    ]


def check_strength(alpha: float) -> None:
    """Raise InputError for strength 0, where a call measures what steering changes.

    >>> check_strength(0.0)
    Traceback (most recent call last):
    interp_culture.errors.InputError: alpha is 0, which steers nothing; give another strength
    """
    if alpha == 0:
        raise InputError("alpha is 0, which steers nothing; give another strength")


def _check_vectors(vectors: Any) -> None:
    if isinstance(vectors, Mapping):
        axes = ", ".join(map(str, vectors))
        raise InputError(
            f"vectors holds several axes ({axes}); give those of one: steer(vectors[axis], ...)"
        )
    if not isinstance(vectors, SteeringVectors):
        raise InputError(
            f"vectors is a {type(vectors).__name__}; give SteeringVectors, from extract, "
            "load_vectors or from_tensors"
        )


def _check_layers(layers: Any, n_layers: int) -> None:
    if isinstance(layers, int | np.integer):
        raise InputError(f"layers is {layers}; give a list, also of one: layers=[{layers}]")
    if isinstance(layers, Mapping):
        axes = ", ".join(map(str, layers))
        raise InputError(f"layers holds several axes ({axes}); give one: layers[axis]")
    if isinstance(layers, str) or not all(isinstance(layer, int | np.integer) for layer in layers):
        raise InputError(f"layers is {layers!r}; give a list of numbers, such as [14, 15]")
    for layer in layers:
        if not 0 <= layer < n_layers:
            raise InputError(
                f"layer {layer} is out of range: these vectors have layers 0 to {n_layers - 1}"
            )
