"""Points and paths of a model on the cultural map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from interp_culture.reporting.figure_style import CYCLE, INK, LIGHT_GREY, bars, finish

SYMBOLS = ["circle", "square", "triangle-up", "x"]
# The words of neighbouring points go to different corners, so that they rarely overlap.
CORNERS = ["top left", "top right", "bottom left", "bottom right"]


def points_figure(
    countries: pd.DataFrame,
    points: pd.DataFrame,
    targets: list[str],
    *,
    path: str | None = None,
    apart: str = "",
    words: str = "",
) -> go.Figure:
    """A model's points on the cultural map, by label: with their intervals, or joined along a path.

    Args:
        countries: iso3 (index), country, x, y.
        points: label (one colour per value), x, y, x_low, x_high, y_low, y_high.
        targets: iso3 of the countries whose names are written.
        path: a column along which the points of one label are joined, with arrows.
        apart: a column with a separate path per value.
        words: a column whose values are written next to the points.

    >>> points = pd.DataFrame({"label": ["plain model"], "x": 0.5, "y": 0.2})
    >>> points = points.assign(x_low=0.4, x_high=0.6, y_low=0.1, y_high=0.3)
    >>> figure = points_figure(ic.survey.countries(), points, targets=["SWE", "GHA"])
    >>> [trace.name for trace in figure.data]  # all countries, named countries, the model
    [None, None, 'plain model']
    """
    figure = go.Figure()
    add_countries(figure, countries, targets)
    shown = ["lines"] * bool(path) + ["markers"] + ["text"] * bool(words)
    for number, (label, rows) in enumerate(points.groupby("label", sort=False)):
        colour = CYCLE[number % len(CYCLE)]
        # Once all colours are used, they come again with the next symbol.
        symbol = SYMBOLS[number // len(CYCLE) % len(SYMBOLS)]
        marker: dict[str, Any] = {"size": 9, "color": colour, "symbol": symbol}
        drawn = rows
        of_kind: dict[str, Any] = {"error_x": bars(rows, "x"), "error_y": bars(rows, "y")}
        hover = "%{x:.2f}, %{y:.2f}"
        if path:
            drawn = _broken_path(rows, path, apart)
            marker |= {"symbol": "arrow", "angleref": "previous", "size": 11}
            of_kind = {"customdata": drawn[path]}
            hover += f" ({path} %{{customdata}})"
        figure.add_scatter(
            x=drawn.x,
            y=drawn.y,
            name=str(label),
            mode="+".join(shown),
            text=drawn[words] if words else None,
            textfont={"size": 9, "color": colour},
            textposition=[CORNERS[i % 4] for i in range(len(drawn))],
            marker=marker,
            line={"color": colour, "width": 2},
            hovertemplate=f"{hover}<extra></extra>",
            **of_kind,
        )
    figure.update_xaxes(title="survival → self-expression (map units)")
    figure.update_yaxes(title="traditional → secular-rational (map units)")
    return finish(figure, 600)


def add_countries(figure: go.Figure, countries: pd.DataFrame, targets: list[str]) -> None:
    """All countries as grey points, and the target countries with their names."""
    is_target = countries.index.isin(targets)
    small = {"color": LIGHT_GREY, "size": 6}
    named = {"color": INK, "size": 8, "symbol": "diamond"}
    for rows, mode, marker in (
        (countries[~is_target], "markers", small),
        (countries[is_target], "markers+text", named),
    ):
        figure.add_scatter(
            x=rows.x,
            y=rows.y,
            text=rows.country,
            mode=mode,
            marker=marker,
            textposition="top center",
            showlegend=False,
            hovertemplate="%{text}: %{x:.2f}, %{y:.2f}<extra></extra>",
        )


def _broken_path(rows: pd.DataFrame, path: str, apart: str) -> pd.DataFrame:
    """The rows sorted along the path, with a gap between the paths of two values of `apart`."""
    if not apart:
        return rows.sort_values(path)
    ordered = rows.sort_values([apart, path])
    # plotly breaks a line at a point whose coordinates are NaN.
    gaps = ordered.drop_duplicates(apart, keep="last").assign(x=np.nan, y=np.nan)
    # A stable sort leaves each gap behind the points of its path.
    return pd.concat([ordered, gaps]).sort_values(apart, kind="stable")
