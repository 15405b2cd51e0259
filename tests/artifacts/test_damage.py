"""A stored file that is not the one that was written is noticed, set aside and computed anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from interp_culture.artifacts import files as files_module
from interp_culture.artifacts.files import DamageWarning, file_checksum, remove_scratch, replacing
from interp_culture.artifacts.stores import folder_once
from interp_culture.artifacts.tables import keep_table, read_table, table_once
from interp_culture.errors import InputError

TABLE = pd.DataFrame({"axis": ["X", "Y"], "value": [0.1, 0.2]})
Spoil = Callable[[bytes], bytes]
SPOILT: dict[str, Spoil] = {
    "flipped": lambda b: b[: len(b) // 2] + bytes([b[len(b) // 2] ^ 1]) + b[len(b) // 2 + 1 :],
    "cut off": lambda b: b[: len(b) // 2],
    "empty": lambda b: b"",
    "foreign": lambda b: b"PAR1 of somebody else",
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_damaged_table_is_set_aside_and_computed_again(spoil: str, tmp_path: Path) -> None:
    table_once(tmp_path, "t", {"key": "k"}, lambda: TABLE)
    path = tmp_path / "t.parquet"
    path.write_bytes(SPOILT[spoil](path.read_bytes()))
    with pytest.warns(DamageWarning, match=r"t\.parquet is damaged .its checksum is wrong.*-1, "):
        again = table_once(tmp_path, "t", {"key": "k"}, lambda: TABLE)
    pd.testing.assert_frame_equal(again, TABLE)
    assert (tmp_path / "t.parquet.damaged-1").exists()
    stored = read_table(tmp_path, "t", {"key": "k"})
    assert stored is not None
    pd.testing.assert_frame_equal(stored, TABLE)


def test_the_csv_has_a_checksum_too(tmp_path: Path) -> None:
    table_once(tmp_path, "t", {"key": "k"}, lambda: TABLE)
    manifest = json.loads((tmp_path / "t.json").read_text())
    assert manifest["csv_sha256"] == file_checksum(tmp_path / "t.csv")


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_damaged_folder_is_set_aside_and_filled_again(spoil: str, tmp_path: Path) -> None:
    filled = []

    def fill(part: Path) -> None:
        filled.append(part)
        (part / "inner").mkdir()
        (part / "inner" / "numbers.bin").write_bytes(b"0123456789")

    folder = tmp_path / "cache"
    for _ in range(2):
        folder_once(folder, {"of": "model"}, fill)
    assert len(filled) == 1
    path = folder / "inner" / "numbers.bin"
    path.write_bytes(SPOILT[spoil](path.read_bytes()))
    with pytest.warns(DamageWarning, match=r"the checksum of inner/numbers\.bin is wrong"):
        folder_once(folder, {"of": "model"}, fill)
    assert path.read_bytes() == b"0123456789"
    assert (tmp_path / "cache.damaged-1").is_dir()


def test_a_folder_without_its_manifest_is_unfinished(tmp_path: Path) -> None:
    folder = folder_once(tmp_path / "cache", {"of": 1}, lambda part: (part / "a").touch())
    (folder / "manifest.json").unlink()
    filled = []
    folder_once(folder, {"of": 1}, filled.append)
    assert len(filled) == 1
    folder_once(folder, {"of": 2}, filled.append)
    assert len(filled) == 2


def test_what_is_written_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    sync, replace = files_module.os.fsync, files_module.os.replace
    monkeypatch.setattr(files_module.os, "fsync", lambda fd: order.append("sync") or sync(fd))
    monkeypatch.setattr(
        files_module.os, "replace", lambda *names: order.append("name") or replace(*names)
    )
    with replacing(tmp_path / "a.txt") as part:
        part.write_text("whole")
    assert order == ["sync", "name", "sync"]


@pytest.mark.parametrize("number", [28, 30, 5, 116])
def test_a_disk_that_fails_is_an_error_with_the_way_out(number: int, tmp_path: Path) -> None:
    """No space, read-only, input/output error, a network folder that is gone."""
    (tmp_path / "a.txt").write_text("old")

    def write() -> None:
        with replacing(tmp_path / "a.txt") as part:
            part.write_text("half")
            raise OSError(number, "the disk says no")

    with pytest.raises(InputError, match=r"a\.txt: cannot be written .the disk says no.*is kept"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".writing-t.parquet-x1"
    left.mkdir()
    (left / "t.parquet").write_text("half")
    (tmp_path / ".mine").touch()
    remove_scratch(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".mine"]


def test_the_same_table_is_not_written_again(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [1.5, float("nan")], "name": ["x", "y"]})
    keep_table(tmp_path, "t", table, {"key": "k"})
    before = (tmp_path / "t.parquet").stat().st_mtime_ns
    keep_table(tmp_path, "t", table, {"key": "k"})
    assert (tmp_path / "t.parquet").stat().st_mtime_ns == before
    for other, key in ((table.assign(a=2.0), "k"), (table, "other")):
        keep_table(tmp_path, "t", other, {"key": key})
        stored = read_table(tmp_path, "t", {"key": key})
        assert stored is not None
        assert stored.equals(other)
