"""Writes are atomic, manifests come last, and unfinished tables are computed again."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from interp_culture.artifacts.files import content_key, read_json, replacing
from interp_culture.artifacts.folders import cache_dir, make_folder, prepare_file
from interp_culture.artifacts.tables import read_table, table_once
from interp_culture.errors import InputError

TABLE = pd.DataFrame({"axis": ["X", "Y"], "value": [0.1, 0.2]})


def test_a_finished_table_is_read_not_computed(tmp_path: Path) -> None:
    calls = []

    def compute() -> pd.DataFrame:
        calls.append(1)
        return TABLE

    for _ in range(2):
        pd.testing.assert_frame_equal(table_once(tmp_path, "t", {"key": "k1"}, compute), TABLE)
    assert len(calls) == 1
    table_once(tmp_path, "t", {"key": "k2"}, compute)
    assert len(calls) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv", "t.json", "t.parquet"]


def test_a_table_without_its_manifest_is_unfinished(tmp_path: Path) -> None:
    table_once(tmp_path, "t", {"key": "k"}, lambda: TABLE)
    (tmp_path / "t.json").unlink()
    assert read_table(tmp_path, "t", {"key": "k"}) is None


@pytest.mark.parametrize("content", ["[]", "3", '"key"', "null"])
def test_json_without_fields_is_no_manifest(content: str, tmp_path: Path) -> None:
    table_once(tmp_path, "t", {"key": "k"}, lambda: TABLE)
    path = tmp_path / "t.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"t\.json: it holds a \w+, not an object with fields"):
        read_json(path)
    assert read_table(tmp_path, "t", {"key": "k"}) is None


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_bytes(b"{")
    for name, reason in (("t.json", "not readable as UTF-8 JSON"), ("u.json", "cannot be read")):
        with pytest.raises(InputError, match=f"{name}: {reason}"):
            read_json(tmp_path / name)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_keys_follow_content_not_order() -> None:
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})


def test_folders_that_cannot_be_written_raise(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"cannot write there .*choose another folder with --out"):
        make_folder(tmp_path / "file" / "inside")


def test_a_folder_is_not_replaced_by_a_file_nor_a_file_by_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    kept = folder / "kept.txt"
    kept.write_text("mine")

    def write_file() -> None:
        with replacing(folder) as part:
            part.write_text("new")

    def write_folder() -> None:
        with replacing(kept) as part:
            part.mkdir()

    for refused, reason in (
        (write_file, "mine: cannot write there .it is a folder"),
        (lambda: prepare_file(folder), "mine: cannot write there .it is a folder"),
        (write_folder, "kept.txt: cannot write there .it is a file"),
        (lambda: make_folder(kept), "kept.txt: cannot write there .it is a file"),
    ):
        with pytest.raises(InputError, match=reason):
            refused()
    assert kept.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_is_replaced_by_a_folder(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with replacing(tmp_path / "cache") as part:
            part.mkdir()
            (part / name).write_text("x")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["new"]


def test_the_cache_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INTERP_CULTURE_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("INTERP_CULTURE_CACHE")
    monkeypatch.chdir(tmp_path)
    assert cache_dir() != tmp_path / "cache"
    (tmp_path / "cache").mkdir()
    assert cache_dir() == tmp_path / "cache"


def test_a_table_replaced_under_an_old_manifest_is_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that stops after the parquet file leaves the manifest of the earlier table."""
    table_once(tmp_path, "t", {"key": "old"}, lambda: TABLE)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_csv", full)
        with pytest.raises(InputError, match=r"t\.csv: cannot be written .No space left on device"):
            table_once(tmp_path, "t", {"key": "new"}, lambda: TABLE.assign(value=9.0))
    assert read_table(tmp_path, "t", {"key": "old"}) is None
    pd.testing.assert_frame_equal(table_once(tmp_path, "t", {"key": "old"}, lambda: TABLE), TABLE)
