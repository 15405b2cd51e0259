"""The couplings of many axes: the gain matrix as a map, and the shown ones as a graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from interp_culture.reporting.figure_style import BLUE, INK, VERMILION, finish

# Up to this many axes a cell has room for its interval.
WITH_INTERVALS = 6
# The radius of a node of the graph; the nodes lie on a circle of radius 1.
NODE = 0.16


def coupling_map(matrix: pd.DataFrame, order: Sequence[str], unit: str) -> go.Figure:
    """The gain matrix: steered axes as rows, axes read as columns, each gain in its cell.

    A frame marks the entries that are shown. Red is above 0, blue below.

    Args:
        matrix: steered, axis, gain, low, high and shown.
        order: of the axes, on both sides.
        unit: of the gain, at the colour bar.

    >>> table = pd.DataFrame({"steered": ["X", "X"], "axis": ["X", "Y"], "gain": [0.2, 0.1]})
    >>> table = table.assign(low=table.gain - 0.05, high=table.gain + 0.05, shown=True)
    >>> figure = coupling_map(table, ["X", "Y"], "P+ per unit alpha")
    >>> figure.data[0].text[0][0], len(figure.layout.shapes)  # two frames
    ('<b>+0.200</b><br>+0.150<br>to +0.250', 2)
    """
    names = list(order)
    cells = matrix.set_index(["steered", "axis"])
    grid = cells.gain.unstack().reindex(index=names, columns=names)
    text = [[_cell(cells, steered, axis, len(names)) for axis in names] for steered in names]
    # A matrix of zeros alone would have a colour range without width.
    top = float(np.nanmax(np.abs(grid.to_numpy()))) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=grid,
            x=names,
            y=names,
            zmin=-top,
            zmax=top,
            colorscale="RdBu_r",
            text=text,
            texttemplate="%{text}",
            colorbar={"title": {"text": unit, "side": "right"}},
            hovertemplate="steer %{y}, read %{x}: %{z:+.4f}<extra></extra>",
        )
    )
    for row in matrix[matrix.shown].itertuples():
        # plotly places categories at 0, 1, 2, ...; a cell is 1 wide.
        x, y = names.index(row.axis), names.index(row.steered)
        frame = {"x0": x - 0.48, "x1": x + 0.48, "y0": y - 0.48, "y1": y + 0.48}
        figure.add_shape(type="rect", **frame, line={"color": INK, "width": 2.5})
    figure.update_xaxes(title="axis read", tickvals=names, side="bottom")
    figure.update_yaxes(title="steered axis", tickvals=names, ticksuffix="  ", autorange="reversed")
    return finish(figure, 160 + 70 * len(names))


def _cell(cells: pd.DataFrame, steered: str, axis: str, n_axes: int) -> str:
    """The gain of a cell, with its interval where there is room; empty where it was not read."""
    if (steered, axis) not in cells.index:
        return ""
    row = cells.loc[(steered, axis)]
    value = f"{row.gain:+.3f}"
    if row.shown:
        value = f"<b>{value}</b>"
    if n_axes > WITH_INTERVALS or np.isnan(row.low):
        return value
    return f"{value}<br>{row.low:+.3f}<br>to {row.high:+.3f}"


def coupling_graph(matrix: pd.DataFrame, order: Sequence[str]) -> go.Figure:
    """The axes on a circle, with an arrow from the steered axis to each axis that it moves.

    Only couplings that are shown have an arrow: red above 0, blue below, wider for larger gains. An
    axis that does not move itself is hollow.

    Args:
        matrix: steered, axis, gain and shown.
        order: of the axes, around the circle.

    >>> table = pd.DataFrame({"steered": ["X", "X"], "axis": ["X", "Y"], "gain": [0.2, 0.1]})
    >>> figure = coupling_graph(table.assign(shown=True), ["X", "Y"])
    >>> [note.text for note in figure.layout.annotations if not note.showarrow]
    ['+0.100']
    """
    angles = np.pi / 2 - 2 * np.pi * np.arange(len(order)) / len(order)
    places = {axis: np.array([np.cos(a), np.sin(a)]) for axis, a in zip(order, angles, strict=True)}
    moves_itself = set(matrix.steered[matrix.shown & (matrix.steered == matrix.axis)])
    figure = go.Figure(
        go.Scatter(
            x=[places[axis][0] for axis in order],
            y=[places[axis][1] for axis in order],
            text=list(order),
            mode="markers+text",
            textfont={"size": 15},
            marker={
                "size": 44,
                "color": ["#dbe9f3" if axis in moves_itself else "#ffffff" for axis in order],
                "line": {"color": INK, "width": 1.5},
            },
            hoverinfo="text",
        )
    )
    arrows = matrix[matrix.shown & (matrix.steered != matrix.axis)]
    largest = arrows.gain.abs().max()
    for row in arrows.itertuples():
        _add_arrow(figure, places[row.steered], places[row.axis], row.gain, largest)
    for dimension in (figure.update_xaxes, figure.update_yaxes):
        dimension(visible=False, range=[-1.45, 1.45])
    figure.update_yaxes(scaleanchor="x")
    return finish(figure, 420)


def _add_arrow(
    figure: go.Figure, start: np.ndarray, end: np.ndarray, gain: float, largest: float
) -> None:
    """An arrow between the edges of two nodes, a little to its left, with its gain beside it."""
    way = (end - start) / np.linalg.norm(end - start)
    # So that the arrows of both ways between two axes lie side by side.
    aside = 0.05 * np.array([-way[1], way[0]])
    tail, head = start + NODE * way + aside, end - NODE * way + aside
    colour = VERMILION if gain > 0 else BLUE
    figure.add_annotation(
        x=head[0], y=head[1], ax=tail[0], ay=tail[1],
        axref="x", ayref="y", showarrow=True, arrowhead=2,
        arrowwidth=1 + 4 * abs(gain) / largest, arrowcolor=colour,
    )  # fmt: skip
    beside = (tail + head) / 2 + 5 * aside
    figure.add_annotation(
        x=beside[0], y=beside[1], text=f"{gain:+.3f}", font={"color": colour}, showarrow=False
    )
