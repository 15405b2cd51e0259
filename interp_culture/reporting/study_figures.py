"""The figures of the report's own sections. Nothing is computed here beyond what drawing needs."""

from __future__ import annotations

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


def map_figure(countries: pd.DataFrame, places: pd.DataFrame, targets: list[str]) -> go.Figure:
    """The cultural map: countries, the plain model with its interval, and a path for each steered axis.

    Args:
        countries: iso3 (index), country, x, y.
        places: label, steered, alpha, x, y, x_low, x_high, y_low, y_high; the plain model has alpha 0, and the row
            whose steered is "neutral" is a model that prefers nothing.
        targets: iso3 of the countries that are labelled.
    """
    figure = go.Figure()
    others = countries[~countries.index.isin(targets)]
    named = countries[countries.index.isin(targets)]
    figure.add_scatter(
        x=others.x, y=others.y, text=others.country, mode="markers", name="countries (2023 map)",
        marker={"color": "#d0d4d9", "size": 6}, hovertemplate="%{text}: %{x:.2f}, %{y:.2f}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=named.x, y=named.y, text=named.country, mode="markers+text", name="target countries",
        textposition="top center", marker={"color": INK, "size": 8, "symbol": "diamond"},
        hovertemplate="%{text}: %{x:.2f}, %{y:.2f}<extra></extra>",
    )  # fmt: skip
    neutral = places[places.steered == "neutral"]
    figure.add_scatter(
        x=neutral.x, y=neutral.y, mode="markers", name="no preference (all scores 0.5)",
        marker={"color": ORANGE, "size": 11, "symbol": "x"},
        hovertemplate="no preference: %{x:.2f}, %{y:.2f}<extra></extra>",
    )  # fmt: skip
    plain = places[(places.alpha == 0) & (places.steered == "")]
    steered = places[(places.alpha != 0)]
    for axis, colour in axis_colours(list(steered.steered.unique())).items():
        path = pd.concat([steered[steered.steered == axis], plain]).sort_values("alpha")
        figure.add_scatter(
            x=path.x, y=path.y, mode="lines+markers", name=f"model, {axis} steered", line={"color": colour, "width": 2},
            marker={"size": 9, "symbol": "arrow", "angleref": "previous", "color": colour},
            customdata=path.alpha, hovertemplate="alpha %{customdata:+g}: %{x:.2f}, %{y:.2f}<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=plain.x, y=plain.y, mode="markers", name="model, plain", marker={"color": INK, "size": 12, "symbol": "star"},
        error_x=bars(plain, "x"), error_y=bars(plain, "y"), hovertemplate="plain: %{x:.2f}, %{y:.2f}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="survival → self-expression (map units)")
    figure.update_yaxes(title="traditional → secular-rational (map units)")
    return finish(figure, 560)


def ratio_figure(matrix: pd.DataFrame, null: pd.DataFrame, human: dict[str, float]) -> go.Figure:
    """The entanglement ratio of each steered axis with its interval, beside random vectors and human societies.

    Args:
        matrix: steered, axis, ratio, ratio_low, ratio_high (off-diagonal rows).
        null: steered, axis, ratio: one row a random vector.
        human: steered axis -> ratio over countries; empty where the axes are not the cultural ones.
    """
    figure = go.Figure()
    name = [f"{s} → {a}" for s, a in zip(matrix.steered, matrix.axis, strict=True)]
    figure.add_box(
        x=[f"{s} → {a}" for s, a in zip(null.steered, null.axis, strict=True)], y=null.ratio, name="random vectors",
        boxpoints="all", pointpos=0, jitter=0.4, line={"color": GREY}, fillcolor="rgba(154,160,166,0.15)",
        marker={"color": GREY, "size": 4},
    )  # fmt: skip
    figure.add_scatter(
        x=name, y=matrix.ratio, mode="markers", name="model", marker={"color": BLUE, "size": 13},
        error_y=bars(matrix, "ratio"),
        hovertemplate="%{x}: %{y:.2f}<extra></extra>",
    )  # fmt: skip
    if human:
        figure.add_scatter(
            x=name, y=[human.get(s) for s in matrix.steered], mode="markers", name="115 countries",
            marker={"color": ORANGE, "size": 13, "symbol": "diamond"},
            hovertemplate="countries: %{y:.2f}<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(title="entanglement ratio (0 to 1)", range=[-0.03, 1.06])
    figure.update_xaxes(title="steered axis → axis that moves along")
    return finish(figure, 420)


def validity_figure(validity: pd.DataFrame) -> go.Figure:
    """Accuracy of each readout on the control items, with its interval and chance.

    Args:
        validity: readout, accuracy, accuracy_low, accuracy_high, ok.
    """
    figure = go.Figure()
    colours = [GREEN if ok else VERMILION for ok in validity.ok]
    figure.add_scatter(
        x=validity.accuracy, y=validity.readout, mode="markers", marker={"size": 13, "color": colours},
        error_x=bars(validity, "accuracy"),
        hovertemplate="%{y}: %{x:.2f}<extra></extra>", showlegend=False,
    )  # fmt: skip
    figure.add_vline(x=0.5, line={"color": INK, "dash": "dot"}, annotation_text="chance")
    figure.update_xaxes(title="share of control items answered rightly", range=[0, 1])
    figure.update_yaxes(title="readout", range=[-0.6, len(validity) - 0.4])
    return finish(figure, 240)
