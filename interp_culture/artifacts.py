"""Files that outlive a run: the cache folder, atomic writes, tables with their manifests."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from interp_culture.errors import InputError


def cache_dir() -> Path:
    """The folder for downloads and computed caches.

    It is `$INTERP_CULTURE_CACHE` if that is set; else `cache/` in the working directory if it
    exists (a clone of the repository has it); else the user's cache folder of the platform.
    """
    from_environment = os.environ.get("INTERP_CULTURE_CACHE")
    if from_environment:
        return Path(from_environment)
    in_clone = Path("cache")
    if in_clone.is_dir():
        return in_clone.resolve()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("interp-culture"))


def content_key(content: Any) -> str:
    """A short hash of JSON content. Equal content has an equal hash, in any order of its keys.

    Anything that JSON cannot hold counts as its text (`str`).

    >>> content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    True
    """
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_folder(path: str | Path) -> Path:
    """The folder, created if it does not exist. Raises InputError if it cannot be written to."""
    folder = Path(path)
    refuse_file(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Permission bits do not tell whether a write succeeds (a read-only mount, a full quota).
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}: cannot write there ({error.strerror}); choose another folder with --out"
        ) from error
    return folder


def refuse_file(path: str | Path) -> None:
    """Raise InputError if a file is where a folder is to be written."""
    if Path(path).is_file():
        raise InputError(f"{path}: cannot write there (it is a file); give the path of a folder")


def refuse_folder(path: str | Path) -> None:
    """Raise InputError if a folder is where a file is to be written."""
    if Path(path).is_dir():
        raise InputError(f"{path}: cannot write there (it is a folder); give the path of a file")


def prepare_file(path: str | Path) -> None:
    """Make the folder of a file that will be written. Call it before a long computation.

    Raises:
        InputError: the path is a folder, or its folder cannot be written to.
    """
    refuse_folder(path)
    make_folder(Path(path).parent)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path. If the block succeeds, it replaces `path`, a file or a folder.

    Raises InputError, and leaves `path` as it is, if a file would replace a folder or the reverse.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder as `path`, since `os.replace` is atomic only within one file system.
    scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        part = scratch / path.name
        yield part
        if part.is_file():
            refuse_folder(path)
        elif path.exists():
            refuse_file(path)
            # `os.replace` does not replace a folder with files in it.
            shutil.rmtree(path)
        os.replace(part, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, atomically. NaN and infinity become null, since JSON has neither."""
    text = json.dumps(
        _without_nan(content), indent=2, ensure_ascii=False, default=str, allow_nan=False
    )
    with replacing(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: no such file, a file that is not UTF-8 JSON, or JSON that is not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: not readable as UTF-8 JSON ({error})") from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise InputError(f"{path}: it holds a {kind}, not an object with fields")
    return content


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def write_table(folder: Path, name: str, table: pd.DataFrame, manifest: Mapping[str, Any]) -> None:
    """Write `name.parquet`, `name.csv` and, last, the manifest `name.json`.

    A table without a manifest is unfinished. The manifest also holds the checksum of the parquet
    file, so that a write that was interrupted before the manifest is detected, even if the folder
    has the manifest of an earlier table.

    Args:
        manifest: what decides the table; `read_table` compares its "key".
    """
    with replacing(folder / f"{name}.parquet") as part:
        table.to_parquet(part, index=False)
        checksum = file_checksum(part)
    with replacing(folder / f"{name}.csv") as part:
        # Six digits, since the CSV file is for people; `read_table` reads the parquet file.
        table.to_csv(part, index=False, float_format="%.6g")
    write_json(folder / f"{name}.json", {**manifest, "sha256": checksum})


def file_checksum(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_table(folder: Path, name: str, manifest: Mapping[str, Any]) -> pd.DataFrame | None:
    """The stored table, or None if there is no finished table with the manifest's "key".

    Finished means that the stored manifest has the checksum of the parquet file.
    """
    path = folder / f"{name}.parquet"
    try:
        stored = read_json(folder / f"{name}.json")
        same_key = stored.get("key") == manifest["key"]
        if same_key and stored.get("sha256") == file_checksum(path):
            return pd.read_parquet(path)
        return None
    except (OSError, ValueError):
        return None


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
    return table
