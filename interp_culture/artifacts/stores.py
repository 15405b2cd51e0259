"""Folders that are computed once and then opened, with a manifest of what is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from interp_culture.artifacts.files import (
    content_key,
    file_checksum,
    file_fault,
    read_manifest,
    replacing,
    set_aside,
    write_manifest,
)
from interp_culture.artifacts.folders import refuse_file
from interp_culture.artifacts.locks import locked
from interp_culture.errors import InputError

MANIFEST = "manifest.json"
# In the manifest, beside what decides the content.
FILES = "files"
# Facts that a manifest records and that decide no number: the hash of the weights identifies a
# model, under any name and on any device.
NOT_DECIDING = ("model", "revision", "device", FILES)


def folder_once(folder: Path, about: Mapping[str, Any], fill: Callable[[Path], None]) -> Path:
    """The folder that holds what `about` describes; `fill` writes it if there is none.

    Every file's checksum is in the manifest, which is written last, and is compared each time the
    folder is opened. Of two processes one fills the folder, and the other waits and opens it.

    Args:
        fill: writes the files into the empty folder that it is given.

    Raises:
        InputError: a path that is a file, or a disk that cannot be written to.

    Warns:
        DamageWarning: a file is not the one that was written; the folder is set aside.
    """
    refuse_file(folder)
    if _holds(folder, about):
        return folder
    with locked(folder):
        # Filled by another process meanwhile?
        if not _holds(folder, about):
            with replacing(folder) as part:
                part.mkdir()
                fill(part)
                write_manifest(part / MANIFEST, {**about, FILES: _checksums(part)})
    return folder


def read_about(folder: Path) -> dict[str, Any] | None:
    """The manifest of a finished folder; None for any other folder."""
    try:
        stored = read_manifest(folder / MANIFEST)
    except InputError:
        return None
    return stored if isinstance(stored.get(FILES), dict) else None


def folder_fault(folder: Path, manifest: Mapping[str, Any]) -> str | None:
    """Which file of a folder is not the one that was written; None if all are."""
    faults = (file_fault(folder / name, known, name) for name, known in manifest[FILES].items())
    return next(filter(None, faults), None)


def _holds(folder: Path, about: Mapping[str, Any]) -> bool:
    stored = read_about(folder)
    if stored is None or content_key(_deciding(stored)) != content_key(_deciding(about)):
        return False
    fault = folder_fault(folder, stored)
    if fault is not None:
        set_aside(folder, fault)
    return fault is None


def _deciding(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a manifest that decides the content."""
    return {name: value for name, value in manifest.items() if name not in NOT_DECIDING}


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_checksum(path) for path in files}
