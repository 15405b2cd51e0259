"""Finished parts of a table that is being computed, from which a stopped run goes on."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np

from interp_culture.artifacts.files import replacing

# Parts are written at most this often: a small file takes milliseconds, as a small batch does.
SECONDS = 10.0
UNFINISHED = ".unfinished"

_current: ContextVar[Journal | None] = ContextVar("journal", default=None)


class Journal:
    """Arrays in a folder, by the hash of what they come from.

    Args:
        folder: where they are; the folder is made when the first one is written.
        key: of the table that they are parts of.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key
        self._asked: Counter[str] = Counter()
        self._waiting: dict[str, np.ndarray] = {}
        self._written = time.monotonic()

    def name(self, source: bytes) -> str:
        """The name of a part. The same source, asked for again, is another part."""
        base = hashlib.sha256(self.key.encode() + b"\0" + source).hexdigest()[:16]
        self._asked[base] += 1
        return f"{base}-{self._asked[base]}"

    def kept(self, name: str) -> np.ndarray | None:
        """The part of an earlier run; None if there is none, or if its file is damaged."""
        for path in self.folder.glob(f"{name}-*.npy"):
            try:
                array = np.load(path, allow_pickle=False)
            except (OSError, ValueError, EOFError):
                continue
            if path.stem == f"{name}-{_checksum(array)}":
                return array
        return None

    def keep(self, name: str, array: np.ndarray) -> None:
        """Keep a part, on the disk within `SECONDS` and one more part."""
        self._waiting[name] = array
        if time.monotonic() - self._written > SECONDS:
            self.write()

    def write(self) -> None:
        """Write what is kept in memory alone."""
        for name, array in self._waiting.items():
            with replacing(self.folder / f"{name}-{_checksum(array)}.npy") as part:
                np.save(part, array, allow_pickle=False)
        self._waiting.clear()
        self._written = time.monotonic()


def current_journal() -> Journal | None:
    """The journal of the table that is being computed; None outside `journal`."""
    return _current.get()


@contextmanager
def journal(folder: Path, name: str, key: str) -> Iterator[None]:
    """Keep the parts of a table while it is computed.

    An error or an interruption leaves the finished parts on the disk. After the block, `forget`
    them once the table itself is stored.
    """
    kept = Journal(folder / f"{name}{UNFINISHED}", key)
    token = _current.set(kept)
    try:
        yield
    except BaseException:
        kept.write()
        raise
    finally:
        _current.reset(token)


def forget(folder: Path, name: str) -> None:
    """Remove the parts of a finished table."""
    shutil.rmtree(folder / f"{name}{UNFINISHED}", ignore_errors=True)


def _checksum(array: np.ndarray) -> str:
    about = f"{array.dtype} {array.shape}\0".encode()
    return hashlib.sha256(about + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
