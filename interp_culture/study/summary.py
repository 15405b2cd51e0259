"""The tables that follow from a study's readouts, and the typed summary that its report reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import pandas as pd

from interp_culture.artifacts.files import read_json
from interp_culture.coupling.null import random_effects
from interp_culture.coupling.responses import domain_shifts, response, response_matrix
from interp_culture.engine.leaks import Kind
from interp_culture.readout.formats import Readout
from interp_culture.readout.verdict import Validity
from interp_culture.steering.sweep import summarise_sweep
from interp_culture.survey import culture_map
from interp_culture.survey.wvs import TARGETS


class ModelRecord(TypedDict):
    """The model, as `LanguageModel.describe` gives it. Its hashes identify it, not its name."""

    model: str
    revision: str | None
    weights: str
    tokenizer: str
    template: str
    n_layers: int
    d_model: int
    dtype: str
    device: str
    check: str
    shortcuts_off: list[str]


class Poles(TypedDict):
    """The names of an axis' two poles."""

    negative: str
    positive: str


class PlantedSettings(TypedDict):
    """The fields of `PlantedControl`."""

    steered: str
    axis: str
    size: float
    block: int | None
    kind: Kind


class SteeringSettings(TypedDict):
    """The fields of `StudyConfig` that the report reads; the stored configuration has all."""

    alphas: list[float]
    sweep_alphas: list[float]
    top_k: int
    layers_by: str
    layers: dict[str, list[int]] | None
    n_random: int
    planted: PlantedSettings | None


class ValidityRecord(TypedDict):
    """A readout's `Validity`, and whether the readout may be used."""

    readout: str
    n: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    spread: float
    mass: float | None
    position_bias: float | None
    bias_ratio: float | None
    consistency: float | None
    letters: str | None
    prefix: str | None
    n_choice: int
    think: int | None
    failures: list[str] | tuple[str, ...]
    cautions: list[str] | tuple[str, ...]
    ok: bool


class BestLayer(TypedDict):
    """The layer with the largest mean |change of P+| when it is steered alone."""

    steered: str
    layer: int
    alpha: float
    method: str
    differential: float
    shift: float
    logit_shift: float


class ResponseRow(TypedDict):
    """One row of `response` for the primary readout, in P+. Unmeasured values are NaN."""

    steered: str
    alpha: float
    axis: str
    effect: float
    low: float
    high: float
    null_low: float
    null_high: float
    p_null: float
    outside_null: bool


class NullRecord(TypedDict):
    """How the effects of random vectors were computed, and how many vectors there are per axis.

    `check` says in words how predicted and measured effects agree; None where none was predicted.
    `even` is the share that predicted effects lack at one sign of alpha; 0 for measured ones.
    """

    is_predicted: bool
    n: int
    check: str | None
    even: float


class DirectionRecord(TypedDict):
    """The steered directions: method and site, in words, and what they were chosen from.

    `candidates` is empty where the configuration names the method; `multiple` is None there, else
    that of `multiple_of_paper`.
    """

    method: str
    site: str
    name: str
    is_chosen: bool
    is_of_paper: bool
    candidates: list[str]
    multiple: float | None


class PlantedRow(TypedDict):
    """One row of `planted_growth`: the response of the model with a planted leak."""

    steered: str
    axis: str
    D_plain: float
    D: float
    low: float
    high: float
    p_null: float
    found: bool
    growth: float
    growth_low: float
    growth_high: float
    predicted: float
    block: int
    kind: str
    kappa: float


class MatrixRow(TypedDict):
    """One row of `response_matrix`, of one readout, in P+ ("shift") or logits ("logit_shift")."""

    steered: str
    axis: str
    D: float
    low: float
    high: float
    null_low: float
    null_high: float
    p_null: float
    detectable: float
    ratio: float
    ratio_low: float
    ratio_high: float
    defined: bool
    q: float
    shown: bool
    readout: str
    value: str


class PlaceRow(TypedDict):
    """A position on the cultural map (map units).

    `steered` is "" for the plain model and "neutral" for a model without any preference.
    """

    steered: str
    alpha: float
    x: float
    y: float
    x_low: float
    x_high: float
    y_low: float
    y_high: float


class DistanceRow(TypedDict):
    """Distance of a position to a target country (map units), and the rank by nearness."""

    iso3: str
    country: str
    distance: float
    rank: int
    steered: str
    alpha: float


class HumanCoupling(TypedDict):
    """The correlation of the two axes over countries, and the slope of each axis on the other."""

    r: float
    r_low: float
    r_high: float
    y_per_x: float
    x_per_y: float


class StudyDescription(TypedDict):
    """The facts about a study that `Study.about` gives."""

    model: ModelRecord
    config: SteeringSettings
    axes: dict[str, Poles]
    items: dict[str, str]
    n_train: int
    n_test: int
    n_sample: int
    n_persona: int
    n_null: int
    null: NullRecord
    primary_readout: str
    layers: dict[str, list[int]]
    direction: DirectionRecord


class Summary(StudyDescription):
    """The content of `summary.json`."""

    key: str
    validity: dict[str, ValidityRecord]
    scores: dict[str, float]
    item_scores: dict[str, float]
    best_layer: dict[str, BestLayer]
    response: list[ResponseRow]
    # "X Y": the median entanglement ratio of random vectors at the layers of X, Y being read.
    null_ratio: dict[str, float]
    matrix: list[MatrixRow]
    # The same for the paper's directions at the same layers; empty if they are the steered ones.
    paper_matrix: list[MatrixRow]
    # The positive control; empty if none is configured.
    planted: list[PlantedRow]
    # Absent if the items are not those of the cultural map; `read_summary` then gives [].
    places: NotRequired[list[PlaceRow]]
    distances: list[DistanceRow]
    human: HumanCoupling | None
    projection: dict[str, float] | None
    # Wall time of the run that wrote the summary; `Study.run` adds it.
    seconds: NotRequired[float]


class Manifest(ModelRecord):
    """The content of `manifest.json`: what decides the study's numbers, and its key."""

    config: dict[str, Any]
    scenarios: str
    templates: str
    source: str
    versions: dict[str, str]
    key: str
    # What the answer of the letters readout begins with: of the configuration, or chosen. Not in
    # the key, since it follows from the rest; `Study.run` adds it.
    prefix: NotRequired[str | None]
    commit: str | None
    dirty: bool | None
    threads: int
    written: str


def derive(
    readouts: pd.DataFrame, primary_readout: Readout, even: float = 0.0
) -> dict[str, pd.DataFrame]:
    """The tables that the report draws, from the rows that were read.

    Args:
        readouts: the rows of `steered_readouts` of every readout, with the column readout.
        primary_readout: the readout of the headline results.
        even: of the random vectors, see `response`.

    Returns:
        response and matrix (every readout, in P+ and in logits), null and domains (primary
        readout), and, if the items are those of the cultural map, places and distances.
    """
    # `list` is needed: a GroupBy has an attribute `keys`, so `dict` alone takes it for a mapping.
    by_readout = dict(list(readouts.groupby("readout", sort=False)))
    responses = []
    matrices = []
    for readout, table in by_readout.items():
        for value in ("shift", "logit_shift"):
            responses.append(response(table, value, even=even).assign(readout=readout, value=value))
            matrices.append(response_matrix(table, value).assign(readout=readout, value=value))
    tables = {
        "response": pd.concat(responses),
        "matrix": pd.concat(matrices),
        "null": random_effects(by_readout[primary_readout]),
        "domains": domain_shifts(by_readout[primary_readout], even=even),
    }
    if culture_map.covers(set(readouts["item"])):
        tables["places"] = culture_map.places(by_readout[primary_readout])
        tables["distances"] = culture_map.all_distances(tables["places"])
    return tables


def summarise_study(
    about: StudyDescription,
    validity: Mapping[str, Validity],
    sweep: pd.DataFrame,
    plain: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    key: str,
) -> Summary:
    """The content of `summary.json`, without the seconds of the run.

    Args:
        about: the description of the study.
        validity: the check of each readout.
        sweep: the table of the layer sweep.
        plain: the unsteered rows of the primary readout.
        tables: the tables that `derive` returned, `paper_matrix`, and `planted` where there is a
            control.
        key: the study's key, which its tables carry too.
    """
    response_table = tables["response"]
    # The report speaks of the primary readout; the matrix keeps all, to compare them.
    is_leading = response_table.readout == about["primary_readout"]
    leading = response_table[is_leading & (response_table.value == "shift")]
    on_map = "places" in tables
    records = {
        name: tables[name].to_dict("records") for name in ("matrix", "places") if name in tables
    }
    summary = {
        **about,
        "key": key,
        "validity": {r: {**asdict(check), "ok": check.ok} for r, check in validity.items()},
        "scores": plain.groupby("axis").p_positive.mean().to_dict(),
        "item_scores": plain.groupby("item").p_positive.mean().to_dict(),
        "best_layer": {axis: _best_layer(sweep, axis) for axis in about["layers"]},
        "response": leading.drop(columns=["readout", "value"]).to_dict("records"),
        "null_ratio": _null_ratios(tables["null"]),
        "paper_matrix": tables["paper_matrix"].to_dict("records"),
        "planted": tables["planted"].to_dict("records") if "planted" in tables else [],
        **records,
        "distances": _to_targets(tables.get("distances")),
        "human": culture_map.human_coupling() if on_map else None,
        "projection": culture_map.projection_coupling() if on_map else None,
    }
    return cast("Summary", summary)


def read_summary(folder: Path) -> Summary:
    """The summary of a finished study. JSON has no NaN: null in a row of numbers becomes NaN again.

    Raises InputError if there is none, and KeyError if it lacks a field.
    """
    stored = read_json(folder / "summary.json")
    for name in ("response", "matrix", "paper_matrix", "planted", "places", "distances"):
        rows = stored.get(name) or []
        stored[name] = [{k: _number(value) for k, value in row.items()} for row in rows]
    stored["null_ratio"] = {pair: _number(ratio) for pair, ratio in stored["null_ratio"].items()}
    return cast("Summary", stored)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a finished study. Raises InputError if there is none."""
    return cast("Manifest", read_json(folder / "manifest.json"))


def _best_layer(sweep: pd.DataFrame, axis: str) -> dict[str, Any]:
    by_layer = summarise_sweep(sweep[sweep.steered == axis])
    return by_layer.sort_values("differential").iloc[-1].to_dict()


def _null_ratios(null: pd.DataFrame) -> dict[str, float]:
    # The median, because the ratio is capped at 1 and many random vectors reach the cap.
    groups = null.groupby(["steered", "axis"]).ratio
    return {f"{steered} {axis}": float(ratios.median()) for (steered, axis), ratios in groups}


def _to_targets(distances: pd.DataFrame | None) -> list[dict[str, Any]]:
    if distances is None:
        return []
    return distances[distances.iso3.isin(TARGETS)].to_dict("records")


def _number(value: Any) -> Any:
    return float("nan") if value is None else value
