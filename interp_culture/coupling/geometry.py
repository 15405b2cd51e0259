"""Angles between the vectors of axes, raw and whitened, and what they foresee of the coupling."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.coupling.responses import response_matrix
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import LEAST_N, bootstrap_weights
from interp_culture.steering.activations import Activations
from interp_culture.steering.vectors import SteeringVectors

_Rows = Float[np.ndarray, "row d_model"]


def axis_cosines(
    activations: Activations, scenarios: ScenarioSet, draws: int = 200, seed: int = 42
) -> pd.DataFrame:
    """Cosines between the mean-difference vectors of every two axes, at every layer.

    Args:
        activations: of (at least) these scenarios.
        draws: how many bootstrap samples, and how many times poles are swapped.

    Returns:
        layer, a, b (axes), kind, cosine, low, high, null_low, null_high. kind: "raw", or "whitened",
        a' S⁻¹ b / sqrt(a' S⁻¹ a b' S⁻¹ b), S as in `whitening`. low, high: 95%, basic bootstrap clustered by item
        (the means of resampled texts are noisier than the mean itself, so that percentiles lie too near to 0).
        null_low, null_high: middle 95% where the poles of each scenario are swapped with probability 1/2, after the
        mean difference is taken away (swapped as it is, it would still be what the swapped means point along).
    """
    frame = scenarios.frame()
    own = activations.select(list(frame.id))
    axes, items = frame.axis.to_numpy(str), frame["item"].to_numpy(str)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (draws, len(axes)))
    samples = np.vstack([np.ones(len(axes)), bootstrap_weights(axes, items, draws, seed)])
    rows = []
    for layer in range(own.positive.shape[1]):
        positive, negative = (
            pole[:, layer].double().numpy() for pole in (own.positive, own.negative)
        )
        difference = positive - negative
        for kind, seen in (
            ("raw", difference),
            ("whitened", difference @ whitening(positive, negative, axes)),
        ):
            means = {
                a: _means(seen[axes == a], samples[:, axes == a], signs[:, axes == a])
                for a in scenarios.axes
            }
            for a, b in combinations(means, 2):
                few = bool(min((axes == a).sum(), (axes == b).sum()) < LEAST_N)
                rows.append(
                    (layer, a, b, kind, *_summary((means[a] * means[b]).sum(1), draws, few))
                )
    return pd.DataFrame(
        rows, columns=["layer", "a", "b", "kind", "cosine", "low", "high", "null_low", "null_high"]
    )


def whitening(
    positive: _Rows, negative: _Rows, axes: np.ndarray
) -> Float[np.ndarray, "d_model d_model"]:
    """W with W W' = S⁻¹: the covariance S of activations becomes that of a sphere.

    S is taken within poles and axes, so that no difference of means is in it, and shrunk to its diagonal (Ledoit and
    Wolf 2004, on standardised activations), so that it has an inverse with fewer texts than d_model. Where nothing
    varies it is the unit matrix.
    """
    from scipy.linalg import solve_triangular
    from sklearn.covariance import LedoitWolf

    groups = [pole[axes == axis] for pole in (positive, negative) for axis in np.unique(axes)]
    centred = np.concatenate([group - group.mean(0) for group in groups])
    scale = centred.std(0)
    constant = scale <= 1e-9 * max(np.abs(group).max() for group in groups)  # but for rounding
    if constant.all():
        return np.eye(len(scale))
    scale[constant] = 1
    centred[:, constant] = 0
    shrunk = LedoitWolf(assume_centered=True, store_precision=False).fit(centred / scale)
    root = np.linalg.cholesky(shrunk.covariance_)
    return solve_triangular(root, np.eye(len(scale)), lower=True).T / scale[:, None]


def layer_coupling(
    readouts: pd.DataFrame, vectors: Mapping[str, SteeringVectors], seed: int = 42
) -> pd.DataFrame:
    """The response matrix of every layer that was steered alone, beside what the angle of the vectors says of it.

    Args:
        readouts: as for `response_matrix`, with the column layer.

    Returns:
        The columns of `response_matrix`, D as effect, with layer and projected: the effect that the part of the
        steered axis' vector v along the read axis' vector w would have, (v·w / w·w) times the effect of w itself.
    """
    plain, steered = readouts[readouts.method == "plain"], readouts[readouts.method != "plain"]
    parts = [
        response_matrix(pd.concat([plain, t]), seed=seed).assign(layer=n)
        for n, t in steered.groupby("layer")
    ]
    found = pd.concat(parts, ignore_index=True).rename(columns={"D": "effect"})
    own = found[found.steered == found.axis].set_index(["layer", "axis"]).effect
    projected = []
    for r in found.itertuples():
        v, w = (vectors[axis].direction[r.layer].double() for axis in (r.steered, r.axis))
        projected.append(own[r.layer, r.axis] * float(v @ w / (w @ w)))
    return found.assign(projected=projected)


def cross_responses(cosines: pd.DataFrame, coupling: pd.DataFrame) -> pd.DataFrame:
    """Every measured response of one axis to steering another beside what the angle of their vectors foresees.

    Args:
        cosines: what `axis_cosines` returned.
        coupling: what `layer_coupling` returned.

    Returns:
        The rows of `coupling` off the diagonal, once for each kind (raw, whitened, projected), with foreseen (the
        cosine, or projected) and pair (their name).
    """
    keys = ["layer", "steered", "axis"]
    cross = coupling[coupling.steered != coupling.axis]
    cross = cross.assign(pair=[f"{r.steered} → {r.axis}" for r in cross.itertuples()])
    sides = [
        cosines.rename(columns={a: "steered", b: "axis", "cosine": "foreseen"})
        for a, b in ("ab", "ba")
    ]
    angle = cross.merge(pd.concat(sides)[[*keys, "kind", "foreseen"]], on=keys)
    return pd.concat(
        [angle, cross.assign(kind="projected", foreseen=cross.projected)], ignore_index=True
    )


def prediction(responses: pd.DataFrame, seed: int = 42) -> pd.DataFrame:
    """How what is foreseen and what is measured go together over layers, from `cross_responses`.

    Returns: kind, steered, axis, n (layers), spearman, p (of it, two-sided, by permutation, as if layers were
    independent), pearson; NaN for fewer than three layers and where nothing varies.
    """
    from scipy.stats import PermutationMethod, pearsonr, rankdata

    rows, shuffled = [], PermutationMethod(rng=np.random.default_rng(seed))
    for keys, own in responses.groupby(["kind", "steered", "axis"], sort=False):
        pair = own.foreseen.to_numpy(), own.effect.to_numpy()
        known = len(own) > 2 and all(np.ptp(side) > 0 for side in pair)
        ranked = pearsonr(*map(rankdata, pair), method=shuffled) if known else (np.nan, np.nan)
        found = (*ranked, pearsonr(*pair)[0] if known else np.nan)
        rows.append((*keys, len(own), *map(float, found)))
    return pd.DataFrame(rows, columns=["kind", "steered", "axis", "n", "spearman", "p", "pearson"])


def _means(
    rows: _Rows, samples: Float[np.ndarray, "sample row"], signs: Float[np.ndarray, "swap row"]
) -> Float[np.ndarray, "draw d_model"]:
    """Of unit length (NaN where 0): the mean of every sample, then that of every swap without what all rows share."""
    sums = np.concatenate([samples @ rows, signs @ (rows - rows.mean(0))])
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return sums / np.where(norms > 0, norms, np.nan)


def _summary(cosines: Float[np.ndarray, " draw"], draws: int, few: bool) -> tuple[float, ...]:
    """Value, interval and null of the observed cosine, the bootstrap's and those of swapped poles; NaN of few texts."""
    value, bootstrap, swapped = cosines[0], cosines[1 : 1 + draws], cosines[1 + draws :]
    if few:
        return (float(value), *[np.nan] * 4)
    high, low = np.clip(2 * value - np.percentile(bootstrap, [2.5, 97.5]), -1, 1)
    return tuple(map(float, (value, low, high, *np.percentile(swapped, [2.5, 97.5]))))
