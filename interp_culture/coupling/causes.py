"""Why a steering vector moves another axis: each entry of the gain matrix, split by cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.coupling.gain import steps
from interp_culture.coupling.geometry import whitening
from interp_culture.coupling.text_gains import Rows, contrasts_at, gradients_at
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import LEAST_N, LEVEL, bootstrap_weights
from interp_culture.steering.activations import Activations
from interp_culture.steering.readout_gradients import ReadoutGradients
from interp_culture.steering.vectors import SteeringVectors, check_by_axis, check_held_out

Cause = Literal["representation", "readout", "dataset", "rest"]
# The causes, in words.
CAUSES: dict[Cause, str] = {
    "representation": "the vectors of both axes share a direction",
    "readout": "what moves the one answer moves the other",
    "dataset": "a few items' texts speak of the other axis too",
    "rest": "later blocks, or chance",
}
# With fewer items the median item is the mean, so that no item can stand out.
LEAST_ITEMS = 3

_Draws = Float[np.ndarray, " draw"]


def gain_causes(
    gradients: ReadoutGradients,
    scenarios: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    contrasts: Activations,
    train: ScenarioSet,
    *,
    whiten_by: Activations | None = None,
    layers: Mapping[str, Sequence[int]] | None = None,
    draws: int = 1000,
    seed: int = 42,
) -> pd.DataFrame:
    """Each entry G[i, j] of the gain matrix, i not j, as a sum of four causes.

    With v_i, v_j the steering vectors and g_i, g_j the mean gradients of P+:

    - representation: the part of v_i along v_j moves j as v_j does. It is c <g_j, v_j>, with
      c = <v_i, v_j> / <v_j, v_j>.
    - readout: whatever moves i's answer moves j's. It is r <g_i, v_i - c v_j>, with
      r = <g_j, g_i> / <g_i, g_i>.
    - rest: <g_j - r g_i, v_i - c v_j>. What later blocks compute from v_i alone is in it, and so is
      chance: `gain_matrix` has the band of random vectors.
    - dataset: v_i is the mean over texts about i, and so each of these parts is a mean over items.
      The three parts above are those of the median item. Dataset is what is left of the mean: what
      a few items add, whose texts speak of j too. It needs three items.

    The four add up to G exactly.

    Args:
        gradients, scenarios, vectors: as for `gain_matrix`.
        contrasts: positive and negative activations of the training scenarios, whose mean
            difference the vectors are, but for their norm: for the mean difference what
            `read_activations` returned, for the gradient `ReadoutGradients.as_activations`.
        train: the training scenarios.
        whiten_by: activations of the training scenarios, by whose covariance within poles the
            inner products in c are whitened, so that directions in which all texts vary count less.
        layers: as for `gain_matrix`: those that are steered together, by steered axis.
        draws: bootstrap samples: of held-out scenarios, clustered by item, and of training
            scenarios within their items.
        seed: of the bootstrap.

    Returns:
        layer (-1 for layers that are steered together), steered, axis, cause, part (change of P+
        per unit of alpha), low, high (95%, basic bootstrap; NaN for fewer than six scenarios of an
        axis).

    Raises:
        InputError: one axis alone, an axis without scenarios or without a
            vector, or vectors that are not the mean of the contrasts.

    >>> gradients = ic.steering.readout_gradients(model, test, "continuation")
    >>> contrasts = ic.read_activations(model, train)
    >>> run = {"layers": layers}
    >>> causes = gain_causes(gradients, test, vectors, contrasts, train, **run, draws=20)
    >>> gains = ic.coupling.gain_matrix(gradients, test, vectors, **run)
    >>> entry = gains[(gains.steered == "X") & (gains.axis == "Y")].gain.item()
    >>> bool(abs(causes[causes.steered == "X"].part.sum() - entry) < 1e-6)
    True
    """
    check_by_axis(vectors=vectors)
    if len(vectors) < 2:
        raise InputError("a coupling has two axes or more; give the vectors of two")
    for of_axis in vectors.values():
        check_held_out(of_axis, scenarios)
    texts = {axis: _Texts.of(train, axis, draws, seed, within_items=True) for axis in vectors}
    read = {axis: _Texts.of(scenarios, axis, draws, seed + 1) for axis in vectors}
    data = _Layers(gradients, contrasts, whiten_by, vectors, train, texts, read)
    tasks = [
        (number, together, steered, axis)
        for steered, axis in permutations(vectors, 2)
        for number, together in steps(layers, steered, gradients.gradient.shape[1]).items()
    ]
    rows: list[dict[str, Any]] = []
    # Layer by layer, so that what a layer needs is prepared once for all pairs.
    for number, together, steered, axis in sorted(tasks, key=lambda task: task[0]):
        few = min(len(of[name].ids) for of in (texts, read) for name in (steered, axis))
        parts = [data.entry(steered, axis, layer).split() for layer in together]
        for cause in parts[0]:
            drawn = np.sum([of_layer[cause] for of_layer in parts], axis=0)
            row = {"layer": number, "steered": steered, "axis": axis, "cause": cause}
            rows.append(row | _interval(drawn, is_few=few < LEAST_N))
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Texts:
    """The scenarios of one axis, and how much each counts: first as they are, then in every draw.

    Attributes:
        weights: sum to 1 over the scenarios.
        shares: the share of every item in `weights`.
        by_item: sum to 1 over the scenarios of each drawn item.
    """

    ids: list[str]
    weights: Float[np.ndarray, "draw scenario"]
    shares: Float[np.ndarray, "draw item"]
    by_item: Float[np.ndarray, "draw item scenario"]

    @classmethod
    def of(
        cls, scenarios: ScenarioSet, axis: str, draws: int, seed: int, within_items: bool = False
    ) -> _Texts:
        """Items are drawn, and scenarios in them; or, `within_items`, scenarios alone.

        Which items the texts of a vector have is given: a cause may lie in a single one of them,
        which many samples of items would not have.
        """
        frame = scenarios.filter(axis=axis).frame()
        if frame.empty:
            raise InputError(f"no scenario of axis {axis}; give scenarios of every axis")
        items = frame["item"].to_numpy(str)
        strata = items if within_items else np.full(len(items), axis)
        drawn = bootstrap_weights(strata, items, draws, seed)
        counts = np.vstack([np.ones(len(items)), drawn])
        inside = items == np.unique(items)[:, None]
        in_item = counts[:, None] * inside
        # An item that is not drawn has no scenarios, and so no mean.
        with np.errstate(invalid="ignore"):
            by_item = in_item / in_item.sum(-1, keepdims=True)
        weights = counts / counts.sum(-1, keepdims=True)
        return cls(frame.id.tolist(), weights, weights @ inside.T, by_item)


@dataclass(frozen=True)
class _Entry:
    """What one entry of the gain matrix is made of, at one layer.

    Attributes:
        steered, other: the contrasts of both axes, whose means are the vectors.
        weighed_steered, weighed_other: the same as they enter c.
        moves_steered, moves_other: the gradients of P+ of the held-out scenarios of both axes.
        texts, texts_other: the training scenarios of both axes.
        read, read_other: their held-out scenarios.
    """

    steered: Rows
    other: Rows
    weighed_steered: Rows
    weighed_other: Rows
    moves_steered: Rows
    moves_other: Rows
    texts: _Texts
    texts_other: _Texts
    read: _Texts
    read_other: _Texts

    def split(self) -> dict[Cause, _Draws]:
        """The parts in every draw, from dot products of scenarios: no mean vector is computed."""
        texts = self.texts
        v_j, g_i, g_j = self.texts_other.weights, self.read.weights, self.read_other.weights
        # <d_k, .> for the mean difference d_k of every item k of the steered axis.
        along_v_j = _items(texts, self.weighed_steered @ self.weighed_other.T, v_j)
        norm_v_j = _pair(v_j, self.weighed_other @ self.weighed_other.T, v_j)
        c = along_v_j / norm_v_j[:, None]
        own = _pair(g_j, self.moves_other @ self.other.T, v_j)
        r = _pair(g_j, self.moves_other @ self.moves_steered.T, g_i)
        r /= _pair(g_i, self.moves_steered @ self.moves_steered.T, g_i)
        v_j_moves_i = _pair(g_i, self.moves_steered @ self.other.T, v_j)
        moves_i = _items(texts, self.steered @ self.moves_steered.T, g_i)
        whole = _items(texts, self.steered @ self.moves_other.T, g_j)
        by_item: dict[Cause, np.ndarray] = {
            "representation": c * own[:, None],
            "readout": r[:, None] * (moves_i - c * v_j_moves_i[:, None]),
        }
        by_item["rest"] = whole - by_item["representation"] - by_item["readout"]
        total = _pair(texts.weights, self.steered @ self.moves_other.T, g_j)
        if whole.shape[1] < LEAST_ITEMS:
            return {name: (texts.shares * of).sum(1) for name, of in by_item.items()}
        typical = {name: np.median(of, axis=1) for name, of in by_item.items()}
        typical["dataset"] = total - sum(typical.values())
        return typical


class _Layers:
    """The entries of all layers and pairs; those of the last layer are kept."""

    def __init__(
        self,
        gradients: ReadoutGradients,
        contrasts: Activations,
        whiten_by: Activations | None,
        vectors: Mapping[str, SteeringVectors],
        train: ScenarioSet,
        texts: Mapping[str, _Texts],
        read: Mapping[str, _Texts],
    ) -> None:
        self.texts, self.read = texts, read
        of_last_layer = lru_cache(maxsize=len(vectors))
        self.contrasts = of_last_layer(
            lambda axis, layer: contrasts_at(contrasts, layer, texts[axis].ids, vectors[axis])
        )
        self.moves = of_last_layer(
            lambda axis, layer: gradients_at(gradients, layer, read[axis].ids)
        )

        @of_last_layer
        def weighed(axis: str, layer: int) -> Rows:
            rows = self.contrasts(axis, layer)
            return rows if whiten_by is None else rows @ whitens(layer)

        @lru_cache(maxsize=1)
        def whitens(layer: int) -> np.ndarray:
            assert whiten_by is not None
            return _whitening_at(whiten_by, layer, train)

        self.weighed = weighed

    def entry(self, steered: str, axis: str, layer: int) -> _Entry:
        return _Entry(
            self.contrasts(steered, layer),
            self.contrasts(axis, layer),
            self.weighed(steered, layer),
            self.weighed(axis, layer),
            self.moves(steered, layer),
            self.moves(axis, layer),
            self.texts[steered],
            self.texts[axis],
            self.read[steered],
            self.read[axis],
        )


def _pair(
    left: Float[np.ndarray, "draw a"],
    products: Float[np.ndarray, "a b"],
    right: Float[np.ndarray, "draw b"],
) -> _Draws:
    """The dot product of two weighted means, from the products of all pairs."""
    return np.einsum("db,db->d", left @ products, right)


def _items(
    texts: _Texts, products: Float[np.ndarray, "a b"], right: Float[np.ndarray, "draw b"]
) -> Float[np.ndarray, "draw item"]:
    """The same for the mean of every item of the texts."""
    return np.einsum("dka,da->dk", texts.by_item, right @ products.T)


def _whitening_at(activations: Activations, layer: int, train: ScenarioSet) -> np.ndarray:
    frame = train.frame()
    selected = activations.select(frame.id.tolist())
    positive, negative = (
        pole[:, layer].double().numpy() for pole in (selected.positive, selected.negative)
    )
    return whitening(positive, negative, frame["axis"].to_numpy(str))


def _interval(drawn: _Draws, is_few: bool) -> dict[str, float]:
    """The observed value, which comes first, with the basic bootstrap interval.

    Means of resampled scenarios are noisier than the mean itself, so that percentiles of products
    of such means would be off.
    """
    observed = float(drawn[0])
    if is_few or len(drawn) < 2:
        return {"part": observed, "low": np.nan, "high": np.nan}
    ends = np.quantile(drawn[1:], [1 - LEVEL / 2, LEVEL / 2])
    low, high = 2 * observed - ends
    return {"part": observed, "low": float(low), "high": float(high)}
