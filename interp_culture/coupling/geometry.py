"""Angles between the vectors of axes, raw and whitened, and how well they predict the coupling."""

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
        layer, a, b (axes), kind, cosine, low, high, null_low, null_high.

        kind: "raw", or "whitened", `a' S⁻¹ b / sqrt(a' S⁻¹ a b' S⁻¹ b)` with S as in `whitening`.

        low, high: 95%, basic bootstrap clustered by item. Means of resampled texts are noisier than
        the mean itself, so that percentiles would be too near to 0.

        null_low, null_high: middle 95% where the mean difference is removed and the poles of each
        scenario are swapped with probability 1/2. With the mean left in, the swapped means would
        still point along it.

    >>> table = axis_cosines(ic.read_activations(model, train), train, draws=20)
    >>> table[["layer", "a", "b", "kind"]].head(2)
       layer  a  b      kind
    0      0  X  Y       raw
    1      0  X  Y  whitened
    """
    frame = scenarios.frame()
    selected = activations.select(list(frame.id))
    axes = frame.axis.to_numpy(str)
    items = frame["item"].to_numpy(str)
    # Swapping a scenario's poles reverses its difference.
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (draws, len(axes)))
    observed = np.ones(len(axes))
    samples = np.vstack([observed, bootstrap_weights(axes, items, draws, seed)])
    rows = []
    for layer in range(selected.positive.shape[1]):
        positive = selected.positive[:, layer].double().numpy()
        negative = selected.negative[:, layer].double().numpy()
        difference = positive - negative
        whitened = difference @ whitening(positive, negative, axes)
        for kind, differences in (("raw", difference), ("whitened", whitened)):
            means = {}
            for axis in scenarios.axes:
                of_axis = axes == axis
                means[axis] = _means(differences[of_axis], samples[:, of_axis], signs[:, of_axis])
            for a, b in combinations(means, 2):
                smaller = min((axes == a).sum(), (axes == b).sum())
                cosines = (means[a] * means[b]).sum(1)
                summary = _summary(cosines, draws, few=bool(smaller < LEAST_N))
                rows.append((layer, a, b, kind, *summary))
    columns = ["layer", "a", "b", "kind", "cosine", "low", "high", "null_low", "null_high"]
    return pd.DataFrame(rows, columns=columns)


def whitening(
    positive: _Rows, negative: _Rows, axes: np.ndarray
) -> Float[np.ndarray, "d_model d_model"]:
    """W with W W' = S⁻¹, so that activations times W have the unit matrix as covariance.

    S is the covariance within poles and axes, so that differences of means are not part of it. It
    is shrunk to its diagonal (Ledoit and Wolf 2004, on standardised activations), so that it has an
    inverse with fewer texts than d_model. Where nothing varies, W is the unit matrix.

    Args:
        axes: the axis of each row.
    """
    from scipy.linalg import solve_triangular
    from sklearn.covariance import LedoitWolf

    groups = [pole[axes == axis] for pole in (positive, negative) for axis in np.unique(axes)]
    centred = np.concatenate([group - group.mean(0) for group in groups])
    scale = centred.std(0)
    # What a constant coordinate seems to vary is rounding of the largest activations.
    constant = scale <= 1e-9 * max(np.abs(group).max() for group in groups)
    if constant.all():
        return np.eye(len(scale))
    scale[constant] = 1
    centred[:, constant] = 0
    shrunk = LedoitWolf(assume_centered=True, store_precision=False).fit(centred / scale)
    # With the factor L of the shrunk matrix and D = diag(scale), W = D⁻¹ L⁻ᵀ.
    root = np.linalg.cholesky(shrunk.covariance_)
    return solve_triangular(root, np.eye(len(scale)), lower=True).T / scale[:, None]


def whitening_at(activations: Activations, layer: int, train: ScenarioSet) -> np.ndarray:
    """The `whitening` of one layer, by activations of all training scenarios."""
    frame = train.frame()
    selected = activations.at_layers([layer]).select(frame.id.tolist())
    positive, negative = (
        pole[:, 0].double().numpy() for pole in (selected.positive, selected.negative)
    )
    return whitening(positive, negative, frame["axis"].to_numpy(str))


def layer_coupling(
    readouts: pd.DataFrame, vectors: Mapping[str, SteeringVectors], seed: int = 42
) -> pd.DataFrame:
    """The response matrix of every layer that was steered alone, and its prediction by the angle.

    Args:
        readouts: as for `response_matrix`, with the column layer.
        vectors: by axis.

    Returns:
        The columns of `response_matrix` but for its band, with D as effect, and layer and
        projected: the effect expected from the part of the steered axis' vector v that is parallel
        to the read axis' vector w, (v·w / w·w) times the effect of w on its own axis.

    >>> few = test.sample(1, by="item")
    >>> at_layer_1 = ic.steered_readouts(
    ...     model, few, vectors, {"X": [1], "Y": [1]}, alphas=[1.0, -1.0], n_random=0,
    ...     readout="continuation",
    ... )
    >>> table = layer_coupling(at_layer_1.assign(layer=1), vectors)
    >>> table[["steered", "axis", "layer"]]
      steered axis  layer
    0       X    X      1
    1       X    Y      1
    2       Y    Y      1
    3       Y    X      1
    """
    is_plain = readouts.method == "plain"
    plain = readouts[is_plain]
    matrices = []
    for layer, steered in readouts[~is_plain].groupby("layer"):
        # Every layer's changes are taken against the same plain rows.
        matrix = response_matrix(pd.concat([plain, steered]), seed=seed)
        matrices.append(matrix.assign(layer=layer))
    responses = pd.concat(matrices, ignore_index=True).rename(columns={"D": "effect"})
    responses = responses.drop(columns=["null_low", "null_high"])
    diagonal = responses[responses.steered == responses.axis]
    effect_on_itself = diagonal.set_index(["layer", "axis"]).effect
    projected = []
    for row in responses.itertuples():
        v = vectors[row.steered].direction[row.layer].double()
        w = vectors[row.axis].direction[row.layer].double()
        projected.append(effect_on_itself[row.layer, row.axis] * float(v @ w / (w @ w)))
    return responses.assign(projected=projected)


def cross_responses(cosines: pd.DataFrame, coupling: pd.DataFrame) -> pd.DataFrame:
    """Every measured response of one axis to steering another, with its prediction by the angle.

    Args:
        cosines: what `axis_cosines` returned.
        coupling: what `layer_coupling` returned.

    Returns:
        The rows of `coupling` off the diagonal, once for each kind of prediction (raw, whitened,
        projected), with foreseen (the predictor: the cosine, or projected) and pair (its name).

    >>> cosines = pd.DataFrame({"layer": [1], "a": "X", "b": "Y", "kind": "raw", "cosine": 0.5})
    >>> coupling = pd.DataFrame(
    ...     {"layer": [1], "steered": "Y", "axis": "X", "effect": 0.02, "projected": 0.03}
    ... )
    >>> cross_responses(cosines, coupling)[["pair", "kind", "effect", "foreseen"]]
        pair       kind  effect  foreseen
    0  Y → X        raw    0.02      0.50
    1  Y → X  projected    0.02      0.03
    """
    keys = ["layer", "steered", "axis"]
    cross = coupling[coupling.steered != coupling.axis]
    cross = cross.assign(pair=[f"{row.steered} → {row.axis}" for row in cross.itertuples()])
    # A cosine is symmetric, so that it predicts the response in both directions.
    both_ways = pd.concat(
        [
            cosines.rename(columns={a: "steered", b: "axis", "cosine": "foreseen"})
            for a, b in (("a", "b"), ("b", "a"))
        ]
    )
    by_angle = cross.merge(both_ways[[*keys, "kind", "foreseen"]], on=keys)
    by_projection = cross.assign(kind="projected", foreseen=cross.projected)
    return pd.concat([by_angle, by_projection], ignore_index=True)


def prediction(responses: pd.DataFrame, seed: int = 42) -> pd.DataFrame:
    """Correlation over layers between predicted and measured responses.

    Args:
        responses: what `cross_responses` returned.

    Returns:
        kind, steered, axis, n (layers), spearman, p (of spearman: two-sided, by permutation, as if
        layers were independent), pearson. NaN for fewer than three layers and where nothing varies.

    >>> pair = {"kind": "raw", "steered": "X", "axis": "Y"}
    >>> by_layer = {"foreseen": [0.1, 0.2, 0.3, 0.4], "effect": [0.01, 0.02, 0.04, 0.08]}
    >>> prediction(pd.DataFrame(by_layer).assign(**pair))[["n", "spearman", "pearson"]].round(2)
       n  spearman  pearson
    0  4       1.0     0.96
    """
    from scipy.stats import PermutationMethod, pearsonr, rankdata

    shuffled = PermutationMethod(rng=np.random.default_rng(seed))
    rows = []
    for keys, layers in responses.groupby(["kind", "steered", "axis"], sort=False):
        foreseen = layers.foreseen.to_numpy()
        measured = layers.effect.to_numpy()
        spearman = p = pearson = np.nan
        if len(layers) > 2 and np.ptp(foreseen) > 0 and np.ptp(measured) > 0:
            # Spearman's is Pearson's of the ranks; `spearmanr` has no permutation test of its own.
            spearman, p = pearsonr(rankdata(foreseen), rankdata(measured), method=shuffled)
            pearson = pearsonr(foreseen, measured)[0]
        rows.append((*keys, len(layers), float(spearman), float(p), float(pearson)))
    return pd.DataFrame(rows, columns=["kind", "steered", "axis", "n", "spearman", "p", "pearson"])


def _means(
    rows: _Rows, samples: Float[np.ndarray, "sample row"], signs: Float[np.ndarray, "swap row"]
) -> Float[np.ndarray, "draw d_model"]:
    """Unit vectors (NaN for zero): the mean of every sample, then of every swap of centred rows."""
    # Sums will do for means, since only their directions count.
    sums = np.concatenate([samples @ rows, signs @ (rows - rows.mean(0))])
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return sums / np.where(norms > 0, norms, np.nan)


def _summary(cosines: Float[np.ndarray, " draw"], draws: int, few: bool) -> tuple[float, ...]:
    """(value, low, high, null_low, null_high); the last four are NaN for few texts.

    Args:
        cosines: the observed one, those of the bootstrap, and those of swapped poles.
    """
    value = cosines[0]
    if few:
        return (float(value), *[np.nan] * 4)
    bootstrap = cosines[1 : 1 + draws]
    swapped = cosines[1 + draws :]
    # The basic bootstrap mirrors the percentiles at the observed value.
    high, low = np.clip(2 * value - np.percentile(bootstrap, [2.5, 97.5]), -1, 1)
    null_low, null_high = np.percentile(swapped, [2.5, 97.5])
    return float(value), float(low), float(high), float(null_low), float(null_high)
