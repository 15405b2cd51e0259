"""Steering vectors that move one axis and not the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp_culture.coupling.gain import steps
from interp_culture.coupling.geometry import whitening_at
from interp_culture.coupling.leace import Erasers, erasers
from interp_culture.errors import InputError, check_known
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.activations import Activations
from interp_culture.steering.readout_gradients import ReadoutGradients
from interp_culture.steering.vectors import Provenance, SteeringVectors, check_by_axis, norm_matched

Decoupling = Literal["gram_schmidt", "whitened", "leace", "inverse", "nearest", "least_norm"]
DECOUPLINGS: tuple[Decoupling, ...] = get_args(Decoupling)
# Above this condition number of the equations, their solution is noise.
WORST_CONDITION = 1e6
# Less than this share of a vector is rounding.
LEAST_LEFT = 1e-4

_Vector = Float[np.ndarray, " dim"]
_Rows = Float[np.ndarray, "_ dim"]
_Whitenings = Callable[[int], np.ndarray]


def decouple(
    vectors: Mapping[str, SteeringVectors],
    method: Decoupling = "nearest",
    *,
    train: ScenarioSet | None = None,
    gradients: ReadoutGradients | None = None,
    activations: Activations | None = None,
    layers: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, SteeringVectors]:
    """The vectors of every axis, changed so that they do not move the other axes.

    With v_i the vector of axis i and g_i the mean gradient of its P+ over training scenarios:

    - "gram_schmidt": v_i without its part in the span of the other v_j.
    - "whitened": the same where v_i and v_j are compared after whitening by the residual stream.
    - "leace": P v_i, with the projection that erases the poles of the other axes from their texts
      (LEACE, Belrose et al. 2023): P = I - W⁺ (W D)(W D)⁺ W. A column of D is the mean difference
      d_j between the poles of the training texts of axis j, and W = S^(-1/2), with the shrunk
      covariance S of these texts within axes. P d_j is 0, and P v_i does not move the linear
      discriminant S⁻¹ d_j.
    - "inverse": the combination of all v that has the gain of i alone, by the inverse of the gain
      matrix.
    - "nearest": v_i without its part in the span of the other g_j: the vector nearest to v_i that
      moves no other axis.
    - "least_norm": the shortest u with <g_i, u> = 1 and <g_j, u> = 0.

    The first three look at vectors and texts alone, so that they help where the cause is
    representation (see `gain_causes`). "leace" takes out d_j where "whitened" takes out v_j, which
    may be of another method, and its covariance is that of the other axes' texts. The last three
    take every first-order coupling away from the training scenarios; judge them on held-out ones.

    Args:
        vectors: by axis, of two axes or more.
        train: the training scenarios; all methods but "gram_schmidt" need them.
        gradients: of the readout on the training scenarios, for the last three methods.
        activations: of the training scenarios, for "whitened" and "leace".
        layers: by axis. The vectors of an axis are changed at these layers together, so that the
            sum over them moves no other axis, and are 0 elsewhere. By default each layer is changed
            on its own. "leace" always erases layer by layer.

    Returns:
        By axis, with the norms of `vectors` (over the given layers together, where there are any)
        and the sign that moves the axis toward its positive pole.

    Warns with ErasureWarning where "leace" has fewer texts of other axes than d_model.

    Raises:
        InputError: one axis alone, an unknown method, an input that the method lacks, activations
            of another shape than the vectors, equations without a unique solution, or a vector of
            which nothing is left.

    >>> gradients = ic.steering.readout_gradients(model, train, "continuation")
    >>> alone = decouple(vectors, "nearest", train=train, gradients=gradients)
    >>> alone["X"].method
    'mean_diff, nearest'
    >>> alone["X"].direction.norm(dim=-1).allclose(vectors["X"].direction.norm(dim=-1))
    True
    """
    check_known("decoupling", method, DECOUPLINGS)
    check_by_axis(vectors=vectors)
    if len(vectors) < 2:
        raise InputError("a coupling has two axes or more; give the vectors of two")
    if activations is not None:
        _check_shape(activations, vectors)
    n_layers = len(next(iter(vectors.values())).direction)
    changed = {axis: torch.zeros_like(of.direction) for axis, of in vectors.items()}
    moves = None
    if gradients is not None and train is not None:
        moves = _mean_gradients(gradients, train, vectors)
    whitened = _whitenings(activations, train)
    erased = _erasers(activations, train, vectors) if method == "leace" else None
    tasks = [
        (together, axis) for axis in vectors for together in steps(layers, axis, n_layers).values()
    ]
    # Layer by layer, so that the whitening of a layer serves all axes.
    for together, axis in sorted(tasks):
        equations = _Equations(vectors, together, moves, whitened, erased)
        rows = equations.solve(method, axis).reshape(len(together), -1)
        changed[axis][together] = torch.from_numpy(rows).float()
    return {
        axis: _like(of_axis, changed[axis], method, is_joint=layers is not None)
        for axis, of_axis in vectors.items()
    }


class _Equations:
    """What the vectors of all axes are at some layers, one after the other in one long vector."""

    def __init__(
        self,
        vectors: Mapping[str, SteeringVectors],
        layers: Sequence[int],
        moves: Mapping[str, Tensor] | None,
        whitened: _Whitenings,
        erased: Erasers | None,
    ) -> None:
        self.axes = list(vectors)
        self.layers = list(layers)
        self.moves, self.whitened, self.erased = moves, whitened, erased
        self.vectors = self._at_layers({axis: of.direction for axis, of in vectors.items()})

    def solve(self, method: Decoupling, axis: str) -> _Vector:
        own = self.axes.index(axis)
        others = [i for i in range(len(self.axes)) if i != own]
        vector = self.vectors[own]
        if method == "gram_schmidt":
            solution = vector - self._part_in(vector, self.vectors[others])
        elif method == "whitened":
            solution = vector - self._part_in(vector, self.vectors[others], self._whiten)
        elif method == "leace":
            solution = self._erase(vector, axis)
        else:
            g = self._gradients()
            if method == "nearest":
                solution = vector - self._part_in(vector, g[others])
            elif method == "inverse":
                solution = self._solved(self.vectors @ g.T, np.eye(len(g))[own]) @ self.vectors
            else:
                solution = self._solved(g @ g.T, np.eye(len(g))[own]) @ g
        if np.linalg.norm(solution) < LEAST_LEFT * np.linalg.norm(vector):
            raise InputError(
                f"nothing is left of the vector of {axis} at layers {self._named()} after "
                f"{method}: it lies in what the other axes span"
            )
        return solution

    def _part_in(
        self, vector: _Vector, span: _Rows, metric: Callable[[_Rows], _Rows] = lambda rows: rows
    ) -> _Vector:
        """The part of a vector in the span of rows; right angles are those after `metric`."""
        seen, of_vector = metric(span), metric(vector[None])[0]
        return self._solved(seen @ seen.T, seen @ of_vector) @ span

    def _solved(
        self, matrix: Float[np.ndarray, "axis axis"], right: Float[np.ndarray, " axis"]
    ) -> Float[np.ndarray, " axis"]:
        """a with a @ matrix = right."""
        condition = np.linalg.cond(matrix)
        if not condition < WORST_CONDITION:
            raise InputError(
                f"the axes {', '.join(self.axes)} cannot be told apart at layers {self._named()}: "
                f"their equations have the condition number {condition:.2g}; leave out an axis or "
                "these layers"
            )
        return np.linalg.solve(matrix.T, right)

    def _gradients(self) -> _Rows:
        if self.moves is None:
            raise InputError("this decoupling needs gradients of the training scenarios, and train")
        return self._at_layers(self.moves)

    def _at_layers(self, by_axis: Mapping[str, Float[Tensor, "layer d_model"]]) -> _Rows:
        """What every axis has at the layers, one after the other."""
        rows = [by_axis[axis][self.layers].double().numpy().ravel() for axis in self.axes]
        return np.stack(rows)

    def _whiten(self, rows: _Rows) -> _Rows:
        """The rows, whitened at each layer."""
        by_layer = rows.reshape(len(rows), len(self.layers), -1)
        whitened = [
            by_layer[:, place] @ self.whitened(layer) for place, layer in enumerate(self.layers)
        ]
        return np.concatenate(whitened, axis=1)

    def _erase(self, vector: _Vector, axis: str) -> _Vector:
        """P times the vector's part at each layer."""
        assert self.erased is not None
        parts = []
        for layer, part in zip(self.layers, vector.reshape(len(self.layers), -1), strict=True):
            eraser = self.erased(layer, axis)
            # P = I - L R, with a column of L and a row of R for each other axis.
            left, right = eraser.proj_left.numpy(), eraser.proj_right.numpy()
            parts.append(part - left @ (right @ part))
        return np.concatenate(parts)

    def _named(self) -> str:
        return ", ".join(map(str, self.layers))


def _mean_gradients(
    gradients: ReadoutGradients, train: ScenarioSet, axes: Iterable[str]
) -> dict[str, Tensor]:
    """The gradient of the mean P+ of every axis."""
    ids = _ids_by_axis(train, axes)
    return {axis: gradients.mean_of_p_positive(of_axis) for axis, of_axis in ids.items()}


def _ids_by_axis(train: ScenarioSet, axes: Iterable[str]) -> dict[str, list[str]]:
    ids = {axis: [scenario.id for scenario in train if scenario.axis == axis] for axis in axes}
    for axis, of_axis in ids.items():
        if not of_axis:
            raise InputError(f"no training scenario of axis {axis}; give scenarios of it")
    return ids


def _check_shape(activations: Activations, vectors: Mapping[str, SteeringVectors]) -> None:
    expected = tuple(activations.positive.shape[1:])
    for axis, of_axis in vectors.items():
        shape = tuple(of_axis.direction.shape)
        if shape != expected:
            raise InputError(
                f"vectors of {axis} are {shape} (layer, d_model), activations {expected}; give "
                "activations of the same model, at a site of the same width"
            )


def _whitenings(activations: Activations | None, train: ScenarioSet | None) -> _Whitenings:
    """The whitening of a layer; the last few are kept."""

    @lru_cache(maxsize=8)
    def at(layer: int) -> np.ndarray:
        if activations is None or train is None:
            raise InputError("whitened needs activations of the training scenarios, and train")
        return whitening_at(activations, layer, train)

    return at


def _erasers(
    activations: Activations | None, train: ScenarioSet | None, axes: Iterable[str]
) -> Erasers:
    if activations is None or train is None:
        raise InputError("leace needs activations of the training scenarios, and train")
    return erasers(activations, _ids_by_axis(train, axes))


def _like(
    vectors: SteeringVectors, direction: Tensor, method: Decoupling, is_joint: bool
) -> SteeringVectors:
    """The changed direction with the norm of the vectors, and what was done to it."""
    name = f"{vectors.method}, {method}"
    if not is_joint:
        return norm_matched(vectors, direction, name)
    # One factor for all layers: another for each would undo that their sum moves no other axis.
    at = direction.norm(dim=-1) > 0
    factor = vectors.direction[at].norm() / direction[at].norm()
    provenance: Provenance = {**vectors.provenance, "norms_of": vectors.method}
    return replace(vectors, method=name, direction=factor * direction, provenance=provenance)
