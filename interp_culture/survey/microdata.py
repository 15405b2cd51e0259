"""A user's own survey file -> weighted item means, answer shares and places on the map, by country and year.

Only figures leave this module, no answers of single persons.

Conventions. Answers stay on the survey's own scales (`survey_items`). Negative codes are missing, except in Y003,
where -1 and -2 are answers. Y003 = (independence + determination) - (religious faith + obedience), each 1 if
mentioned (WVSA codebooks). Y002: of the first and second of four aims, {order, prices} -> 1, {say, free speech}
-> 3, one of each -> 2. Each mean is over the item's own valid answers; a place is the projection of the ten means.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from interp_culture.artifacts import make_folder, replacing, write_json
from interp_culture.errors import InputError, check_known
from interp_culture.survey import culture_map
from interp_culture.survey.microdata_files import Kind, country_name, read_rows
from interp_culture.survey.wvs import countries as map_countries
from interp_culture.survey.wvs import survey_items

# "I am not [nationality]" is offered beside the scale of national pride.
OFF_SCALE = {"Y04": 5}
FEW = 100
MAX_NAMED = 10
SURVEY = ["iso3", "year"]
CELL = [*SURVEY, "item"]


@dataclass(frozen=True)
class SurveySummary:
    """What a survey file says of each country and year; `write_survey` puts it on disk."""

    means: pd.DataFrame
    """iso3, year, item, mean, se, n (valid answers), source. An item without any valid answer has no row."""
    shares: pd.DataFrame
    """iso3, year, item, value, percent (weighted, of the valid answers; every value of the scale), source."""
    places: pd.DataFrame
    """iso3, country, year, x, y, n (respondents), missing (items), map_x, map_y, map_year, distance.

    x and y are NaN where an item is missing; map_* are the published coordinates of 2023, distance is to them.
    """
    kind: str
    """wvs7, joint or integrated."""
    notes: list[str]
    """What was dropped, rebuilt or taken as missing, in sentences."""
    provenance: dict[str, Any]
    """The manifest: file name, sha256, rows, choices, version."""


def read_survey(
    path: str | Path,
    *,
    years: Literal["latest", "all"] = "latest",
    countries: Sequence[str] | None = None,
) -> SurveySummary:
    """Summarise a WVS wave 7, EVS/WVS joint or Integrated Values Surveys file, told by its columns.

    `years`: the latest survey of each country, or every country-year. `countries`: iso3 codes, all by default.
    """
    path, notes = Path(path), list[str]()
    kind, table = read_rows(path)
    check_known("years", years, ("latest", "all"))
    rows = _choose(_usable(table, kind, notes), years, countries, path, notes)
    answers = pd.DataFrame(
        {item: _answers(rows, kind, item, notes) for item in survey_items().index}
    )
    if answers.isna().all(axis=None):
        raise InputError(
            f"{path}: no valid answer to any of the ten items; is it the file with the answers?"
        )
    cells = _cells(rows, answers)
    weighted = f"weighted by {kind.weight}" if kind.weight in table else "unweighted"
    source = f"{kind.title}, {path.name}, {weighted}"
    means = _means(cells)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    provenance = {
        "file": path.name,
        "sha256": digest,
        "kind": kind.name,
        "source": source,
        "rows": {"read": len(table), "used": len(rows)},
        "years": years,
        "countries": sorted(countries) if countries else "all",
        "interp_culture": version("interp-culture"),
    }
    shares = _shares(cells, means).assign(source=source)
    places = _places(means, rows, notes)
    return SurveySummary(means.assign(source=source), shares, places, kind.name, notes, provenance)


def write_survey(folder: str | Path, summary: SurveySummary) -> None:
    """item_means.csv, answer_shares.csv, places.csv, then manifest.json: without it the folder is unfinished."""
    folder = make_folder(folder)
    tables = {
        "item_means": summary.means,
        "answer_shares": summary.shares,
        "places": summary.places,
    }
    (folder / "manifest.json").unlink(missing_ok=True)
    for name, table in tables.items():
        with replacing(folder / f"{name}.csv") as part:
            table.to_csv(part, index=False, float_format="%.6g")
    sizes = {f"{name}.csv": len(table) for name, table in tables.items()}
    write_json(
        folder / "manifest.json", {**summary.provenance, "tables": sizes, "notes": summary.notes}
    )


def autonomy(qualities: pd.DataFrame) -> pd.Series:
    """Y003 from independence, determination, religious faith, obedience (1 mentioned, 0 or 2 not): -2 to 2.

    NaN where any of the four is; the sign is autonomy minus obedience.
    """
    mentioned = qualities.eq(1).astype(float).where(qualities.notna())
    independence, determination, faith, obedience = (mentioned[column] for column in mentioned)
    return independence + determination - faith - obedience


def postmaterialism(first: pd.Series, second: pd.Series) -> pd.Series:
    """Y002 from two of four aims (1 order, 2 say, 3 prices, 4 free speech): 1 materialist, 2 mixed, 3 postmaterialist.

    NaN where an aim is, or where both are the same.
    """
    material = first.isin([1, 3]).astype(float) + second.isin([1, 3])
    return (3 - material).where(first.notna() & second.notna() & (first != second))


def _usable(table: pd.DataFrame, kind: Kind, notes: list[str]) -> pd.DataFrame:
    """Rows with a positive weight, a year and a known country."""
    if kind.weight not in table:
        notes.append(f"No column {kind.weight}: every respondent counts the same.")
    weight = table.get(kind.weight, pd.Series(1.0, index=table.index))
    table = table.assign(weight=weight, year=table[kind.year])
    for valid, reason in (
        ((weight > 0) & np.isfinite(weight), f"without a positive weight ({kind.weight})"),
        (table.year.between(1900, 2100), f"without a year ({kind.year})"),
    ):
        if dropped := int((~valid.loc[table.index]).sum()):
            notes.append(f"{_rows(dropped)} {reason} dropped.")
        table = table[valid.loc[table.index]]
    unknown = table.code[table.iso3.isna()].value_counts(sort=False)
    if len(unknown):
        codes = _listed([f"{code} ({n})" for code, n in unknown.sort_index().items()])
        notes.append(f"{_rows(int(unknown.sum()))} of unknown country code skipped: {codes}.")
    return table[table.iso3.notna()].astype({"year": int})


def _choose(
    rows: pd.DataFrame, years: str, wanted: Sequence[str] | None, path: Path, notes: list[str]
) -> pd.DataFrame:
    present = sorted(rows.iso3.unique())
    if not present:
        raise InputError(f"{path}: no usable row: {' '.join(notes) or 'it has column names only'}")
    if strange := sorted(set(wanted or ()) - set(present)):
        raise InputError(
            f"--countries: {', '.join(strange)} not in {path}; give iso3 codes of its countries: {', '.join(present)}"
        )
    rows = rows[rows.iso3.isin(wanted)] if wanted else rows
    if years == "all":
        return rows
    old = rows.year < rows.groupby("iso3").year.transform("max")
    if old.any():
        surveys = rows[old][SURVEY].drop_duplicates().sort_values(SURVEY)
        named = _listed([f"{s.iso3} {s.year}" for s in surveys.itertuples()])
        notes.append(
            f"{_rows(int(old.sum()))} of earlier years left out ({named}); --all-years keeps them."
        )
    return rows[~old]


def _answers(rows: pd.DataFrame, kind: Kind, item: str, notes: list[str]) -> pd.Series:
    """The valid answers to one item; a derived column is completed from its parts where it is absent or missing."""
    scale, column = survey_items().loc[item], kind.items[item]
    given = _valid(rows, column, int(scale.minimum), int(scale.maximum), notes, OFF_SCALE.get(item))
    parts = {"Y003": kind.qualities, "Y002": kind.aims}.get(scale.ivs_id, ())
    if not set(parts) <= set(rows):
        parts = ()
    if column not in rows and not parts:
        notes.append(f"{item} ({column}) is not in the file.")
    if not parts:
        return given
    low, high = (0, 2) if scale.ivs_id == "Y003" else (1, 4)
    clean = pd.DataFrame({part: _valid(rows, part, low, high, notes) for part in parts})
    rebuilt = (
        autonomy(clean)
        if scale.ivs_id == "Y003"
        else postmaterialism(*(clean[part] for part in parts))
    )
    if count := int((given.isna() & rebuilt.notna()).sum()):
        notes.append(f"{item} ({column}): {count} answers rebuilt from {', '.join(parts)}.")
    return given.fillna(rebuilt)


def _valid(
    rows: pd.DataFrame,
    column: str,
    low: int,
    high: int,
    notes: list[str],
    off_scale: int | None = None,
) -> pd.Series:
    """Whole answers from low to high. Codes below the scale and below 0 are missing; anything else is counted too."""
    if column not in rows:
        return pd.Series(np.nan, index=rows.index)
    values = rows[column]
    valid = values.between(low, high) & (values % 1 == 0)
    coded = values.isna() | (values < min(low, 0)) | (values == off_scale)
    if strange := int((~valid & ~coded).sum()):
        notes.append(
            f"Warning: {column}: values that are not answers from {low} to {high}, taken as missing: {strange}."
        )
    return values.where(valid)


def _cells(rows: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """One row a country, year, item and value: sum of weights, of squared weights, count. All else follows from it."""
    base = rows[SURVEY].assign(w=rows.weight, w2=rows.weight**2, n=1)
    tables = [
        base.assign(value=answers[item])
        .groupby([*SURVEY, "value"])[["w", "w2", "n"]]
        .sum()
        .reset_index()
        for item in answers
    ]
    return pd.concat(
        [t.assign(item=item) for t, item in zip(tables, answers, strict=True)], ignore_index=True
    )


def _means(cells: pd.DataFrame) -> pd.DataFrame:
    """Weighted means with their standard error: se = sqrt(v / (n_eff - 1)), n_eff = (sum w)^2 / sum w^2 (Kish).

    v is the weighted variance. Equal weights give s / sqrt(n). Strata and clusters of the sample are not known, so
    that the error is approximate and as a rule too small.
    """
    moments = cells.assign(wv=cells.w * cells.value, wvv=cells.w * cells.value**2)
    total = moments.groupby(CELL, sort=False)[["w", "w2", "n", "wv", "wvv"]].sum()
    mean = total.wv / total.w
    variance = (total.wvv / total.w - mean**2).clip(lower=0)
    n_eff = (total.w**2 / total.w2).where(total.n > 1)
    table = pd.DataFrame(
        {"mean": mean, "se": np.sqrt(variance / (n_eff - 1)), "n": total.n}
    ).reset_index()
    return table.sort_values(SURVEY, kind="stable", ignore_index=True)


def _shares(cells: pd.DataFrame, means: pd.DataFrame) -> pd.DataFrame:
    """Percent of the valid answers for every value of an item's scale, 0 included."""
    scales = survey_items()[["minimum", "maximum"]].itertuples()
    values = pd.DataFrame(
        [(s.Index, v) for s in scales for v in range(s.minimum, s.maximum + 1)],
        columns=["item", "value"],
    )
    table = means[CELL].merge(values, on="item").merge(cells, on=[*CELL, "value"], how="left")
    weight = table.w.fillna(0)
    percent = 100 * weight / weight.groupby([table[c] for c in CELL]).transform("sum")
    return table[[*CELL, "value"]].assign(percent=percent)


def _places(means: pd.DataFrame, rows: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The projected means beside the published coordinates of the country."""
    size = rows.groupby(SURVEY).size()
    answered = means.groupby(SURVEY)["n"].min()
    if few := [f"{iso3} {year} ({n})" for (iso3, year), n in answered[answered < FEW].items()]:
        notes.append(f"Fewer than {FEW} valid answers to some item: {_listed(few)}.")
    items = survey_items().index
    wide = means.pivot(index=SURVEY, columns="item", values="mean").reindex(
        index=size.index, columns=items
    )
    x, y = culture_map.project(wide.to_numpy()).T
    table = pd.DataFrame({"x": x, "y": y, "n": size}, index=size.index).reset_index()
    table["missing"] = [", ".join(items[gaps]) for gaps in wide.isna().to_numpy()]
    table.insert(1, "country", [country_name(iso3) for iso3 in table.iso3])
    published = map_countries()[["x", "y", "survey_year"]].set_axis(
        ["map_x", "map_y", "map_year"], axis=1
    )
    table = table.join(published.astype({"map_year": "Int64"}), on="iso3")
    return table.assign(distance=np.hypot(table.x - table.map_x, table.y - table.map_y))


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _listed(names: list[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
