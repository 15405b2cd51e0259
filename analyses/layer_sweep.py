"""Which layers carry an axis, and how stable is the choice?

Paper, figure 4 and section 4.3. Run alone: python -m analyses.layer_sweep --preset quick
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.reporting import figures
from interp_culture.study import (
    About,
    Analysis,
    Column,
    Section,
    Tables,
    TableSchema,
    columns,
)

RUN = ["steered", "layer", "alpha"]
# Rank correlation from which the prediction is said to rank the layers as measurement does.
GOOD_RANKING = 0.8

DIFFERENTIAL = "0 to 1"
NULL_BAND = (
    Column("null_low", "lower end of the middle 95% of random vectors, to first order"),
    Column("null_high", "upper end of the middle 95% of random vectors, to first order"),
)
SCHEMAS = (
    TableSchema(
        "by_layer",
        "a steered axis, layer, alpha and method",
        "steering.layer_sweep",
        (
            *(columns.STEERED, columns.LAYER, columns.ALPHA),
            Column("method", "exact (measured) or gradient (predicted)"),
            Column("effect", "mean differential, that is mean |change of P+|", DIFFERENTIAL),
            *columns.INTERVAL,
            columns.N,
            Column("shift", "mean change of P+, with its sign", columns.CHANGE),
            Column("predicted", "mean differential to first order", DIFFERENTIAL),
            *NULL_BAND,
        ),
    ),
    TableSchema(
        "by_item",
        "a steered axis, item and layer",
        "steering.layer_sweep",
        (
            columns.STEERED,
            Column("item", "the item that was read"),
            columns.LAYER,
            Column("differential", "mean |change of P+| over all strengths", DIFFERENTIAL),
        ),
    ),
    TableSchema(
        "stability",
        "a steered axis and layer",
        "steering.choice_stability",
        (
            columns.STEERED,
            columns.LAYER,
            Column("share", "of bootstrap samples in which the layer is chosen", DIFFERENTIAL),
            Column("chosen", "whether all scenarios choose it"),
        ),
    ),
    TableSchema(
        "halves",
        "a steered axis and split into halves",
        "steering.choice_overlap",
        (
            columns.STEERED,
            Column("draw", "number of the split"),
            Column("overlap", "number of best layers that two random halves share"),
            Column("chance", "its expectation for independent choices"),
        ),
    ),
    TableSchema(
        "agreement",
        "a steered axis and alpha",
        "steering.sweep_agreement",
        (
            columns.STEERED,
            columns.ALPHA,
            Column("n_layers", "number of measured layers"),
            Column("spearman", "of the predicted and measured differentials", "-1 to 1"),
            Column("pearson", "of the same", "-1 to 1"),
            Column("error", "their mean absolute difference", DIFFERENTIAL),
        ),
    ),
    TableSchema(
        "null",
        "a steered axis, layer and alpha",
        "steering.sweep_null",
        (columns.STEERED, columns.LAYER, columns.ALPHA, *NULL_BAND),
    ),
)


def measure(study: ic.Study) -> Tables:
    """Every layer steered alone on training scenarios; differential = mean |change of P+| (0 to 1).

    Returns:
        the tables of `SCHEMAS`.
    """
    config = study.config
    inputs: tuple[Any, ...] = (study.model, study.sweep_scenarios, study.vectors())
    form: dict[str, Any] = {"alpha": config.sweep_alphas, "readout": study.format()}
    null = study.once(
        "layer_sweep.null",
        lambda: ic.steering.sweep_null(*inputs, **form, n=config.n_random, seed=config.seed),
    )
    sweep = study.sweep()
    if sweep.predicted_shift.isna().any():  # an exact sweep; the others hold the prediction already
        gradient = study.once(
            "layer_sweep.gradient", lambda: ic.layer_sweep(*inputs, **form, method="gradient")
        )
        predicted = gradient[[*RUN, "id", "predicted_shift"]]
        # `merge` joins by all columns that both have: steered, layer, alpha and id.
        sweep = sweep.drop(columns="predicted_shift").merge(predicted)
    ranking: dict[str, Any] = {"by": config.layers_by, "costs": study.layer_costs()}
    return {
        "by_layer": by_layer(sweep, null),
        "by_item": sweep.groupby(["steered", "item", "layer"]).differential.mean().reset_index(),
        "stability": ic.steering.choice_stability(sweep, config.top_k, **ranking),
        "halves": ic.steering.choice_overlap(sweep, config.top_k, **ranking),
        "agreement": ic.steering.sweep_agreement(sweep),
        "null": null,
    }


def by_layer(sweep: pd.DataFrame, null: pd.DataFrame) -> pd.DataFrame:
    predicted = sweep.assign(predicted=sweep.predicted_shift.abs())
    means = predicted.groupby(RUN)[["shift", "predicted"]].mean()
    differential = ic.coupling.effects(sweep, [*RUN, "method"], "differential")
    return differential.drop(columns="axis").join(means, on=RUN).merge(null, on=RUN)


def sections(tables: Tables, about: About) -> list[Section]:
    layers = tables["by_layer"]
    stability = tables["stability"]
    taken = layers.merge(stability[stability.chosen], on=["steered", "layer"])
    chosen = {str(axis): sorted(set(rows.layer)) for axis, rows in taken.groupby("steered")}
    counts = [f"{n} of {axis}" for axis, n in layers.groupby("steered").n.max().items()]
    how = f"Training scenarios of the steered axis ({', '.join(counts)}), each layer steered alone."
    names = {"effect": "mean |ΔP+|", "layer": "steered layer", "way": "", "null": "random vectors"}
    items = about["items"]
    return [
        Section(
            *choice_words(taken, tables["halves"]),
            figures.profile_figure(
                labelled(layers), "layer", colour="way", facet="steered", names=names, marked=chosen
            ),
            f"{how} Bars: 95% bootstrap by item. Grey: middle 95% of {about['config']['n_random']}"
            " random vectors of the same norm, to first order. Shaded: the chosen layers, which"
            " were chosen on these scenarios. Tables: layer_sweep.by_layer, layer_sweep.stability.",
        ),
        Section(
            *item_words(tables["by_item"], chosen, items),
            figures.layer_figure(tables["by_item"], chosen, items),
            f"{how} Mean over all strengths of the sweep. White frames: chosen layers. Table:"
            " layer_sweep.by_item.",
        ),
        Section(
            *agreement_words(tables["agreement"]),
            figures.interval_figure(
                measured_and_predicted(layers),
                "layer",
                colour="way",
                facet="panel",
                names=names,
                lines=True,
            ),
            f"{how} Exact: measured. Gradient: to first order from one backward pass. Bars: 95%"
            " bootstrap by item. Tables: layer_sweep.by_layer, layer_sweep.agreement.",
        ),
    ]


def labelled(layers: pd.DataFrame) -> pd.DataFrame:
    ways = [f"alpha {row.alpha:+g}, {row.method}" for row in layers.itertuples()]
    return layers.assign(way=ways)


def measured_and_predicted(layers: pd.DataFrame) -> pd.DataFrame:
    labels = [f"{row.steered}, alpha {row.alpha:+g}" for row in layers.itertuples()]
    panels = layers.assign(panel=labels)
    exact = panels[panels.method == "exact"].assign(way="exact")
    # A prediction has no interval; equal ends draw no bar.
    gradient = panels.assign(
        effect=panels.predicted, low=panels.predicted, high=panels.predicted, way="gradient"
    )
    return pd.concat([exact, gradient])


def choice_words(taken: pd.DataFrame, halves: pd.DataFrame) -> tuple[str, list[str]]:
    findings = []
    stabilities = []
    net_shares = []
    for axis, rows in taken.groupby("steered"):
        # Below six scenarios there is no interval, and nothing is called beyond the null.
        above = rows.low.notna() & (rows.effect > rows.null_high)
        beyond = above.groupby(rows.layer).all()  # at every alpha of the sweep
        layers = ", ".join(map(str, beyond.index))
        findings.append(
            f"{axis} moves most at layers {layers}, {beyond.sum() or 'none'} of {len(beyond)}"
            " beyond random vectors"
        )
        overlap = halves[halves.steered == axis]
        retained = rows.groupby("layer").share.first().sum()
        stabilities.append(
            f"{axis}: a bootstrap sample of the scenarios gives {retained:.1f} of the"
            f" {len(beyond)} layers again on average; two halves of the scenarios share"
            f" {overlap.overlap.mean():.1f} ({overlap.chance.iloc[0]:.1f} by chance)."
        )
        net = (np.sign(rows.alpha) * rows["shift"]).sum() / rows.effect.sum()
        net_shares.append(f"{net:+.0%} for {axis}")
    return "; ".join(findings), [
        " ".join(stabilities),
        "The differential counts changes toward either pole. Net of changes away from the intended"
        f" pole, {', '.join(net_shares)} of it remains at the chosen layers.",
    ]


def item_words(
    by_item: pd.DataFrame, chosen: dict[str, list[int]], labels: dict[str, str]
) -> tuple[str, list[str]]:
    best = by_item.loc[by_item.groupby("item").differential.idxmax()]
    title = f"{at_chosen(best, chosen).sum()} of {len(best)} items move most at a chosen layer"
    means = by_item[at_chosen(by_item, chosen)].groupby("item").differential.mean()
    extremes = [
        f"{means[item]:.3f} ({item}, {labels[item]})" for item in (means.idxmin(), means.idxmax())
    ]
    return title, [f"Mean |ΔP+| at the chosen layers: {' to '.join(extremes)}."]


def at_chosen(rows: pd.DataFrame, chosen: dict[str, list[int]]) -> np.ndarray:
    """Whether each row's layer is one of those chosen for its steered axis."""
    return np.array([row.layer in chosen[row.steered] for row in rows.itertuples()], dtype=bool)


def agreement_words(agreement: pd.DataFrame) -> tuple[str, list[str]]:
    known = agreement.dropna(subset="spearman")
    if known.empty:
        return "Too few layers were measured to judge the prediction from gradients", []
    correlations = [
        f"{row.steered} at alpha {row.alpha:+g} {row.spearman:+.2f} ({row.n_layers} layers)"
        for row in known.itertuples()
    ]
    partly = "" if known.spearman.min() >= GOOD_RANKING else "only partly "
    return f"One backward pass ranks the layers {partly}as measurement does", [
        f"Spearman: {', '.join(correlations)}; Pearson {known.pearson.min():+.2f} to"
        f" {known.pearson.max():+.2f}."
    ]


ANALYSIS = Analysis(
    "layer_sweep",
    "Which layers carry an axis, and how stable is the choice?",
    measure,
    sections,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
