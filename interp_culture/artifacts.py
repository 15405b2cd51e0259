"""Files that outlive a run: the cache folder, tables with their manifests, atomic writes."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from interp_culture.errors import InputError


def cache_dir() -> Path:
    """`$INTERP_CULTURE_CACHE`, else `cache/` where there is one (a clone), else the user's cache folder."""
    if chosen := os.environ.get("INTERP_CULTURE_CACHE"):
        return Path(chosen)
    if (local := Path("cache")).is_dir():
        return local.resolve()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("interp-culture"))


def content_key(content: Any) -> str:
    """A short hash of anything that JSON can hold: equal content, equal key."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[
        :16
    ]


def make_folder(path: str | Path) -> Path:
    """The folder, created where needed and known to be writable; else InputError."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}: cannot write there ({error.strerror}); choose another folder with --out"
        ) from error
    return folder


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that takes the place of `path` (file or folder) only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        part = scratch / path.name
        yield part
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(part, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Pretty JSON, atomically; what is not a number is null, since JSON knows no NaN."""
    text = json.dumps(
        _without_nan(content), indent=2, ensure_ascii=False, default=str, allow_nan=False
    )
    with replacing(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_table(folder: Path, name: str, table: pd.DataFrame, manifest: dict[str, Any]) -> None:
    """`name.parquet` and `name.csv`, then `name.json`, the manifest, last: without it the table is unfinished.

    The manifest holds the checksum of the parquet file. So a write that was cut off between the two is seen,
    whatever lay in the folder before: a manifest counts for the bytes that it was written for alone.
    """
    with replacing(folder / f"{name}.parquet") as part:
        table.to_parquet(part, index=False)
        checksum = file_checksum(part)
    with replacing(folder / f"{name}.csv") as part:
        table.to_csv(part, index=False, float_format="%.6g")
    write_json(folder / f"{name}.json", {**manifest, "sha256": checksum})


def file_checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_table(folder: Path, name: str, manifest: dict[str, Any]) -> pd.DataFrame | None:
    """The finished table whose manifest has the same key and was written for these very bytes, or None."""
    path = folder / f"{name}.parquet"
    try:
        stored = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        if stored.get("key") != manifest["key"] or stored.get("sha256") != file_checksum(path):
            return None
        return pd.read_parquet(path)
    except (OSError, ValueError):
        return None


def table_once(
    folder: Path, name: str, manifest: dict[str, Any], compute: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    """The stored table of the same key, or the computed one, stored: what makes a study resumable."""
    table = read_table(folder, name, manifest)
    if table is None:
        table = compute()
        write_table(folder, name, table, manifest)
    return table
