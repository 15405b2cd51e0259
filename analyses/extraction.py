"""Directions of every method from one reading: how alike they are, and how stable. The half of `pca_vs_mean_diff` that
does not ask what they move.
"""

from __future__ import annotations

import random
from itertools import combinations

import pandas as pd
import torch

import interp_culture as ic
from analyses.answers import PLAIN, Runs
from interp_culture.reporting import figures as plots
from interp_culture.study.analysis import About, Section, Tables

# `random` by another name: `ic.coupling.slopes` takes rows of that method for the null and leaves them out.
METHODS = {m: m for m in ("mean_diff", "pca", "pca_centred", "lda", "logistic")} | {
    "random": "random direction"
}
FEW_STEERED = ("mean_diff", "pca", "random")  # in a brief study
HALVINGS = 10, 2  # the second in a brief study


def steered_runs(study: ic.Study) -> Runs:
    """The plain model, and each axis by each method at both signs of the largest alpha, all of one norm.

    Directions are computed at the intervention's layers, where alone they are added.
    """
    runs, alpha = dict(PLAIN), max(study.config.alphas)
    for axis, v in study.vectors().items():
        layers = study.layers[axis]
        activations = activations_at(study, axis, layers)
        for method in FEW_STEERED if study.config.brief else METHODS:
            found, label = v.direction.clone(), METHODS[method]
            found[layers] = ic.steering.direction(activations, method, study.config.seed)
            own = ic.steering.norm_matched(v, found, label)
            runs |= {
                (axis, label, signed): ic.steer(own, layers, signed) for signed in (alpha, -alpha)
            }
    return runs


def activations_at(study: ic.Study, axis: str, layers: list[int]) -> ic.steering.Activations:
    """Those of an axis' training scenarios, at some layers."""
    whole = study.activations.select([s.id for s in study.train.filter(axis=axis)])
    return ic.steering.Activations(whole.ids, whole.positive[:, layers], whole.negative[:, layers])


def cosines(study: ic.Study) -> pd.DataFrame:
    """Of every two methods at every layer: axis, layer, a, b, cosine."""
    rows = []
    for axis in study.layers:
        activations = activations_at(study, axis, list(range(study.model.n_layers)))
        found = {
            label: ic.steering.direction(activations, method, study.config.seed)
            for method, label in METHODS.items()
        }
        for a, b in combinations(found, 2):
            between = torch.cosine_similarity(found[a], found[b], dim=-1)
            rows += [(axis, layer, a, b, float(cosine)) for layer, cosine in enumerate(between)]
    return pd.DataFrame(rows, columns=["axis", "layer", "a", "b", "cosine"])


def stability(study: ic.Study) -> pd.DataFrame:
    """Of the directions of two random halves of the training scenarios: axis, method, layer, draw, cosine.

    Each half has half of every item's scenarios.
    """
    rows = []
    for axis, layers in study.layers.items():
        activations, scenarios = activations_at(study, axis, layers), study.train.filter(axis=axis)
        items = [[s.id for s in scenarios.filter(item=item)] for item in scenarios.items]
        for draw in range(HALVINGS[study.config.brief]):
            rng = random.Random(draw)
            shuffled = [i for ids in items for i in rng.sample(ids, len(ids))]
            halves = [activations.select(half) for half in (shuffled[::2], shuffled[1::2])]
            for method, label in METHODS.items():
                one, other = (ic.steering.direction(half, method, draw) for half in halves)
                between = torch.cosine_similarity(one, other, dim=-1)
                rows += [
                    (axis, label, layer, draw, float(c))
                    for layer, c in zip(layers, between, strict=True)
                ]
    return pd.DataFrame(rows, columns=["axis", "method", "layer", "draw", "cosine"])


def sections(tables: Tables, about: About) -> list[Section]:
    return [_alike(tables["cosines"], about["layers"]), _stable(tables["stability"])]


def _alike(cosines: pd.DataFrame, layers: dict[str, list[int]]) -> Section:
    drawn = cosines[cosines.a == "mean_diff"].rename(columns={"b": "method", "cosine": "effect"})
    steered = drawn[
        [layer in layers[axis] for axis, layer in zip(drawn.axis, drawn.layer, strict=True)]
    ]
    told = _ranked(steered[steered.method != METHODS["random"]].groupby("method").effect.mean())
    names = {"effect": "cosine to mean_diff", "layer": "layer", "method": ""}
    return Section(
        f"Cosine to mean_diff at the intervention's layers: {told}",
        [
            "PCA finds the direction along which the scenarios' differences are longest. Uncentred, they are counted "
            "from zero, and the mean difference is part of what is found. Centring takes the mean difference away, "
            "which is the steering vector itself: what is left is how scenarios differ from one another."
        ],
        plots.interval_figure(
            drawn.assign(low=float("nan"), high=float("nan")),
            "layer",
            colour="method",
            facet="axis",
            names=names,
            lines=True,
        ),
        "Directions from all training scenarios of an axis; the random direction shows what chance gives.",
    )


def _stable(stability: pd.DataFrame) -> Section:
    drawn = stability.groupby(["axis", "method", "draw"], sort=False).cosine.mean()
    spread = (
        drawn.groupby(["axis", "method"], sort=False)
        .agg(effect="mean", low="min", high="max")
        .reset_index()
    )
    names = {"effect": "cosine between two halves", "method": "", "axis": "axis"}
    return Section(
        f"Two halves of the texts agree (cosine): {_ranked(spread.groupby('method').effect.mean())}",
        ["What two halves do not agree on is of the texts, not of the axis."],
        plots.interval_figure(spread, "method", colour="axis", names=names),
        f"Mean over the intervention's layers and {stability.draw.nunique()} halvings within items; bars: extremes.",
    )


def _ranked(means: pd.Series) -> str:
    return ", ".join(
        f"{method} {mean:+.2f}" for method, mean in means.sort_values(ascending=False).items()
    )
