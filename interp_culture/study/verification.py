"""Whether the files of a study are those that were written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from interp_culture.artifacts.files import DAMAGED, file_fault, read_manifest
from interp_culture.artifacts.journal import UNFINISHED
from interp_culture.artifacts.stores import folder_fault, read_about
from interp_culture.errors import InputError
from interp_culture.steering.vector_files import load_vectors
from interp_culture.study.finished import read_study

COLUMNS = ["file", "state", "detail"]


def verify_study(folder: str | Path) -> pd.DataFrame:
    """Compare the files of a study with their manifests.

    Tables, activations, gradients and vectors have a checksum from when they were written. A table
    of another key belongs to an earlier study in the folder, or to one with other settings.

    Returns:
        file, state ("whole", "damaged", "missing", "earlier", "unfinished" or "set aside") and
        detail (what is wrong, in words; empty for a whole file).

    Raises:
        InputError: no finished study in the folder.

    >>> verify_study("no/such/folder")
    Traceback (most recent call last):
    interp_culture.errors.InputError: no/such/folder: no finished study there ...
    """
    study = read_study(folder)
    rows = [
        *_tables(study.folder, study.manifest["key"]),
        *_stores(study.folder),
        *_vectors(study.folder),
        *_remains(study.folder),
    ]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values("file", ignore_index=True)


def _tables(folder: Path, key: str) -> Iterator[tuple[str, str, str]]:
    for path in folder.glob("*.json"):
        if not path.with_suffix(".parquet").exists() and not path.with_suffix(".csv").exists():
            continue
        try:
            manifest = read_manifest(path)
        except InputError as error:
            yield path.name, "damaged", str(error)
            continue
        # A table of an analysis of your own has a key that also covers the analysis' code.
        belongs = key in (manifest.get("key"), manifest.get("study"))
        for suffix, checksum in ((".parquet", "sha256"), (".csv", "csv_sha256")):
            table = path.with_suffix(suffix)
            fault = file_fault(table, manifest.get(checksum))
            if not table.exists():
                yield table.name, "missing", "its manifest is there; run the study again"
            elif fault is not None:
                yield table.name, "damaged", fault
            else:
                earlier = "" if belongs else "of an earlier study, or one with other settings"
                yield table.name, "whole" if belongs else "earlier", earlier


def _stores(folder: Path) -> Iterator[tuple[str, str, str]]:
    for path in folder.iterdir():
        about = read_about(path) if path.is_dir() and DAMAGED not in path.name else None
        if about is not None:
            fault = folder_fault(path, about)
            yield path.name, "whole" if fault is None else "damaged", fault or ""


def _vectors(folder: Path) -> Iterator[tuple[str, str, str]]:
    for path in folder.glob("*vectors.safetensors"):
        try:
            load_vectors(path)
        except InputError as error:
            yield path.name, "damaged", str(error)
        else:
            yield path.name, "whole", ""


def _remains(folder: Path) -> Iterator[tuple[str, str, str]]:
    for path in folder.iterdir():
        if path.name.endswith(UNFINISHED):
            detail = "parts of a table that was not finished; the next run goes on from there"
            yield path.name, "unfinished", detail
        elif DAMAGED in path.name:
            yield path.name, "set aside", "damaged and computed again; remove it when you like"
