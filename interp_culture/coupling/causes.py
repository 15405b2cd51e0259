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

from interp_culture.coupling.gain import check_steered_here, steps
from interp_culture.coupling.geometry import whitening_at
from interp_culture.coupling.text_gains import Rows, contrasts_at, gradients_at
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import LEAST_N, LEVEL, NullBand, bootstrap_weights, excludes_zero
from interp_culture.steering.activations import Activations
from interp_culture.steering.readout_gradients import ReadoutGradients
from interp_culture.steering.vectors import SteeringVectors, check_by_axis

Cause = Literal["representation", "readout", "dataset", "rest"]
# The causes, in words.
CAUSES: dict[Cause, str] = {
    "representation": "the vectors of both axes share a direction",
    "readout": "what moves the one answer moves the other",
    "dataset": "a few items' texts speak of the other axis too",
    "rest": "later blocks, or chance",
}
# With fewer items none can stand out.
LEAST_ITEMS = 3
# The share of items that are no typical ones, at either end.
CUT = 0.2
# The least squared length of a mean, as a share of the plain one, which has its noise too.
LEAST_SIGNAL = 0.1

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

    v_i, v_j are the steering vectors and g_i, g_j the mean gradients of P+. v_i is a mean over the
    texts about i, and so it is a mean over their items. "v" below is the mean over typical items:
    without the fifth of the items with the largest gain on j, and the fifth with the smallest (one
    of each for three to nine items).

    - representation: the part of v along v_j moves j as v_j does. It is c <g_j, v_j>, with
      c = <v, v_j> / <v_j, v_j>.
    - readout: whatever moves i's answer moves j's. It is r <g_i, v - c v_j>, with
      r = <g_j, g_i> / <g_i, g_i>.
    - rest: <g_j - r g_i, v - c v_j>. What later blocks compute from v alone is in it, and chance.
    - dataset: <g_j, v_i - v>, what a few items add, whose texts speak of j too. It needs three
      items.

    The four add up to G exactly. The denominators are estimated without the products of a scenario
    with itself: with them the noise of few texts would make c and r too small, and the rest too
    large.

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
        per unit of alpha), low, high (95%, basic bootstrap, for these items; NaN for fewer than six
        scenarios of an axis), null_low and null_high (95% of the parts where the vectors that make
        it have random directions) and shown (whether the interval excludes 0 and the part is beyond
        that band). Layers at which a vector is 0 are left out.

    Raises:
        InputError: one axis alone, an axis without scenarios, layers that do not exist, or vectors
            that are not the mean of the contrasts.

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
        check_steered_here(of_axis, gradients, scenarios)
    texts, read = (
        {
            # Another seed for each axis: the draws of two axes are independent.
            axis: _Texts.of(half, axis, draws, seed + 2 * number + place, is_train)
            for number, axis in enumerate(vectors)
        }
        for place, (half, is_train) in enumerate(((train, True), (scenarios, False)))
    )
    data = _Layers(gradients, contrasts, whiten_by, vectors, train, texts, read)
    n_layers = gradients.gradient.shape[1]
    tasks = [
        (number, together, steered, axis)
        for steered, axis in permutations(vectors, 2)
        for number, together in steps(layers, steered, n_layers).items()
        if layers is not None or data.has_vectors(steered, axis, number)
    ]
    rows: list[dict[str, Any]] = []
    # Layer by layer, so that what a layer needs is prepared once for all pairs.
    for number, together, steered, axis in sorted(tasks, key=lambda task: task[0]):
        few = min(len(of[name].ids) for of in (texts, read) for name in (steered, axis))
        splits = [data.entry(steered, axis, layer).split() for layer in together]
        for cause in splits[0]:
            parts = [split[cause] for split in splits]
            row = {"layer": number, "steered": steered, "axis": axis, "cause": cause}
            rows.append(row | _row(parts, is_few=few < LEAST_N))
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
        cls, scenarios: ScenarioSet, axis: str, draws: int, seed: int, within_items: bool
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

    def typical(
        self, item_gains: Float[np.ndarray, "draw item"]
    ) -> Float[np.ndarray, "draw scenario"]:
        """The weights of the scenarios without the items with the largest and smallest gains."""
        n_items = item_gains.shape[1]
        if n_items < LEAST_ITEMS:
            return self.weights
        cut = max(1, int(CUT * n_items))
        rank = item_gains.argsort(axis=1).argsort(axis=1)
        shares = self.shares * ((rank >= cut) & (rank < n_items - cut))
        shares /= shares.sum(1, keepdims=True)
        return np.einsum("dk,dka->da", shares, self.by_item)


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

    def split(self) -> dict[Cause, _Part]:
        """The parts in every draw, from dot products of scenarios: no mean vector is computed."""
        v_j, g_i, g_j = self.texts_other.weights, self.read.weights, self.read_other.weights
        item_gains = np.einsum(
            "dka,da->dk", self.texts.by_item, g_j @ (self.steered @ self.moves_other.T).T
        )
        v = self.texts.typical(item_gains)
        weighed = self.weighed_other @ self.weighed_other.T
        c = _pair(v, self.weighed_steered @ self.weighed_other.T, v_j) / _squared(v_j, weighed)
        of_g_i = self.moves_steered @ self.moves_steered.T
        together = _pair(g_j, self.moves_other @ self.moves_steered.T, g_i)
        r = _ratio(together, _squared(g_i, of_g_i))
        own = _pair(g_j, self.moves_other @ self.other.T, v_j)
        moves_i = _pair(v, self.steered @ self.moves_steered.T, g_i)
        moves_i -= c * _pair(g_i, self.moves_steered @ self.other.T, v_j)
        typical = _pair(v, self.steered @ self.moves_other.T, g_j)
        whole = _pair(self.texts.weights, self.steered @ self.moves_other.T, g_j)
        parts: dict[Cause, _Draws] = {"representation": c * own, "readout": r * moves_i}
        parts["rest"] = typical - parts["representation"] - parts["readout"]
        if item_gains.shape[1] >= LEAST_ITEMS:
            parts["dataset"] = whole - typical
        scales = self._scales(v[:1], c[0], r[0], own[0], moves_i[0])
        return {cause: _Part(drawn, scales[cause]) for cause, drawn in parts.items()}

    def _scales(
        self, v: Float[np.ndarray, "1 scenario"], c: float, r: float, own: float, moves_i: float
    ) -> dict[Cause, float]:
        """The standard deviation of each part where one of its two vectors has a random direction.

        The dot product of a vector a with a random one of length b has |a| b / sqrt(d_model).
        """
        v_j, v_i = self.texts_other.weights[:1], self.texts.weights[:1]
        of_texts, of_other = self.steered @ self.steered.T, self.other @ self.other.T
        length_v, length_v_j = _length(v, of_texts), _length(v_j, of_other)
        square = length_v**2 + c**2 * length_v_j**2
        square -= 2 * c * _pair(v, self.steered @ self.other.T, v_j)[0]
        g_i, g_j = self.read.weights[:1], self.read_other.weights[:1]
        length_g_i = _length(g_i, self.moves_steered @ self.moves_steered.T)
        length_g_j = _length(g_j, self.moves_other @ self.moves_other.T)
        of_rest = length_g_j**2 + r**2 * length_g_i**2
        of_rest -= 2 * r * _pair(g_j, self.moves_other @ self.moves_steered.T, g_i)[0]
        root = np.sqrt(self.steered.shape[1])
        return {
            "representation": length_v * abs(own) / length_v_j / root,
            "readout": length_g_j * abs(moves_i) / length_g_i / root if length_g_i else 0.0,
            "rest": np.sqrt(max(of_rest, 0.0) * max(square, 0.0)) / root,
            "dataset": length_g_j * _length(v_i - v, of_texts) / root,
        }


@dataclass(frozen=True)
class _Part:
    """A part of an entry: as it is, then in every draw; and its spread by chance."""

    drawn: _Draws
    scale: float


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
        self.vectors, self.texts, self.read = vectors, texts, read
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
            return whitening_at(whiten_by, layer, train)

        self.weighed = weighed

    def has_vectors(self, steered: str, axis: str, layer: int) -> bool:
        """Whether the vectors of both axes are not 0 at a layer."""
        return all(bool(self.vectors[name].direction[layer].any()) for name in (steered, axis))

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


def _squared(
    weights: Float[np.ndarray, "draw scenario"], products: Float[np.ndarray, "scenario scenario"]
) -> _Draws:
    """The squared length of a mean, without the noise of its scenarios.

    Products of a scenario with itself hold this noise and are left out. At least a tenth of the
    plain squared length: a mean that is noise alone has none.
    """
    plain = _pair(weights, products, weights)
    themselves = (weights**2).sum(1)
    if weights.shape[1] < 2:
        return plain
    others = plain - weights**2 @ np.diag(products)
    # Where one scenario is all of a draw, there is no pair.
    return np.maximum(_ratio(others, 1 - themselves), LEAST_SIGNAL * plain)


def _ratio(numerator: _Draws, denominator: _Draws) -> _Draws:
    """0 where the denominator is."""
    return np.divide(numerator, denominator, np.zeros_like(numerator), where=denominator > 0)


def _length(
    weights: Float[np.ndarray, "1 scenario"], products: Float[np.ndarray, "scenario scenario"]
) -> float:
    return float(np.sqrt(max(_pair(weights, products, weights)[0], 0.0)))


def _row(parts: Sequence[_Part], is_few: bool) -> dict[str, float | bool]:
    """The sum of the parts of some layers, with its interval and its band by chance.

    The interval is a basic bootstrap: means of resampled scenarios are noisier than the mean
    itself, so that percentiles of products of such means would be off.
    """
    drawn = np.sum([part.drawn for part in parts], axis=0)
    band = NullBand.of_scale(float(np.sqrt(sum(part.scale**2 for part in parts))))
    row = {"part": float(drawn[0]), "low": np.nan, "high": np.nan}
    if not is_few and len(drawn) > 1:
        ends = np.quantile(drawn[1:], [1 - LEVEL / 2, LEVEL / 2])
        row["low"], row["high"] = (2 * drawn[0] - ends).tolist()
    is_shown = excludes_zero(row["low"], row["high"]) and abs(row["part"]) > band.reach
    return row | {"null_low": band.low, "null_high": band.high, "shown": is_shown}
