"""Effects of several methods relative to one of them, paired by scenario."""

from __future__ import annotations

import pandas as pd

from interp_culture.errors import check_known
from interp_culture.stats import Estimate, Samples, means_by_axis


def minus_reference(slopes: pd.DataFrame, reference: str) -> pd.DataFrame:
    """The response of each scenario minus that under the reference.

    Args:
        slopes: what `slopes` returned by method and steered axis.
        reference: one of the methods.

    Returns:
        The rows of the other methods, whose `slope` is the difference.

    Raises:
        InputError: a method that is not among the slopes.

    >>> by_method = ic.coupling.slopes(readouts, ["method", "steered"])
    >>> doubled = by_method.assign(method="doubled", slope=2 * by_method.slope)
    >>> more = minus_reference(pd.concat([by_method, doubled]), "mean_diff")
    >>> bool((more.slope == by_method.slope).all())
    True
    """
    check_known("reference", reference, sorted(set(slopes.method)))
    is_reference = slopes.method == reference
    of_reference = slopes[is_reference].set_index(["steered", "id"]).slope.rename("reference")
    others = slopes[~is_reference].join(of_reference, on=["steered", "id"])
    return others.assign(slope=others.slope - others.reference).drop(columns="reference")


def multiples(slopes: pd.DataFrame, reference: str, seed: int = 42) -> pd.DataFrame:
    """The effect on the steered axis as a multiple of the reference's.

    Numerator and denominator come from the same bootstrap samples.

    Args:
        slopes: what `slopes` returned by method and steered axis.
        reference: one of the methods.
        seed: of the bootstrap.

    Returns:
        method, steered, multiple, multiple_low and multiple_high (95% interval). Axes on which the
        interval of the reference's own effect contains 0 are left out: the multiple would divide by
        noise.

    Raises:
        InputError: a method that is not among the slopes.

    >>> rows = {"id": list("abcdef"), "item": "X1", "axis": "X", "steered": "X"}
    >>> one = pd.DataFrame(rows | {"method": "one", "slope": [1.0, 2, 1, 2, 1, 2]})
    >>> two = one.assign(method="two", slope=2 * one.slope)
    >>> multiples(pd.concat([one, two]), "one").multiple.tolist()
    [1.0, 2.0]
    """
    check_known("reference", reference, sorted(set(slopes.method)))
    # In one order of the scenarios, so that all methods share the bootstrap samples.
    own = slopes[slopes.axis == slopes.steered].sort_values("id")
    rows = []
    for steered, of_axis in own.groupby("steered"):
        means = {method: _means(part, seed) for method, part in of_axis.groupby("method")}
        if reference in means and Estimate.of_samples(means[reference]).excludes_zero:
            for method, samples in means.items():
                ratio = Estimate.of_samples(samples / means[reference])
                rows.append((method, steered, ratio.value, ratio.low, ratio.high))
    names = ["method", "steered", "multiple", "multiple_low", "multiple_high"]
    return pd.DataFrame(rows, columns=names)


def equal_effect_strengths(multiples: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """The strengths at which methods move the steered axis as far as the reference does at `alpha`.

    To first order: a method with half the effect per unit of alpha needs twice the alpha. Methods
    whose multiple is not shown to be above 0 are left out, since no such strength is known.

    Args:
        multiples: what `multiples` returned.

    Returns:
        method, steered and alpha (of the sign of the given one).

    >>> half = {"method": "half", "steered": "X", "multiple": 0.5}
    >>> table = pd.DataFrame([half | {"multiple_low": 0.3, "multiple_high": 0.7}])
    >>> equal_effect_strengths(table, 2.0)
      method steered  alpha
    0   half       X    4.0
    """
    shown = multiples[multiples.multiple_low > 0]
    strengths = shown.assign(alpha=alpha / shown.multiple)
    return strengths[["method", "steered", "alpha"]].reset_index(drop=True)


def _means(part: pd.DataFrame, seed: int) -> Samples:
    (means,) = means_by_axis(
        part.slope.to_numpy(), part.axis.to_numpy(), part["item"].to_numpy(), seed
    ).values()
    return means
