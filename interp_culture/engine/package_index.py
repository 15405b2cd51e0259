"""Download packages from the package index with pip, without installing them.

pip runs as a program of its own, so that the user's settings of index, proxy and certificates hold.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired

from interp_culture.errors import InputError

# Seconds between two looks at how much has been downloaded.
POLL = 0.5
# Words of pip's warnings when it has not reached the index at all.
UNREACHABLE = ("connection broken", "connection error", "max retries", "timed out", "ssl cert")


def wheel_of(package: str, version: str, folder: Path) -> Path | None:
    """The wheel of a package that lies in the folder; None if there is none."""
    # File names of wheels have an underscore for each hyphen of the package's name.
    stem = package.replace("-", "_")
    wheels = sorted(folder.glob(f"{stem}-{version}-*.whl"))
    return wheels[0] if wheels else None


def download_wheel(
    package: str, version: str, folder: Path, on_bytes: Callable[[int], None]
) -> Path:
    """Download a package's wheel into an existing folder, whole or not at all.

    Args:
        on_bytes: is called with the number of bytes that have arrived, again and again.

    Returns:
        The wheel's path in the folder.

    Raises:
        InputError: there is no pip, no network, no such package, or no space on the disk.
    """
    requirement = f"{package}=={version}"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as name:
        scratch = Path(name)
        failure = _run_pip(requirement, scratch, lambda: on_bytes(_size(scratch)))
        wheel = wheel_of(package, version, scratch)
        if failure is not None:
            raise InputError(_failure_message(requirement, failure))
        if wheel is None:
            raise InputError(f"pip downloaded {requirement}, but it is not a wheel of that name")
        # A wheel in the folder is whole, because it is moved there only now.
        path = folder / wheel.name
        os.replace(wheel, path)
        return path


def _run_pip(requirement: str, scratch: Path, on_wait: Callable[[], None]) -> str | None:
    """Download a wheel into `scratch`; returns pip's messages if that fails."""
    command = [sys.executable, "-m", "pip", "download", requirement, "--dest", str(scratch)]
    # Wheels alone: pip would run the build script of a source archive.
    command += ["--no-deps", "--only-binary", ":all:", "--quiet", "--no-input", "--no-cache-dir"]
    # pip writes to its temporary folder first. In `scratch` that is on the disk with the space
    # that was checked, it can be watched growing, and an interruption leaves nothing behind.
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    environment = {**os.environ, **temporary}
    with Popen(command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, env=environment) as process:
        try:
            while True:
                try:
                    _, messages = process.communicate(timeout=POLL)
                    break
                except TimeoutExpired:
                    on_wait()
        except BaseException:
            process.kill()
            raise
    return messages.decode(errors="replace") if process.returncode else None


def _size(folder: Path) -> int:
    """Bytes of all files in the folder. pip moves files and folders while they are counted."""
    total = 0
    # Unlike `Path.rglob`, it passes over folders that are gone when it comes to them.
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(parent, name).stat().st_size
            except FileNotFoundError:
                continue
    return total


def _failure_message(requirement: str, messages: str) -> str:
    """Why pip has failed, and what to do."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    reason = (errors or lines or ["no message"])[-1].removeprefix("ERROR:").strip()
    lowered = messages.lower()
    if "no module named pip" in lowered:
        return "this Python environment has no pip; run: python -m ensurepip"
    if "no space left" in lowered:
        return f"the disk is full, so that {requirement} could not be downloaded: {reason}"
    if any(word in lowered for word in UNREACHABLE):
        return (
            f"the package index could not be reached for {requirement}: check the network and "
            f"pip's settings (pip config list), then run the command again: {reason}"
        )
    return (
        f"the package index did not give {requirement}: check the network and which index pip uses "
        f"(pip config list): {reason}"
    )
