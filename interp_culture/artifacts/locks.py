"""Locks between processes that write the same file or folder."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from interp_culture.artifacts.files import DISK_ERRORS

log = logging.getLogger(__name__)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder, which one process can hold at a time.

    A second process waits, and its log says for whom. The lock ends with its process, however that
    ends. Where no lock file can be written, nothing else can be written either: the block runs
    without a lock.
    """
    lock_file = path.with_name(f".{path.name}.lock")
    holder = path.with_name(f".{path.name}.holder")
    # A singleton, so that a process that holds the lock can take it again.
    lock = FileLock(lock_file, is_singleton=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.warning("%s is in use by %s; waiting until it is free", path, _told(holder))
            lock.acquire()
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        yield
        return
    try:
        if lock.lock_counter == 1:
            holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        yield
    finally:
        if lock.lock_counter == 1:
            holder.unlink(missing_ok=True)
        lock.release()


def _told(holder: Path) -> str:
    """Who holds a lock, as far as the holder wrote it down."""
    try:
        about = json.loads(holder.read_text())
        return f"process {about['pid']} on {about['host']}"
    except (OSError, ValueError, KeyError):
        return "another process"
