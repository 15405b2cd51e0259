"""Do texts about one axis also speak of another? Their activation differences, projected on each axis' direction."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import Estimate, bootstrap_weights, weighted_means
from interp_culture.steering.activations import contrastive_activations


def axis_purity(
    model: LanguageModel, scenarios: ScenarioSet, layer: int | None = None
) -> pd.DataFrame:
    """Cosine of every scenario's difference h(x+) - h(x-) with the direction of every axis.

    An axis' direction is the mean difference (paper, equation 3) over its scenarios; toward a scenario's own axis,
    those of its own item are left out, so that no text is compared with itself.

    Args:
        layer: the block after which the residual stream is read, 0-based; the middle one by default.

    Returns:
        One row a scenario and direction: id, axis, item, domain, toward (an axis), cosine. Positive: the
        scenario's positive option lies toward the positive pole of `toward`.
    """
    layer = model.n_layers // 2 if layer is None else layer
    if not 0 <= layer < model.n_layers:
        raise InputError(
            f"layer {layer} is out of range: {model.name} has layers 0 to {model.n_layers - 1}"
        )
    frame = scenarios.frame()
    differences = _differences(model, scenarios, layer)
    tables = []
    for toward in scenarios.axes:
        directions = np.stack(
            [_direction(differences, frame, toward, item) for item in frame["item"]]
        )
        norms = np.linalg.norm(differences, axis=1) * np.linalg.norm(directions, axis=1)
        # A set of one item an axis leaves no other item to take its own direction from.
        cosine = np.divide(
            (differences * directions).sum(1),
            norms,
            out=np.full(len(norms), np.nan),
            where=norms > 0,
        )
        tables.append(frame.assign(toward=toward, cosine=cosine))
    return pd.concat(tables, ignore_index=True)


def item_purity(purity: pd.DataFrame, seed: int = 42) -> pd.DataFrame:
    """Mean cosine of each item toward each axis: item, axis, toward, cosine, low, high (95%, over scenarios; NaN for
    fewer than six) and n."""
    rows = []
    for (item, axis, toward), group in purity.groupby(["item", "axis", "toward"], sort=True):
        values = group.cosine.to_numpy()
        one = np.zeros(len(values), dtype=int)
        draws = weighted_means(bootstrap_weights(one, one, seed=seed), values, one == 0)
        e = Estimate.of(values.mean(), draws)
        rows.append((item, axis, toward, e.value, e.low, e.high, len(values)))
    return pd.DataFrame(rows, columns=["item", "axis", "toward", "cosine", "low", "high", "n"])


def least_pure(purity: pd.DataFrame, n: int = 10) -> pd.DataFrame:
    """The n scenarios that lie furthest along another axis, in either direction: the ones to read again."""
    other = purity[purity.axis != purity.toward]
    return (
        other.reindex(other.cosine.abs().sort_values(ascending=False).index)
        .head(n)
        .reset_index(drop=True)
    )


def _differences(
    model: LanguageModel, scenarios: ScenarioSet, layer: int
) -> Float[np.ndarray, "scenario d_model"]:
    found: dict[str, Tensor] = {}
    for activations in contrastive_activations(model, scenarios):
        delta = (activations.positive - activations.negative)[:, layer]
        found.update(zip(activations.ids, delta, strict=True))
    return torch.stack([found[s.id] for s in scenarios]).double().numpy()


def _direction(
    differences: Float[np.ndarray, "scenario d_model"],
    frame: pd.DataFrame,
    axis: str,
    leave_out: str,
) -> Float[np.ndarray, " d_model"]:
    chosen = ((frame["axis"] == axis) & (frame["item"] != leave_out)).to_numpy()
    return differences[chosen].mean(0) if chosen.any() else np.zeros(differences.shape[1])
