"""What random vectors do: the null that every effect of steering is held against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from interp_culture.coupling.steered import shifts
from interp_culture.stats import (
    null_reach,
)


def random_effects(readouts: pd.DataFrame) -> pd.DataFrame:
    """One row a random vector and axis: steered, draw, axis, effect (mean change of p_positive), ratio (Eq. 5)."""
    table = shifts(readouts)
    table = table[table.method == "random"]
    effects = (
        table.groupby(["steered", "draw", "axis"], sort=True)["shift"]
        .mean()
        .rename("effect")
        .reset_index()
    )
    own = effects[effects.axis == effects.steered].set_index(["steered", "draw"]).effect
    target = own.reindex(pd.MultiIndex.from_frame(effects[["steered", "draw"]])).to_numpy()
    return effects.assign(ratio=np.minimum(1, np.abs(effects.effect.to_numpy() / target)))


def random_range(readouts: pd.DataFrame) -> pd.DataFrame:
    """Where the random vectors lie: steered, axis, null_low, null_high (2.5% and 97.5% of their effects, at their
    alpha), null_reach (the size beyond which an effect is outside the null), null_ratio_low, null_ratio_median,
    null_ratio_high (of their ratios) and draws (how many they are)."""
    groups = random_effects(readouts).groupby(["steered", "axis"], sort=True)
    quantiles = {"low": 0.025, "median": 0.5, "high": 0.975}
    columns = {
        f"null_{name}": groups.effect.quantile(q)
        for name, q in quantiles.items()
        if name != "median"
    }
    columns |= {f"null_ratio_{name}": groups.ratio.quantile(q) for name, q in quantiles.items()}
    columns["null_reach"] = groups.effect.apply(lambda effect: null_reach(effect.to_numpy()))
    return pd.DataFrame(columns | {"draws": groups.size()}).reset_index()


def random_reach(
    shifted: pd.DataFrame, by: Sequence[str], value: str = "shift", *, per_alpha: bool = False
) -> pd.DataFrame:
    """Within what 95% of random vectors move the mean of `value` in every group of `by`: *by, null_low, null_high.

    The root mean square of their effects times Student's t for as many degrees of freedom as there are vectors, so that
    few will do: a random direction is as likely as its opposite, which puts the centre at 0.

    Args:
        shifted: what `shifts` returned, random vectors among its rows.
        per_alpha: whether per unit alpha, as `slopes` are, or at the strength of the random vectors.
    """
    from scipy.stats import t

    random = shifted[shifted.method == "random"]
    moved = random.assign(moved=random[value] / (random.alpha if per_alpha else 1))
    squares = moved.groupby([*by, "draw"]).moved.mean().pow(2).groupby(list(by))
    reach = t.ppf(0.975, squares.size()) * np.sqrt(squares.mean())
    return pd.DataFrame({"null_low": -reach, "null_high": reach}).reset_index()


def beside_random(found: pd.DataFrame, reach: pd.DataFrame) -> pd.DataFrame:
    """`effects` with what `random_reach` gives (NaN for groups without random vectors), and sure: the interval leaves
    out 0 and random vectors are known not to reach that far."""
    table = found.merge(reach, how="left")
    return table.assign(sure=(table.low * table.high > 0) & (table.effect.abs() > table.null_high))
