"""Steering vectors: one direction per layer and axis, from contrastive activations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from interp_culture.artifacts import replacing
from interp_culture.engine.interventions import Edit, Operation, Positions
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError, check_known
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.activations import Activations, contrastive_activations
from interp_culture.steering.directions import check_method, direction, drawn, with_norm

METADATA = "interp_culture"
Origin = Literal["same_model", "any"]


@dataclass(frozen=True, eq=False)
class SteeringVectors:
    """The direction of one axis at every layer, pointing to the positive pole, with the norm of the mean difference.

    It is not of norm 1: alpha 1 is a step as long as the mean of h(x+) - h(x-), whatever the method.

    Attributes:
        axis: whose poles it tells apart.
        method: how it was computed (one of `directions.METHODS`).
        direction: added at `blocks.l.hook_resid_post`, in residual-stream units, float32.
        resid_norm: mean norm of the residual stream at the tokens it was read from; `direction.norm() /
            resid_norm` says how large a step of alpha 1 is.
        provenance: model (with the hash of its weights), texts (with a hash of each), versions.
    """

    axis: str
    method: str
    direction: Float[Tensor, "layer d_model"]
    resid_norm: Float[Tensor, " layer"]
    provenance: dict[str, Any]

    def __repr__(self) -> str:
        n_layers, d_model = self.direction.shape
        of = f", model {self.provenance['model']!r}" if "model" in self.provenance else ""
        return f"SteeringVectors(axis {self.axis!r}, method {self.method!r}, {n_layers} layers x {d_model}{of})"

    @classmethod
    def from_tensors(
        cls,
        axis: str,
        direction: Any,
        *,
        resid_norm: Any = None,
        method: str = "given",
        model: str | None = None,
    ) -> SteeringVectors:
        """Vectors of one's own, from PyTorch or NumPy.

        Args:
            direction: [layer, d_model], one row for every layer of the model, in units of the residual stream. It
                points to the positive pole: positive minus negative.
            resid_norm: [layer], the mean norm of the residual stream; by default NaN, not known.
            method: how it was computed, in a word.
            model: name of the model it is of; without one it may steer any model of the same width.

        >>> SteeringVectors.from_tensors("X", torch.ones(30, 576))
        SteeringVectors(axis 'X', method 'given', 30 layers x 576)
        """
        rows = _floats("direction", direction, 2, "[layer, d_model]")
        norms = (
            torch.full((len(rows),), torch.nan)
            if resid_norm is None
            else _floats("resid_norm", resid_norm, 1, "[layer]")
        )
        if len(norms) != len(rows):
            raise InputError(
                f"resid_norm has {len(norms)} layers, direction {len(rows)}; give one norm a layer"
            )
        if not bool(rows.isfinite().all()):
            raise InputError("direction holds NaN or infinity; compute it anew")
        return cls(axis, method, rows, norms, {} if model is None else {"model": model})


def _floats(name: str, values: Any, ndim: int, shape: str) -> Tensor:
    """Numbers of a tensor or an array as float32 on the CPU."""
    try:
        tensor = torch.as_tensor(values).detach().float().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"{name} is a {type(values).__name__}; give a tensor or an array {shape}"
        ) from None
    if tensor.ndim != ndim:
        raise InputError(f"{name} has shape {tuple(tensor.shape)}; give {shape}")
    return tensor


class _NormMeter:
    """The mean residual norm of all activations that pass through."""

    def __init__(self, stream: Iterable[Activations]) -> None:
        self.stream = stream
        self.total: Float[Tensor, " layer"] | float = 0.0
        self.count = 0

    def __iter__(self) -> Iterator[Activations]:
        for activations in self.stream:
            for resid in (activations.positive, activations.negative):
                self.total = self.total + resid.double().norm(dim=-1).sum(0)
                self.count += len(resid)
            yield activations

    def mean(self) -> Float[Tensor, " layer"]:
        assert isinstance(self.total, Tensor)
        return (self.total / self.count).float()


def extract(
    model: LanguageModel, scenarios: ScenarioSet, method: str = "mean_diff", seed: int = 42
) -> dict[str, SteeringVectors]:
    """One set of vectors for each axis of `scenarios`, from that axis' scenarios alone.

    `method` is one of `directions.METHODS`; `seed` matters to "random" alone. To compute many from one reading:
    `read_activations`, then `direction`. Raises InputError for an unknown method, too few scenarios, or hooks left on
    the model.
    """
    check_method(method)
    if not len(scenarios):
        raise InputError("no scenario to extract from")
    vectors = {}
    for axis in scenarios.axes:
        own = scenarios.filter(axis=axis)
        meter = _NormMeter(contrastive_activations(model, own))
        found = direction(meter, method, seed)
        provenance = {
            **model.describe(),
            "hook_point": "hook_resid_post",
            "scenarios": own.digest,
            "n_scenarios": len(own),
            "texts": own.fingerprints,
            "transformer_lens": version("transformer-lens"),
            **({"seed": seed} if method == "random" else {}),
        }
        vectors[axis] = SteeringVectors(axis, method, found, meter.mean(), provenance)
    return vectors


def norm_matched(
    vectors: SteeringVectors, direction: Float[Tensor, "layer d_model"], method: str | None = None
) -> SteeringVectors:
    """`vectors` with another direction, as long as theirs at every layer, so that alpha is the same step."""
    matched = with_norm(direction, vectors.direction)
    provenance = {**vectors.provenance, "norms_of": vectors.method}
    return replace(
        vectors, method=method or vectors.method, direction=matched, provenance=provenance
    )


def random_like(vectors: SteeringVectors, n: int, seed: int = 42) -> list[SteeringVectors]:
    """`n` isotropic random directions with the norm of `vectors` at every layer: the null of a steering effect.

    Drawn from `seed` and the axis' name, so that the nulls of two axes are independent of each other.
    """
    draws = drawn((n, *vectors.direction.shape), seed, vectors.axis)
    out = []
    for index, draw in enumerate(draws):
        found = norm_matched(vectors, draw, "random")
        out.append(replace(found, provenance={**found.provenance, "seed": seed, "index": index}))
    return out


def steer(
    vectors: SteeringVectors,
    layers: Sequence[int],
    alpha: float,
    positions: Positions = "all",
    operation: Operation = "add",
    hook_point: str = "hook_resid_post",
    origin: Origin = "same_model",
) -> list[Edit]:
    """Edits that add `alpha * direction[l]` in each block l of `layers`, or do another operation there.

    With "ablate" and "project" the length of the direction does not matter, and alpha 1 is the whole of it. Vectors
    are read at the output of a block, `hook_resid_post`, and act there; `hook_point` names another place in it.
    The edits fit the model that the vectors come from, known by its weights whatever its name; `origin="any"` makes
    edits for any model of the same width.

    >>> vectors = SteeringVectors.from_tensors("X", torch.ones(30, 576))
    >>> [edit.hook_name for edit in steer(vectors, layers=[14, 15], alpha=2.0)]
    ['blocks.14.hook_resid_post', 'blocks.15.hook_resid_post']
    """
    if isinstance(vectors, Mapping):
        axes = ", ".join(map(str, vectors))
        raise InputError(
            f"vectors holds several axes ({axes}); give those of one: steer(vectors[axis], ...)"
        )
    if not isinstance(vectors, SteeringVectors):
        raise InputError(
            f"vectors is a {type(vectors).__name__}; give SteeringVectors, from extract, load_vectors or from_tensors"
        )
    check_known("origin", origin, get_args(Origin))
    n_layers = len(vectors.direction)
    for layer in _layers(layers):
        if not 0 <= layer < n_layers:
            raise InputError(
                f"layer {layer} is out of range: these vectors have layers 0 to {n_layers - 1}"
            )
    about = vectors.provenance if origin == "same_model" else {}
    return [
        Edit(
            layer,
            vectors.direction[layer],
            alpha,
            operation,
            hook_point,
            positions,
            model=about.get("model"),
            weights=about.get("weights"),
        )
        for layer in layers
    ]


def check_by_axis(**given: Any) -> None:
    """Raise InputError for an argument that is not by axis, as what `extract` returns is."""
    for name, value in given.items():
        if not isinstance(value, Mapping):
            raise InputError(
                f"{name} is a {type(value).__name__}; give it by axis: {name}={{axis: ...}}"
            )


def _layers(layers: Any) -> Sequence[int]:
    if isinstance(layers, int | np.integer):
        raise InputError(f"layers is {layers}; give a list, also of one: layers=[{layers}]")
    if isinstance(layers, Mapping):
        raise InputError(
            f"layers holds several axes ({', '.join(map(str, layers))}); give one: layers[axis]"
        )
    if isinstance(layers, str) or not all(isinstance(layer, int | np.integer) for layer in layers):
        raise InputError(f"layers is {layers!r}; give a list of numbers, such as [14, 15]")
    return layers


def check_held_out(vectors: SteeringVectors, scenarios: ScenarioSet) -> None:
    """Raise InputError where vectors were extracted from scenarios that are to be read as held-out ones."""
    used = set(vectors.provenance.get("texts", ())) & set(scenarios.fingerprints)
    if used:
        raise InputError(
            f"{len(used)} of the {len(scenarios)} held-out scenarios are among those that the vectors of "
            f"{vectors.axis} were extracted from: give the --seed and the --scenarios that `extract` had"
        )


def save_vectors(path: str | Path, vectors: dict[str, SteeringVectors], key: str = "") -> None:
    """All axes in one .safetensors file with their provenance as metadata, and the key of the study they belong to."""
    tensors, about = {}, {}
    for axis, v in vectors.items():
        tensors[f"{axis}.direction"] = v.direction.contiguous()
        tensors[f"{axis}.resid_norm"] = v.resid_norm.contiguous()
        about[axis] = {"method": v.method, "provenance": v.provenance}
    with replacing(Path(path)) as part:
        save_file(tensors, part, metadata={METADATA: json.dumps(about), "key": key})


def stored_key(path: str | Path) -> str | None:
    """The key that `save_vectors` wrote; None where there is no such file, or none that can be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("key")
    except (SafetensorError, OSError):
        return None


def load_vectors(path: str | Path) -> dict[str, SteeringVectors]:
    """The vectors that `save_vectors` wrote. Raises InputError for any other file."""
    if not Path(path).exists():
        raise InputError(
            f"{path}: no such file; write one with `interp-culture extract --out {path}`"
        )
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[METADATA])
            return {axis: _stored(file, axis, own) for axis, own in about.items()}
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise InputError(
            f"{path}: not a file that save_vectors wrote ({_why_not(Path(path), error)}); vectors of your own come in "
            "with SteeringVectors.from_tensors"
        ) from error


def _stored(file: Any, axis: str, about: dict[str, Any]) -> SteeringVectors:
    direction, norms = (file.get_tensor(f"{axis}.{name}") for name in ("direction", "resid_norm"))
    if direction.ndim != 2 or norms.shape != direction.shape[:1]:
        raise ValueError(
            f"axis {axis}: direction {tuple(direction.shape)}, resid_norm {tuple(norms.shape)}"
        )
    return SteeringVectors(axis, about["method"], direction, norms, dict(about["provenance"]))


def _why_not(path: Path, error: Exception) -> str:
    if isinstance(error, KeyError) and error.args == (METADATA,):
        return "a .safetensors file without its metadata"
    if isinstance(error, SafetensorError):
        return f"a {path.suffix or 'nameless'} file that is no whole .safetensors file"
    return f"{type(error).__name__}: {error}"
