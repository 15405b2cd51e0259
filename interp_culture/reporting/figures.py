"""Tables -> plotly figures. Nothing is computed here beyond what drawing needs; titles stand in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from plotly.subplots import make_subplots

# Okabe and Ito's palette: told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
)
GREY, INK = "#9aa0a6", "#202124"
CYCLE = [BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY]
SYMBOLS = ["circle", "square", "triangle-up", "x"]
# Where words stand, so that those of points close to each other do not cover one another.
CORNERS = ["top left", "top right", "bottom left", "bottom right"]


def axis_colours(axes: list[str]) -> dict[str, str]:
    """One colour an axis, the same in every figure."""
    return {axis: CYCLE[i % len(CYCLE)] for i, axis in enumerate(sorted(axes))}


def layer_figure(
    sweep: pd.DataFrame, chosen: dict[str, list[int]], labels: dict[str, str]
) -> go.Figure:
    """The steering differential by layer and item, a panel for each axis; chosen layers are framed.

    Args:
        sweep: steered, layer, item, differential (means).
        chosen: layers taken for the intervention, by axis.
        labels: item -> what it asks.
    """
    axes = sorted(sweep.steered.unique())
    figure = make_subplots(rows=len(axes), cols=1, shared_xaxes=True, vertical_spacing=0.1)
    top = sweep.differential.max()
    for row, axis in enumerate(axes, start=1):
        grid = sweep[sweep.steered == axis].pivot_table(
            index="item", columns="layer", values="differential"
        )
        figure.add_heatmap(
            z=grid.to_numpy(), x=grid.columns, y=list(grid.index), row=row, col=1, zmin=0, zmax=top,
            colorscale="Cividis", colorbar={"title": "mean |ΔP+|", "orientation": "h", "y": -0.28, "thickness": 12},
            showscale=row == 1, customdata=np.array([[labels[i]] * grid.shape[1] for i in grid.index]),
            hovertemplate="layer %{x}, %{y} %{customdata}: %{z:.4f}<extra></extra>",
        )  # fmt: skip
        for layer in chosen[axis]:
            figure.add_shape(
                type="rect", x0=layer - 0.5, x1=layer + 0.5, y0=-0.5, y1=len(grid) - 0.5,
                line={"color": "#ffffff", "width": 2}, row=row, col=1,
            )  # fmt: skip
        figure.update_yaxes(title=f"item, {axis} steered", autorange="reversed", row=row, col=1)
    figure.update_xaxes(title="steered layer (blocks.l.hook_resid_post)", row=len(axes), col=1)
    return finish(figure, 220 * len(axes) + 140)


def response_figure(response: pd.DataFrame, null: pd.DataFrame) -> go.Figure:
    """Change of every axis under steering of every axis, with interval, over the random vectors' changes.

    Args:
        response: steered, alpha, axis, effect, low, high (largest alpha only).
        null: steered, axis, draw, effect: one row a random vector.
    """
    figure = go.Figure()
    figure.add_box(
        x=_pairs(null), y=null.effect, name="random vectors, same norm", boxpoints="all", pointpos=0, jitter=0.6,
        line={"color": GREY}, fillcolor="rgba(154,160,166,0.15)", marker={"color": GREY, "size": 4},
    )  # fmt: skip
    for sign, symbol, colour in ((1, "triangle-up", BLUE), (-1, "triangle-down", VERMILION)):
        rows = response[np.sign(response.alpha) == sign]
        figure.add_scatter(
            x=_pairs(rows), y=rows.effect, error_y=bars(rows, "effect", "low", "high"), mode="markers",
            name=f"alpha {rows.alpha.iloc[0]:+g}", marker={"size": 12, "symbol": symbol, "color": colour},
            hovertemplate="%{x}: %{y:+.4f}<extra></extra>",
        )  # fmt: skip
    figure.add_hline(y=0, line={"color": INK, "width": 1})
    figure.update_yaxes(title="change of mean P+ (0 to 1)")
    return finish(figure, 440)


def interval_figure(
    table: pd.DataFrame,
    x: str,
    *,
    colour: str,
    names: dict[str, str],
    facet: str | None = None,
    lines: bool = False,
    log: Literal["", "x", "y", "xy"] = "",
) -> go.Figure:
    """Values with their intervals, by a category or along a quantity; side by side where categories coincide.

    Args:
        table: the columns `x`, `colour`, `facet`, and effect, low, high.
        names: what the axes and legends are called: column -> words with the unit ("effect" the vertical axis).
        lines: whether the values of one colour are joined.
        log: which of the axes are logarithmic.
    """
    drawn = table.assign(_up=table.high - table.effect, _down=table.effect - table.low)
    draw = px.line if lines else px.scatter
    figure = draw(
        drawn, x=x, y="effect", color=colour, error_y="_up", error_y_minus="_down", facet_col=facet, labels=names,
        color_discrete_sequence=CYCLE, log_x="x" in log, log_y="y" in log,
    )  # fmt: skip
    figure.update_traces(
        marker={"size": 9}, error_y={"thickness": 1.2, "width": 3}, cliponaxis=False
    )
    if lines:
        figure.update_traces(mode="lines+markers")
    else:
        figure.update_layout(scattermode="group")
    if "y" not in log:
        figure.add_hline(y=0, line={"color": INK, "width": 1})
    else:
        figure.update_yaxes(
            tickvals=[step * 10.0**power for power in range(-6, 7) for step in (1, 2, 5)]
        )
    figure.for_each_annotation(lambda title: title.update(text=title.text.replace("=", ": ", 1)))
    return finish(figure, 440)


def grid_figure(
    table: pd.DataFrame, rows: str, columns: str, value: str, *, names: dict[str, str]
) -> go.Figure:
    """A square or oblong of signed values, blue below 0 and red above, each written in its cell.

    Args:
        table: one row a cell: the columns `rows`, `columns` (in the order in which they first stand) and `value`.
        names: column -> words with the unit.
    """
    grid = table.pivot(index=rows, columns=columns, values=value)
    grid = grid.loc[list(dict.fromkeys(table[rows])), list(dict.fromkeys(table[columns]))]
    top = float(np.nanmax(np.abs(grid.to_numpy()))) or 1.0
    figure = px.imshow(
        grid, color_continuous_scale="RdBu_r", zmin=-top, zmax=top, text_auto=".2f", aspect="auto",
        labels={"x": names[columns], "y": names[rows], "color": names[value]},
    )  # fmt: skip
    figure.update_xaxes(side="bottom", tickmode="array", tickvals=list(grid.columns))
    return finish(figure, 120 + 34 * max(8, len(grid)))


def points_figure(
    countries: pd.DataFrame,
    points: pd.DataFrame,
    targets: list[str],
    *,
    path: str | None = None,
    apart: str = "",
    words: str = "",
) -> go.Figure:
    """Points of a model on the cultural map with their intervals, by label, where wanted joined along a path.

    Args:
        countries: iso3 (index), country, x, y.
        points: label (a colour each), x, y, x_low, x_high, y_low, y_high.
        targets: iso3 of the countries that are labelled.
        path: a column along which the points of one label are joined, with arrows.
        apart: a column whose values have a path each.
        words: a column that is written beside the points.
    """
    figure = go.Figure()
    others, named = (
        countries[~countries.index.isin(targets)],
        countries[countries.index.isin(targets)],
    )
    for rows, mode, marker in (
        (others, "markers", {"color": "#d0d4d9", "size": 6}),
        (named, "markers+text", {"color": INK, "size": 8, "symbol": "diamond"}),
    ):
        figure.add_scatter(
            x=rows.x, y=rows.y, text=rows.country, mode=mode, marker=marker, textposition="top center",
            showlegend=False, hovertemplate="%{text}: %{x:.2f}, %{y:.2f}<extra></extra>",
        )  # fmt: skip
    mode = "+".join(["lines"] * bool(path) + ["markers"] + ["text"] * bool(words))
    for number, (label, own) in enumerate(points.groupby("label", sort=False)):
        colour, symbol = CYCLE[number % len(CYCLE)], SYMBOLS[number // len(CYCLE) % len(SYMBOLS)]
        rows = own.sort_values([apart, path] if apart else path) if path else own
        if apart:  # a line breaks at a point that is nowhere
            ends = rows.drop_duplicates(apart, keep="last").assign(x=np.nan, y=np.nan)
            rows = pd.concat([rows, ends]).sort_values(apart, kind="stable")
        marker = {"size": 9, "color": colour, "symbol": symbol}
        figure.add_scatter(
            x=rows.x, y=rows.y, name=str(label), mode=mode,
            text=rows[words] if words else None, textfont={"size": 9, "color": colour},
            textposition=[CORNERS[i % 4] for i in range(len(rows))],
            marker=marker | ({"symbol": "arrow", "angleref": "previous", "size": 11} if path else {}),
            line={"color": colour, "width": 2}, error_x=None if path else bars(rows, "x"),
            error_y=None if path else bars(rows, "y"), customdata=rows[path] if path else None,
            hovertemplate="%{x:.2f}, %{y:.2f}" + (f" ({path} %{{customdata}})" if path else "") + "<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="survival → self-expression (map units)")
    figure.update_yaxes(title="traditional → secular-rational (map units)")
    return finish(figure, 600)


def forest_figure(
    table: pd.DataFrame, value: str, *, marks: dict[str, float] | None = None, mark: str = ""
) -> go.Figure:
    """Values with their intervals, one below the other, over the random vectors' range; hollow where they are not sure.

    Args:
        table: label, kind (a colour each), panel, and effect, low, high, null_low, null_high, sure.
        value: what the effects are, with the unit.
        marks: panel -> a value that a dashed line marks there; `mark` names it.
    """
    panels, n = list(dict.fromkeys(table.panel)), table.label.nunique()
    figure = make_subplots(
        rows=1,
        cols=len(panels),
        shared_yaxes=True,
        subplot_titles=panels,
        x_title=value,
        horizontal_spacing=0.04,
    )
    for col, panel in enumerate(panels, start=1):
        rows, here = table[table.panel == panel], {"row": 1, "col": col}
        figure.add_scatter(
            x=rows[["null_low", "null_high"]].assign(gap=np.nan).to_numpy().ravel(), y=np.repeat(rows.label, 3),
            mode="lines", line={"color": "#d0d4d9", "width": 9}, name="random vectors, middle 95%",
            legendgroup="null", showlegend=col == 1, hoverinfo="skip", **here,
        )  # fmt: skip
        for number, (kind, own) in enumerate(rows.groupby("kind", sort=False)):
            symbols = np.where(own.sure, "circle", "circle-open")
            figure.add_scatter(
                x=own.effect, y=own.label, mode="markers", name=kind, legendgroup=kind, showlegend=col == 1,
                marker={"size": 9, "color": CYCLE[number % len(CYCLE)], "symbol": symbols},
                error_x=bars(own, "effect", "low", "high"), hovertemplate="%{y}: %{x:+.4f}<extra></extra>", **here,
            )  # fmt: skip
        figure.add_vline(x=0, line={"color": INK, "width": 1}, **here)
        if marks and panel in marks:
            line, first = {"color": ORANGE, "dash": "dash"}, panel == next(iter(marks))
            figure.add_vline(x=marks[panel], line=line, name=mark, showlegend=first, **here)
    figure.update_annotations(font_size=13)
    figure.update_yaxes(autorange="reversed")
    return finish(figure, 170 + 24 * n).update_layout(legend_y=-2.5 / n)


def profile_figure(
    table: pd.DataFrame,
    x: str,
    *,
    colour: str,
    facet: str,
    names: dict[str, str],
    marked: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> go.Figure:
    """Values along a quantity with their intervals, joined, over the range of a null; a panel for each facet.

    Args:
        table: the columns `x`, `colour`, `facet`, and effect, low, high, null_low, null_high (the widest is drawn).
        names: as for `interval_figure`; "null" names the range.
        marked: facet -> whole numbers of `x` that are shaded.
    """
    figure = interval_figure(table, x, colour=colour, names=names, facet=facet, lines=True)
    for col, (panel, rows) in enumerate(table.groupby(facet, sort=False), start=1):
        band = rows.groupby(x).agg({"null_low": "min", "null_high": "max"}).dropna()
        figure.add_scatter(
            x=[*band.index, *band.index[::-1]], y=[*band.null_low, *band.null_high[::-1]], mode="lines", fill="toself",
            line={"width": 0}, fillcolor="rgba(154,160,166,0.3)", name=names["null"], legendgroup="null",
            showlegend=col == 1, hoverinfo="skip", row=1, col=col,
        )  # fmt: skip
        for place in marked.get(str(panel), []):
            edges = {"x0": place - 0.5, "x1": place + 0.5, "line_width": 0}
            figure.add_vrect(**edges, fillcolor=ORANGE, opacity=0.25, layer="below", row=1, col=col)
    figure.for_each_annotation(lambda title: title.update(text=title.text.split(": ", 1)[-1]))
    return figure


def _pairs(rows: pd.DataFrame) -> list[str]:
    return [f"{s} steered,<br>{a} read" for s, a in zip(rows.steered, rows.axis, strict=True)]


def bars(rows: pd.DataFrame, name: str, low: str = "", high: str = "") -> dict[str, object]:
    """Error bars from the columns `name`, and `name_low`, `name_high` or the ones given."""
    return {
        "type": "data",
        "symmetric": False,
        "array": rows[high or f"{name}_high"] - rows[name],
        "arrayminus": rows[name] - rows[low or f"{name}_low"],
        "thickness": 1.2,
        "width": 3,
    }


def finish(figure: go.Figure, height: int) -> go.Figure:
    """The look that all figures share."""
    return figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 10, "r": 10, "t": 40, "b": 10},
        font={"color": INK, "size": 12},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top"},
    )
