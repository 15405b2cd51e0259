"""The tables of a comparison that describe each study: model, steps, items, cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from interp_culture.coupling.responses import effects
from interp_culture.coupling.steered import slopes
from interp_culture.study.finished import FinishedStudy
from interp_culture.study.layer_profiles import layer_profile

# Longer names of models are cut, since figures have one label a model.
LONGEST_LABEL = 24
COST_COLUMNS = ["model", "steered", "method", "alpha", "kl", "kl_low", "kl_high"]

Studies = Mapping[str, FinishedStudy]  # by the label of the model


def model_labels(studies: Sequence[FinishedStudy]) -> list[str]:
    """A short name of each study's model; the dtype or the folder tells equal names apart."""
    labels = [_short(study.summary["model"]["model"]) for study in studies]
    dtypes = [study.summary["model"]["dtype"] for study in studies]
    folders = [_short(study.folder.resolve().name) for study in studies]
    for suffixes in (dtypes, folders, [str(number) for number in range(1, len(studies) + 1)]):
        counts = Counter(labels)
        longer = [
            f"{label}, {suffix}" if counts[label] > 1 else label
            for label, suffix in zip(labels, suffixes, strict=True)
        ]
        # A suffix that is the same for all would only make labels longer.
        if len(set(longer)) > len(counts):
            labels = longer
    return labels


def _short(name: str) -> str:
    """The last part of a path or Hub id, cut in the middle if it is long.

    >>> _short("someone/a-model-with-a-name-of-many-parts-7B")
    'a-model-with-…y-parts-7B'
    """
    last = name.rstrip("/").rsplit("/", maxsplit=1)[-1]
    if len(last) <= LONGEST_LABEL:
        return last
    # The end of a name often has its size or version.
    return f"{last[: LONGEST_LABEL - 11]}…{last[-10:]}"


def stacked(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tables of one kind below each other, with the label of the model as the first column."""
    labelled = []
    for model, table in tables.items():
        copy = table.drop(columns="model", errors="ignore")
        copy.insert(0, "model", model)
        labelled.append(copy)
    return pd.concat(labelled, ignore_index=True)


def by_model(
    readouts: Mapping[str, pd.DataFrame], compute: Callable[[pd.DataFrame], pd.DataFrame]
) -> pd.DataFrame:
    """A table computed from each model's readouts."""
    return stacked({model: compute(table) for model, table in readouts.items()})


def study_rows(studies: Studies) -> pd.DataFrame:
    """What was compared: one row per study."""
    rows = []
    for model, study in studies.items():
        about = study.summary["model"]
        layers = study.summary["layers"].items()
        rows.append(
            {
                "model": model,
                "name": about["model"],
                "folder": str(study.folder),
                "n_layers": about["n_layers"],
                "d_model": about["d_model"],
                "dtype": about["dtype"],
                "device": about["device"],
                "layers": "; ".join(f"{a} {', '.join(map(str, chosen))}" for a, chosen in layers),
                "n_test": study.summary["n_test"],
                "weights": about["weights"],
                "key": study.manifest["key"],
            }
        )
    return pd.DataFrame(rows)


def step_rows(study: FinishedStudy) -> pd.DataFrame:
    """The step |alpha v| of each axis' intervention, as a share of the mean residual norm."""
    vectors = study.table("vectors")
    alpha = max(study.summary["config"]["alphas"])
    n_layers = study.summary["model"]["n_layers"]
    rows = []
    for axis, layers in study.summary["layers"].items():
        here = vectors[(vectors.axis == axis) & vectors.layer.isin(layers)]
        rows.append(
            {
                "steered": axis,
                "alpha": alpha,
                "depth": float(here.layer.mean()) / max(1, n_layers - 1),
                "step_share": alpha * float(here.norm_share.mean()),
            }
        )
    return pd.DataFrame(rows)


def item_effects(readouts: pd.DataFrame) -> pd.DataFrame:
    """The score of every item without steering, and its change under steering of every axis.

    Args:
        readouts: what `steered_readouts` returned.

    Returns:
        steered, item, axis, effect (change of the item's mean P+ per unit of alpha), low, high
        (95% interval, bootstrap over scenarios), n (scenarios), score (mean P+ of the plain model),
        score_low, score_high.
    """
    steered = effects(slopes(readouts, ["steered"]), ["steered", "item"], "slope")
    plain = effects(readouts[readouts.method == "plain"], ["item"], "p_positive")
    names = {"effect": "score", "low": "score_low", "high": "score_high"}
    scores = plain.rename(columns=names)[["item", *names.values()]]
    return steered.merge(scores, on="item", validate="many_to_one")


def profiles(studies: Studies) -> pd.DataFrame:
    """The `layer_profile` of every study, and whether a layer is part of its intervention."""
    tables = {}
    for model, study in studies.items():
        profile = layer_profile(study.table("sweep"), study.summary["model"]["n_layers"])
        layers = study.summary["layers"]
        pairs = zip(profile.steered, profile.layer, strict=True)
        tables[model] = profile.assign(
            chosen=[layer in layers.get(axis, ()) for axis, layer in pairs]
        )
    return stacked(tables)


def costs(studies: Studies) -> pd.DataFrame | None:
    """The cost of the strengths that all studies with the analysis `coefficients` have.

    None if no study has the analysis, or if they have no strength in common.
    """
    tables = {}
    for model, study in studies.items():
        of_analysis = study.analysis_tables("coefficients")
        if of_analysis is not None:
            cost = of_analysis["cost"]
            tables[model] = cost[cost.method != "plain"]
    if not tables:
        return None
    shared = set.intersection(*(set(table.alpha) for table in tables.values()))
    cost = stacked(tables)
    cost = cost[cost.alpha.isin(shared)].reset_index(drop=True)
    return None if cost.empty else cost[COST_COLUMNS]
