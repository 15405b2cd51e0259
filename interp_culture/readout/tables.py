"""Tables of readouts: runs' keys as columns, shifts against the plain model, means by item."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd


def with_keys(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The runs' keys, tuples in the column `run` of `read_runs`, as columns of these names before the others."""
    keys = pd.DataFrame(list(table.run), columns=list(names), index=table.index)
    return pd.concat([keys, table.drop(columns="run")], axis=1)


def shifts_from(plain: pd.DataFrame, steered: pd.DataFrame) -> pd.DataFrame:
    """`steered` with shift (change of p_positive) and logit_shift against the plain readout of each scenario."""
    before = plain.set_index("id")[["p_positive", "logit_diff"]].reindex(steered.id)
    return steered.assign(
        shift=steered.p_positive - before.p_positive.to_numpy(),
        logit_shift=steered.logit_diff - before.logit_diff.to_numpy(),
    )


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Mean p_positive and logit difference by axis, item and domain, with the number of scenarios."""
    grouped = table.groupby(["axis", "item", "domain"], sort=True)
    return grouped.agg(
        p_positive=("p_positive", "mean"), logit_diff=("logit_diff", "mean"), n=("id", "size")
    ).reset_index()
