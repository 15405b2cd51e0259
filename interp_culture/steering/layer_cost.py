"""The cost of steering a layer: what it does to language that is on none of the axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.steering.edits import steer
from interp_culture.steering.fluency import LEAST_KL, mean_kl
from interp_culture.steering.vectors import SteeringVectors, check_by_axis


def layer_costs(
    model: LanguageModel,
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, Sequence[int]],
    texts: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The KL divergence of each layer, steered alone at alpha 1.

    Args:
        vectors: by axis.
        layers: those that are measured, by axis.
        texts: as `kl_on_neutral`. Two beginnings of 300 characters give the order of the layers.

    Returns:
        One row an axis and layer: steered, layer and kl (mean over the texts, nats per token, at
        least 1e-9).

    >>> costs = ic.steering.layer_costs(model, vectors, {"X": [1, 2], "Y": [2]}, ["It rains."])
    >>> costs[["steered", "layer"]].to_records(index=False).tolist()
    [('X', 1), ('X', 2), ('Y', 2)]
    """
    check_by_axis(vectors=vectors)
    runs: dict[Any, Sequence[Edit]] = {
        (axis, layer): steer(vectors[axis], [layer], 1.0)
        for axis, of_axis in layers.items()
        for layer in of_axis
    }
    rows = [(*key, max(kl, LEAST_KL)) for key, kl in mean_kl(model, runs, texts).items()]
    return pd.DataFrame(rows, columns=["steered", "layer", "kl"])
