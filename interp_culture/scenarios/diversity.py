"""Selection of the most varied texts: farthest-point selection on TF-IDF or on given vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp_culture.errors import InputError
from interp_culture.scenarios.measures import tfidf

Vectors = Float[np.ndarray, "text feature"]

# Distances are rounded, so that sums that differ by floating-point error only are ties.
DECIMALS = 9


@dataclass(frozen=True)
class Spread:
    """How far apart the members of a selection are, in cosine distance (0 same direction).

    Both are taken over each member's distance to its nearest neighbour in the selection, and are
    NaN for a selection of one.
    """

    minimum: float
    mean: float


def select_varied(texts: Sequence[str] | Vectors, k: int) -> list[int]:
    """Indices of k texts that are far from each other (k-center greedy, Gonzalez 1985).

    With `d(i, j) = 1 - cos(i, j)`, each step adds the text whose nearest selected text is
    farthest away. The first text is the one with the lowest mean cosine to all others; starting
    at the most central text would spend one place on the text that is closest to everything.
    Nothing is random: ties go to the earlier text.

    Args:
        texts: texts, which are compared by TF-IDF, or vectors of them (embeddings, for example).
        k: size of the selection.

    Returns:
        Indices in the order of selection. A smaller selection is the beginning of a larger one.

    Raises:
        InputError: `k` is not in 1..len(texts), or a vector contains NaN or infinity.

    >>> select_varied(["red green", "red blue", "green blue", "yellow"], 2)
    [3, 0]
    """
    vectors = _unit_rows(texts)
    if not 1 <= k <= len(vectors):
        raise InputError(
            f"cannot select {k} of {len(vectors)} texts: give a number from 1 to {len(vectors)}"
        )
    # The sum of cosines orders texts as their mean does; a text's cosine with itself is always 1.
    chosen = [int(np.argmin(np.round(vectors @ vectors.sum(axis=0), DECIMALS)))]
    nearest = np.full(len(vectors), np.inf)
    while len(chosen) < k:
        nearest = np.minimum(nearest, np.round(1 - vectors @ vectors[chosen[-1]], DECIMALS))
        # -inf and not 0, which is also the distance of a copy of a chosen text.
        nearest[chosen] = -np.inf
        chosen.append(int(np.argmax(nearest)))
    return chosen


def spread(texts: Sequence[str] | Vectors, chosen: Sequence[int]) -> Spread:
    """How varied a selection is.

    Args:
        texts: all texts, not the selected ones only: TF-IDF weights depend on all of them.
        chosen: indices of the selection.
    """
    return _spread(_unit_rows(texts), chosen)


def random_spread(
    texts: Sequence[str] | Vectors, k: int, draws: int = 200, seed: int = 42
) -> Spread:
    """The mean `spread` of random selections of k texts: the baseline of `select_varied`."""
    vectors = _unit_rows(texts)
    rng = np.random.default_rng(seed)
    spreads = [
        _spread(vectors, rng.choice(len(vectors), k, replace=False).tolist()) for _ in range(draws)
    ]
    return Spread(
        minimum=float(np.mean([s.minimum for s in spreads])),
        mean=float(np.mean([s.mean for s in spreads])),
    )


def likeness(texts: Sequence[str], text: str) -> float:
    """The highest TF-IDF cosine of `text` with any of `texts`: 1 for a copy, 0 for no common word.

    >>> likeness(["The baker sells bread."], "A pilot lands on the lake.")
    0.0
    """
    if not texts:
        return 0.0
    vectors = _unit_rows([*texts, text])
    return round(float((vectors[:-1] @ vectors[-1]).max()), DECIMALS)


def _unit_rows(texts: Sequence[str] | Vectors) -> Float[np.ndarray, "text unit"]:
    """Vectors scaled to length 1.

    Zero vectors get a dimension of their own: they are alike, and unlike all other vectors.
    """
    vectors = np.asarray(texts if isinstance(texts, np.ndarray) else tfidf(texts), dtype=float)
    if not np.isfinite(vectors).all():
        raise InputError(
            "vectors to select from contain NaN or infinity; "
            "leave out these texts or compute their vectors again"
        )
    # The extra column is 1 for zero vectors alone; without it, their division by 0 gives NaN.
    vectors = np.column_stack([vectors, ~vectors.any(axis=1)])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _spread(vectors: Float[np.ndarray, "text unit"], chosen: Sequence[int]) -> Spread:
    if len(chosen) < 2:
        return Spread(float("nan"), float("nan"))
    selected = vectors[list(chosen)]
    # Floating-point error can make the distance of two copies slightly negative.
    distances = np.clip(np.round(1 - selected @ selected.T, DECIMALS), 0, None)
    # A member's nearest neighbour is another member.
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(axis=1)
    return Spread(float(nearest.min()), float(nearest.mean()))
