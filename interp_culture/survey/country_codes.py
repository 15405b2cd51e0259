"""ISO 3166 codes and names of the countries in a survey file."""

from __future__ import annotations

import importlib
from typing import Any

import pandas as pd

from interp_culture.errors import InputError
from interp_culture.survey.wvs import countries

# Survey codes absent from ISO 3166, and Great Britain, mapped to the codes of the 2023 map.
SURVEY_CODES = {
    # Kosovo; 915 is the survey's number.
    **dict.fromkeys(["XK", "XKX", "915"], "XKX"),
    # Northern Ireland; 909 is the survey's number.
    **dict.fromkeys(["NIR", "GB-NIR", "GBR-NIR", "909"], "GBR-NIR"),
    "GB-GBN": "GBR",
}


def country_name(iso3: str) -> str:
    """The country's name on the 2023 map, or else in ISO 3166."""
    if iso3 in countries().index:
        return str(countries().country[iso3])
    country = load_package("pycountry").countries.get(alpha_3=iso3)
    # Few countries have one: "Bolivia" for "Bolivia, Plurinational State of".
    return str(getattr(country, "common_name", country.name))


def locate(labels: pd.DataFrame, standards: dict[str, str]) -> tuple[pd.Series, pd.Series]:
    """The country of each row, by the first of the code columns that identifies it.

    Args:
        labels: the country columns of a survey file, as text.
        standards: column -> "alpha_2", "alpha_3" or "numeric" (ISO 3166), in order of preference.

    Returns:
        The iso3 code (None if unknown), and the file's own code.
    """
    codes = labels.apply(_clean).fillna("blank")
    iso3 = pd.Series(None, index=codes.index, dtype=object)
    for column, standard in standards.items():
        if column in codes:
            unresolved = codes[column][iso3.isna()]
            known = {code: _iso3(code, standard) for code in unresolved.unique()}
            iso3 = iso3.fillna(unresolved.map(known))
    return iso3, codes.iloc[:, 0]


def load_package(package: str) -> Any:
    """An optional package. Raises InputError with the command to install it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"reading this survey file needs the package {package}, which is not installed: "
            f"pip install {package}"
        ) from error


def _clean(column: pd.Series) -> pd.Series:
    # A numeric column with gaps holds floats, whose text ends in ".0".
    text = column.str.strip().str.upper().str.removesuffix(".0")
    return text.replace("", "blank")


def _iso3(code: str, standard: str) -> str | None:
    if code in SURVEY_CODES:
        return SURVEY_CODES[code]
    if standard == "alpha_3" and code in countries().index:
        return code
    if standard == "numeric":
        if not code.isdigit():
            return None
        # A column of numbers loses the zeros of codes such as "008" (Albania).
        code = code.zfill(3)
    country = load_package("pycountry").countries.get(**{standard: code})
    return country.alpha_3 if country else None
