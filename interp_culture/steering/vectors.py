"""Steering vectors: one direction per layer and axis, from contrastive activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.interventions import Positions, check_hook_point
from interp_culture.errors import InputError
from interp_culture.notebook import as_html
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.directions import drawn, with_norm


class Provenance(TypedDict, total=False):
    """Where steering vectors come from, as it is stored with them.

    `extract` writes every key up to `transformer_lens`. Vectors from `from_tensors` have only
    `model`, or no key at all.

    Attributes:
        model: name of the model; its other names may differ, see `weights`.
        revision: on the Hub.
        weights: hash of the weights, which identifies the model.
        tokenizer: hash of the tokenizer.
        template: hash of the chat template; None for a model without one.
        n_layers: of the model.
        d_model: width of the residual stream.
        dtype: of the weights, such as "float32".
        device: where the model was.
        check: the result of the model's self-check.
        shortcuts_off: faster ways of computing that the self-check turned off.
        site: name of the site where the activations were read, see `sites.as_site`.
        hook_point: name within the block of that place.
        scenarios: hash of the set of scenarios.
        n_scenarios: how many scenarios.
        texts: a hash of each scenario.
        transformer_lens: its version.
        seed: of a random direction.
        index: of a random direction among those of one `random_like`.
        norms_of: method of the vectors whose norms these have (`norm_matched`).
        readout: that "gradient" and "optimised" vectors move.
        positions: the tokens at which these vectors are meant to be added.
        layers: those of "optimised" vectors, which were trained together.
        training: the settings of the training (`Training`).
        validation: the effect on validation scenarios before training and after each epoch, nats.
        steps: training steps up to the epoch that was kept.
    """

    model: str
    revision: str | None
    weights: str
    tokenizer: str
    template: str | None
    n_layers: int
    d_model: int
    dtype: str
    device: str
    check: str
    shortcuts_off: list[str]
    site: str
    hook_point: str
    scenarios: str
    n_scenarios: int
    texts: list[str]
    transformer_lens: str
    seed: int
    index: int
    norms_of: str
    readout: str
    positions: Positions
    layers: list[int]
    training: dict[str, Any]
    validation: list[float]
    steps: int


@dataclass(frozen=True, eq=False)
class SteeringVectors:
    """The direction of one axis at every layer. It points to the positive pole.

    The directions are not unit vectors. With every method their norm is that of the mean of
    h(x+) - h(x-) at their site, so that alpha 1 is a step as long as this mean. The means of two
    sites have different norms; compare their directions at equal norm, with `norm_matched`.

    Attributes:
        axis: whose poles the direction separates.
        method: how it was computed, one of `extraction.METHODS`.
        direction: in units of the residual stream, float32; it is added at the hook point where it
            was read, by default `blocks.l.hook_resid_post`.
        resid_norm: mean norm of the activations that were read (of their mean, where a site has
            several tokens). `direction.norm(dim=-1) / resid_norm` is the relative size of a step of
            alpha 1.
        provenance: the model, the texts and the versions that the vectors come from.
    """

    axis: str
    method: str
    direction: Float[Tensor, "layer d_model"]
    resid_norm: Float[Tensor, " layer"]
    provenance: Provenance

    def __repr__(self) -> str:
        n_layers, d_model = self.direction.shape
        parts = [f"axis {self.axis!r}", f"method {self.method!r}", f"{n_layers} layers x {d_model}"]
        if "model" in self.provenance:
            parts.append(f"model {self.provenance['model']!r}")
        return f"SteeringVectors({', '.join(parts)})"

    def _repr_html_(self) -> str:
        norm = self.direction.norm(dim=-1)
        columns = {"norm": norm.tolist(), "relative_norm": (norm / self.resid_norm).tolist()}
        layers = pd.DataFrame({"layer": range(len(norm)), **columns})
        return as_html(repr(self), layers=layers)

    @classmethod
    def from_tensors(
        cls,
        axis: str,
        direction: Any,
        *,
        n_layers: int | None = None,
        hook_point: str = "hook_resid_post",
        resid_norm: Any = None,
        method: str = "given",
        model: str | None = None,
    ) -> SteeringVectors:
        """Vectors that you or another library computed, from PyTorch or NumPy.

        Args:
            axis: whose poles the direction separates.
            direction: [layer, d_model], one row for every layer of the model, in units of the
                residual stream, from the negative to the positive pole. Or a vector by layer, such
                as `directions` of Dialz and `layer_activations` of steering-vectors; layers that it
                leaves out get a vector of zeros.
            n_layers: of the model, where `direction` is by layer.
            hook_point: name within the block of the place where the vectors act.
            resid_norm: [layer], the mean norm of the residual stream; NaN if not given.
            method: how the direction was computed, in a word.
            model: name of the model that the direction comes from. Without it the vectors may
                steer any model of the same width.

        Raises:
            InputError: a wrong shape or type, NaN or infinite values in `direction`, or a layer
                that the model does not have.

        >>> given = SteeringVectors.from_tensors("X", {12: torch.ones(576)}, n_layers=30)
        >>> given.direction.norm(dim=-1).nonzero().flatten()
        tensor([12])
        >>> SteeringVectors.from_tensors("X", torch.ones(30, 576))
        SteeringVectors(axis 'X', method 'given', 30 layers x 576)
        """
        check_hook_point(hook_point)
        if isinstance(direction, Mapping):
            direction = _by_layer(direction, n_layers)
        rows = _floats("direction", direction, 2, "[layer, d_model]")
        if n_layers is not None and len(rows) != n_layers:
            raise InputError(f"direction has {len(rows)} rows, the model {n_layers} layers")
        if resid_norm is None:
            norms = torch.full((len(rows),), torch.nan)
        else:
            norms = _floats("resid_norm", resid_norm, 1, "[layer]")
        if len(norms) != len(rows):
            raise InputError(
                f"resid_norm has {len(norms)} layers, direction {len(rows)}; give one norm a layer"
            )
        if not bool(rows.isfinite().all()):
            raise InputError("direction holds NaN or infinity; compute it again")
        provenance: Provenance = {} if model is None else {"model": model}
        if hook_point != "hook_resid_post":
            provenance["hook_point"] = hook_point
        return cls(axis, method, rows, norms, provenance)


def _by_layer(vectors: Mapping[Any, Any], n_layers: int | None) -> Float[Tensor, "layer d_model"]:
    """One row for every layer from vectors of some of them."""
    if n_layers is None:
        raise InputError(
            "direction is by layer; say how many layers the model has: n_layers=30, for example"
        )
    wrong = [layer for layer in vectors if layer not in range(n_layers)]
    if wrong or not vectors:
        raise InputError(
            f"direction has vectors of layers {', '.join(map(str, vectors)) or 'none'}; the layers "
            f"of the model are 0 to {n_layers - 1}, counted from its input"
        )
    rows = {
        layer: _floats(f"layer {layer}", vector, 1, "[d_model]")
        for layer, vector in vectors.items()
    }
    widths = {len(row) for row in rows.values()}
    if len(widths) > 1:
        raise InputError(f"direction has vectors of several widths: {sorted(widths)}")
    whole = torch.zeros(n_layers, widths.pop())
    for layer, row in rows.items():
        whole[layer] = row
    return whole


def _floats(name: str, values: Any, ndim: int, shape: str) -> Tensor:
    """A tensor or an array as float32 on the CPU."""
    try:
        # The weights of a probe may require gradients.
        tensor = torch.as_tensor(values).detach().float().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"{name} is a {type(values).__name__}; give a tensor or an array {shape}"
        ) from None
    if tensor.ndim != ndim:
        raise InputError(f"{name} has shape {tuple(tensor.shape)}; give {shape}")
    return tensor


def norm_matched(
    vectors: SteeringVectors,
    direction: Float[Tensor, "layer d_model"] | SteeringVectors,
    method: str | None = None,
) -> SteeringVectors:
    """Another direction with the norms of `vectors` at every layer, so that alpha is the same step.

    Args:
        direction: a direction of every layer, or the vectors of another method or site, whose
            method and provenance are kept.
        method: how `direction` was computed; by default that of `vectors`.

    >>> answer = ic.extract(model, train, site="answer_mean")
    >>> norm_matched(vectors["X"], answer["X"]).provenance["site"]
    'answer_mean'
    >>> matched = norm_matched(vectors["X"], vectors["Y"].direction, "other axis")
    >>> matched.direction.norm(dim=-1).allclose(vectors["X"].direction.norm(dim=-1))
    True
    """
    other = vectors
    if isinstance(direction, SteeringVectors):
        other = direction
        direction = direction.direction
    provenance: Provenance = {**other.provenance, "norms_of": vectors.method}
    return replace(
        other,
        method=method or other.method,
        direction=with_norm(direction, vectors.direction),
        provenance=provenance,
    )


def random_like(vectors: SteeringVectors, n: int, seed: int = 42) -> list[SteeringVectors]:
    """`n` isotropic random directions with the norms of `vectors`: the null of a steering effect.

    The draw depends on `seed` and the axis' name, so that the nulls of two axes are independent.

    Args:
        vectors: of one axis.
        n: how many to draw; an effect can be called outside the null from 20 on.
        seed: of the draw.

    Returns:
        `n` vectors of the method "random", each with a direction and norm at every layer
        [layer, d_model]. They have no sign: a direction is as likely as its opposite.

    >>> vectors = SteeringVectors.from_tensors("X", torch.ones(30, 576))
    >>> len(random_like(vectors, 20))
    20
    """
    random_vectors = []
    for index, draw in enumerate(drawn((n, *vectors.direction.shape), seed, vectors.axis)):
        matched = norm_matched(vectors, draw, "random")
        provenance: Provenance = {**matched.provenance, "seed": seed, "index": index}
        random_vectors.append(replace(matched, provenance=provenance))
    return random_vectors


def check_by_axis(**arguments: Any) -> None:
    """Raise InputError for an argument that is not a mapping by axis, as `extract` returns it."""
    for name, value in arguments.items():
        if not isinstance(value, Mapping):
            raise InputError(
                f"{name} is a {type(value).__name__}; give it by axis: {name}={{axis: ...}}"
            )


def check_held_out(vectors: SteeringVectors, scenarios: ScenarioSet) -> None:
    """Raise InputError if held-out scenarios are among those that `vectors` come from."""
    shared = set(vectors.provenance.get("texts", ())) & set(scenarios.fingerprints)
    if shared:
        raise InputError(
            f"{len(shared)} of the {len(scenarios)} held-out scenarios are among those that the "
            f"vectors of {vectors.axis} were extracted from; give the --seed and the --scenarios "
            "that `extract` had"
        )
