"""What a study's readouts say: the tables that follow from them, and the summary that the report opens with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from interp_culture.coupling.null import random_effects
from interp_culture.coupling.responses import domain_shifts, response, response_matrix
from interp_culture.readout.formats import Readout
from interp_culture.readout.validity import Validity
from interp_culture.steering.sweep import summarise_sweep
from interp_culture.survey import culture_map
from interp_culture.survey.wvs import TARGETS


def derive(readouts: pd.DataFrame, lead: Readout) -> dict[str, pd.DataFrame]:
    """From the rows of `steered_readouts` of every readout, with the column readout: response and matrix (in P+ and in
    logits), null and domains (leading readout), and where the items are the map's, places and distances."""
    by_readout = dict(list(readouts.groupby("readout", sort=False)))
    both = [
        (table, {"readout": r, "value": v})
        for r, table in by_readout.items()
        for v in ("shift", "logit_shift")
    ]
    tables = {
        "response": pd.concat(
            [response(table, form["value"]).assign(**form) for table, form in both]
        ),
        "matrix": pd.concat(
            [response_matrix(table, form["value"]).assign(**form) for table, form in both]
        ),
        "null": random_effects(by_readout[lead]),
        "domains": domain_shifts(by_readout[lead]),
    }
    if culture_map.covers(set(readouts["item"])):
        tables["places"] = culture_map.places(by_readout[lead])
        tables["distances"] = culture_map.all_distances(tables["places"])
    return tables


def summarise_study(
    about: dict[str, Any],
    validity: Mapping[str, Validity],
    sweep: pd.DataFrame,
    plain: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    key: str,
) -> dict[str, Any]:
    """`about` with the validity of each readout, plain scores, the best layers, the responses and where they lie.

    Args:
        about: of the study.
        plain: the plain rows of the leading readout.
        tables: what `derive` returned.
        key: of the study, which its tables have too.
    """
    lead = about["lead"]  # noqa: F841  (read by query)
    records = {
        name: table.to_dict("records")
        for name, table in tables.items()
        if name in ("matrix", "places")
    }
    of_lead = tables["response"].query("readout == @lead and value == 'shift'")
    return {
        **about,
        "key": key,
        "validity": {r: {**asdict(v), "ok": v.ok} for r, v in validity.items()},
        "scores": plain.groupby("axis").p_positive.mean().to_dict(),
        "item_scores": plain.groupby("item").p_positive.mean().to_dict(),
        "best_layer": {
            axis: summarise_sweep(sweep[sweep.steered == axis])
            .sort_values("differential")
            .iloc[-1]
            .to_dict()
            for axis in about["layers"]
        },
        "response": of_lead.drop(columns=["readout", "value"]).to_dict("records"),
        "null_ratio": {
            f"{s} {a}": float(ratios.median())
            for (s, a), ratios in tables["null"].groupby(["steered", "axis"]).ratio
        },
        **records,
        "distances": _targets(tables.get("distances")),
        "human": culture_map.human_coupling() if "places" in tables else None,
        "projection": culture_map.projection_coupling() if "places" in tables else None,
    }


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary that a study stored, with NaN again where JSON has null for want of it."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    for name in ("response", "matrix", "places", "distances"):
        rows = summary.get(name) or []
        summary[name] = [{k: _number(value) for k, value in row.items()} for row in rows]
    summary["null_ratio"] = {pair: _number(ratio) for pair, ratio in summary["null_ratio"].items()}
    return summary


def _number(value: Any) -> Any:
    return float("nan") if value is None else value


def _targets(distances: pd.DataFrame | None) -> list[dict[str, Any]]:
    if distances is None:
        return []
    return distances[distances.iso3.isin(TARGETS)].to_dict("records")
