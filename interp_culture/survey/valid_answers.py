"""The valid answers of a survey file to one item, with derived indices rebuilt from their parts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from interp_culture.survey.microdata_files import Kind
from interp_culture.survey.wvs import survey_items

# The question on national pride also offers "I am not [nationality]", which is not on its scale.
OFF_SCALE = {"Y04": 5}


def autonomy(qualities: pd.DataFrame) -> pd.Series:
    """Y003, the index of autonomy (+) minus obedience (-), from -2 to 2 (WVSA codebooks).

    Y003 = (independence + determination) - (religious faith + obedience).

    Args:
        qualities: these four qualities in this order; 1 mentioned, 0 or 2 not mentioned.

    Returns:
        The index; NaN if any of the four is NaN.
    """
    # `eq` turns a missing answer into False; `where` makes it missing again.
    mentioned = qualities.eq(1).astype(float).where(qualities.notna())
    independence, determination, faith, obedience = (mentioned[column] for column in mentioned)
    return independence + determination - faith - obedience


def postmaterialism(first: pd.Series, second: pd.Series) -> pd.Series:
    """Y002: 1 materialist, 2 mixed, 3 postmaterialist (WVSA codebooks).

    1 means both chosen aims are of {order, prices}, 3 both are of {say, free speech}.

    Args:
        first, second: the two chosen aims; 1 order, 2 say, 3 prices, 4 free speech.

    Returns:
        The index; NaN if an aim is NaN or both are the same.
    """
    n_materialist = first.isin([1, 3]).astype(float) + second.isin([1, 3])
    return (3 - n_materialist).where(first.notna() & second.notna() & (first != second))


def item_answers(rows: pd.DataFrame, kind: Kind, item: str, notes: list[str]) -> pd.Series:
    """The valid answers to one item, NaN if missing.

    An index (Y003, Y002) is rebuilt from its parts if its column is absent or its value missing.

    Args:
        rows: the respondents, columns by their ids.
        notes: gets a sentence for an absent column, rebuilt answers and values off the scale.
    """
    scale = survey_items().loc[item]
    column = kind.items[item]
    off_scale = OFF_SCALE.get(item)
    recorded = _valid(rows, column, int(scale.minimum), int(scale.maximum), notes, off_scale)
    parts = {"Y003": kind.qualities, "Y002": kind.aims}.get(scale.ivs_id, ())
    if not parts or not set(parts) <= set(rows):
        if column not in rows:
            notes.append(f"{item} ({column}) is not in the file.")
        return recorded
    rebuilt = _rebuilt(rows, scale.ivs_id, parts, notes)
    n_rebuilt = int((recorded.isna() & rebuilt.notna()).sum())
    if n_rebuilt:
        notes.append(f"{item} ({column}): {n_rebuilt} answers rebuilt from {', '.join(parts)}.")
    return recorded.fillna(rebuilt)


def _rebuilt(
    rows: pd.DataFrame, index_id: str, parts: tuple[str, ...], notes: list[str]
) -> pd.Series:
    """An index computed from its parts."""
    # A quality that is not mentioned is 2 in some files and 0 in others; there are four aims.
    low, high = (0, 2) if index_id == "Y003" else (1, 4)
    valid = pd.DataFrame({part: _valid(rows, part, low, high, notes) for part in parts})
    if index_id == "Y003":
        return autonomy(valid)
    first, second = parts
    return postmaterialism(valid[first], valid[second])


def _valid(
    rows: pd.DataFrame,
    column: str,
    low: int,
    high: int,
    notes: list[str],
    off_scale: int | None = None,
) -> pd.Series:
    """Whole answers from low to high; everything else becomes NaN.

    Blanks, `off_scale` and negative codes below the scale are the survey's own missing values.
    Any other value is unexpected, so it is counted in the notes.
    """
    if column not in rows:
        return pd.Series(np.nan, index=rows.index)
    values = rows[column]
    valid = values.between(low, high) & (values % 1 == 0)
    # In Y003, -1 and -2 are answers, so negative codes are missing only below the scale.
    declared_missing = values.isna() | (values < min(low, 0)) | (values == off_scale)
    n_unexpected = int((~valid & ~declared_missing).sum())
    if n_unexpected:
        notes.append(
            f"Warning: {column}: values that are not answers from {low} to {high}, "
            f"counted as missing: {n_unexpected}."
        )
    return values.where(valid)
