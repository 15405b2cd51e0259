"""The null: effects of random vectors, with which every effect of steering is compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from interp_culture.coupling.steered import shifts
from interp_culture.stats import NullBand

# A ratio lies between 0 and 1 and heaps up at 1, so that it has percentiles and no band.
RATIO_QUANTILES = {"null_ratio_low": 0.025, "null_ratio_median": 0.5, "null_ratio_high": 0.975}


def random_effects(readouts: pd.DataFrame) -> pd.DataFrame:
    """The effect of every random vector on every axis, and its entanglement ratio.

    Args:
        readouts: what `steered_readouts` returned.

    Returns:
        steered, draw, axis, effect (mean change of p_positive), ratio (Eq. 5).

    >>> random_effects(readouts).shape  # 20 vectors for each of 2 steered axes, 2 axes read
    (80, 5)
    """
    table = shifts(readouts)
    random = table[table.method == "random"]
    means = random.groupby(["steered", "draw", "axis"], sort=True)["shift"].mean()
    effects = means.rename("effect").reset_index()
    on_target = effects[effects.axis == effects.steered].set_index(["steered", "draw"]).effect
    vector = pd.MultiIndex.from_frame(effects[["steered", "draw"]])
    target = on_target.reindex(vector).to_numpy()
    # Eq. 5, as in `entanglement_of`.
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.minimum(1, np.abs(effects.effect.to_numpy() / target))
    return effects.assign(ratio=ratio)


def random_range(readouts: pd.DataFrame) -> pd.DataFrame:
    """The range of the random vectors' effects, by steered axis and axis read.

    Args:
        readouts: what `steered_readouts` returned.

    Returns:
        steered, axis, null_low and null_high (the 95% band of the effects, at their alpha),
        null_ratio_low, null_ratio_median and null_ratio_high (2.5%, 50% and 97.5% of the ratios),
        draws (the number of random vectors).

    >>> random_range(readouts)[["steered", "axis", "draws"]]
      steered axis  draws
    0       X    X     20
    1       X    Y     20
    2       Y    X     20
    3       Y    Y     20
    """
    groups = random_effects(readouts).groupby(["steered", "axis"], sort=True)
    # -reach and +reach, as in `random_reach`.
    reach = groups.effect.apply(lambda effects: NullBand.of(effects.to_numpy()).reach)
    columns = {"null_low": -reach, "null_high": reach}
    columns |= {name: groups.ratio.quantile(q) for name, q in RATIO_QUANTILES.items()}
    columns["draws"] = groups.size()
    return pd.DataFrame(columns).reset_index()


def random_reach(
    shifted: pd.DataFrame, by: Sequence[str], value: str = "shift", *, per_alpha: bool = False
) -> pd.DataFrame:
    """The 95% band of random-vector effects on the mean of `value`, in every group of `by`.

    The band is that of `NullBand`.

    Args:
        shifted: what `shifts` returned, random vectors among its rows.
        by: the columns that tell the groups apart.
        value: "shift" (change of p_positive) or "logit_shift" (change of logit_diff, nats).
        per_alpha: per unit of alpha, as `slopes` are; else at the strength of the random vectors.

    Returns:
        *by, null_low, null_high (in the unit of `value`; null_low is -null_high).

    >>> random = pd.DataFrame({"method": "random", "draw": [0, 1, 2], "axis": "Y"})
    >>> random_reach(random.assign(shift=[0.01, -0.01, 0.01]), ["axis"]).round(3)
      axis  null_low  null_high
    0    Y    -0.032      0.032
    """
    random = shifted[shifted.method == "random"]
    scale = random.alpha if per_alpha else 1
    effects = random.assign(effect=random[value] / scale).groupby([*by, "draw"]).effect.mean()
    reach = effects.groupby(list(by)).apply(lambda group: NullBand.of(group.to_numpy()).reach)
    return pd.DataFrame({"null_low": -reach, "null_high": reach}).reset_index()


def one_sided(even: float) -> float:
    """The factor by which a predicted band is too narrow for effects at one sign of alpha.

    >>> one_sided(0.75)
    1.25
    """
    return float(np.sqrt(1 + even**2))


def beside_random(effects: pd.DataFrame, reach: pd.DataFrame) -> pd.DataFrame:
    """Effects with the band of random vectors, and whether they are beyond it.

    Args:
        effects: what `effects` returned.
        reach: what `random_reach` returned for the same groups.

    Returns:
        The effects with null_low and null_high (NaN for groups without random vectors) and sure:
        the interval excludes 0, and the effect is larger than the band.

    >>> effects = pd.DataFrame({"axis": ["X", "Y"], "effect": [0.05, 0.02]})
    >>> reach = pd.DataFrame({"axis": ["X", "Y"], "null_low": -0.03, "null_high": 0.03})
    >>> beside_random(effects.assign(low=0.01, high=0.09), reach).sure.tolist()
    [True, False]
    """
    table = effects.merge(reach, how="left")
    excludes_zero = table.low * table.high > 0
    return table.assign(sure=excludes_zero & (table.effect.abs() > table.null_high))
