"""The sections of a study's report: each figure under the finding that it shows."""

from __future__ import annotations

import pandas as pd

from interp_culture.reporting import figures as plots
from interp_culture.reporting import study_figures
from interp_culture.reporting.effect_findings import (
    certain_effects,
    coupling_finding,
    cross_responses,
    headline,
    human_ratios,
    planted_finding,
    steering_finding,
)
from interp_culture.reporting.findings import layers_finding, layers_title, map_title
from interp_culture.study.analysis import Section, Tables
from interp_culture.study.summary import Summary, ValidityRecord
from interp_culture.survey.wvs import TARGETS, countries


def sections(summary: Summary, tables: Tables) -> list[Section]:
    """The report's figures, each with its finding as the title.

    Args:
        summary: of the study.
        tables: response, matrix, null, domains, sweep, validity, and for the cultural map places.
    """
    out = [
        _coupling_section(summary, tables),
        _steering_section(summary, tables),
        _domain_section(summary, tables["domains"]),
    ]
    if "places" in tables:
        out.append(_map_section(summary, tables["places"]))
    return [*out, _layer_section(summary, tables["sweep"]), _readout_section(summary, tables)]


def _coupling_section(summary: Summary, tables: Tables) -> Section:
    matrix = tables["matrix"]
    null = tables["null"]
    of_lead = (matrix.readout == summary["primary_readout"]) & (matrix.value == "shift")
    human = human_ratios(summary)
    orange = " Orange: the slope of one axis on the other over 115 countries." if human else ""
    return Section(
        headline(summary),
        _coupling_answers(summary),
        study_figures.ratio_figure(
            matrix[of_lead & (matrix.steered != matrix.axis)],
            null[null.axis != null.steered],
            human,
        ),
        "Entanglement ratio min(1, |D of the other axis| / |D of the steered axis|), with D the "
        "change of P+ per unit of alpha. Error bars: 95% bootstrap intervals. Hollow: the ratio is "
        f"not defined. Grey: the same ratio for random vectors.{orange} Tables: matrix, null.",
    )


def _coupling_answers(summary: Summary) -> list[str]:
    """The answer on each pair of axes, and whether a coupling of known size was found."""
    answers = [coupling_finding(summary, row).answer for row in cross_responses(summary)]
    planted = planted_finding(summary)
    return answers if planted is None else [*answers, planted.answer]


def _steering_section(summary: Summary, tables: Tables) -> Section:
    response = tables["response"]
    # Random vectors are measured at the largest alpha only, so smaller ones have no comparison.
    top = max(summary["config"]["alphas"])
    of_lead = (response.readout == summary["primary_readout"]) & (response.value == "shift")
    return Section(
        steering_title(summary),
        [steering_finding(summary, axis).answer for axis in summary["layers"]],
        study_figures.response_figure(
            response[of_lead & (response.alpha.abs() == top)], tables["null"]
        ),
        f"Change of the mean P+ when all steered layers are steered together, at alpha {top:+g} "
        f"(up) and {-top:+g} (down), on {summary['n_test']} held-out scenarios. Error bars: 95% "
        f"bootstrap intervals, clustered by item. Grey: {summary['null']['n']} random "
        f"vectors of the same norm at alpha {top:+g}, on {summary['n_null']} of the scenarios. "
        "Tables: response, null.",
    )


def steering_title(summary: Summary) -> str:
    """The number of signs of alpha at which each axis moves as intended, as a title."""
    counts = []
    for axis in summary["layers"]:
        counts.append(f"{axis} at {len(certain_effects(summary, axis))} of 2 signs")
    return (
        "Steering moves its own axis as intended, beyond 0 and beyond random vectors: "
        f"{', '.join(counts)}"
    )


def _domain_section(summary: Summary, domains: pd.DataFrame) -> Section:
    top = max(summary["config"]["alphas"])
    return Section(
        f"{domains.sure.sum()} of {len(domains)} effects within one domain exclude 0 and are "
        "beyond random vectors",
        [domain_text(domains)],
        plots.forest_figure(_domain_rows(domains), "change of mean P+"),
        f"Change of the mean P+ at alpha {top:+g} on the held-out scenarios of each domain. Error "
        f"bars: 95% bootstrap intervals, clustered by item. Grey: {summary['null']['n']} "
        "random vectors of the same norm on the same domain. A hollow marker means that the "
        "interval includes 0, that random vectors reach as far, or that no random vector was "
        "measured there. Table: domains.",
    )


def domain_text(domains: pd.DataFrame) -> str:
    """The effects by domain whose interval excludes 0, and those of them beyond random vectors."""
    # The product is above 0 if both ends have one sign; NaN, where there is no interval, is not.
    apart = domains[domains.low * domains.high > 0]
    text = (
        f"{len(apart) or 'None'} of {len(domains)} effects have a 95% interval that excludes 0 "
        "(one effect per steered axis, read axis and domain)"
    )
    if apart.empty:
        return f"{text}."
    effects = [
        f"{r.axis} when we steer {r.steered}, in {r.domain}, {r.effect:+.3f}"
        for r in domains[domains.sure].itertuples()
    ]
    return (
        f"{text}. Beyond random vectors of the same norm: {'; '.join(effects) or 'none of them'}."
    )


def _domain_rows(domains: pd.DataFrame) -> pd.DataFrame:
    # The names of the columns are those that `forest_figure` reads.
    rows = domains.assign(
        label=domains.domain + ", " + domains.axis + " read",
        kind=domains.axis + " read",
        panel=domains.steered + " steered",
    )
    return rows.sort_values("label")


def _map_section(summary: Summary, places: pd.DataFrame) -> Section:
    return Section(
        map_title(summary),
        [map_caution(summary)],
        study_figures.map_figure(countries(), places, list(TARGETS)),
        "Item scores of the held-out scenarios, rescaled to the range of each survey question and "
        "projected with the weights of the integrated surveys. Error bars: 95% bootstrap intervals "
        "over scenarios. Arrows run from the most negative to the most positive alpha. "
        "Table: places.",
    )


def map_caution(summary: Summary) -> str:
    """Why a position on the map, and a movement on it, say less than they seem to."""
    neutral = next(p for p in summary["places"] if p["steered"] == "neutral")
    projection = summary["projection"] or {}
    return (
        "Read the position with care, for two reasons. First, a model without any preference "
        f"(every score 0.5) is at ({neutral['x']:+.2f}, {neutral['y']:+.2f}), more secular than "
        "any country, because most people answer far from the middle of the scales. Second, the "
        "arithmetic of the map couples the axes by itself: moving only the X items changes y by "
        f"{projection['X']:.2f} of the change in x, and moving only the Y items changes x by "
        f"{projection['Y']:.2f} of the change in y. For this reason we compute the entanglement "
        "ratio from scores, not from map coordinates."
    )


def _layer_section(summary: Summary, sweep: pd.DataFrame) -> Section:
    by_item = sweep.groupby(["steered", "layer", "item"]).differential.mean().reset_index()
    # The sweep may use other strengths than the study: it steers one layer, not several together.
    alphas = ", ".join(f"{alpha:+g}" for alpha in summary["config"]["sweep_alphas"])
    poles = "; ".join(f"{a}: {p['negative']} → {p['positive']}" for a, p in summary["axes"].items())
    return Section(
        layers_title(summary),
        [layers_finding(summary).evidence],
        plots.layer_figure(by_item, summary["layers"], summary["items"]),
        f"Mean |change of P+| when one layer is steered alone (alpha {alphas}), over the training "
        "scenarios of the steered axis. White frames: the layers that are steered together. "
        f"{measured_text(sweep)}{poles}. Table: sweep.",
    )


def measured_text(sweep: pd.DataFrame) -> str:
    """The layers that a sweep measured; empty if it measured all of them."""
    exact = sweep[sweep.method == "exact"]
    if len(exact) == len(sweep):
        return ""
    layers = [
        f"{axis} {', '.join(map(str, sorted(measured)))}"
        for axis, measured in exact.groupby("steered").layer.unique().items()
    ]
    return (
        f"Measured layers: {'; '.join(layers) or 'none'}; the other layers are predicted from "
        "gradients, to first order. "
    )


def _readout_section(summary: Summary, tables: Tables) -> Section:
    checks = summary["validity"].values()
    verdicts = [f"{v['readout']} {'passes' if v['ok'] else 'fails'}" for v in checks]
    return Section(
        f"Validity check of each readout: {', '.join(verdicts)}",
        [_readout_text(v) for v in checks],
        study_figures.validity_figure(tables["validity"]),
        "Each control item has a right answer, by plain fact or common sense. Error bars: 95% "
        "Wilson intervals. Table: validity.",
    )


def _readout_text(v: ValidityRecord) -> str:
    """A passing readout with its numbers; a failing one with its failures, which hold theirs."""
    text = f"{_verdict_text(v)}{_tokens_text(v)}"
    if v["cautions"]:
        text += f" Caution: {'; '.join(v['cautions'])}. The mean of both orders cancels this bias."
    return text


def _verdict_text(v: ValidityRecord) -> str:
    spread = f"The logit difference has a standard deviation of {v['spread']:.2f} over the items."
    if not v["ok"]:
        return f"The {v['readout']} readout fails: {'; '.join(v['failures'])}. {spread}"
    text = (
        f"The {v['readout']} readout passes: it is right on {v['accuracy']:.0%} of {v['n']} "
        f"control items. {spread}"
    )
    if v["mass"] is None:
        return text
    return text + (
        f" The two letters together have a probability of {v['mass']:.2f}, the position bias is "
        f"{v['position_bias']:+.2f} logits toward A, and both orders of the options agree on "
        f"{v['consistency']:.0%} of the items."
    )


def _tokens_text(v: ValidityRecord) -> str:
    """The letter tokens that are read, and the answer prefix before them."""
    if v["letters"] is None:
        return ""
    if not v["n_choice"]:
        chosen = "given in the configuration"
    else:
        chosen = f"chosen on {v['n_choice']} other control items"
    return (
        f" The letter tokens read are {v['letters']!r}, after the answer prefix {v['prefix']!r} "
        f"({chosen})."
    )
