"""Operations on readout tables: key columns, shifts against the plain model, means by item."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd


def with_keys(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The table of `read_runs` with its run keys as columns.

    Args:
        table: its column `run` holds tuples, as long as `names`.
        names: of the new columns, which replace `run` and come first.

    >>> table = pd.DataFrame({"run": [(14, 1.0), (15, 1.0)], "id": ["a", "a"]})
    >>> with_keys(table, ["layer", "alpha"])
       layer  alpha id
    0     14    1.0  a
    1     15    1.0  a
    """
    keys = pd.DataFrame(list(table.run), columns=list(names), index=table.index)
    return pd.concat([keys, table.drop(columns="run")], axis=1)


def shifts_from(plain: pd.DataFrame, steered: pd.DataFrame) -> pd.DataFrame:
    """What steering changed in each scenario's readout.

    Args:
        plain: the readout of the plain model, one row a scenario.
        steered: one or more readouts of the same scenarios.

    Returns:
        `steered` with shift (p_positive minus the plain one) and logit_shift (logit_diff minus the
        plain one; nats, or nats per token for a continuation). Both are NaN for a scenario that
        `plain` does not have.

    >>> plain = pd.DataFrame({"id": ["a"], "p_positive": [0.5], "logit_diff": [0.0]})
    >>> steered = pd.DataFrame({"id": ["a"], "p_positive": [0.75], "logit_diff": [1.1]})
    >>> shifts_from(plain, steered)
      id  p_positive  logit_diff  shift  logit_shift
    0  a        0.75         1.1   0.25          1.1
    """
    before = plain.set_index("id")[["p_positive", "logit_diff"]].reindex(steered.id)
    return steered.assign(
        shift=steered.p_positive - before.p_positive.to_numpy(),
        logit_shift=steered.logit_diff - before.logit_diff.to_numpy(),
    )


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """The mean readout of every item in every domain.

    Returns:
        axis, item, domain, p_positive (mean), logit_diff (mean) and n (scenarios).

    >>> summarise(ic.probe(model, test))  # doctest: +SKIP
    """
    grouped = table.groupby(["axis", "item", "domain"], sort=True)
    means = grouped.agg(
        p_positive=("p_positive", "mean"), logit_diff=("logit_diff", "mean"), n=("id", "size")
    )
    return means.reset_index()
