"""Tables with their manifests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from interp_culture.artifacts.files import (
    file_checksum,
    file_fault,
    read_manifest,
    replacing,
    set_aside,
    write_manifest,
)
from interp_culture.errors import InputError

# With one of these at its beginning, a spreadsheet takes a text for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_table(folder: Path, name: str, table: pd.DataFrame, manifest: Mapping[str, Any]) -> None:
    """Write `name.parquet`, `name.csv` and, last, the manifest `name.json`.

    A table without a manifest is unfinished. The manifest also holds the checksums of both files.

    Args:
        manifest: what decides the table; `read_table` compares its "key".
    """
    # First, so that a write that is cut off is unfinished, and not damaged.
    (folder / f"{name}.json").unlink(missing_ok=True)
    with replacing(folder / f"{name}.parquet") as part:
        table.to_parquet(part, index=False)
        checksum = file_checksum(part)
    checksums = {"sha256": checksum, "csv_sha256": _write_csv(folder / f"{name}.csv", table)}
    write_manifest(folder / f"{name}.json", {**manifest, **checksums})


def _write_csv(path: Path, table: pd.DataFrame) -> str:
    """Write a table for people; returns the file's checksum."""
    with replacing(path) as part:
        # Six digits; `read_table` reads the parquet file.
        defused(table).to_csv(part, index=False, float_format="%.6g")
        return file_checksum(part)


def defused(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before texts that a spreadsheet would run as a formula.

    >>> defused(pd.DataFrame({"text": ["=1+1", "plain"], "value": [-1.0, 2.0]})).text.tolist()
    ["'=1+1", 'plain']
    """
    changed = {}
    for name in table.columns:
        column = table[name]
        if is_numeric_dtype(column) or is_bool_dtype(column):
            continue
        runs = column.map(lambda cell: isinstance(cell, str) and cell.startswith(FORMULA_STARTS))
        if runs.any():
            changed[name] = column.where(~runs.astype(bool), "'" + column.astype(str))
    return table.assign(**changed)


def read_table(folder: Path, name: str, manifest: Mapping[str, Any]) -> pd.DataFrame | None:
    """The stored table, or None if there is no finished table with the manifest's "key".

    A file other than the one that was written is set aside.

    Warns:
        DamageWarning: the file of a finished table was changed or cut off.
    """
    try:
        stored = read_manifest(folder / f"{name}.json")
    except InputError:
        return None
    path = folder / f"{name}.parquet"
    if stored.get("key") != manifest["key"] or not path.exists():
        return None
    fault = file_fault(path, stored.get("sha256"))
    if fault is not None:
        set_aside(path, fault)
        return None
    return pd.read_parquet(path)


def _mend_csv(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write the CSV file of a finished table again if it is not the one that was written."""
    path = folder / f"{name}.csv"
    fault = file_fault(path, read_manifest(folder / f"{name}.json").get("csv_sha256"))
    if fault is not None:
        if path.exists():
            set_aside(path, fault)
        _write_csv(path, table)


def keep_table(folder: Path, name: str, table: pd.DataFrame, manifest: Mapping[str, Any]) -> None:
    """Store a table, unless the same one is stored already.

    So a study that goes on does not write what follows from finished tables once more.
    """
    stored = read_table(folder, name, manifest)
    if stored is not None and stored.equals(table):
        _mend_csv(folder, name, table)
    else:
        write_table(folder, name, table, manifest)


def table_once(
    folder: Path, name: str, manifest: Mapping[str, Any], compute: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    """The stored table with the manifest's "key"; if there is none, compute it and store it.

    This makes a study resumable.
    """
    table = read_table(folder, name, manifest)
    if table is None:
        table = compute()
        write_table(folder, name, table, manifest)
    else:
        _mend_csv(folder, name, table)
    return table
