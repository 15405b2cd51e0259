"""A finished study, read from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from interp_culture.artifacts.files import read_json
from interp_culture.artifacts.tables import read_table
from interp_culture.errors import InputError
from interp_culture.study.summary import Manifest, Summary, read_manifest, read_summary


@dataclass(frozen=True)
class FinishedStudy:
    """The summary, the manifest and the tables of one study.

    Attributes:
        folder: the folder that the study wrote.
        summary: the content of `summary.json`.
        manifest: the content of `manifest.json`.
    """

    folder: Path
    summary: Summary
    manifest: Manifest

    def table(self, name: str, key: str | None = None) -> pd.DataFrame:
        """A stored table of this study.

        Args:
            key: the key of the table, where it is not that of the study.

        Raises:
            InputError: the table is missing, unfinished or of another study.
        """
        table = read_table(self.folder, name, {"key": key or self.manifest["key"]})
        if table is None:
            raise InputError(
                f"{self.folder}: table {name} is missing, unfinished or of another study than the "
                f"summary; {_run_again(self.folder)}"
            )
        return table

    def analysis_tables(self, analysis: str) -> dict[str, pd.DataFrame] | None:
        """The tables of an analysis by name; None if it was not finished for this study."""
        path = self.folder / f"{analysis}.tables.json"
        if not path.exists():
            return None
        stored = read_json(path)
        # An analysis of an earlier study may still be in the folder.
        if stored.get("study") != self.manifest["key"]:
            return None
        return {name: self.table(f"{analysis}.{name}", stored["key"]) for name in stored["tables"]}


def read_study(folder: str | Path) -> FinishedStudy:
    """The finished study of a folder (`StudyConfig.out`).

    Raises:
        InputError: no finished study is in the folder, or its files are of different studies.

    >>> read_study("no/such/folder")
    Traceback (most recent call last):
    interp_culture.errors.InputError: no/such/folder: no finished study there ...
    """
    folder = Path(folder)
    try:
        summary = read_summary(folder)
        manifest = read_manifest(folder)
    except (InputError, KeyError) as error:
        raise InputError(
            f"{folder}: no finished study there ({error}); "
            f"run `interp-culture study --out {folder}`"
        ) from error
    # The manifest is written last: a run that was cut off leaves the keys apart.
    if manifest.get("key") is None or summary.get("key") != manifest["key"]:
        raise InputError(
            f"{folder}: summary.json and manifest.json are of different studies; "
            f"{_run_again(folder)}"
        )
    return FinishedStudy(folder, summary, manifest)


def _run_again(folder: Path) -> str:
    return (
        f"run the study again with `interp-culture study --out {folder}`; "
        "finished steps are not computed again"
    )
