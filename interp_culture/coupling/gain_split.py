"""The split of one gain at one layer into its causes, from dot products of scenarios."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float

from interp_culture.coupling.text_gains import Rows
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import bootstrap_weights

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

Draws = Float[np.ndarray, " draw"]
_Products = Float[np.ndarray, "a b"]


@dataclass(frozen=True)
class Sample:
    """The held-out scenarios of one axis, and how much each counts: as they are, then in the draws.

    Attributes:
        weights: sum to 1 over the scenarios.
    """

    ids: list[str]
    weights: Float[np.ndarray, "draw scenario"]

    @classmethod
    def of(cls, scenarios: ScenarioSet, axis: str, draws: int, seed: int) -> Sample:
        """Items are drawn, and scenarios in them."""
        ids, items = _of_axis(scenarios, axis)
        return cls(ids, _shares(_counts(np.full(len(items), axis), items, draws, seed)))


@dataclass(frozen=True)
class Texts:
    """The training scenarios of one axis, likewise.

    Attributes:
        weights: sum to 1 over the scenarios.
        item_shares: the share of every item in `weights`.
        by_item: sum to 1 over the scenarios of each item.
    """

    ids: list[str]
    weights: Float[np.ndarray, "draw scenario"]
    item_shares: Float[np.ndarray, "draw item"]
    by_item: Float[np.ndarray, "draw item scenario"]

    @classmethod
    def of(cls, scenarios: ScenarioSet, axis: str, draws: int, seed: int) -> Texts:
        """Scenarios are drawn within their items.

        Which items the texts of a vector have is given: a cause may lie in a single one of them,
        which many samples of items would not have.
        """
        ids, items = _of_axis(scenarios, axis)
        counts = _counts(items, items, draws, seed)
        inside = items == np.unique(items)[:, None]
        weights = _shares(counts)
        return cls(ids, weights, weights @ inside.T, _shares(counts[:, None] * inside))

    def typical(
        self, item_gains: Float[np.ndarray, "draw item"]
    ) -> Float[np.ndarray, "draw scenario"]:
        """The weights of the scenarios without the items with the largest and smallest gains."""
        n_items = item_gains.shape[1]
        if n_items < LEAST_ITEMS:
            return self.weights
        cut = max(1, int(CUT * n_items))
        rank = item_gains.argsort(axis=1).argsort(axis=1)
        kept = _shares(self.item_shares * ((rank >= cut) & (rank < n_items - cut)))
        return np.einsum("dk,dka->da", kept, self.by_item)


def _of_axis(scenarios: ScenarioSet, axis: str) -> tuple[list[str], np.ndarray]:
    """The ids and the items of the scenarios of an axis."""
    frame = scenarios.filter(axis=axis).frame()
    if frame.empty:
        raise InputError(f"no scenario of axis {axis}; give scenarios of every axis")
    return frame.id.tolist(), frame["item"].to_numpy(str)


def _counts(
    strata: np.ndarray, items: np.ndarray, draws: int, seed: int
) -> Float[np.ndarray, "draw scenario"]:
    """How often each scenario is there: once, and then as often as in each draw."""
    return np.vstack([np.ones(len(items)), bootstrap_weights(strata, items, draws, seed)])


def _shares(counts: Float[np.ndarray, "... n"]) -> Float[np.ndarray, "... n"]:
    return counts / counts.sum(-1, keepdims=True)


@dataclass(frozen=True)
class Entry:
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
    texts: Texts
    texts_other: Texts
    read: Sample
    read_other: Sample

    @cached_property
    def _text_gains(self) -> _Products:
        """The gain on the other axis by each training and held-out scenario."""
        return self.steered @ self.moves_other.T

    @cached_property
    def _of_g_i(self) -> _Products:
        return self.moves_steered @ self.moves_steered.T

    @cached_property
    def _of_g_j_and_g_i(self) -> _Products:
        return self.moves_other @ self.moves_steered.T

    def split(self) -> dict[Cause, Part]:
        """The parts in every draw, from dot products of scenarios: no mean vector is computed."""
        v_j, g_i, g_j = self.texts_other.weights, self.read.weights, self.read_other.weights
        item_gains = np.einsum("dka,da->dk", self.texts.by_item, g_j @ self._text_gains.T)
        v = self.texts.typical(item_gains)
        weighed = self.weighed_other @ self.weighed_other.T
        c = _pair(v, self.weighed_steered @ self.weighed_other.T, v_j) / _squared(v_j, weighed)
        r = _ratio(_pair(g_j, self._of_g_j_and_g_i, g_i), _squared(g_i, self._of_g_i))
        own = _pair(g_j, self.moves_other @ self.other.T, v_j)
        moves_i = _pair(v, self.steered @ self.moves_steered.T, g_i)
        moves_i -= c * _pair(g_i, self.moves_steered @ self.other.T, v_j)
        typical = _pair(v, self._text_gains, g_j)
        whole = _pair(self.texts.weights, self._text_gains, g_j)
        parts: dict[Cause, Draws] = {"representation": c * own, "readout": r * moves_i}
        parts["rest"] = typical - parts["representation"] - parts["readout"]
        if item_gains.shape[1] >= LEAST_ITEMS:
            parts["dataset"] = whole - typical
        scales = self._scales(v[:1], c[0], r[0], own[0], moves_i[0])
        return {cause: Part(drawn, scales[cause]) for cause, drawn in parts.items()}

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
        length_g_i = _length(g_i, self._of_g_i)
        length_g_j = _length(g_j, self.moves_other @ self.moves_other.T)
        of_rest = length_g_j**2 + r**2 * length_g_i**2
        of_rest -= 2 * r * _pair(g_j, self._of_g_j_and_g_i, g_i)[0]
        root = np.sqrt(self.steered.shape[1])
        return {
            "representation": length_v * abs(own) / length_v_j / root,
            "readout": length_g_j * abs(moves_i) / length_g_i / root if length_g_i else 0.0,
            "rest": np.sqrt(max(of_rest, 0.0) * max(square, 0.0)) / root,
            "dataset": length_g_j * _length(v_i - v, of_texts) / root,
        }


@dataclass(frozen=True)
class Part:
    """A part of an entry: as it is, then in every draw; and its spread by chance."""

    drawn: Draws
    scale: float


def _pair(
    left: Float[np.ndarray, "draw a"],
    products: Float[np.ndarray, "a b"],
    right: Float[np.ndarray, "draw b"],
) -> Draws:
    """The dot product of two weighted means, from the products of all pairs."""
    return np.einsum("db,db->d", left @ products, right)


def _squared(
    weights: Float[np.ndarray, "draw scenario"], products: Float[np.ndarray, "scenario scenario"]
) -> Draws:
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


def _ratio(numerator: Draws, denominator: Draws) -> Draws:
    """0 where the denominator is."""
    return np.divide(numerator, denominator, np.zeros_like(numerator), where=denominator > 0)


def _length(
    weights: Float[np.ndarray, "1 scenario"], products: Float[np.ndarray, "scenario scenario"]
) -> float:
    return float(np.sqrt(max(_pair(weights, products, weights)[0], 0.0)))
