"""The first screen of a report: three questions, their answers, and one picture."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from interp_culture.reporting.effect_findings import (
    Finding,
    Question,
    certain_effects,
    cross_responses,
    headline,
    planted_finding,
    planted_row,
    primary_matrix,
)
from interp_culture.reporting.figure_style import BLUE, GREY, INK, PURPLE, bars, faded, finish
from interp_culture.reporting.findings import map_finding, scores_finding
from interp_culture.reporting.study_figures import map_figure
from interp_culture.stats import interval_words
from interp_culture.study.summary import MatrixRow, PlantedRow, ResponseRow, Summary
from interp_culture.survey.wvs import TARGETS, countries

CHANGE = "change of mean P+ per unit of alpha"


def questions(summary: Summary) -> list[Question]:
    """Where the model stands, whether it can be steered, and whether the axes move together."""
    on_map = bool(summary["distances"])
    place = map_finding(summary) if on_map else scores_finding(summary)
    return [
        Question("Where does the model stand?", place),
        Question("Can it be steered?", steered_finding(summary)),
        Question("Do the axes move together?", together_finding(summary)),
    ]


def steered_finding(summary: Summary) -> Finding:
    """Which axes follow steering at both signs, at one, or not at all."""
    numbers = [
        f"{row['steered']} {interval_words(row['D'], row['low'], row['high'])}"
        for row in primary_matrix(summary)
        if row["steered"] == row["axis"]
    ]
    evidence = (
        f"Change of P+ per unit of alpha, on {summary['n_test']} held-out scenarios: "
        f"{', '.join(numbers)}. {direction_words(summary)}"
    )
    return Finding(_steered_answer(summary), evidence)


def _steered_answer(summary: Summary) -> str:
    certain = {axis: certain_effects(summary, axis) for axis in summary["layers"]}
    both = [axis for axis, effects in certain.items() if len(effects) == 2]
    if len(both) == len(certain):
        return f"Yes: {_listed(both)} follow steering in both directions, beyond random vectors."
    if not any(certain.values()):
        return "We found no effect of steering beyond random vectors."
    parts = [_followed(summary, axis, effects) for axis, effects in certain.items()]
    return f"In part: {_listed(parts)}, beyond random vectors."


def _followed(summary: Summary, axis: str, effects: Sequence[ResponseRow]) -> str:
    """In which directions an axis follows steering."""
    if len(effects) != 1:
        return f"{axis} follows steering in {'both directions' if effects else 'no direction'}"
    poles = summary["axes"][axis]
    pole = poles["positive"] if effects[0]["alpha"] > 0 else poles["negative"]
    return f"{axis} follows steering toward {pole} only"


def direction_words(summary: Summary) -> str:
    """Which direction is steered and why, beside the effect of the paper's direction."""
    direction = summary["direction"]
    text = f"We steer with {direction['name']}"
    if direction["is_chosen"]:
        others = [name for name in direction["candidates"] if name != direction["name"]]
        text += ", which on training scenarios had a larger effect at equal cost than "
        text += ", ".join(others)
        if direction["multiple"] is not None and not direction["is_of_paper"]:
            text += f" ({direction['multiple']:.1f} times that of the paper's direction)"
    paper = [
        f"{row['axis']} by {interval_words(row['D'], row['low'], row['high'])}"
        for row in summary["paper_matrix"]
        if row["steered"] == row["axis"]
    ]
    if not paper:
        return f"{text}."
    return f"{text}. The paper's direction, of the same norm, moves {', '.join(paper)}."


def together_finding(summary: Summary) -> Finding:
    """The couplings that were found, the smallest that could have been, and the control."""
    rows = cross_responses(summary)
    numbers = [
        f"{row['axis']} changes by {interval_words(row['D'], row['low'], row['high'])} when "
        f"{row['steered']} is steered"
        for row in rows
    ]
    bounds = [f"±{row['detectable']:.3f} ({row['axis']} to {row['steered']})" for row in rows]
    evidence = (
        f"Per unit of alpha, {' and '.join(numbers)}. A coupling of {' or '.join(bounds)} would "
        "have been found in 80% of such studies."
    )
    planted = planted_finding(summary)
    if planted is not None:
        evidence += f" {planted.answer}"
    return Finding(f"{headline(summary)}.", evidence)


def overview_figures(summary: Summary, places: pd.DataFrame | None) -> list[go.Figure]:
    """The model on the map, and what steering each axis does to every axis.

    Two figures: side by side on a wide screen, one above the other on a phone.

    Args:
        places: of the study, for the map; None without a cultural map.
    """
    figures = [] if places is None else [map_figure(countries(), places, list(TARGETS))]
    figures.append(_responses_figure(summary))
    return [finish(figure, 460) for figure in figures]


def overview_caption(summary: Summary) -> str:
    """What the picture shows, and from which tables."""
    on_map = (
        "The map: the plain model, countries, and arrows from the most negative to the most "
        "positive alpha (table: places). The responses: "
        if summary["distances"]
        else ""
    )
    return (
        f"{on_map}change of the mean P+ of the axis that is read, per unit of alpha on the steered "
        "axis, with 95% bootstrap intervals, over the band of random vectors of the same norm. "
        "Tables: matrix, paper_matrix, planted."
    )


def _responses_figure(summary: Summary) -> go.Figure:
    """One line for each response: the effect with its interval, over the random vectors' band."""
    figure = go.Figure()
    matrix = _labelled(primary_matrix(summary))
    planted = planted_row(summary)
    groups = [
        ("steered direction", BLUE, matrix),
        ("the paper's direction", GREY, _labelled(summary["paper_matrix"])),
        ("with a planted coupling", PURPLE, _labelled([planted] if planted else [])),
    ]
    figure.add_bar(
        x=matrix.null_high - matrix.null_low,
        y=matrix.label,
        base=matrix.null_low,
        orientation="h",
        name="95% of random vectors",
        marker={"color": faded(GREY, 0.35)},
        width=0.6,
        hoverinfo="skip",
    )
    for name, colour, rows in groups:
        if rows.empty:
            continue
        figure.add_scatter(
            x=rows.D,
            y=rows.label,
            error_x=bars(rows, "D", "low", "high"),
            mode="markers",
            name=name,
            marker={"color": colour, "size": 10},
            hovertemplate="%{y}: %{x:+.4f}<extra></extra>",
        )
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    labels = matrix.label.tolist()
    figure.update_yaxes(categoryorder="array", categoryarray=labels[::-1])
    return figure.update_xaxes(title=CHANGE)


def _labelled(rows: Sequence[MatrixRow] | Sequence[PlantedRow]) -> pd.DataFrame:
    """The rows with the label of their line; without rows, the columns that are drawn."""
    drawn = [{**row, "label": _label(row["steered"], row["axis"])} for row in rows]
    return pd.DataFrame(drawn, columns=["label", "D", "low", "high", "null_low", "null_high"])


def _label(steered: str, axis: str) -> str:
    return f"steer {steered}, read {axis}"


def _listed(names: Sequence[str]) -> str:
    """The names with "and" before the last one."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
