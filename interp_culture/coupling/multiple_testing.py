"""Which of many couplings are shown: p values, adjusted for how many were looked at."""

from __future__ import annotations

import numpy as np
import pandas as pd

from interp_culture.stats import LEVEL, interval_p


def with_claims(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """The table with q and shown, adjusted over its entries of one axis on another.

    An entry must pass two tests: its interval excludes 0, and random vectors do not reach it. Its p
    is the larger of the two. q is that p by Benjamini and Hochberg: on average at most 5% of the
    entries with q <= 0.05 are false. An axis' own entry is no claim of a coupling, so that it is
    not counted; it has no q, and is shown where its own two tests pass.

    Args:
        table: steered, axis, `value`, low, high (95% interval) and p_null.
        value: the column of the effect.

    >>> pair = {"steered": ["X", "X"], "axis": ["Y", "X"], "p_null": [1e-9, 1e-9]}
    >>> table = pd.DataFrame(pair | {"gain": [0.1, 0.2], "low": [0.05, 0.1], "high": [0.15, 0.3]})
    >>> with_claims(table, "gain")[["q", "shown"]].round(4)
            q  shown
    0  0.0001   True
    1     NaN   True
    """
    # Imported here: scipy.stats takes half a second.
    from scipy.stats import false_discovery_control

    ends = (table[column].to_numpy(float) for column in (value, "low", "high"))
    # `maximum` keeps NaN: without an interval, or without random vectors, nothing is claimed.
    p = pd.Series(np.maximum(interval_p(*ends), table.p_null.to_numpy(float)), table.index)
    is_cross = table.steered != table.axis
    judged = p.notna() & is_cross
    q = p.where(judged)
    if judged.any():
        q[judged] = false_discovery_control(p[judged])
    excludes_zero = (table.low > 0) | (table.high < 0)
    return table.assign(q=q, shown=excludes_zero & (q.where(is_cross, p) <= LEVEL))
