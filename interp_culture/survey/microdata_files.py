"""The three published survey files that can be read: how they are recognised and parsed.

Known are the WVS wave 7 file, the EVS/WVS joint file and the Integrated Values Surveys, as .csv,
.sav or .dta. Columns are renamed to their ids and converted to numbers; `valid_answers` and
`microdata` interpret the numbers.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import pandas as pd

from interp_culture.errors import InputError
from interp_culture.survey.country_codes import load_package, locate
from interp_culture.survey.wvs import survey_items

# Texts that exported files use for a missing value.
BLANK = {"", ".", "NA", "NaN", "nan"}


@dataclass(frozen=True)
class Kind:
    """The columns of one of the published files.

    Attributes:
        letters, number: the two country columns, of which one is enough; `standard` is the ISO 3166
            standard of `letters` ("alpha_2" or "alpha_3").
        items: item -> column of the answer, including the two derived columns.
        qualities: independence, determination, religious faith, obedience.
        aims: the first and the second choice of four aims.
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
        """The ids of all columns that are read."""
        head = [self.letters, self.number, self.year, self.weight]
        return [*head, *self.items.values(), *self.qualities, *self.aims]

    def lacking(self, present: Iterable[str]) -> list[str]:
        """Requirements that the present columns do not meet: a country, a year, and one item."""
        items = list(self.items.values())
        requirements = {
            f"{self.letters} or {self.number}": [self.letters, self.number],
            self.year: [self.year],
            f"any of {', '.join(items)}": [*items, *self.qualities, *self.aims],
        }
        return [need for need, ids in requirements.items() if not set(ids) & set(present)]


@cache
def kinds() -> tuple[Kind, ...]:
    """The three published files."""
    items = survey_items()
    ivs = items.ivs_id.to_dict()
    # WVS wave 7 names answers by question number, except for the two derived items.
    wvs7 = {item: ivs[item] if ";" in ids else ids for item, ids in items.wvs7.items()}
    wave7 = Kind(
        name="wvs7",
        title="WVS wave 7",
        letters="B_COUNTRY_ALPHA",
        standard="alpha_3",
        number="B_COUNTRY",
        year="A_YEAR",
        weight="W_WEIGHT",
        items=wvs7,
        # Independence, determination, religious faith, obedience: the order that `autonomy` takes.
        qualities=("Q8", "Q14", "Q15", "Q17"),
        aims=("Q154", "Q155"),
    )
    joint = Kind(
        name="joint",
        title="EVS/WVS joint file",
        letters="cntry_AN",
        standard="alpha_2",
        number="cntry",
        year="year",
        weight="gwght",
        items=ivs,
        # The same four qualities, by their ids in the integrated surveys.
        qualities=("A029", "A039", "A040", "A042"),
        aims=("E003", "E004"),
    )
    integrated = Kind(
        name="integrated",
        title="Integrated Values Surveys",
        letters="COUNTRY_ALPHA",
        standard="alpha_3",
        number="S003",
        year="S020",
        weight="S017",
        items=ivs,
        qualities=joint.qualities,
        aims=joint.aims,
    )
    return wave7, joint, integrated


def read_rows(path: Path) -> tuple[Kind, pd.DataFrame]:
    """The kind of a survey file and its rows, one per respondent.

    Returns:
        The kind, and a table with iso3 (None if unknown), code (the file's own country code) and
        the numeric columns by their ids.

    Raises:
        InputError: if the file is absent, of another kind, damaged, or holds text for numbers.
    """
    # Unlike `Path.is_file`, it takes a name that is too long.
    if not os.path.isfile(path):
        raise InputError(
            f"{str(path)[:300]}: no such file; give a survey file (.csv, .sav or .dta)"
        )
    readers = {
        ".csv": _read_csv,
        ".sav": _read_labelled,
        ".zsav": _read_labelled,
        ".dta": _read_labelled,
    }
    read = readers.get(path.suffix.lower())
    if read is None:
        raise InputError(
            f"{path}: only .csv, .sav and .dta can be read, "
            f"not {path.suffix or 'a file without extension'}; "
            "unpack an archive first, or download the file in one of these formats"
        )
    try:
        # Not every reader says that a file is one that the user may not read.
        with path.open("rb"):
            kind, table = read(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    country_columns = [column for column in (kind.letters, kind.number) if column in table]
    labels = table[country_columns].astype(str)
    iso3, code = locate(labels, {kind.letters: kind.standard, kind.number: "numeric"})
    numeric = [column for column in kind.columns if column in table and column not in labels]
    numbers = {column: _numbers(path, table[column]) for column in numeric}
    return kind, pd.DataFrame({"iso3": iso3, "code": code, **numbers})


def recognise(path: Path, columns: list[str]) -> tuple[Kind, dict[str, str]]:
    """The kind of file with these columns, and the mapping id -> column.

    Raises:
        InputError: if it is none of the known files; the message lists what each kind lacks.
    """
    faults = []
    for kind in kinds():
        column_of = _match_columns(columns, kind.columns)
        lacking = kind.lacking(column_of)
        if not lacking:
            _refuse_repeated(path, columns, column_of)
            return kind, column_of
        required = ", ".join(kind.lacking([]))
        faults.append(f"  {kind.title}: looked for {required}; missing: {', '.join(lacking)}")
    header = f"{path}: not a known survey file, judging by its {len(columns)} columns"
    raise InputError("\n".join([header, *faults]))


def _refuse_repeated(path: Path, columns: list[str], column_of: dict[str, str]) -> None:
    twice = [column for column in column_of.values() if columns.count(column) > 1]
    if twice:
        raise InputError(f"{path}: column {twice[0]!r} occurs twice; remove one of the two")


def _match_columns(columns: list[str], ids: list[str]) -> dict[str, str]:
    """Id -> column, in either case.

    A column is named by the id alone, or by the id and a label ("Q164: Importance of God").
    """
    column_of = {}
    for name in ids:
        pattern = re.compile(rf"\s*{name}\s*(?:$|[:\s])", re.IGNORECASE)
        if matches := [column for column in columns if pattern.match(column)]:
            # The plain id, if it is there, rather than the id with words after it.
            column_of[name] = min(matches, key=len)
    return column_of


def _read_csv(path: Path) -> tuple[Kind, pd.DataFrame]:
    from pyarrow import ArrowException, string
    from pyarrow import csv as arrow

    delimiter, header = _csv_header(path)
    kind, column_of = recognise(path, header)
    columns = list(column_of.values())
    # As text, so that `_numbers` can quote a value that is not a number, with its line.
    as_text = arrow.ConvertOptions(
        include_columns=columns, column_types={column: string() for column in columns}
    )
    # With more than one thread, pyarrow does not name the row of a fault.
    reading = arrow.ReadOptions(use_threads=False)
    # By default pyarrow allows no line break within quotes.
    parsing = arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    try:
        table = arrow.read_csv(
            path, read_options=reading, parse_options=parsing, convert_options=as_text
        )
    except ArrowException as error:
        raise InputError(
            f"{path}: {_csv_fault(error)}; numbers with a decimal comma in a comma-separated file "
            "look like this: export with decimal points, or download the file again"
        ) from error
    return kind, _renamed(table.to_pandas(), column_of)


def _csv_fault(error: Exception) -> str:
    row_fault = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", str(error))
    if row_fault is None:
        return str(error)[:200]
    line, expected, actual = row_fault.groups()
    return f"line {line}: {expected} values expected, as in the header, but {actual} present"


def _csv_header(path: Path) -> tuple[str, list[str]]:
    """The separator (comma, semicolon or tab, by the number of columns) and the column names."""
    _check_utf8(path)
    with path.open(encoding="utf-8-sig", newline="") as text:
        first_line = text.readline()
    try:
        headers = {
            delimiter: next(csv.reader([first_line], delimiter=delimiter), [])
            for delimiter in ",;\t"
        }
    except csv.Error as error:
        raise InputError(f"{path}:1: no line of column names: {error}") from error
    return max(headers.items(), key=lambda header: len(header[1]))


def _check_utf8(path: Path) -> None:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}:{number}: byte {error.start + 1} is not UTF-8; save the file as UTF-8"
                ) from error


def _read_labelled(path: Path) -> tuple[Kind, pd.DataFrame]:
    """Read an SPSS or Stata file, with the values that it declares missing as NaN."""
    pyreadstat = load_package("pyreadstat")
    read = pyreadstat.read_dta
    options = {}
    if path.suffix.lower() != ".dta":
        read = pyreadstat.read_sav
        # Otherwise pyreadstat drops all declared missing values, and with them answers of Y003.
        options = {"user_missing": True}
    try:
        # The names first: such a file has hundreds of columns, of which few are needed.
        kind, column_of = recognise(path, read(path, metadataonly=True)[1].column_names)
        table, meta = read(path, usecols=list(column_of.values()), **options)
    except (pyreadstat.ReadstatError, pyreadstat.PyreadstatError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not readable as {path.suffix}: {error}; is the file complete? "
            "Download it again"
        ) from error
    for column, ranges in meta.missing_ranges.items():
        if column in table and pd.api.types.is_numeric_dtype(table[column]):
            is_autonomy = column == column_of.get("Y003")
            table[column] = _mask_ranges(table[column], ranges, is_autonomy=is_autonomy)
    return kind, _renamed(table, column_of)


def _mask_ranges(
    values: pd.Series, ranges: list[dict[str, float]], *, is_autonomy: bool
) -> pd.Series:
    # Y003 is often declared missing from -5 to -1, but its -1 and -2 are answers.
    is_answer = values.between(-2, 2) & is_autonomy
    for bounds in ranges:
        values = values.mask(values.between(bounds["lo"], bounds["hi"]) & ~is_answer)
    return values


def _renamed(table: pd.DataFrame, column_of: dict[str, str]) -> pd.DataFrame:
    return table.rename(columns={column: name for name, column in column_of.items()})


def _numbers(path: Path, column: pd.Series) -> pd.Series:
    """The column as floats, blanks as NaN. Raises InputError with line and column for text."""
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(float)
    # A column has many rows but few distinct values, so only these are parsed.
    texts = pd.Series(column.dropna().unique()).astype(str)
    values = pd.to_numeric(texts.str.strip(), errors="coerce")
    not_numbers = texts[values.isna() & ~texts.str.strip().isin(BLANK)]
    if not not_numbers.empty:
        _refuse(path, column, not_numbers.tolist())
    return column.map(dict(zip(texts, values, strict=True))).astype(float)


def _refuse(path: Path, column: pd.Series, not_numbers: list[str]) -> NoReturn:
    row = int(column.isin(not_numbers).to_numpy().argmax())
    value = column.iloc[row]
    fix = "export the codes, not their labels"
    if re.fullmatch(r"\s*-?\d+,\d+\s*", value):
        fix = "this looks like a decimal comma: export with decimal points"
    raise InputError(
        f"{path}:{_line_of(path, row)}: field '{column.name}': not a number: {value[:40]!r}; {fix}"
    )


def _line_of(path: Path, row: int) -> str:
    """The line of a row in a .csv, which may have blank lines; else the number of the row."""
    if path.suffix.lower() != ".csv":
        return f"row {row + 1}"
    with path.open(encoding="utf-8-sig", newline="") as text:
        filled_lines = [number for number, line in enumerate(text, start=1) if line.strip()]
    # The header is the first filled line. A value with a line break shifts the count.
    return str(filled_lines[row + 1])
