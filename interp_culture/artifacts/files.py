"""Files that are written whole or not at all, and their checksums."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from interp_culture.artifacts.folders import refuse_file, refuse_folder
from interp_culture.errors import InputError

# Errors of a disk, as opposed to those of whoever writes to it.
DISK_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV),
}
DAMAGED = ".damaged"
SCRATCH = ".writing-"
SEAL = "seal"


class DamageWarning(UserWarning):
    """A stored file is not what was written; it is set aside and computed again."""


def content_key(content: Any) -> str:
    """A short hash of JSON content. Equal content has an equal hash, in any order of its keys.

    Anything that JSON cannot hold counts as its text (`str`).

    >>> content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    True
    """
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_checksum(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_fault(path: Path, checksum: str | None, name: str = "") -> str | None:
    """What is wrong with a file that had this checksum when it was written; None if nothing is.

    Args:
        name: of the file in the message; "" where the message has it anyway.
    """
    try:
        if file_checksum(path) == checksum:
            return None
    except OSError as error:
        return f"{name or 'it'} cannot be read: {error.strerror}"
    return f"{f'the checksum of {name}' if name else 'its checksum'} is wrong"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path. If the block succeeds, it replaces `path`, a file or a folder.

    What was written is on the disk before it gets its name, so that a power cut leaves the old
    content or the new one, never a part.

    Raises:
        InputError: a file would replace a folder or the reverse, or the disk is full or cannot be
            written to. Then `path` stays as it is.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder as `path`, since `os.replace` is atomic only within one file system.
        scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f"{SCRATCH}{path.name}-"))
        try:
            part = scratch / path.name
            yield part
            _put(part, path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); what was finished before is "
            "kept: free some space or choose another folder, and run the same command again"
        ) from error


def remove_scratch(folder: Path) -> None:
    """Remove what a process that was killed in the middle of a write has left behind."""
    for left in folder.glob(f"{SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)


def _put(part: Path, path: Path) -> None:
    """Move a finished file or folder to its name, all of it on the disk before."""
    for each in [part, *part.rglob("*")] if part.is_dir() else [part]:
        _sync(each)
    if part.is_file():
        refuse_folder(path)
    elif path.exists():
        refuse_file(path)
        # `os.replace` does not replace a folder with files in it.
        os.replace(path, part.with_name(f"{path.name}.old"))
    os.replace(part, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Have the disk hold what was written to a file, or the names in a folder."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folder.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(path: Path, reason: str) -> None:
    """Rename a damaged file or folder, and warn of it.

    Warns:
        DamageWarning: always.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}{DAMAGED}-{number}")).exists():
        number += 1
    try:
        os.replace(path, aside)
        kept = f"it is kept as {aside.name}"
    except OSError as error:
        kept = f"it stays there ({error.strerror})"
    warnings.warn(
        f"{path} is damaged ({reason}); {kept}, and computed again", DamageWarning, stacklevel=3
    )


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
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as UTF-8 JSON ({error})") from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise InputError(f"{path}: it holds a {kind}, not an object with fields")
    return content


def write_manifest(path: Path, content: Mapping[str, Any]) -> None:
    """`write_json` with a seal: a hash of the content, by which `read_manifest` knows it."""
    written = _without_nan(dict(content))
    write_json(path, {**written, SEAL: content_key(written)})


def read_manifest(path: Path) -> dict[str, Any]:
    """The content that `write_manifest` wrote, without its seal.

    Raises:
        InputError: as `read_json`, or a content that was changed since.
    """
    content = read_json(path)
    seal = content.pop(SEAL, None)
    if seal != content_key(content):
        raise InputError(f"{path}: it was changed since it was written, or is of another kind")
    return content


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
