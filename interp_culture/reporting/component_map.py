"""A map of a model's attention heads and MLPs, coloured by what each carries."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from interp_culture.reporting.figure_style import finish


def component_map(table: pd.DataFrame, value: str, unit: str) -> go.Figure:
    """A map of components for each pair of axes: layers from left to right, heads and MLPs as rows.

    Args:
        table: pair (one panel per value), layer, row (such as "H0" or "mlp") and `value`.
        value: the column that colours a cell: blue below 0, red above.
        unit: of the value, at the colour bar.

    >>> table = pd.DataFrame({"layer": [0, 0], "row": ["H0", "mlp"], "carried": [0.1, -0.2]})
    >>> figure = component_map(table.assign(pair="X to Y"), "carried", "P+ per unit alpha")
    >>> list(figure.data[0].y), figure.layout.coloraxis.cmax
    (['H0', 'mlp'], 0.2)
    """
    pairs = list(dict.fromkeys(table.pair))
    names = list(dict.fromkeys(table.row))
    n_rows = -(-len(pairs) // 2)
    figure = make_subplots(
        n_rows,
        min(2, len(pairs)),
        subplot_titles=pairs,
        shared_yaxes=True,
        vertical_spacing=0.3 / n_rows,
    )
    for place, pair in enumerate(pairs):
        of_pair = table[table.pair == pair]
        grid = of_pair.pivot(index="row", columns="layer", values=value).loc[names]
        heatmap = go.Heatmap(z=grid, x=list(grid.columns), y=names, coloraxis="coloraxis")
        figure.add_trace(heatmap, row=place // 2 + 1, col=place % 2 + 1)
    # A map of zeros alone would have a colour range without width.
    top = float(table[value].abs().max()) or 1.0
    bar = {"title": {"text": unit, "side": "right"}}
    colours = {"colorscale": "RdBu_r", "cmin": -top, "cmax": top, "colorbar": bar}
    figure.update_layout(coloraxis=colours)
    figure.update_xaxes(title="layer")
    return finish(figure, 140 + 24 * len(names) * n_rows)
