"""Finished studies of several models, side by side, on the scenarios that all of them read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pandas as pd

from interp_culture.artifacts.files import content_key
from interp_culture.artifacts.folders import make_folder
from interp_culture.artifacts.sources import source_hash
from interp_culture.artifacts.tables import write_table
from interp_culture.coupling.responses import response, response_matrix
from interp_culture.errors import InputError
from interp_culture.readout.formats import Readout
from interp_culture.study.agreement import check_agreement, common_readout, differing_settings
from interp_culture.study.compared_tables import (
    Studies,
    by_model,
    costs,
    item_effects,
    model_labels,
    profiles,
    stacked,
    step_rows,
    study_rows,
)
from interp_culture.study.finished import FinishedStudy, read_study
from interp_culture.study.paired import paired_differences, shared_scenarios
from interp_culture.study.summary import Summary
from interp_culture.survey import culture_map


@dataclass(frozen=True)
class Comparison:
    """Studies side by side: tidy tables with a column `model`, and each study's summary.

    `ic.study.COMPARISON_SCHEMAS` names the columns of every table. A table is None where the
    studies have nothing to fill it with.

    Attributes:
        readout: the readout by which all models are compared.
        n_shared: held-out scenarios that all studies read; effects are measured on these alone.
        summaries: by model, with the responses and the matrix of the shared scenarios.
        studies: a row per study: model, device, dtype, layers.
        settings: the fields that differ and may differ.
        matrix: the response matrix of every model.
        response: the effect of every model, steered axis and alpha.
        places: positions on the cultural map; None if the items are not those of the map.
        profile: the effect of steering one layer, by relative depth; None if the primary readouts
            differ, since a sweep is read by the primary readout.
        steps: the step of every intervention as a share of the residual norm.
        items: score and steering effect by item.
        validity: the check of every readout on every model.
        cost: the divergence on neutral text at the strengths that all studies have; None if no
            study has the analysis `coefficients`.
        differences: differences between models, paired by scenario.
    """

    readout: Readout
    n_shared: int
    summaries: Mapping[str, Summary]
    studies: pd.DataFrame
    settings: pd.DataFrame
    matrix: pd.DataFrame
    response: pd.DataFrame
    places: pd.DataFrame | None
    profile: pd.DataFrame | None
    steps: pd.DataFrame
    items: pd.DataFrame
    validity: pd.DataFrame
    cost: pd.DataFrame | None
    differences: pd.DataFrame

    @property
    def models(self) -> list[str]:
        """The labels of the models, in the order of the folders."""
        return list(self.summaries)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name, without those that are None."""
        return {
            name: value for name, value in vars(self).items() if isinstance(value, pd.DataFrame)
        }


def compare(folders: Sequence[str | Path], readout: str | None = None) -> Comparison:
    """Compare finished studies of several models.

    Effects are computed again from the stored readouts, on the held-out scenarios that all studies
    share. No model is loaded.

    Args:
        folders: two or more folders of finished studies (`StudyConfig.out`).
        readout: letters or continuation; by default the primary readout, which then has to be the
            same in all studies.

    Raises:
        InputError: fewer than two folders, a folder without a finished study, studies that differ
            in what must agree (the message names field and values), or no shared scenario.

    >>> compare(["results/a"])
    Traceback (most recent call last):
    interp_culture.errors.InputError: a comparison needs two or more studies; got 1: results/a
    """
    read = _read_all(folders)
    check_agreement(read)
    chosen = common_readout(read, readout)
    studies = dict(zip(model_labels(read), read, strict=True))
    readouts = _shared_readouts(studies, chosen)
    matrix = by_model(readouts, response_matrix)
    responses = by_model(readouts, response)
    on_map = all(culture_map.covers(set(table["item"])) for table in readouts.values())
    one_sweep = len({study.summary["primary_readout"] for study in read}) == 1
    return Comparison(
        readout=chosen,
        n_shared=next(iter(readouts.values())).id.nunique(),
        summaries={
            model: _on_shared(study.summary, chosen, matrix, responses, model)
            for model, study in studies.items()
        },
        studies=study_rows(studies),
        settings=differing_settings(read, list(studies)),
        matrix=matrix,
        response=responses,
        places=by_model(readouts, culture_map.places) if on_map else None,
        profile=profiles(studies) if one_sweep else None,
        steps=stacked({model: step_rows(study) for model, study in studies.items()}),
        items=by_model(readouts, item_effects),
        validity=stacked({model: study.table("validity") for model, study in studies.items()}),
        cost=costs(studies),
        differences=paired_differences(readouts),
    )


def save_comparison(comparison: Comparison, folder: str | Path) -> Path:
    """Write every table as `NAME.parquet` and `NAME.csv`, with a manifest; returns the folder.

    >>> save_comparison(compare(["results/a", "results/b"]), "results/compare")  # doctest: +SKIP
    PosixPath('results/compare')
    """
    path = make_folder(folder)
    keys = comparison.studies.set_index("model").key.to_dict()
    content = {
        "studies": keys,
        "readout": comparison.readout,
        "source": source_hash("interp_culture"),
    }
    for name, table in comparison.tables.items():
        write_table(path, name, table, {**content, "key": content_key(content)})
    return path


def _read_all(folders: Sequence[str | Path]) -> list[FinishedStudy]:
    paths = [Path(folder) for folder in folders]
    if len(paths) < 2:
        given = ", ".join(map(str, paths)) or "none"
        raise InputError(f"a comparison needs two or more studies; got {len(paths)}: {given}")
    places = [path.resolve() for path in paths]
    if repeated := [str(p) for p, at in zip(paths, places, strict=True) if places.count(at) > 1]:
        raise InputError(f"{repeated[0]}: this folder is given twice; give every study once")
    return [read_study(path) for path in paths]


def _shared_readouts(studies: Studies, readout: Readout) -> dict[str, pd.DataFrame]:
    """The readouts of every study on the held-out scenarios that all studies have."""
    tables = shared_scenarios([study.table(f"steered_{readout}") for study in studies.values()])
    if tables[0].empty:
        raise InputError("these studies share no held-out scenario; use the same `test_per_cell`")
    return dict(zip(studies, tables, strict=True))


def _on_shared(
    summary: Summary,
    readout: Readout,
    matrix: pd.DataFrame,
    responses: pd.DataFrame,
    model: str,
) -> Summary:
    """The summary of a study with the numbers of the shared scenarios and of this readout."""
    own_matrix = matrix[matrix.model == model].assign(readout=readout, value="shift")
    own_responses = responses[responses.model == model]
    changed = {
        "primary_readout": readout,
        "matrix": own_matrix.drop(columns="model").to_dict("records"),
        "response": own_responses.drop(columns="model").to_dict("records"),
    }
    return cast("Summary", {**summary, **changed})
