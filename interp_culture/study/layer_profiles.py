"""The effect of steering one layer, by the layer's relative depth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.stats import Estimate, item_weights, weighted_means

PROFILE_COLUMNS = [
    "steered", "layer", "depth", "method", "differential", "differential_low",
    "differential_high", "effect", "low", "high", "n",
]  # fmt: skip


def layer_profile(sweep: pd.DataFrame, n_layers: int, seed: int = 42) -> pd.DataFrame:
    """The mean effect of every layer that is steered alone, with intervals over items.

    Args:
        sweep: what `layer_sweep` returned.
        n_layers: layers of the model.
        seed: of the bootstrap.

    Returns:
        One row a steered axis and layer, means over scenarios and strengths: steered, layer, depth
        (layer / (n_layers - 1), from 0 to 1), method (exact or gradient), differential (mean
        |change of P+|), effect (mean change of P+ per unit of alpha, so that a layer which moves
        the axis the wrong way is below 0), their 95% intervals (differential_low,
        differential_high, low, high) and n (scenarios).

    >>> layer_profile(sweep, n_layers=4)[["steered", "layer", "depth"]].head(3).round(2)
      steered  layer  depth
    0       X      0   0.00
    1       X      1   0.33
    2       X      2   0.67
    """
    per_alpha = sweep.assign(effect=sweep["shift"] / sweep.alpha)
    tables = [
        _of_axis(of_axis, n_layers, seed).assign(steered=str(axis))
        for axis, of_axis in per_alpha.groupby("steered")
    ]
    return pd.concat(tables, ignore_index=True)[PROFILE_COLUMNS]


def _of_axis(of_axis: pd.DataFrame, n_layers: int, seed: int) -> pd.DataFrame:
    # A mean over strengths first, so that each scenario counts once.
    grids = of_axis.pivot_table(
        index=["item", "id"], columns="layer", values=["differential", "effect"]
    )
    items = grids.index.get_level_values("item").to_numpy(str)
    # All layers share the samples.
    weights = item_weights(items, seed=seed)
    methods = of_axis.groupby("layer").method.first()
    rows = []
    for layer in methods.index:
        differential = _estimate(grids["differential"][layer].to_numpy(), weights)
        effect = _estimate(grids["effect"][layer].to_numpy(), weights)
        rows.append(
            {
                "layer": int(layer),
                # A model of one layer has no depth to divide by.
                "depth": layer / max(1, n_layers - 1),
                "method": methods[layer],
                "differential": differential.value,
                "differential_low": differential.low,
                "differential_high": differential.high,
                "effect": effect.value,
                "low": effect.low,
                "high": effect.high,
                "n": len(items),
            }
        )
    return pd.DataFrame(rows)


def _estimate(
    values: Float[np.ndarray, " scenario"], weights: Float[np.ndarray, "draw scenario"]
) -> Estimate:
    everything = np.ones(len(values), dtype=bool)
    return Estimate.of(values.mean(), weighted_means(weights, values, everything))
