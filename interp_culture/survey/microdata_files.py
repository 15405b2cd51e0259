"""The published survey files that a user may bring: told by their columns, read column by column, countries as iso3.

Known are the WVS wave 7 file, the EVS/WVS joint file and the Integrated Values Surveys, as .csv, .sav or .dta.
Columns are renamed to their ids and turned into numbers; what the numbers mean is the business of `microdata`.
"""

from __future__ import annotations

import csv
import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from interp_culture.errors import InputError
from interp_culture.survey.wvs import countries, survey_items

BLANK = {"", ".", "NA", "NaN", "nan"}
# Codes of the surveys that ISO 3166 does not have, and Great Britain; on the right as on the 2023 map.
OWN_CODES = {
    **dict.fromkeys(["XK", "XKX", "915"], "XKX"),
    **dict.fromkeys(["NIR", "GB-NIR", "GBR-NIR", "909"], "GBR-NIR"),
    "GB-GBN": "GBR",
}


@dataclass(frozen=True)
class Kind:
    """One of the published files: which column holds what. Of the two country columns one is enough.

    `items` is item -> column of the answer, the two derived columns included; `qualities` are independence,
    determination, religious faith, obedience; `aims` the first and second of four.
    """

    name: str
    title: str
    letters: str
    standard: str
    number: str
    year: str
    weight: str
    items: dict[str, str]
    qualities: tuple[str, ...]
    aims: tuple[str, ...]

    @property
    def columns(self) -> list[str]:
        """Every column that is of use, by its id."""
        head = [self.letters, self.number, self.year, self.weight]
        return [*head, *self.items.values(), *self.qualities, *self.aims]

    def lacking(self, found: Iterable[str]) -> list[str]:
        """What is needed and not among the found columns: a country, a year, and one item at least."""
        items = list(self.items.values())
        needs = {
            f"{self.letters} or {self.number}": [self.letters, self.number],
            self.year: [self.year],
            f"any of {', '.join(items)}": [*items, *self.qualities, *self.aims],
        }
        return [need for need, columns in needs.items() if not set(columns) & set(found)]


@cache
def kinds() -> tuple[Kind, ...]:
    """The three published files. In WVS wave 7 all but the derived items go by their question number."""
    items = survey_items()
    ivs = items.ivs_id.to_dict()
    wvs7 = {item: ivs[item] if ";" in ids else ids for item, ids in items.wvs7.items()}
    parts = (("A029", "A039", "A040", "A042"), ("E003", "E004"))
    wave7 = ("B_COUNTRY_ALPHA", "alpha_3", "B_COUNTRY", "A_YEAR", "W_WEIGHT")
    return (
        Kind("wvs7", "WVS wave 7", *wave7, wvs7, ("Q8", "Q14", "Q15", "Q17"), ("Q154", "Q155")),
        Kind(
            "joint",
            "EVS/WVS joint file",
            "cntry_AN",
            "alpha_2",
            "cntry",
            "year",
            "gwght",
            ivs,
            *parts,
        ),
        Kind(
            "integrated",
            "Integrated Values Surveys",
            "COUNTRY_ALPHA",
            "alpha_3",
            "S003",
            "S020",
            "S017",
            ivs,
            *parts,
        ),
    )


def read_rows(path: Path) -> tuple[Kind, pd.DataFrame]:
    """The kind of file, and one row a respondent: iso3, code (the file's own country code), columns by their ids."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a survey file (.csv, .sav or .dta)")
    readers = {
        ".csv": _read_csv,
        ".sav": _read_labelled,
        ".zsav": _read_labelled,
        ".dta": _read_labelled,
    }
    if (read := readers.get(path.suffix.lower())) is None:
        raise InputError(
            f"{path}: read are .csv, .sav and .dta, not {path.suffix or 'a file without extension'}; "
            "unpack an archive first, or download the file in one of these formats"
        )
    kind, table = read(path)
    labels = table[[c for c in (kind.letters, kind.number) if c in table]].astype(str)
    iso3, code = _locate(labels, kind)
    numbers = {c: _numbers(path, table[c]) for c in kind.columns if c in table and c not in labels}
    return kind, pd.DataFrame({"iso3": iso3, "code": code, **numbers})


def recognise(path: Path, columns: list[str]) -> tuple[Kind, dict[str, str]]:
    """The kind of file that has these columns, and id -> column; InputError names what each kind lacks."""
    faults = []
    for kind in kinds():
        found = _find(columns, kind.columns)
        lacking = kind.lacking(found)
        if not lacking:
            return kind, found
        faults.append(
            f"  {kind.title}: looked for {', '.join(kind.lacking([]))}; missing: {', '.join(lacking)}"
        )
    raise InputError(
        "\n".join(
            [f"{path}: not a survey file that is known, by its {len(columns)} columns", *faults]
        )
    )


def country_name(iso3: str) -> str:
    """The name on the 2023 map, else the name in ISO 3166."""
    if iso3 in countries().index:
        return str(countries().country[iso3])
    found = _load("pycountry").countries.get(alpha_3=iso3)
    return str(getattr(found, "common_name", found.name))


def _find(columns: list[str], ids: list[str]) -> dict[str, str]:
    """Id -> column: named as the id, or as the id and a label ("Q164: Importance of God"), in either case."""
    found = {}
    for name in ids:
        pattern = re.compile(rf"\s*{name}\s*(?:$|[:\s])", re.IGNORECASE)
        if matches := [c for c in columns if pattern.match(c)]:
            found[name] = min(matches, key=len)
    return found


def _read_csv(path: Path) -> tuple[Kind, pd.DataFrame]:
    from pyarrow import ArrowInvalid, string
    from pyarrow import csv as arrow

    delimiter, header = _csv_header(path)
    kind, found = recognise(path, header)
    as_text = arrow.ConvertOptions(
        include_columns=list(found.values()), column_types={c: string() for c in found.values()}
    )
    # One thread: only then does a fault come with its row.
    reading, parsing = (
        arrow.ReadOptions(use_threads=False),
        arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True),
    )
    try:
        table = arrow.read_csv(
            path, read_options=reading, parse_options=parsing, convert_options=as_text
        )
    except ArrowInvalid as error:
        told = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", str(error))
        what = (
            "line {}: {} values expected, as in the header, {} found".format(*told.groups())
            if told
            else str(error)
        )
        raise InputError(
            f"{path}: {what[:200]}; numbers with a decimal comma in a comma-separated file look like this: "
            "export with decimal points, or fetch the file again"
        ) from error
    return kind, table.to_pandas().rename(columns={column: name for name, column in found.items()})


def _csv_header(path: Path) -> tuple[str, list[str]]:
    """The separator and the column names: of comma, semicolon and tab the one that makes the most columns."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}:{number}: byte {error.start + 1} is not UTF-8; save the file as UTF-8"
                ) from error
    with path.open(encoding="utf-8-sig", newline="") as text:
        first = text.readline()
    headers = {
        delimiter: next(csv.reader([first], delimiter=delimiter), []) for delimiter in ",;\t"
    }
    return max(headers.items(), key=lambda item: len(item[1]))


def _read_labelled(path: Path) -> tuple[Kind, pd.DataFrame]:
    """SPSS and Stata files. Y003 is often declared missing from -5 to -1; its -1 and -2 are answers and are kept."""
    pyreadstat = _load("pyreadstat")
    stata = path.suffix.lower() == ".dta"
    read, options = (
        (pyreadstat.read_dta, {}) if stata else (pyreadstat.read_sav, {"user_missing": True})
    )
    try:
        kind, found = recognise(path, read(path, metadataonly=True)[1].column_names)
        table, meta = read(path, usecols=list(found.values()), **options)
    except (pyreadstat.ReadstatError, pyreadstat.PyreadstatError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not readable as {path.suffix}: {error}; is it whole? Fetch the file again"
        ) from error
    for column, ranges in meta.missing_ranges.items():
        if column in table and pd.api.types.is_numeric_dtype(table[column]):
            answer = table[column].between(-2, 2) if column == found.get("Y003") else False
            for bounds in ranges:
                table[column] = table[column].mask(
                    table[column].between(bounds["lo"], bounds["hi"]) & ~answer
                )
    return kind, table.rename(columns={column: name for name, column in found.items()})


def _numbers(path: Path, column: pd.Series) -> pd.Series:
    """The column as floats, blanks as NaN; any other text is an InputError with its line and column."""
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(float)
    seen = pd.Series(column.dropna().unique()).astype(str)
    values = pd.to_numeric(seen.str.strip(), errors="coerce")
    strange = seen[values.isna() & ~seen.str.strip().isin(BLANK)]
    if not strange.empty:
        _refuse(path, column, strange.tolist())
    return column.map(dict(zip(seen, values, strict=True))).astype(float)


def _refuse(path: Path, column: pd.Series, strange: list[str]) -> NoReturn:
    row = int(column.isin(strange).to_numpy().argmax())
    value = column.iloc[row]
    fix = "export the codes, not their labels"
    if re.fullmatch(r"\s*-?\d+,\d+\s*", value):
        fix = "this looks like a decimal comma: export with decimal points"
    raise InputError(
        f"{path}:{_line_of(path, row)}: field '{column.name}': not a number: {value[:40]!r}; {fix}"
    )


def _line_of(path: Path, row: int) -> str:
    """Where a row stands: its line in a .csv (which may have blank lines), else its number."""
    if path.suffix.lower() != ".csv":
        return f"row {row + 1}"
    with path.open(encoding="utf-8-sig", newline="") as text:
        return str(
            next(islice((n for n, line in enumerate(text, start=1) if line.strip()), row + 1, None))
        )


def _locate(labels: pd.DataFrame, kind: Kind) -> tuple[pd.Series, pd.Series]:
    """(iso3 or None, the code as it stands), from the letters or, where they are unknown, from the number."""
    codes = labels.apply(
        lambda column: column.str.strip().str.upper().str.removesuffix(".0").replace("", "blank")
    )
    codes = codes.fillna("blank")
    iso3 = pd.Series(None, index=codes.index, dtype=object)
    for column, standard in ((kind.letters, kind.standard), (kind.number, "numeric")):
        if column in codes:
            open_codes = codes[column][iso3.isna()]
            iso3 = iso3.fillna(open_codes.map({c: _iso3(c, standard) for c in open_codes.unique()}))
    return iso3, codes.iloc[:, 0]


def _iso3(code: str, standard: str) -> str | None:
    if code in OWN_CODES:
        return OWN_CODES[code]
    if standard == "alpha_3" and code in countries().index:
        return code
    if standard == "numeric" and not code.isdigit():
        return None
    found = _load("pycountry").countries.get(
        **{standard: code.zfill(3) if standard == "numeric" else code}
    )
    return found.alpha_3 if found else None


def _load(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"reading this survey file needs the package {package}, which is not installed: pip install {package}"
        ) from error
