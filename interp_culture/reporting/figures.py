"""Tables -> plotly figures; nothing is computed here beyond what drawing needs.

The finding is the section's title in the report, so figures have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from interp_culture.reporting.figure_style import (
    CYCLE,
    INK,
    LIGHT_GREY,
    ORANGE,
    bars,
    finish,
)

BAND = "rgba(154,160,166,0.3)"


def layer_figure(
    sweep: pd.DataFrame, chosen: dict[str, list[int]], labels: dict[str, str]
) -> go.Figure:
    """The steering differential by layer and item, one panel per axis; chosen layers are framed.

    Args:
        sweep: steered, layer, item, differential (means).
        chosen: the intervention's layers, by axis.
        labels: what each item asks.

    >>> table = pd.DataFrame({"layer": [0, 1], "differential": [0.1, 0.3]})
    >>> table = table.assign(steered="X", item="X01")
    >>> figure = layer_figure(table, chosen={"X": [1]}, labels={"X01": "security"})
    >>> len(figure.layout.shapes)  # the frame of layer 1
    1
    """
    axes = sorted(sweep.steered.unique())
    top = sweep.differential.max()
    figure = make_subplots(rows=len(axes), cols=1, shared_xaxes=True, vertical_spacing=0.1)
    for row, axis in enumerate(axes, start=1):
        panel = {"row": row, "col": 1}
        of_axis = sweep[sweep.steered == axis]
        grid = of_axis.pivot_table(index="item", columns="layer", values="differential")
        asked = [[labels[item]] * grid.shape[1] for item in grid.index]
        figure.add_heatmap(
            z=grid.to_numpy(),
            x=grid.columns,
            y=list(grid.index),
            zmin=0,
            zmax=top,
            colorscale="Cividis",
            colorbar={"title": "mean |ΔP+|", "orientation": "h", "y": -0.28, "thickness": 12},
            # One colour bar is enough: all panels have the same zmin and zmax.
            showscale=row == 1,
            customdata=np.array(asked),
            hovertemplate="layer %{x}, %{y} %{customdata}: %{z:.4f}<extra></extra>",
            **panel,
        )
        for layer in chosen[axis]:
            # Items are categories, which plotly places at 0, 1, 2, ...; a cell is 1 wide.
            frame = {"x0": layer - 0.5, "x1": layer + 0.5, "y0": -0.5, "y1": len(grid) - 0.5}
            figure.add_shape(type="rect", **frame, line={"color": "#ffffff", "width": 2}, **panel)
        # plotly draws the first row of a heatmap at the bottom.
        figure.update_yaxes(title=f"item, {axis} steered", autorange="reversed", **panel)
    figure.update_xaxes(title="steered layer (blocks.l.hook_resid_post)", row=len(axes), col=1)
    return finish(figure, 220 * len(axes) + 140)


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
    """Values with their intervals, by category or along a quantity.

    Args:
        table: the columns `x`, `colour` and `facet`, and effect, low, high.
        colour: the column with one colour per value; points of one category are put side by side.
        names: labels of axes and legends by column, with the unit ("effect": the vertical axis).
        facet: the column with one panel per value.
        lines: whether the values of one colour are joined.
        log: which of the axes are logarithmic.

    >>> table = pd.DataFrame({"alpha": [1, 2], "axis": "X", "effect": [0.1, 0.2]})
    >>> table = table.assign(low=table.effect - 0.05, high=table.effect + 0.05)
    >>> figure = interval_figure(table, "alpha", colour="axis", names={"effect": "change of P+"})
    >>> figure.layout.yaxis.title.text
    'change of P+'
    """
    # plotly takes the lengths of error bars, not their ends.
    drawn = table.assign(_up=table.high - table.effect, _down=table.effect - table.low)
    draw = px.line if lines else px.scatter
    figure = draw(
        drawn,
        x=x,
        y="effect",
        color=colour,
        error_y="_up",
        error_y_minus="_down",
        facet_col=facet,
        labels=names,
        color_discrete_sequence=CYCLE,
        log_x="x" in log,
        log_y="y" in log,
    )
    thin = {"thickness": 1.2, "width": 3}
    # cliponaxis would cut the markers that lie on the frame.
    figure.update_traces(marker={"size": 9}, error_y=thin, cliponaxis=False)
    if lines:
        figure.update_traces(mode="lines+markers")
    else:
        # Otherwise the markers of one category are drawn on top of each other.
        figure.update_layout(scattermode="group")
    if "y" in log:
        # Between powers of ten, plotly itself writes bare digits ("2", "5").
        ticks = [step * 10.0**power for power in range(-6, 7) for step in (1, 2, 5)]
        figure.update_yaxes(tickvals=ticks)
    else:
        figure.add_hline(y=0, line={"color": INK, "width": 1})
    # plotly express titles a panel "column=value".
    figure.for_each_annotation(lambda title: title.update(text=title.text.replace("=", ": ", 1)))
    return finish(figure, 440)


def grid_figure(
    table: pd.DataFrame,
    rows: str,
    columns: str,
    value: str,
    *,
    names: dict[str, str],
    middle: float = 0.0,
) -> go.Figure:
    """A grid of values, blue below the middle and red above, each written in its cell.

    Args:
        table: one row per cell: the columns `rows` and `columns`, in the order in which they first
            occur, and `value`.
        names: labels by column, with the unit.
        middle: the value without colour.

    >>> names = {"steered": "steered axis", "axis": "axis read", "D": "change per unit alpha"}
    >>> matrix = ic.coupling.response_matrix(readouts)
    >>> grid_figure(matrix, "steered", "axis", "D", names=names).data[0].z.shape
    (2, 2)
    """
    grid = table.pivot(index=rows, columns=columns, values=value)
    grid = grid.loc[list(dict.fromkeys(table[rows])), list(dict.fromkeys(table[columns]))]
    # A grid of zeros alone would have a colour range without width.
    top = float(np.nanmax(np.abs(grid.to_numpy() - middle))) or 1.0
    figure = px.imshow(
        grid,
        color_continuous_scale="RdBu_r",
        zmin=middle - top,
        zmax=middle + top,
        text_auto=".2f",
        aspect="auto",
        labels={"x": names[columns], "y": names[rows], "color": names[value]},
    )
    # plotly leaves out labels that are close together, unless all ticks are given.
    figure.update_xaxes(side="bottom", tickmode="array", tickvals=list(grid.columns))
    return finish(figure, 120 + 34 * max(8, len(grid)))


def forest_figure(
    table: pd.DataFrame, value: str, *, marks: dict[str, float] | None = None, mark: str = ""
) -> go.Figure:
    """Values with their intervals, one below the other, over the random vectors' range.

    Args:
        table: label, kind (one colour per value), panel, and effect, low, high, null_low,
            null_high, sure (hollow where False).
        value: what the effects are, with the unit.
        marks: by panel, a value that a dashed line marks there.
        mark: the name of these lines.

    >>> table = pd.DataFrame({"label": ["letters", "words"], "effect": [0.05, 0.01]})
    >>> table = table.assign(kind="value", panel="X steered", low=-0.01, high=0.08)
    >>> table = table.assign(null_low=-0.02, null_high=0.02, sure=False)
    >>> figure = forest_figure(table, "change of P+ per unit alpha")
    >>> [title.text for title in figure.layout.annotations]
    ['X steered', 'change of P+ per unit alpha']
    """
    panels = list(dict.fromkeys(table.panel))
    figure = make_subplots(
        rows=1,
        cols=len(panels),
        shared_yaxes=True,
        subplot_titles=panels,
        x_title=value,
        horizontal_spacing=0.04,
    )
    marks = marks or {}
    for col, panel in enumerate(panels, start=1):
        here = {"row": 1, "col": col}
        _add_forest_panel(figure, table[table.panel == panel], here)
        figure.add_vline(x=0, line={"color": INK, "width": 1}, **here)
        if panel in marks:
            first = panel == next(iter(marks))
            dashed = {"color": ORANGE, "dash": "dash"}
            figure.add_vline(x=marks[panel], line=dashed, name=mark, showlegend=first, **here)
    figure.update_annotations(font_size=13)
    figure.update_yaxes(autorange="reversed")
    n = table.label.nunique()
    # legend_y is a share of the plot's height, which grows with n.
    return finish(figure, 170 + 24 * n).update_layout(legend_y=-2.5 / n)


def _add_forest_panel(figure: go.Figure, rows: pd.DataFrame, here: dict[str, int]) -> None:
    first = here["col"] == 1
    # One trace for all bands: a NaN after each pair of ends breaks the line.
    ends = rows[["null_low", "null_high"]].assign(gap=np.nan)
    figure.add_scatter(
        x=ends.to_numpy().ravel(),
        y=np.repeat(rows.label, 3),
        mode="lines",
        line={"color": LIGHT_GREY, "width": 9},
        name="random vectors, middle 95%",
        legendgroup="null",
        showlegend=first and bool(rows.null_low.notna().any()),
        hoverinfo="skip",
        **here,
    )
    for number, (kind, points) in enumerate(rows.groupby("kind", sort=False)):
        symbols = np.where(points.sure, "circle", "circle-open")
        figure.add_scatter(
            x=points.effect,
            y=points.label,
            mode="markers",
            name=kind,
            legendgroup=kind,
            showlegend=first,
            marker={"size": 9, "color": CYCLE[number % len(CYCLE)], "symbol": symbols},
            error_x=bars(points, "effect", "low", "high"),
            hovertemplate="%{y}: %{x:+.4f}<extra></extra>",
            **here,
        )


def profile_figure(
    table: pd.DataFrame,
    x: str,
    *,
    colour: str,
    facet: str,
    names: dict[str, str],
    marked: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> go.Figure:
    """Values with intervals along a quantity, over the range of a null; one panel per facet.

    Args:
        table: the columns `x`, `colour` and `facet`, and effect, low, high, null_low, null_high
            (the widest range at each `x` is drawn).
        names: as for `interval_figure`; "null" names the range.
        marked: by facet, whole numbers of `x` that are shaded.

    >>> table = pd.DataFrame({"layer": [0, 1], "effect": [0.1, 0.2], "low": 0.0, "high": 0.3})
    >>> table = table.assign(axis="Y", steered="X", null_low=-0.1, null_high=0.1)
    >>> names = {"effect": "change of P+", "null": "random vectors"}
    >>> figure = profile_figure(table, "layer", colour="axis", facet="steered", names=names)
    >>> [trace.name for trace in figure.data]
    ['Y', 'random vectors']
    """
    figure = interval_figure(table, x, colour=colour, names=names, facet=facet, lines=True)
    for col, (panel, rows) in enumerate(table.groupby(facet, sort=False), start=1):
        here = {"row": 1, "col": col}
        band = rows.groupby(x).agg({"null_low": "min", "null_high": "max"}).dropna()
        figure.add_scatter(
            # Forward along the lower ends and back along the upper ones, which closes the area.
            x=[*band.index, *band.index[::-1]],
            y=[*band.null_low, *band.null_high[::-1]],
            mode="lines",
            fill="toself",
            line={"width": 0},
            fillcolor=BAND,
            name=names["null"],
            legendgroup="null",
            showlegend=col == 1,
            hoverinfo="skip",
            **here,
        )
        for place in marked.get(str(panel), []):
            edges = {"x0": place - 0.5, "x1": place + 0.5, "line_width": 0}
            figure.add_vrect(**edges, fillcolor=ORANGE, opacity=0.25, layer="below", **here)
    figure.for_each_annotation(lambda title: title.update(text=title.text.split(": ", 1)[-1]))
    return figure


def parts_figure(
    table: pd.DataFrame, x: str, *, facet: str, names: dict[str, str], whole: str
) -> go.Figure:
    """A quantity as stacked parts, with a line for their sum; one panel per facet.

    Args:
        table: the columns `x`, cause, `facet` and part; parts below 0 are stacked downward.
        names: labels by column, with the unit ("part": the vertical axis).
        whole: the name of the line.

    >>> table = pd.DataFrame({"layer": [0, 0], "cause": ["readout", "rest"], "part": [0.2, -0.1]})
    >>> figure = parts_figure(
    ...     table.assign(pair="X to Y"), "layer", facet="pair", names={"part": "P+"}, whole="gain"
    ... )
    >>> [trace.name for trace in figure.data]
    ['readout', 'rest', 'gain']
    """
    figure = px.bar(
        table,
        x=x,
        y="part",
        color="cause",
        facet_col=facet,
        labels=names | {"cause": ""},
        color_discrete_sequence=CYCLE,
    )
    for col, (_, rows) in enumerate(table.groupby(facet, sort=False), start=1):
        sums = rows.groupby(x).part.sum()
        figure.add_scatter(
            x=sums.index,
            y=sums,
            mode="lines+markers",
            line={"color": INK, "width": 1.5},
            marker={"size": 5},
            name=whole,
            legendgroup=whole,
            showlegend=col == 1,
            row=1,
            col=col,
        )
    figure.update_layout(barmode="relative", bargap=0.15)
    figure.for_each_annotation(lambda title: title.update(text=title.text.split("=", 1)[-1]))
    return finish(figure, 440)
