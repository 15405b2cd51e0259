"""The sections of a comparison's report: each figure under the finding that it shows."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from interp_culture.reporting import figures as plots
from interp_culture.reporting import study_figures
from interp_culture.reporting.comparison_figures import (
    depth_figure,
    model_colours,
    models_map_figure,
    panels_figure,
)
from interp_culture.reporting.comparison_findings import (
    cost_finding,
    coupling_finding,
    moves_most_finding,
    score_differences_finding,
    steered_axes,
    steering_differences_finding,
    vectors_cost,
)
from interp_culture.reporting.study_sections import map_caution
from interp_culture.stats import interval_words
from interp_culture.study.analysis import Section
from interp_culture.study.comparison import Comparison
from interp_culture.survey.wvs import TARGETS, countries

# A label of an item is cut here, since it stands at the side of a figure.
LONGEST_ITEM = 26
CHANGE = "change of mean P+ per unit of alpha"


def comparison_sections(comparison: Comparison) -> list[Section]:
    """The report's figures, each with its finding as the title.

    Sections whose table the studies do not have are left out; see `left_out`.
    """
    out = [
        _matrix_section(comparison),
        _steering_difference_section(comparison),
        _score_difference_section(comparison),
    ]
    if comparison.places is not None:
        out.append(_map_section(comparison, comparison.places))
    if comparison.profile is not None:
        out.append(_profile_section(comparison, comparison.profile))
    out += [_item_effect_section(comparison), _item_score_section(comparison)]
    out.append(_validity_section(comparison))
    if comparison.cost is not None:
        out.append(_cost_section(comparison))
    return out


def left_out(comparison: Comparison) -> list[str]:
    """What the report does not show, and why."""
    reasons = []
    if comparison.places is None:
        reasons.append(
            "The cultural map is left out: the items of these scenarios are not those of the map."
        )
    if comparison.profile is None:
        reasons.append(
            "Layer profiles are left out: the studies swept their layers by different readouts."
        )
    if comparison.cost is None:
        reasons.append(
            "The cost of steering is left out: no study has finished the analysis coefficients, "
            "or the studies have no strength in common there."
        )
    return reasons


def _matrix_section(comparison: Comparison) -> Section:
    axes = steered_axes(comparison)
    rows = comparison.matrix
    top = comparison.response.alpha.max()
    drawn = rows.assign(
        panel=rows.steered + " steered, " + rows.axis + " read",
        label=rows.model,
        effect=rows.D,
        sure=rows.low * rows.high > 0,
    )
    return Section(
        _title(" ".join(moves_most_finding(comparison, axis).answer for axis in axes)),
        [coupling_finding(comparison).answer],
        panels_figure(drawn, CHANGE, model_colours(comparison.models)),
        f"Response matrix: D, from both signs of alpha {top:g}, on the {comparison.n_shared} "
        "held-out scenarios that all studies share. Error bars: 95% bootstrap intervals, clustered "
        "by item. Grey: the middle 95% of random vectors of the same norm, per unit of alpha. "
        "Hollow: the interval includes 0. Table: matrix.",
    )


def _title(sentence: str) -> str:
    return sentence.removesuffix(".")


def _steering_difference_section(comparison: Comparison) -> Section:
    table = comparison.differences[comparison.differences.quantity == "D"]
    drawn = _pairs(table).assign(panel=table.steered + " steered, " + table.axis + " read")
    return Section(
        _title(steering_differences_finding(comparison).answer),
        [],
        panels_figure(drawn, "difference in D (P+ per unit of alpha)", {}),
        _paired_caption(comparison),
    )


def _score_difference_section(comparison: Comparison) -> Section:
    table = comparison.differences[comparison.differences.quantity == "score"]
    drawn = _pairs(table).assign(panel=table.axis + " read, plain models")
    return Section(
        _title(score_differences_finding(comparison).answer),
        [],
        panels_figure(drawn, "difference in the mean P+", {}),
        _paired_caption(comparison),
    )


def _pairs(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(
        label=table["first"] + "<br>− " + table["second"],
        effect=table.difference,
        sure=table.shown,
    )


def _paired_caption(comparison: Comparison) -> str:
    return (
        f"Mean difference within the same scenario, first minus second, over {comparison.n_shared} "
        "shared scenarios (all axes together). Error bars: 95% bootstrap intervals, clustered by "
        "item, in which both models always have the same scenarios. Hollow: the interval includes "
        "0. Table: differences."
    )


def _map_section(comparison: Comparison, places: pd.DataFrame) -> Section:
    table = comparison.differences[comparison.differences.quantity == "place"]
    shown = table[table.shown]
    axes = steered_axes(comparison)
    title = (
        f"On the cultural map the plain models differ in {len(shown)} of {len(table)} paired "
        "coordinates"
    )
    texts = [
        f"{row.axis}: {row.first} minus {row.second} "
        f"{interval_words(row.difference, row.low, row.high, digits=2)} map units."
        for row in shown.itertuples()
    ]
    # The same for all models: it tells of the map alone.
    caution = map_caution(next(iter(comparison.summaries.values())))
    return Section(
        title,
        [*texts, caution],
        models_map_figure(countries(), places, list(TARGETS), comparison.models),
        "Item scores of the shared scenarios, rescaled to the range of each survey question and "
        "projected with the weights of the integrated surveys. Error bars: 95% bootstrap intervals "
        "over scenarios. Arrows run from the most negative to the most positive alpha: solid "
        f"{axes[0]} steered, dotted {axes[-1]} steered. Table: places.",
    )


def _profile_section(comparison: Comparison, profile: pd.DataFrame) -> Section:
    by_line = profile.groupby(["model", "steered"], sort=False)
    best = profile.loc[by_line.differential.idxmax()]
    peaks = []
    for axis, rows in best.groupby("steered"):
        by_depth = [f"{row.model} {row.depth:.2f}" for row in rows.itertuples()]
        peaks.append(f"{axis} at {', '.join(by_depth)}")
    n_predicted = int((profile.method != "exact").sum())
    text = []
    if n_predicted:
        text = [
            f"{n_predicted} of {len(profile)} points are predicted from gradients, to first order. "
            "Layers are chosen among measured ones, if there are any."
        ]
    return Section(
        f"Relative depth at which one steered layer moves its axis most: {'; '.join(peaks)}",
        text,
        depth_figure(profile, comparison.models),
        "Mean |change of P+| when one layer is steered alone, over the training scenarios of the "
        "steered axis; any added vector makes it larger than 0. Relative depth is layer / (layers "
        "− 1). Large markers: the layers that the study steers together. Bands: 95% bootstrap "
        "intervals, clustered by item. Table: profile, which also has the effect with its sign.",
    )


def _item_effect_section(comparison: Comparison) -> Section:
    own = _labelled_items(comparison, comparison.items[_is_own(comparison.items)])
    excluding = own[own.low * own.high > 0]
    largest = own.effect.abs().groupby(own.model, sort=False).idxmax()
    strongest = own.loc[[largest[model] for model in comparison.models]]
    names = [f"{row.model} {row.item} ({100 * row.effect:+.1f})" for row in strongest.itertuples()]
    return Section(
        f"The item that steering moves most, in points of P+: {', '.join(names)}",
        [
            f"{len(excluding) or 'None'} of {len(own)} effects on one item of one model have a 95% "
            "interval that excludes 0."
        ],
        _item_grid(own.assign(points=100 * own.effect), "points", "points"),
        "Percentage points of P+ per unit of alpha when the item's own axis is steered, on "
        f"{own.n.min()} or more shared scenarios a cell. Intervals by scenario are in the table "
        "items; they are missing for fewer than six scenarios.",
    )


def _item_score_section(comparison: Comparison) -> Section:
    own = _labelled_items(comparison, comparison.items[_is_own(comparison.items)])
    spread = own.groupby("item").score.agg(lambda scores: scores.max() - scores.min())
    return Section(
        f"The models' scores without steering are furthest apart on {spread.idxmax()}: "
        f"{spread.max():.2f} of P+",
        [],
        _item_grid(own, "score", "P+", middle=0.5),
        "Mean P+ of the plain model by item: 0 is the negative pole, 1 the positive one, white is "
        "no preference. Table: items.",
    )


def _item_grid(items: pd.DataFrame, value: str, unit: str, middle: float = 0.0) -> go.Figure:
    names = {"label": "", "model": "", value: unit}
    figure = plots.grid_figure(items, "label", "model", value, names=names, middle=middle)
    # The numbers are in the cells, and a colour bar would take a third of a narrow page.
    return figure.update_coloraxes(showscale=False)


def _is_own(items: pd.DataFrame) -> pd.Series:
    return items.steered == items.axis


def _labelled_items(comparison: Comparison, items: pd.DataFrame) -> pd.DataFrame:
    texts = next(iter(comparison.summaries.values()))["items"]
    labels = {item: _item_label(item, texts.get(item, "")) for item in items["item"].unique()}
    # The columns of the grid are in the order in which they first occur.
    labelled = items.assign(label=items["item"].map(labels))
    return labelled.sort_values("item", kind="stable")


def _item_label(item: str, text: str) -> str:
    if text in ("", item):
        return item
    words = f"{item} {text}"
    return words if len(words) <= LONGEST_ITEM else f"{words[: LONGEST_ITEM - 1].rstrip()}…"


def _validity_section(comparison: Comparison) -> Section:
    table = comparison.validity
    verdicts = [
        f"{model} {', '.join(rows.readout[rows.ok.astype(bool)]) or 'none'}"
        for model, rows in table.groupby("model", sort=False)
    ]
    reasons = [
        f"{row.model}, {row.readout}: {row.failures}."
        for row in table[~table.ok.astype(bool)].itertuples()
    ]
    return Section(
        f"Readouts that pass their validity check: {'; '.join(verdicts)}",
        reasons,
        study_figures.validity_figure(table.assign(readout=table.model + "<br>" + table.readout)),
        "Each control item has a right answer, by plain fact or common sense. Error bars: 95% "
        f"Wilson intervals. This report uses the {comparison.readout} readout. Table: validity.",
    )


def _cost_section(comparison: Comparison) -> Section:
    rows = vectors_cost(comparison)
    drawn = rows[rows.alpha > 0].rename(columns={"kl_low": "low", "kl_high": "high"})
    drawn = drawn.assign(effect=drawn.kl, panel=drawn.steered + " steered")
    finding = cost_finding(comparison)
    names = {"alpha": "alpha", "effect": "KL, nats per token", "model": ""}
    figure = plots.interval_figure(
        drawn, "alpha", colour="model", facet="panel", names=names, lines=True, log="xy"
    )
    figure.for_each_annotation(lambda title: title.update(text=title.text.split(": ", 1)[-1]))
    # The strengths that were run, in place of powers of ten.
    figure.update_xaxes(tickvals=sorted(set(drawn.alpha)))
    return Section(
        _title(finding.answer),
        [finding.evidence],
        figure,
        "Strengths that all studies have, toward the positive pole. Error bars: 95% bootstrap "
        "intervals over texts. Table: cost, which also has the negative strengths and a random "
        "vector of the same norm.",
    )
