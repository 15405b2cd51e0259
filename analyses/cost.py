"""What steering costs the model's language by strength: divergence on neutral text, perplexity of what it writes.

The half of `coefficients` that is not about values.
"""

from __future__ import annotations

from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

import interp_culture as ic
from analyses.answers import NAMES, TEMPERATURE, Runs, averages, perplexities, written
from interp_culture.reporting import figures as plots
from interp_culture.stats import interval_words
from interp_culture.study.analysis import About, Section, Tables

NEUTRAL_CHARACTERS, N_TOKENS = 600, 128
N_TEXTS = None, 2  # the second in a brief study


def measure(study: ic.Study, runs: Runs) -> Tables:
    """texts: see `written`; toward the positive pole alone. cost: steered, method, alpha, kl (plain || steered, nats
    per token on neutral text, with its interval over texts), the columns of `perplexities` where there are texts,
    step_share (|alpha v| / |h|, mean of the steered layers).
    """
    found = study.once("coefficients.divergence", lambda: _divergence(study, runs))
    toward = {key: edits for key, edits in runs.items() if key[-1] >= 0}
    texts = study.once("coefficients.texts", lambda: written(study, toward, N_TOKENS))
    cost = pd.concat([averages(found, "kl", "text"), perplexities(texts)], axis=1).reset_index()
    shares = {axis: v.direction.norm(dim=-1) / v.resid_norm for axis, v in study.vectors().items()}
    steps = {axis: float(share[study.layers[axis]].mean()) for axis, share in shares.items()}
    return {
        "texts": texts,
        "cost": cost.assign(step_share=cost.alpha.abs() * cost.steered.map(steps).fillna(0.0)),
    }


def neutral_texts(study: ic.Study) -> list[str]:
    """The beginnings of the shipped neutral texts."""
    texts = list(ic.scenarios.load_neutral().values())[: N_TEXTS[study.config.brief]]
    return [text[:NEUTRAL_CHARACTERS].rsplit(maxsplit=1)[0] for text in texts]


def _divergence(study: ic.Study, runs: Runs) -> pd.DataFrame:
    return ic.readout.with_keys(ic.kl_on_neutral(study.model, runs, neutral_texts(study)), NAMES)


def sections(tables: Tables, about: About) -> list[Section]:
    cost, top = tables["cost"], max(about["config"]["alphas"])
    steps = ", ".join(
        f"{r.steered} {r.step_share:.2f}" for r in cost[cost.alpha == -top].itertuples()
    )
    how = f"{about['config']['method']} vectors at the intervention's layers"
    return [
        Section(
            _divergence_title(cost, top),
            [f"A step of alpha {top:g}, as a share of the residual stream's norm: {steps}."],
            _figure(cost, "kl", "KL(plain || steered), nats per token"),
            f"{how}; the first {NEUTRAL_CHARACTERS} characters of neutral texts. One random vector a strength. "
            "Bars: 95% bootstrap by text.",
        ),
        Section(
            _perplexity_title(cost),
            _samples(tables["texts"], [top, cost.alpha.max()]),
            _figure(cost, "perplexity_plain", "perplexity for the plain model"),
            f"{how}; {tables['texts'].prompt.nunique()} answers a run at temperature {TEMPERATURE:g}, read by the "
            "plain model, for which repetition is likely text too. Dotted: its own answers. Bars: 95% bootstrap by "
            "prompt.",
        ),
    ]


def _figure(cost: pd.DataFrame, value: str, words: str) -> go.Figure:
    """By strength, on logarithmic axes; dotted the plain model's."""
    steered = (
        cost[cost.method != "plain"]
        .dropna(subset=[value])
        .sort_values(["steered", "alpha"], ascending=[True, False])
    )
    toward = np.where(steered.alpha > 0, "toward the positive pole", "toward the negative pole")
    vectors = np.where(steered.method == "random", "random, same norm", toward)
    drawn = steered[[value, f"{value}_low", f"{value}_high"]].set_axis(
        ["effect", "low", "high"], axis=1
    )
    drawn = drawn.assign(strength=steered.alpha.abs(), vectors=vectors, steered=steered.steered)
    names = {"strength": "|alpha|", "effect": words, "vectors": ""}
    figure = plots.interval_figure(
        drawn, "strength", colour="vectors", facet="steered", names=names, lines=True, log="xy"
    )
    figure.update_xaxes(tickvals=sorted(set(drawn.strength)))
    plain = float(cost[cost.method == "plain"][value].iloc[0])
    return figure.add_hline(y=plain, line={"dash": "dot", "width": 1}) if plain > 0 else figure


def _divergence_title(cost: pd.DataFrame, alpha: float) -> str:
    told = []
    for axis, own in cost[cost.alpha == alpha].groupby("steered"):
        (vector,), (noise,) = (
            own[(own.method == "random") == is_noise].itertuples() for is_noise in (False, True)
        )
        known = np.isfinite([vector.kl_low, noise.kl_low]).all()
        beside = (
            "not told from"
            if not known
            else (
                "more than"
                if vector.kl_low > noise.kl_high
                else "less than"
                if vector.kl_high < noise.kl_low
                else "like"
            )
        )
        told.append(
            f"{axis} costs {_kl(vector)} nats per token, {beside} a random vector of its norm ({_kl(noise)})"
        )
    return f"At alpha {alpha:g} steering {'; '.join(told)}"


def _kl(row: Any) -> str:
    return interval_words(row.kl, row.kl_low, row.kl_high, sign="")


def _perplexity_title(cost: pd.DataFrame) -> str:
    told = []
    for (axis, is_noise), own in cost[cost.method != "plain"].groupby(
        ["steered", cost.method == "random"]
    ):
        first = own[own.rise_low > 0].alpha.abs().min()
        where = "at no strength" if np.isnan(first) else f"first at |alpha| {first:g}"
        told.append(f"{where} by a random vector" if is_noise else f"{axis} {where}")
    return f"Steered answers become less likely to the plain model than its own: {', '.join(told)}"


def _samples(texts: pd.DataFrame, alphas: list[float]) -> list[str]:
    """What the plain model, and it steered along the first axis, wrote to the first prompt."""
    own = texts[(texts.prompt == texts.prompt.iloc[0]) & (texts.method != "random")]
    first = own[own.steered != ""].steered.min()
    shown = own[(own.method == "plain") | ((own.steered == first) & own.alpha.isin(alphas))]
    told = [
        f"{r.steered or 'plain'} at alpha {r.alpha:g}: “{shorten(r.text, 200)}”"
        for r in shown.itertuples()
    ]
    return [f"To “{texts.prompt.iloc[0]}”:", *told]
