"""The figures of a study's report: map, responses, entanglement ratio, readout check."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from interp_culture.reporting.figure_style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    VERMILION,
    axis_colours,
    bars,
    finish,
)

PALE = "#d0d4d9"


def map_figure(countries: pd.DataFrame, places: pd.DataFrame, targets: list[str]) -> go.Figure:
    """The cultural map: countries, the plain model with its interval, a path per steered axis.

    Args:
        countries: iso3 (index), country, x, y (map units).
        places: steered, alpha, x, y, x_low, x_high, y_low, y_high (map units). The plain model has
            alpha 0 and steered ""; steered "neutral" is a model that prefers nothing.
        targets: iso3 of the countries that are labelled.
    """
    figure = go.Figure()
    _add_countries(figure, countries, targets)
    neutral = places[places.steered == "neutral"]
    figure.add_scatter(
        x=neutral.x,
        y=neutral.y,
        mode="markers",
        name="no preference (all scores 0.5)",
        marker={"color": ORANGE, "size": 11, "symbol": "x"},
        hovertemplate="no preference: %{x:.2f}, %{y:.2f}<extra></extra>",
    )
    plain = places[(places.alpha == 0) & (places.steered == "")]
    # The plain model is drawn last, so that no path covers it.
    _add_paths(figure, plain, places[places.alpha != 0])
    figure.add_scatter(
        x=plain.x,
        y=plain.y,
        mode="markers",
        name="plain model",
        marker={"color": INK, "size": 12, "symbol": "star"},
        error_x=bars(plain, "x"),
        error_y=bars(plain, "y"),
        hovertemplate="plain: %{x:.2f}, %{y:.2f}<extra></extra>",
    )
    figure.update_xaxes(title="survival → self-expression (map units)")
    figure.update_yaxes(title="traditional → secular-rational (map units)")
    return finish(figure, 560)


def _add_countries(figure: go.Figure, countries: pd.DataFrame, targets: list[str]) -> None:
    is_target = countries.index.isin(targets)
    hover = "%{text}: %{x:.2f}, %{y:.2f}<extra></extra>"
    others = countries[~is_target]
    figure.add_scatter(
        x=others.x,
        y=others.y,
        text=others.country,
        mode="markers",
        name="countries (2023 map)",
        marker={"color": PALE, "size": 6},
        hovertemplate=hover,
    )
    labelled = countries[is_target]
    figure.add_scatter(
        x=labelled.x,
        y=labelled.y,
        text=labelled.country,
        mode="markers+text",
        name="target countries",
        textposition="top center",
        marker={"color": INK, "size": 8, "symbol": "diamond"},
        hovertemplate=hover,
    )


def _add_paths(figure: go.Figure, plain: pd.DataFrame, steered: pd.DataFrame) -> None:
    """A line with arrows for each steered axis, through the plain model, in the order of alpha."""
    for axis, colour in axis_colours(list(steered.steered.unique())).items():
        # The plain model has alpha 0, so that sorting puts it between the two signs.
        path = pd.concat([steered[steered.steered == axis], plain]).sort_values("alpha")
        figure.add_scatter(
            x=path.x,
            y=path.y,
            mode="lines+markers",
            name=f"model, {axis} steered",
            line={"color": colour, "width": 2},
            marker={"size": 9, "symbol": "arrow", "angleref": "previous", "color": colour},
            customdata=path.alpha,
            hovertemplate="alpha %{customdata:+g}: %{x:.2f}, %{y:.2f}<extra></extra>",
        )


def response_figure(response: pd.DataFrame, null: pd.DataFrame) -> go.Figure:
    """Change of every axis under steering of every axis, over the changes by random vectors.

    Args:
        response: steered, alpha, axis, effect, low, high (largest alpha only).
        null: steered, axis, draw, effect; one row per random vector.

    >>> effects = ic.coupling.response(readouts)
    >>> figure = response_figure(effects, ic.coupling.random_effects(readouts))
    >>> [trace.name for trace in figure.data]
    ['random vectors, same norm', 'alpha +1', 'alpha -1']
    """
    figure = go.Figure()
    _add_random(figure, _steered_and_read(null), null.effect, "random vectors, same norm")
    for sign, symbol, colour in ((1, "triangle-up", BLUE), (-1, "triangle-down", VERMILION)):
        rows = response[np.sign(response.alpha) == sign]
        figure.add_scatter(
            x=_steered_and_read(rows),
            y=rows.effect,
            error_y=bars(rows, "effect", "low", "high"),
            mode="markers",
            name=f"alpha {rows.alpha.iloc[0]:+g}",
            marker={"size": 12, "symbol": symbol, "color": colour},
            hovertemplate="%{x}: %{y:+.4f}<extra></extra>",
        )
    figure.add_hline(y=0, line={"color": INK, "width": 1})
    figure.update_yaxes(title="change of mean P+ (0 to 1)")
    return finish(figure, 440)


def _add_random(figure: go.Figure, labels: list[str], values: pd.Series, name: str) -> None:
    """A grey box for each label, with a point for each random vector."""
    figure.add_box(
        x=labels,
        y=values,
        name=name,
        boxpoints="all",
        pointpos=0,
        jitter=0.5,
        line={"color": GREY},
        fillcolor="rgba(154,160,166,0.15)",
        marker={"color": GREY, "size": 4},
    )


def _steered_and_read(rows: pd.DataFrame) -> list[str]:
    return [
        f"{steered} steered,<br>{axis} read"
        for steered, axis in zip(rows.steered, rows.axis, strict=True)
    ]


def ratio_figure(matrix: pd.DataFrame, null: pd.DataFrame, human: dict[str, float]) -> go.Figure:
    """The entanglement ratio per steered axis, over random vectors and human societies.

    Args:
        matrix: steered, axis, ratio, ratio_low, ratio_high, defined (a ratio that is not is drawn
            hollow), without the rows of an axis on itself.
        null: steered, axis, ratio: one row per random vector.
        human: steered axis -> ratio over countries; empty if the axes are not the cultural ones.
    """
    pairs = _pairs(matrix)
    symbols = ["circle" if defined else "circle-open" for defined in matrix.defined]
    figure = go.Figure()
    _add_random(figure, _pairs(null), null.ratio, "random vectors")
    figure.add_scatter(
        x=pairs,
        y=matrix.ratio,
        mode="markers",
        name="model",
        marker={"color": BLUE, "size": 13, "symbol": symbols},
        error_y=bars(matrix, "ratio"),
        hovertemplate="%{x}: %{y:.2f}<extra></extra>",
    )
    if human:
        figure.add_scatter(
            x=pairs,
            y=[human.get(steered) for steered in matrix.steered],
            mode="markers",
            name="115 countries",
            marker={"color": ORANGE, "size": 13, "symbol": "diamond"},
            hovertemplate="countries: %{y:.2f}<extra></extra>",
        )
    # Many random vectors reach the cap of 1; the margin keeps their markers inside the frame.
    figure.update_yaxes(title="entanglement ratio (0 to 1)", range=[-0.03, 1.06])
    figure.update_xaxes(title="steered axis → other axis")
    return finish(figure, 420)


def _pairs(rows: pd.DataFrame) -> list[str]:
    return [f"{s} → {a}" for s, a in zip(rows.steered, rows.axis, strict=True)]


def validity_figure(validity: pd.DataFrame) -> go.Figure:
    """The accuracy of each readout on the control items, with its interval and chance.

    Args:
        validity: readout, accuracy, accuracy_low, accuracy_high (shares), ok.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=validity.accuracy,
        y=validity.readout,
        mode="markers",
        marker={"size": 13, "color": [GREEN if ok else VERMILION for ok in validity.ok]},
        error_x=bars(validity, "accuracy"),
        hovertemplate="%{y}: %{x:.2f}<extra></extra>",
        showlegend=False,
    )
    figure.add_vline(x=0.5, line={"color": INK, "dash": "dot"}, annotation_text="chance")
    figure.update_xaxes(title="share of right answers", range=[0, 1])
    # A categorical axis counts from 0; the margin keeps the markers off the frame.
    figure.update_yaxes(title="readout", range=[-0.6, len(validity) - 0.4])
    return finish(figure, max(240, 100 + 40 * len(validity)))
