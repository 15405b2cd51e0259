"""A user's own survey file as weighted item means, answer shares and map positions.

Only weighted figures leave this module, no answers of single persons. Answers stay on the survey's
own scales (`survey_items`). Each mean is over the item's own valid answers, and a map position is
the projection of the ten means.
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

from interp_culture.artifacts.files import file_checksum, replacing, write_json
from interp_culture.artifacts.folders import make_folder
from interp_culture.errors import InputError, check_known
from interp_culture.survey.country_codes import country_name
from interp_culture.survey.microdata_files import Kind, read_rows
from interp_culture.survey.projection import project
from interp_culture.survey.valid_answers import item_answers
from interp_culture.survey.wvs import countries as map_countries
from interp_culture.survey.wvs import survey_items

# A weighted figure from fewer answers can reveal single persons.
FEW_ANSWERS = 100
MAX_NAMED = 10
# The keys of a survey, and of the answers to one item in it.
SURVEY = ["iso3", "year"]
CELL = [*SURVEY, "item"]
# Codes for a missing year, such as -4 or 9999, are outside.
PLAUSIBLE_YEARS = (1900, 2100)
# Sums of weights beyond are not exact, or infinite.
PLAUSIBLE_WEIGHTS = (1e-9, 1e9)


@dataclass(frozen=True)
class SurveySummary:
    """The figures of a survey file by country and year; `write_survey` writes them to disk."""

    means: pd.DataFrame
    """iso3, year, item, mean, se, n (valid answers), source.

    An item without any valid answer has no row.
    """
    shares: pd.DataFrame
    """iso3, year, item, value, percent (weighted, of valid answers), source.

    Every value of an item's scale has a row.
    """
    places: pd.DataFrame
    """iso3, country, year, x, y, n, missing, map_x, map_y, map_year, distance.

    n counts respondents, and missing names items without an answer. x and y are NaN if an
    item is missing. map_x and map_y are the coordinates published in 2023, and distance is the
    distance to them.
    """
    kind: str
    """wvs7, joint or integrated."""
    notes: list[str]
    """What was dropped, rebuilt or counted as missing, in sentences."""
    provenance: dict[str, Any]
    """The manifest: file name, sha256, rows, choices, version."""


def read_survey(
    path: str | Path,
    *,
    years: Literal["latest", "all"] = "latest",
    countries: Sequence[str] | None = None,
) -> SurveySummary:
    """Summarise a WVS wave 7, EVS/WVS joint or Integrated Values Surveys file.

    The kind of file is recognised by its columns.

    Args:
        path: a .csv, .sav or .dta file.
        years: "latest" for the latest survey of each country, "all" for every country and year.
        countries: iso3 codes; all countries of the file by default.

    Returns:
        Item means, answer shares (percent) and map coordinates: see `SurveySummary`.

    Raises:
        InputError: if the file is of another kind, damaged, or has no usable row.

    >>> summary = read_survey("WVS_Cross-National_Wave_7_csv_v6_0.csv")  # doctest: +SKIP
    >>> summary.places[["iso3", "x", "y"]]  # doctest: +SKIP
    """
    path = Path(path)
    notes: list[str] = []
    kind, table = read_rows(path)
    check_known("years", years, ("latest", "all"))
    rows = _usable_rows(table, kind, notes)
    rows = _chosen_rows(rows, years, countries, path, notes)
    answers = pd.DataFrame(
        {item: item_answers(rows, kind, item, notes) for item in survey_items().index}
    )
    if answers.isna().all(axis=None):
        raise InputError(
            f"{path}: no valid answer to any of the ten items; is it the file with the answers?"
        )
    cells = _cells(rows, answers)
    means = _means(cells)
    places = _places(means, rows, notes)
    weighting = f"weighted by {kind.weight}" if kind.weight in table else "unweighted"
    source = f"{kind.title}, {path.name}, {weighting}"
    provenance = {
        **_file_provenance(path, kind),
        "source": source,
        "rows": {"read": len(table), "used": len(rows)},
        "years": years,
        "countries": sorted(countries) if countries else "all",
        "interp_culture": version("interp-culture"),
    }
    return SurveySummary(
        means=means.assign(source=source),
        shares=_shares(cells, means).assign(source=source),
        places=places,
        kind=kind.name,
        notes=notes,
        provenance=provenance,
    )


def write_survey(folder: str | Path, summary: SurveySummary) -> None:
    """Write item_means.csv, answer_shares.csv and places.csv, then manifest.json.

    The manifest is written last: a folder without it is unfinished.
    """
    folder = make_folder(folder)
    tables = {
        "item_means": summary.means,
        "answer_shares": summary.shares,
        "places": summary.places,
    }
    # The old manifest goes first, so that an interrupted folder looks unfinished.
    (folder / "manifest.json").unlink(missing_ok=True)
    for name, table in tables.items():
        with replacing(folder / f"{name}.csv") as part:
            table.to_csv(part, index=False, float_format="%.6g")
    sizes = {f"{name}.csv": len(table) for name, table in tables.items()}
    checksums = {name: file_checksum(folder / name) for name in sizes}
    manifest = {
        **summary.provenance,
        "tables": sizes,
        "checksums": checksums,
        "notes": summary.notes,
    }
    write_json(folder / "manifest.json", manifest)


def _file_provenance(path: Path, kind: Kind) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": path.name, "sha256": digest, "kind": kind.name}


def _usable_rows(table: pd.DataFrame, kind: Kind, notes: list[str]) -> pd.DataFrame:
    """Rows with a positive weight, a year and a known country."""
    if kind.weight not in table:
        notes.append(f"No column {kind.weight}: every respondent counts the same.")
    weight = table.get(kind.weight, pd.Series(1.0, index=table.index))
    table = table.assign(weight=weight, year=table[kind.year])
    has_weight = (table.weight > 0) & np.isfinite(table.weight)
    table = _keep(table, has_weight, f"without a positive weight ({kind.weight})", notes)
    is_plausible = table.weight.between(*PLAUSIBLE_WEIGHTS)
    low, high = PLAUSIBLE_WEIGHTS
    table = _keep(table, is_plausible, f"with {kind.weight} outside {low:g} to {high:g}", notes)
    has_year = table.year.between(*PLAUSIBLE_YEARS) & (table.year % 1 == 0)
    table = _keep(table, has_year, f"without a year ({kind.year})", notes)
    unknown_codes = table.code[table.iso3.isna()].value_counts(sort=False)
    if len(unknown_codes):
        counts = [f"{code} ({n})" for code, n in unknown_codes.sort_index().items()]
        n_skipped = int(unknown_codes.sum())
        notes.append(
            f"{_row_count(n_skipped)} of unknown country code skipped: {_shortened(counts)}."
        )
    return table[table.iso3.notna()].astype({"year": int})


def _keep(table: pd.DataFrame, valid: pd.Series, fault: str, notes: list[str]) -> pd.DataFrame:
    n_dropped = int((~valid).sum())
    if n_dropped:
        notes.append(f"{_row_count(n_dropped)} {fault} dropped.")
    return table[valid]


def _chosen_rows(
    rows: pd.DataFrame, years: str, wanted: Sequence[str] | None, path: Path, notes: list[str]
) -> pd.DataFrame:
    """The rows of the wanted countries and years."""
    present = sorted(rows.iso3.unique())
    if not present:
        reason = " ".join(notes) or "it has column names only"
        raise InputError(f"{path}: no usable row: {reason}")
    if absent := sorted(set(wanted or ()) - set(present)):
        raise InputError(
            f"--countries: {', '.join(absent)} not in {path}; "
            f"give iso3 codes of its countries: {', '.join(present)}"
        )
    if wanted:
        rows = rows[rows.iso3.isin(wanted)]
    if years == "all":
        return rows
    is_earlier = rows.year < rows.groupby("iso3").year.transform("max")
    if is_earlier.any():
        surveys = rows[is_earlier][SURVEY].drop_duplicates().sort_values(SURVEY)
        labels = [f"{survey.iso3} {survey.year}" for survey in surveys.itertuples()]
        notes.append(
            f"{_row_count(int(is_earlier.sum()))} of earlier years left out "
            f"({_shortened(labels)}); --all-years keeps them."
        )
    return rows[~is_earlier]


def _cells(rows: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """One row per country, year, item and value, with all that means and shares need.

    Columns: w (sum of weights), w2 (sum of squared weights), n (answers).
    """
    base = rows[SURVEY].assign(w=rows.weight, w2=rows.weight**2, n=1)
    tables = []
    for item in answers:
        by_value = base.assign(value=answers[item]).groupby([*SURVEY, "value"])
        sums = by_value[["w", "w2", "n"]].sum().reset_index()
        tables.append(sums.assign(item=item))
    return pd.concat(tables, ignore_index=True)


def _means(cells: pd.DataFrame) -> pd.DataFrame:
    """Weighted means with their standard error: se = sqrt(v / (n_eff - 1)).

    v is the weighted variance and n_eff = (sum w)^2 / sum w^2 (Kish). With equal weights, se is
    s / sqrt(n). The file does not give the strata and clusters of the sample, so the error is
    approximate and usually too small.
    """
    moments = cells.assign(wv=cells.w * cells.value, wvv=cells.w * cells.value**2)
    total = moments.groupby(CELL, sort=False)[["w", "w2", "n", "wv", "wvv"]].sum()
    mean = total.wv / total.w
    # Rounding can make the variance of equal answers slightly negative.
    variance = (total.wvv / total.w - mean**2).clip(lower=0)
    # A single answer has no standard error.
    n_eff = (total.w**2 / total.w2).where(total.n > 1)
    se = np.sqrt(variance / (n_eff - 1))
    table = pd.DataFrame({"mean": mean, "se": se, "n": total.n}).reset_index()
    return table.sort_values(SURVEY, kind="stable", ignore_index=True)


def _shares(cells: pd.DataFrame, means: pd.DataFrame) -> pd.DataFrame:
    """Percent of the valid answers for every value of an item's scale, including zeros."""
    scales = survey_items()[["minimum", "maximum"]].itertuples()
    pairs = [
        (scale.Index, value)
        for scale in scales
        for value in range(scale.minimum, scale.maximum + 1)
    ]
    values = pd.DataFrame(pairs, columns=["item", "value"])
    table = means[CELL].merge(values, on="item").merge(cells, on=[*CELL, "value"], how="left")
    weight = table.w.fillna(0)
    total_weight = weight.groupby([table[column] for column in CELL]).transform("sum")
    return table[[*CELL, "value"]].assign(percent=100 * weight / total_weight)


def _places(means: pd.DataFrame, rows: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The projected means, with the published coordinates of the same country."""
    n_respondents = rows.groupby(SURVEY).size()
    least_answered = means.groupby(SURVEY)["n"].min()
    small_samples = least_answered[least_answered < FEW_ANSWERS]
    if len(small_samples):
        labels = [f"{iso3} {year} ({n})" for (iso3, year), n in small_samples.items()]
        notes.append(f"Fewer than {FEW_ANSWERS} valid answers to some item: {_shortened(labels)}.")
    items = survey_items().index
    wide = means.pivot(index=SURVEY, columns="item", values="mean")
    # `pivot` has no row or column for surveys or items without any mean; here they become NaN.
    wide = wide.reindex(index=n_respondents.index, columns=items)
    x, y = project(wide.to_numpy()).T
    coordinates = pd.DataFrame({"x": x, "y": y, "n": n_respondents}, index=n_respondents.index)
    table = coordinates.reset_index()
    table["missing"] = [", ".join(items[is_missing]) for is_missing in wide.isna().to_numpy()]
    table.insert(1, "country", [country_name(iso3) for iso3 in table.iso3])
    published = map_countries()[["x", "y", "survey_year"]]
    published = published.set_axis(["map_x", "map_y", "map_year"], axis=1)
    # Int64 allows a missing year: the map does not have every country.
    table = table.join(published.astype({"map_year": "Int64"}), on="iso3")
    return table.assign(distance=np.hypot(table.x - table.map_x, table.y - table.map_y))


def _row_count(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _shortened(names: list[str]) -> str:
    n_more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {n_more} more" if n_more > 0 else "")
