"""The first screen of a report: three questions, their answers, and one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from interp_culture.reporting.effect_findings import (
    Finding,
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
from interp_culture.study.summary import MatrixRow, PlantedRow, Summary
from interp_culture.survey.wvs import TARGETS, countries

CHANGE = "change of mean P+ per unit of alpha"


@dataclass(frozen=True)
class Question:
    """One of the three questions of a study, with its answer."""

    text: str
    finding: Finding


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
    signs = {axis: len(certain_effects(summary, axis)) for axis in summary["layers"]}
    numbers = [
        f"{row['steered']} {interval_words(row['D'], row['low'], row['high'])}"
        for row in primary_matrix(summary)
        if row["steered"] == row["axis"]
    ]
    evidence = (
        f"Change of P+ per unit of alpha, on {summary['n_test']} held-out scenarios: "
        f"{', '.join(numbers)}. {direction_words(summary)}"
    )
    return Finding(_steered_answer(signs), evidence)


def _steered_answer(signs: dict[str, int]) -> str:
    both = [axis for axis, n in signs.items() if n == 2]
    if len(both) == len(signs):
        return f"Yes: {_listed(both)} follow steering in both directions, beyond random vectors."
    some = [f"{axis} at {n} of 2 signs" for axis, n in signs.items()]
    answer = "In part" if any(signs.values()) else "We found no effect of steering"
    return f"{answer}: beyond random vectors {', '.join(some)} of alpha."


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


def overview_figure(summary: Summary, places: pd.DataFrame | None) -> go.Figure:
    """The model on the map, beside what steering each axis does to every axis.

    Args:
        places: of the study, for the map; None without a cultural map.
    """
    if places is None:
        figure = go.Figure()
        _add_responses(figure, summary, {})
        return finish(figure.update_xaxes(title=CHANGE), 320)
    figure = make_subplots(
        rows=1,
        cols=2,
        column_widths=[0.5, 0.5],
        horizontal_spacing=0.16,
        subplot_titles=["Where it stands", "What steering moves"],
    )
    for trace in map_figure(countries(), places, list(TARGETS)).data:
        figure.add_trace(trace, row=1, col=1)
    _add_responses(figure, summary, {"row": 1, "col": 2})
    figure.update_xaxes(title="survival → self-expression (map units)", row=1, col=1)
    figure.update_yaxes(title="traditional → secular-rational (map units)", row=1, col=1)
    figure.update_xaxes(title=CHANGE, row=1, col=2)
    return finish(figure, 460)


def overview_caption(summary: Summary) -> str:
    """What the picture shows, and from which tables."""
    on_map = (
        "Left: the plain model, countries, and arrows from the most negative to the most positive "
        "alpha (table: places). Right: "
        if summary["distances"]
        else ""
    )
    return (
        f"{on_map}change of the mean P+ of the axis that is read, per unit of alpha on the steered "
        "axis, with 95% bootstrap intervals, over the band of random vectors of the same norm. "
        "Tables: matrix, paper_matrix, planted."
    )


def _add_responses(figure: go.Figure, summary: Summary, cell: dict[str, int]) -> None:
    """One line for each response: the effect with its interval, over the random vectors' band."""
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
        **cell,
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
            **cell,
        )
    figure.add_vline(x=0, line={"color": INK, "width": 1}, **cell)
    labels = matrix.label.tolist()
    figure.update_yaxes(categoryorder="array", categoryarray=labels[::-1], **cell)


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
