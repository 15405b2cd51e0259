"""What is in the cache folder: list it, compare it with its checksums, remove what is of no use."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from interp_culture.artifacts.files import DAMAGED, SCRATCH, file_checksum
from interp_culture.artifacts.folders import cache_dir
from interp_culture.artifacts.stores import folder_fault, read_about
from interp_culture.engine.packaged import PACKAGED

COLUMNS = ["file", "what", "mib", "state"]
MODEL_FILE = "model file"
UNPACKED = "unpacked weights"
# What `prune_cache` removes.
REMAINS = ("damaged", "unfinished", "unknown")


def list_cache(*, verify: bool = False) -> pd.DataFrame:
    """The files and folders of models in the cache, one a row.

    Args:
        verify: compare every file with its checksum, which reads all of them.

    Returns:
        file (its path within the cache), what it is, mib (its size), and state: "" where it was not
        compared, else "whole" or "damaged"; "unfinished" for what a killed process left, "unknown"
        for files that this version does not use.

    >>> import interp_culture as ic
    >>> list(ic.engine.list_cache())
    ['file', 'what', 'mib', 'state']
    """
    folder = cache_dir() / "models"
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    rows = [
        (path.relative_to(cache_dir()).as_posix(), *_what(path, verify))
        for path in paths
        if not path.name.endswith((".lock", ".holder"))
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def prune_cache() -> pd.DataFrame:
    """Remove what is damaged, unfinished or of an earlier version; installed models stay.

    Returns:
        The rows of `list_cache` of what was removed.

    >>> import interp_culture as ic
    >>> ic.engine.prune_cache()  # doctest: +SKIP
    """
    listed = list_cache(verify=True)
    removed = listed[listed.state.isin(REMAINS)]
    for file in removed.file:
        path = cache_dir() / file
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return removed.reset_index(drop=True)


def _what(path: Path, verify: bool) -> tuple[str, float, str]:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    mib = sum(each.stat().st_size for each in files) / 2**20
    for model in PACKAGED.values():
        if path == model.gguf:
            damaged = verify and file_checksum(path) != model.sha256
            return f"{MODEL_FILE} of {model.name}", mib, _state(verify, damaged)
        if path == model.unpacked:
            return f"{UNPACKED} of {model.name}", mib, _state_of_folder(path, verify)
        if path == model.downloads:
            return f"packages of {model.name}", mib, "unfinished"
    if path.name.startswith(SCRATCH):
        return "a write that was cut off", mib, "unfinished"
    if DAMAGED in path.name:
        return "set aside", mib, "damaged"
    return "not in use", mib, "unknown"


def _state_of_folder(path: Path, verify: bool) -> str:
    about = read_about(path)
    if about is None:
        return "unfinished"
    return _state(verify, verify and folder_fault(path, about) is not None)


def _state(verified: bool, damaged: bool) -> str:
    if not verified:
        return ""
    return "damaged" if damaged else "whole"


def free_bytes() -> int:
    """Free bytes on the disk of the cache."""
    folder = cache_dir()
    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free
