"""Stored tables and their manifests: what was written is read, or nothing is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.contract import cases, read_or_refuse
from fuzz.mutations import any_bytes, odd_values
from interp_culture.artifacts.files import read_json, write_json
from interp_culture.artifacts.tables import read_table, write_table
from interp_culture.errors import InputError

TABLE = pd.DataFrame(
    {"axis": ["X", "Y", "É"], "effect": [0.5, -1.25, float("nan")], "n": [1, 2, 3]}
)
MANIFEST = {"key": "k1", "model": "tiny", "settings": {"alphas": [1.0, 2.0], "note": "café"}}
NAMES = ("t.parquet", "t.json", "t.csv")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The three files of a table."""
    folder = tmp_path_factory.mktemp("stored")
    write_table(folder, "t", TABLE, MANIFEST)
    return {name: (folder / name).read_bytes() for name in NAMES}


class Missing:
    """What `read_or_refuse` sees where `read_table` returns None."""


@pytest.mark.parametrize("name", NAMES)
@cases(quick=20, torture=400)
@given(data=st.data())
def test_damaged_tables(
    name: str, data: st.DataObject, stored: dict[str, bytes], tmp_path_factory: Any
) -> None:
    """A damaged file is never read as another table; the others stay as they are."""
    folder = tmp_path_factory.mktemp("tables")
    content = data.draw(any_bytes(stored[name]))
    for each, original in stored.items():
        (folder / each).write_bytes(content if each == name else original)

    def read() -> pd.DataFrame | Missing:
        table = read_table(folder, "t", MANIFEST)
        return Missing() if table is None else table

    outcome = read_or_refuse("stored tables", read)
    assert not outcome.refused
    if isinstance(outcome.value, pd.DataFrame):
        pd.testing.assert_frame_equal(outcome.value, TABLE)
    elif content == stored[name]:
        pytest.fail("an intact table was not read")


def test_a_table_with_another_key_is_not_read(stored: dict[str, bytes], tmp_path: Path) -> None:
    for name, content in stored.items():
        (tmp_path / name).write_bytes(content)
    assert read_table(tmp_path, "t", MANIFEST) is not None
    assert read_table(tmp_path, "t", MANIFEST | {"key": "k2"}) is None


WRITTEN = json.dumps(MANIFEST, indent=1, ensure_ascii=False).encode()


@cases(quick=30, torture=600)
@given(content=any_bytes(WRITTEN))
@example(content=b"[]")
@example(content=b"NaN")
@example(content=b"\xef\xbb\xbf{}")
def test_damaged_json(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "any.json"
    path.write_bytes(content)
    outcome = read_or_refuse("JSON files", lambda: read_json(path), path)
    assert outcome.refused or isinstance(outcome.value, dict)


@cases(quick=10, torture=200)
@given(value=odd_values())
def test_json_that_was_written_is_read_again(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "any.json"
    try:
        write_json(path, {"field": value})
    except (UnicodeEncodeError, ValueError, RecursionError):
        return  # a lone surrogate, or a number with too many digits, is in no file
    outcome = read_or_refuse("JSON files", lambda: read_json(path), path)
    assert outcome.value is not None
    if isinstance(value, str | bool | int | None):
        assert outcome.value == {"field": value}


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000])
def test_deeply_nested_json(content: str, tmp_path: Path) -> None:
    path = tmp_path / "any.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"any\.json"):
        read_json(path)


def test_places_without_json(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.json", tmp_path / ("x" * 5_000)):
        with pytest.raises(InputError, match="cannot be read"):
            read_json(path)
