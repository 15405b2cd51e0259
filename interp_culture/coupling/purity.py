"""Do texts about one axis also speak of another? Their differences projected on axis directions."""

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

    An axis' direction is the mean difference (paper, equation 3) over its scenarios. Toward a
    scenario's own axis, the scenarios of its item are left out of that mean, so that no text is
    compared with itself.

    Args:
        layer: the block after which the residual stream is read, 0-based; the middle one by
            default.

    Returns:
        One row per scenario and direction: id, axis, item, domain, toward (an axis), cosine.
        Positive: the scenario's positive option points to the positive pole of `toward`. NaN where
        a direction is zero, as for the only item of its own axis.

    Raises:
        InputError: the model has no such layer.

    >>> purity = axis_purity(model, test)
    >>> purity.columns.tolist()
    ['id', 'axis', 'item', 'domain', 'toward', 'cosine']
    >>> len(purity) == len(test) * len(test.axes)
    True
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
        tables.append(frame.assign(toward=toward, cosine=_cosines(differences, directions)))
    return pd.concat(tables, ignore_index=True)


def item_purity(purity: pd.DataFrame, seed: int = 42) -> pd.DataFrame:
    """Mean cosine of each item toward each axis.

    Args:
        purity: what `axis_purity` returned.

    Returns:
        item, axis, toward, cosine, low, high (95%, bootstrap over scenarios; NaN for fewer than
        six) and n (scenarios).

    >>> texts = {"item": ["X01", "X01"], "axis": "X", "toward": "Y", "cosine": [0.1, 0.3]}
    >>> item_purity(pd.DataFrame(texts))
      item axis toward  cosine  low  high  n
    0  X01    X      Y     0.2  NaN   NaN  2
    """
    rows = []
    for (item, axis, toward), group in purity.groupby(["item", "axis", "toward"], sort=True):
        cosines = group.cosine.to_numpy()
        # One stratum of one cluster, in which scenarios are drawn by themselves.
        one_stratum = np.zeros(len(cosines), dtype=int)
        weights = bootstrap_weights(one_stratum, one_stratum, seed=seed)
        draws = weighted_means(weights, cosines, one_stratum == 0)
        mean = Estimate.of(cosines.mean(), draws)
        rows.append((item, axis, toward, mean.value, mean.low, mean.high, len(cosines)))
    return pd.DataFrame(rows, columns=["item", "axis", "toward", "cosine", "low", "high", "n"])


def least_pure(purity: pd.DataFrame, n: int = 10) -> pd.DataFrame:
    """The n scenarios with the largest |cosine| toward another axis: those to read again.

    Args:
        purity: what `axis_purity` returned.

    >>> texts = {"id": ["a", "b", "c"], "axis": "X", "toward": ["Y", "Y", "X"]}
    >>> least_pure(pd.DataFrame(texts).assign(cosine=[0.1, -0.4, 0.9])).id.tolist()
    ['b', 'a']
    """
    other = purity[purity.axis != purity.toward]
    largest = other.cosine.abs().sort_values(ascending=False).index
    return other.reindex(largest).head(n).reset_index(drop=True)


def _differences(
    model: LanguageModel, scenarios: ScenarioSet, layer: int
) -> Float[np.ndarray, "scenario d_model"]:
    # Batches come longest first, not in the order of `scenarios`.
    by_id: dict[str, Tensor] = {}
    for activations in contrastive_activations(model, scenarios):
        differences = (activations.positive - activations.negative)[:, layer]
        by_id.update(zip(activations.ids, differences, strict=True))
    return torch.stack([by_id[scenario.id] for scenario in scenarios]).double().numpy()


def _direction(
    differences: Float[np.ndarray, "scenario d_model"],
    frame: pd.DataFrame,
    axis: str,
    leave_out: str,
) -> Float[np.ndarray, " d_model"]:
    """The mean difference of an axis without one item; zero where no scenario is left."""
    used = ((frame["axis"] == axis) & (frame["item"] != leave_out)).to_numpy()
    return differences[used].mean(0) if used.any() else np.zeros(differences.shape[1])


def _cosines(
    a: Float[np.ndarray, "scenario d_model"], b: Float[np.ndarray, "scenario d_model"]
) -> Float[np.ndarray, " scenario"]:
    """Row by row; NaN where a row is zero."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    undefined = np.full(len(norms), np.nan)
    return np.divide((a * b).sum(1), norms, out=undefined, where=norms > 0)
