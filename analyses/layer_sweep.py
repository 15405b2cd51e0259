"""Which layers carry an axis, and how sure is the choice? (paper, figure 4 and section 4.3).

python -m analyses.layer_sweep --preset quick
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

import interp_culture as ic
from interp_culture.cli.analysis import run_alone
from interp_culture.reporting import figures as plots
from interp_culture.study.analysis import About, Analysis, Section, Tables

RUN = ["steered", "layer", "alpha"]


def measure(study: ic.Study) -> Tables:
    """Every layer steered alone on training scenarios; the differential is the mean |change of P+| (0 to 1).

    by_layer: steered, layer, alpha, method ("gradient" where the sweep did not measure), effect (differential), low,
    high, n, shift (signed mean change of P+), predicted (differential to first order), null_low, null_high (middle 95%
    of norm-matched random vectors, to first order). by_item: steered, item, layer, differential (mean over alphas).
    stability, halves, agreement: `ic.steering.choice_stability`, `ic.steering.choice_overlap`, `ic.steering.sweep_agreement`.
    """
    sweep, config = study.sweep(), study.config
    on: tuple[Any, ...] = study.model, study.sweep_scenarios, study.vectors()
    form: dict[str, Any] = {
        "alpha": config.sweep_alphas,
        "readout": study.format(),
    }
    null = study.once(
        "layer_sweep.null",
        lambda: ic.steering.sweep_null(*on, **form, n=config.n_random, seed=config.seed),
    )
    if sweep.predicted_shift.isna().any():  # an exact sweep; others hold what the gradient says
        gradient = study.once(
            "layer_sweep.gradient", lambda: ic.layer_sweep(*on, **form, method="gradient")
        )
        sweep = sweep.drop(columns="predicted_shift").merge(
            gradient[[*RUN, "id", "predicted_shift"]]
        )
    return {
        "by_layer": by_layer(sweep, null),
        "by_item": sweep.groupby(["steered", "item", "layer"]).differential.mean().reset_index(),
        "stability": ic.steering.choice_stability(sweep, config.top_k),
        "halves": ic.steering.choice_overlap(sweep, config.top_k),
        "agreement": ic.steering.sweep_agreement(sweep),
    }


def by_layer(sweep: pd.DataFrame, null: pd.DataFrame) -> pd.DataFrame:
    runs = (
        sweep.assign(predicted=sweep.predicted_shift.abs())
        .groupby(RUN)[["shift", "predicted"]]
        .mean()
    )
    differential = ic.coupling.effects(sweep, [*RUN, "method"], "differential").drop(columns="axis")
    return differential.join(runs, on=RUN).merge(null, on=RUN)


def sections(tables: Tables, about: About) -> list[Section]:
    layers, by_item, stability = tables["by_layer"], tables["by_item"], tables["stability"]
    taken = layers.merge(stability[stability.chosen], on=["steered", "layer"])
    chosen = {str(axis): sorted(set(own.layer)) for axis, own in taken.groupby("steered")}
    names = {"effect": "mean |ΔP+|", "layer": "steered layer", "way": "", "null": "random vectors"}
    drawn = layers.assign(way=[f"alpha {r.alpha:+g}, {r.method}" for r in layers.itertuples()])
    counts = ", ".join(f"{n} of {axis}" for axis, n in layers.groupby("steered").n.max().items())
    how = f"Training scenarios of the steered axis ({counts}), each layer steered alone."
    return [
        Section(
            *_choice(taken, tables["halves"]),
            plots.profile_figure(
                drawn, "layer", colour="way", facet="steered", names=names, marked=chosen
            ),
            f"{how} Bars: 95% bootstrap by item. Grey: middle 95% of {about['config']['n_random']} random vectors of "
            "the same norm, to first order. Shaded: layers chosen, on the same scenarios.",
        ),
        Section(
            *_items(by_item, chosen, about["items"]),
            plots.layer_figure(by_item, chosen, about["items"]),
            f"{how} Mean over all strengths of the sweep. White frames: chosen layers.",
        ),
        Section(
            *_agreement(tables["agreement"]),
            plots.interval_figure(
                _beside(layers), "layer", colour="way", facet="panel", names=names, lines=True
            ),
            f"{how} Measured, and to first order from one backward pass. Bars: 95% bootstrap by item.",
        ),
    ]


def _choice(taken: pd.DataFrame, halves: pd.DataFrame) -> tuple[str, list[str]]:
    found, sure, net = [], [], []
    for axis, own in taken.groupby("steered"):
        beyond = (own.low.notna() & (own.effect > own.null_high)).groupby(own.layer).all()
        among = f"{beyond.sum() or 'none'} of {len(beyond)} beyond random vectors"
        found.append(f"{axis} moves most at layers {', '.join(map(str, beyond.index))}, {among}")
        both, kept = halves[halves.steered == axis], own.groupby("layer").share.first().sum()
        shared = f"two halves of the scenarios share {both.overlap.mean():.1f} ({both.chance.iloc[0]:.1f} by chance)"
        sure.append(
            f"{axis}: a bootstrap sample keeps {kept:.1f} of {len(beyond)} layers on average, {shared}."
        )
        net.append(f"{(np.sign(own.alpha) * own['shift']).sum() / own.effect.sum():+.0%} of {axis}")
    text = "The differential counts changes to either pole. Net of those away from the pole that is steered to, it is"
    return "; ".join(found), [" ".join(sure), f"{text} {', '.join(net)} at the chosen layers."]


def _items(
    by_item: pd.DataFrame, chosen: dict[str, list[int]], labels: dict[str, str]
) -> tuple[str, list[str]]:
    best = by_item.loc[by_item.groupby("item").differential.idxmax()]
    inside = sum(r.layer in chosen[r.steered] for r in best.itertuples())
    taken = [r.layer in chosen[r.steered] for r in by_item.itertuples()]
    means = by_item[taken].groupby("item").differential.mean()
    ends = [f"{means[i]:.3f} ({i}, {labels[i]})" for i in (means.idxmin(), means.idxmax())]
    return f"{inside} of {len(best)} items move most at a chosen layer", [
        f"Mean |ΔP+| there: {' to '.join(ends)}."
    ]


def _agreement(agreement: pd.DataFrame) -> tuple[str, list[str]]:
    known = agreement.dropna(subset="spearman")
    if known.empty:
        return "Too few layers were measured to judge the prediction from gradients", []
    parts = [
        f"{r.steered} at alpha {r.alpha:+g} {r.spearman:+.2f} ({r.n_layers} layers)"
        for r in known.itertuples()
    ]
    text = f"Spearman: {', '.join(parts)}; Pearson {known.pearson.min():+.2f} to {known.pearson.max():+.2f}."
    partly = "" if known.spearman.min() >= 0.8 else "only partly "
    return f"One backward pass ranks the layers {partly}as measurement does", [text]


def _beside(layers: pd.DataFrame) -> pd.DataFrame:
    panels = layers.assign(panel=[f"{r.steered}, alpha {r.alpha:+g}" for r in layers.itertuples()])
    predicted = {"effect": panels.predicted, "low": panels.predicted, "high": panels.predicted}
    return pd.concat(
        [
            panels[panels.method == "exact"].assign(way="exact"),
            panels.assign(way="gradient", **predicted),
        ]
    )


ANALYSIS = Analysis(
    "layer_sweep", "Which layers carry an axis, and how sure is the choice?", measure, sections
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
