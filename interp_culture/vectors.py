"""Steering vectors: one direction per layer and axis, from contrastive activations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from interp_culture.activations import Activations, contrastive_activations
from interp_culture.directions import check_method, direction, drawn, with_norm
from interp_culture.errors import InputError, check_known
from interp_culture.interventions import Edit, Operation, Positions
from interp_culture.model import LanguageModel
from interp_culture.scenarios import ScenarioSet
from interp_culture.store import replacing

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
    return replace(vectors, method=method or vectors.method, direction=matched, provenance=provenance)


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
    origin: Origin = "same_model",
) -> list[Edit]:
    """Edits that add `alpha * direction[l]` at the output of each block l of `layers`, or do another operation there.

    With "ablate" and "project" the length of the direction does not matter, and alpha 1 is the whole of it.
    The edits fit the model that the vectors come from, known by its weights whatever its name; `origin="any"` makes
    edits for any model of the same width.
    """
    check_known("origin", origin, get_args(Origin))
    n_layers = len(vectors.direction)
    for layer in layers:
        if not 0 <= layer < n_layers:
            raise InputError(f"layer {layer} is out of range: these vectors have layers 0 to {n_layers - 1}")
    about = vectors.provenance if origin == "same_model" else {"model": None}
    return [
        Edit(
            layer,
            vectors.direction[layer],
            alpha,
            operation,
            positions=positions,
            model=about["model"],
            weights=about.get("weights"),
        )
        for layer in layers
    ]


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
        save_file(tensors, part, metadata={"interp_culture": json.dumps(about), "key": key})


def stored_key(path: str | Path) -> str | None:
    """The key that `save_vectors` wrote; None where there is no such file, or none that can be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("key")
    except (SafetensorError, OSError):
        return None


def load_vectors(path: str | Path) -> dict[str, SteeringVectors]:
    """The vectors that `save_vectors` wrote. Raises InputError for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["interp_culture"])
            return {
                axis: SteeringVectors(
                    axis,
                    a["method"],
                    file.get_tensor(f"{axis}.direction"),
                    file.get_tensor(f"{axis}.resid_norm"),
                    a["provenance"],
                )
                for axis, a in about.items()
            }
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; write one with `interp-culture extract --out {path}`") from error
    except (SafetensorError, KeyError, OSError) as error:
        raise InputError(f"{path}: not a file of steering vectors written by this toolkit ({error})") from error
