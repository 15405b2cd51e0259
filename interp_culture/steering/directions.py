"""Methods that compute a direction for every layer from activations: one function each.

h+ and h- are the activations of a scenario's positive and negative text, and d = h+ - h-.
`mean_diff` is the mean of d. Each other method finds a line, and then sets:

    sign: the projection on the mean of d is not negative, so that the direction points to the
        positive pole ("random" keeps its sign)
    norm: that of the mean of d at the layer, so that alpha is the same step for all methods

The direction is zero at a layer where a method finds no line (the texts do not differ there).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp_culture.errors import InputError, check_known
from interp_culture.steering.activations import Activations

_Rows = Float[np.ndarray, "scenario d_model"]
_Line = Float[np.ndarray, " d_model"]


def direction(
    activations: Activations | Iterable[Activations], method: str = "mean_diff", seed: int = 42
) -> Float[Tensor, "layer d_model"]:
    """The direction of each layer, by one of METHODS.

    Args:
        activations: of one axis, whole or in batches of any order. "mean_diff" holds one batch at
            a time, the other methods hold all of them.
        method: "mean_diff", "pca", "pca_centred", "lda", "logistic" or "random".
        seed: of the draw; only "random" uses it.

    Returns:
        float32, in units of the residual stream, from the negative to the positive pole.

    Raises:
        InputError: an unknown method or too few scenarios.

    >>> positive = torch.tensor([[[1.0, 2.0]], [[3.0, -2.0]]])
    >>> direction(Activations(("a", "b"), positive, torch.zeros(2, 1, 2)))
    tensor([[2., 0.]])
    """
    check_method(method)
    stream = [activations] if isinstance(activations, Activations) else activations
    if method == "mean_diff":
        return mean_diff(stream)
    collected = _collect(stream)
    if method == "random":
        return random(collected, seed)
    return _LINES[method](collected)


def mean_diff(stream: Iterable[Activations]) -> Float[Tensor, "layer d_model"]:
    """The mean of d, summed in float64 (paper, equation 3; Rimsky et al. 2024)."""
    mean = RunningMean()
    for activations in stream:
        mean.add(differences(activations))
    return mean.value()


def differences(activations: Activations) -> Float[Tensor, "scenario layer d_model"]:
    """d of every scenario, in float64."""
    return activations.positive.double() - activations.negative.double()


class RunningMean:
    """A mean over rows that come in batches, so that only one batch is in memory."""

    def __init__(self) -> None:
        self._total: Tensor | float = 0.0
        self._count = 0

    def add(self, rows: Float[Tensor, "row ..."]) -> None:
        """Add rows, in float64."""
        self._total = self._total + rows.sum(0)
        self._count += len(rows)

    def value(self) -> Float[Tensor, "*rest"]:
        """The mean of all rows so far, float32. Raises InputError if there were none."""
        if not self._count:
            raise InputError(NO_SCENARIO)
        assert isinstance(self._total, Tensor)
        return (self._total / self._count).float()


def pca(activations: Activations) -> Float[Tensor, "layer d_model"]:
    """The first principal component of d, not centred: the unit v with the largest sum of (d·v)².

    v is close to the mean of d where the mean is large compared with the variation of d. The same
    method is used by Zou et al. 2023, whose pairs come in random order, and by repeng
    (`pca_center`).
    """
    return _by_layer(activations, lambda positive, negative: _first_component(positive - negative))


def pca_centred(activations: Activations) -> Float[Tensor, "layer d_model"]:
    """The first principal component of d - mean(d): the unit v with the largest variance of d·v.

    This is the direction in which scenarios differ most from each other. The mean of d, which they
    have in common, decides only the sign and the norm of the result. repeng calls the method
    `pca_diff`. The direction is zero where d varies by no more than the rounding of float32.
    """
    _require(activations, 2, "pca_centred")

    def line(positive: _Rows, negative: _Rows) -> _Line:
        row_differences = positive - negative
        norm = np.linalg.norm([positive, negative])
        rounding_error = float(np.finfo(np.float32).eps * norm)
        centred = row_differences - row_differences.mean(0)
        return _first_component(centred, above=rounding_error)

    return _by_layer(activations, line)


def lda(activations: Activations) -> Float[Tensor, "layer d_model"]:
    """The linear discriminant of positive and negative texts: S⁻¹ mean(d) (Fisher 1936).

    S is the mean of the two classes' covariances. Each covariance is shrunk to its diagonal (Ledoit
    and Wolf 2004, on standardised activations), so that S has an inverse with fewer texts than
    d_model. The method ignores which texts form a pair: variation between situations counts as
    noise. Time grows as d_model cubed: on one core 0.2 s a layer for d_model 576, 13 s for 2304.
    """
    _require(activations, 2, "lda")

    def line(positive: _Rows, negative: _Rows) -> _Line:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        texts = np.concatenate([positive, negative])
        classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        # Centred for precision, since the solver subtracts S⁻¹ mean(h-) from S⁻¹ mean(h+).
        classifier.fit(texts - texts.mean(0), _labels(texts))
        return classifier.coef_[0]

    return _by_layer(activations, line)


def logistic(activations: Activations) -> Float[Tensor, "layer d_model"]:
    """The weights w of a logistic regression, P(positive | h) = sigmoid(w·h + b).

    Such a classifier is a linear probe (Alain and Bengio 2016). It is fitted on standardised
    activations z = (h - mean) / scale with an L2 penalty (C = 1), and w = w_z / scale. A coordinate
    that does not vary has weight 0.
    """
    _require(activations, 2, "logistic")

    def line(positive: _Rows, negative: _Rows) -> _Line:
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        texts = np.concatenate([positive, negative])
        scaler = StandardScaler()
        classifier = LogisticRegression(C=1.0, max_iter=1000)
        classifier.fit(scaler.fit_transform(texts), _labels(texts))
        return classifier.coef_[0] / scaler.scale_

    return _by_layer(activations, line)


def random(activations: Activations, seed: int = 42) -> Float[Tensor, "layer d_model"]:
    """An isotropic random direction with the norm of the mean of d: the null as a method.

    Its sign is random too. The draw depends on `seed` and the scenarios' ids, so that two axes, or
    two halves of one axis, have different draws.
    """
    mean = mean_diff([activations])
    return with_norm(drawn(mean.shape, seed, *sorted(activations.ids)), mean)


def drawn(shape: Sequence[int], seed: int, *names: str) -> Tensor:
    """Standard normal numbers, float32. They depend only on `seed`, `names` and the shape."""
    digest = hashlib.sha256("\n".join([str(seed), *names]).encode()).digest()
    # Seven bytes are within the range of torch's seeds.
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn(*shape, generator=generator)


_LINES = {"pca": pca, "pca_centred": pca_centred, "lda": lda, "logistic": logistic}
METHODS = ("mean_diff", *_LINES, "random")
NO_SCENARIO = "no scenario to compute a direction from; give one scenario or more"


def check_method(method: str) -> None:
    """Raise InputError for an unknown method."""
    check_known("method", method, METHODS)


def with_norm(
    directions: Float[Tensor, "layer d_model"], like: Float[Tensor, "layer d_model"]
) -> Float[Tensor, "layer d_model"]:
    """`directions` with the norm of `like` at every layer, float32. A zero direction stays zero."""
    # With the default eps, 1e-12, very small directions would not become unit vectors.
    smallest = torch.finfo(torch.float64).tiny
    unit = torch.nn.functional.normalize(directions.double(), dim=-1, eps=smallest)
    return (unit * like.double().norm(dim=-1, keepdim=True)).float()


def _collect(stream: Iterable[Activations]) -> Activations:
    batches = list(stream)
    if len(batches) == 1:
        return batches[0]
    if not batches:
        raise InputError(NO_SCENARIO)
    ids = tuple(scenario_id for batch in batches for scenario_id in batch.ids)
    positive = torch.cat([batch.positive for batch in batches])
    negative = torch.cat([batch.negative for batch in batches])
    return Activations(ids, positive, negative)


def _require(activations: Activations, least: int, method: str) -> None:
    if len(activations.ids) < least:
        raise InputError(
            f"method {method!r} takes {least} or more scenarios of an axis, not "
            f"{len(activations.ids)}; give more scenarios"
        )


def _by_layer(
    activations: Activations, line: Callable[[_Rows, _Rows], _Line]
) -> Float[Tensor, "layer d_model"]:
    """The line of each layer, in float64, with the sign and the norm of the mean difference."""
    mean = mean_diff([activations])
    by_layer = []
    for layer in range(len(mean)):
        positive = activations.positive[:, layer].double().numpy()
        negative = activations.negative[:, layer].double().numpy()
        by_layer.append(line(positive, negative))
    lines = torch.from_numpy(np.stack(by_layer))
    # The sign of a singular vector is arbitrary.
    points_to_negative = (lines * mean).sum(-1, keepdim=True) < 0
    return with_norm(torch.where(points_to_negative, -lines, lines), mean)


def _first_component(rows: _Rows, above: float = 0.0) -> _Line:
    """The first right singular vector; zero if its singular value is not larger than `above`."""
    # Full matrices would take d_model squared numbers.
    _, values, components = np.linalg.svd(rows, full_matrices=False)
    return components[0] * (values[0] > above)


def _labels(texts: Float[np.ndarray, "text d_model"]) -> np.ndarray:
    """1 for the first half of the rows (positive texts), 0 for the second half."""
    return np.repeat([1, 0], len(texts) // 2)
