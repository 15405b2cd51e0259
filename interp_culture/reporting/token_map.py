"""Tokens as they are read, each in a cell that is coloured by a value."""

from __future__ import annotations

from html import escape

import pandas as pd
import plotly.graph_objects as go

from interp_culture.reporting.figure_style import INK, LIGHT_GREY, finish

# Characters in a row: as many as the plot holds in a readable size.
ROW_LENGTH = 88
ROW_HEIGHT = 21  # pixels
CELL_HEIGHT = 0.92  # of a row
# Rows between two texts.
GAP = 0.4
# Characters that would be invisible.
VISIBLE = str.maketrans({" ": "·", "\n": "⏎", "\r": "⏎", "\t": "⇥"})


def token_map(table: pd.DataFrame, value: str, unit: str) -> go.Figure:
    """Texts token by token, blue below 0 and red above; rows wrap, and a space is a dot.

    Args:
        table: one row for each token, in the order of reading: text (the name of its text, which
            stands to the left; a line break breaks it), token, `value` (NaN: without colour), and
            beyond (drawn with a dark frame where True).
        value: the column that colours a cell.
        unit: of the value, at the colour bar.

    >>> table = pd.DataFrame({"text": "first", "token": ["A", " flat"], "beyond": [False, True]})
    >>> figure = token_map(table.assign(projection=[0.5, -2.0]), "projection", "random sd")
    >>> list(figure.data[0].text), figure.layout.coloraxis.cmax
    (['A', '·flat'], 2.0)
    """
    cells = _placed(table)
    is_coloured = cells[value].notna()
    figure = go.Figure()
    coloured, plain = cells[is_coloured], cells[~is_coloured]
    _add_cells(figure, coloured, value, {"color": coloured[value], "coloraxis": "coloraxis"})
    _add_cells(figure, plain, value, {"color": "white"})
    # Without values, or with 0 alone, the colour range would have no width.
    top = float(coloured[value].abs().max()) if coloured[value].any() else 1.0
    bar = {"title": {"text": unit, "side": "right"}, "thickness": 12}
    figure.update_layout(
        coloraxis={"colorscale": "RdBu_r", "cmin": -top, "cmax": top, "colorbar": bar},
        barmode="overlay",
        showlegend=False,
    )
    names = cells.groupby("text", sort=False).y.min()
    height = float(cells.y.max()) + 1
    figure.update_xaxes(visible=False, range=[0, ROW_LENGTH])
    figure.update_yaxes(
        range=[height - 0.5, -0.5],
        tickvals=list(names),
        ticktext=[escape(name).replace("\n", "<br>") for name in names.index],
        showgrid=False,
        zeroline=False,
    )
    return finish(figure, round(80 + ROW_HEIGHT * height))


def _placed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with what is shown of each token, and its row (y), start (x) and width."""
    rows = []
    y = 0.0
    for _, tokens in table.groupby("text", sort=False):
        x = 0
        for token in tokens.token:
            shown = token.translate(VISIBLE)
            # A character wider than the token, so that cells can be told apart.
            width = min(len(shown) + 1, ROW_LENGTH)
            if x + width > ROW_LENGTH:
                x, y = 0, y + 1
            rows.append((escape(shown, quote=False), y, x, width))
            x += width
        y += 1 + GAP
    places = pd.DataFrame(rows, columns=["shown", "y", "x", "width"])
    # In the order of the rows above: texts one after the other.
    ordered = pd.concat([tokens for _, tokens in table.groupby("text", sort=False)])
    return pd.concat([ordered.reset_index(drop=True), places], axis=1)


def _add_cells(
    figure: go.Figure, rows: pd.DataFrame, value: str, colour: dict[str, object]
) -> None:
    """Bars are cells here: plotly shrinks their texts until they fit."""
    frame = {
        "color": [INK if beyond else LIGHT_GREY for beyond in rows.beyond],
        "width": [1.6 if beyond else 0.5 for beyond in rows.beyond],
    }
    figure.add_bar(
        orientation="h",
        base=rows.x,
        x=rows.width,
        y=rows.y,
        width=CELL_HEIGHT,
        text=rows.shown,
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        textfont={"family": "DejaVu Sans Mono, Menlo, Consolas, monospace", "size": 11},
        marker={**colour, "line": frame},
        customdata=rows[["text", value]],
        hovertemplate="%{text}: %{customdata[1]:.2f}<extra>%{customdata[0]}</extra>",
    )
