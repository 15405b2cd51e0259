"""How alike directions are: those of several methods, and those of two halves of the texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import pandas as pd
import torch

from interp_culture.steering.direction_choice import (
    Candidate,
    TrainingReadings,
    training_halves,
)
from interp_culture.steering.vectors import SteeringVectors


def direction_cosines(
    vectors: Mapping[str, SteeringVectors], layers: Sequence[int]
) -> pd.DataFrame:
    """The cosine between every two vectors, by layer.

    Args:
        vectors: by name.
        layers: the blocks that are compared.

    Returns:
        layer, a, b (names) and cosine; 0 where a direction is 0.

    >>> direction_cosines(vectors, [1, 2])[["layer", "a", "b"]]
       layer  a  b
    0      1  X  Y
    1      2  X  Y
    """
    chosen = list(layers)
    rows = []
    for a, b in combinations(vectors, 2):
        one, other = (vectors[name].direction[chosen] for name in (a, b))
        cosines = torch.cosine_similarity(one, other, dim=-1).tolist()
        rows += [(layer, a, b, cosine) for layer, cosine in zip(chosen, cosines, strict=True)]
    return pd.DataFrame(rows, columns=["layer", "a", "b", "cosine"])


def half_cosines(
    readings: TrainingReadings,
    candidates: Mapping[str, Candidate],
    axis: str,
    layers: Sequence[int],
    n_draws: int,
) -> pd.DataFrame:
    """The cosine between a candidate's directions of two halves of the training scenarios.

    Args:
        candidates: by name.
        axis: whose scenarios are halved, within items.
        layers: the blocks that are compared.
        n_draws: how often they are halved at random.

    Returns:
        method (the name), layer, draw (number of the halving) and cosine.

    Raises:
        InputError: an axis with fewer than two training scenarios.

    >>> readings = TrainingReadings(train, {"last": ic.read_activations(model, train)})
    >>> table = half_cosines(readings, {"paper": Candidate()}, "X", [2], n_draws=3)
    >>> table[["layer", "draw"]].to_records(index=False).tolist()
    [(2, 0), (2, 1), (2, 2)]
    """
    of_axis = readings.of_axis(axis, layers)
    rows = []
    for draw in range(n_draws):
        halves = training_halves(of_axis.scenarios, draw)
        for name, candidate in candidates.items():
            one, other = (of_axis.direction(candidate, half) for half in halves)
            cosines = torch.cosine_similarity(one, other, dim=-1).tolist()
            rows += [
                (name, layer, draw, cosine) for layer, cosine in zip(layers, cosines, strict=True)
            ]
    return pd.DataFrame(rows, columns=["method", "layer", "draw", "cosine"])
