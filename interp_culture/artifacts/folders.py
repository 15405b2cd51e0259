"""Folders for files that outlive a run."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

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
