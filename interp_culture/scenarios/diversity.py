"""The most varied few of many texts: farthest-point selection on TF-IDF or on vectors of your own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp_culture.errors import InputError
from interp_culture.scenarios.quality import tfidf

Vectors = Float[np.ndarray, "text feature"]

# Distances that differ by less than this are ties: below it stands only the rounding of sums.
DECIMALS = 9


@dataclass(frozen=True)
class Spread:
    """How far the members of a selection stand apart, in cosine distance (0 same, 1 nothing in common).

    Each member's distance to its nearest neighbour in the selection; NaN for a selection of one.
    """

    minimum: float
    mean: float


def select_varied(texts: Sequence[str] | Vectors, k: int) -> list[int]:
    """Indices of k texts that are far from each other, in the order chosen (k-center greedy, Gonzalez 1985).

    `d(i, j) = 1 - cos(i, j)`; each step takes the text whose nearest chosen text is farthest away. Vectors may be
    given in place of texts, for example embeddings. Nothing is random: ties go to the text that comes first.

    The first is the text most distant from all (lowest mean cosine). Started from the most central one, the
    selection spends a place on the text that is closest to everything else.
    """
    vectors = _unit_rows(texts)
    if not 1 <= k <= len(vectors):
        raise InputError(
            f"cannot select {k} of {len(vectors)} texts: give a number from 1 to {len(vectors)}"
        )
    chosen = [int(np.argmin(np.round(vectors @ vectors.sum(axis=0), DECIMALS)))]
    nearest = np.full(len(vectors), np.inf)
    while len(chosen) < k:
        nearest = np.minimum(nearest, np.round(1 - vectors @ vectors[chosen[-1]], DECIMALS))
        nearest[chosen] = -np.inf
        chosen.append(int(np.argmax(nearest)))
    return chosen


def spread(texts: Sequence[str] | Vectors, chosen: Sequence[int]) -> Spread:
    """How varied a selection is. Give all texts, so that every selection from them is measured alike."""
    return _spread(_unit_rows(texts), chosen)


def random_spread(
    texts: Sequence[str] | Vectors, k: int, draws: int = 200, seed: int = 42
) -> Spread:
    """What `spread` gives on average over random selections of k: the baseline of `select_varied`."""
    vectors = _unit_rows(texts)
    rng = np.random.default_rng(seed)
    found = [
        _spread(vectors, rng.choice(len(vectors), k, replace=False).tolist()) for _ in range(draws)
    ]
    return Spread(
        float(np.mean([s.minimum for s in found])), float(np.mean([s.mean for s in found]))
    )


def likeness(texts: Sequence[str], text: str) -> float:
    """The highest TF-IDF cosine of `text` with any of `texts`: 1 for a copy, 0 without a word in common."""
    if not texts:
        return 0.0
    vectors = _unit_rows([*texts, text])
    return round(float((vectors[:-1] @ vectors[-1]).max()), DECIMALS)


def _unit_rows(texts: Sequence[str] | Vectors) -> Float[np.ndarray, "text unit"]:
    """Rows of length 1. Empty rows share a direction of their own: alike among themselves, unlike all others."""
    vectors = np.asarray(texts if isinstance(texts, np.ndarray) else tfidf(texts), dtype=float)
    if not np.isfinite(vectors).all():
        raise InputError(
            "vectors to select from hold NaN or infinity; leave these texts out or embed them again"
        )
    vectors = np.column_stack([vectors, ~vectors.any(axis=1)])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _spread(vectors: Float[np.ndarray, "text unit"], chosen: Sequence[int]) -> Spread:
    if len(chosen) < 2:
        return Spread(float("nan"), float("nan"))
    picked = vectors[list(chosen)]
    distances = np.clip(np.round(1 - picked @ picked.T, DECIMALS), 0, None)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(axis=1)
    return Spread(float(nearest.min()), float(nearest.mean()))
