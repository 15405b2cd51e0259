"""Colours, error bars and layout that all figures share."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

# Okabe and Ito's palette, which colour-blind readers can tell apart.
BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
SKY = "#56B4E9"
GREY = "#9aa0a6"
LIGHT_GREY = "#d0d4d9"
INK = "#202124"
CYCLE = [BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY]


def axis_colours(axes: list[str]) -> dict[str, str]:
    """One colour per axis, the same in every figure."""
    # Sorted, so that a colour does not depend on the order of the rows.
    return {axis: CYCLE[i % len(CYCLE)] for i, axis in enumerate(sorted(axes))}


def faded(colour: str, opacity: float) -> str:
    """A colour of the palette as plotly writes transparent ones.

    >>> faded("#0072B2", 0.2)
    'rgba(0,114,178,0.2)'
    """
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return f"rgba({red},{green},{blue},{opacity:g})"


def bars(rows: pd.DataFrame, name: str, low: str = "", high: str = "") -> dict[str, object]:
    """Error bars for the column `name`.

    Args:
        low: the column of the lower end; `name_low` by default.
        high: the column of the upper end; `name_high` by default.
    """
    return {
        "type": "data",
        "symmetric": False,
        "array": rows[high or f"{name}_high"] - rows[name],
        "arrayminus": rows[name] - rows[low or f"{name}_low"],
        "thickness": 1.2,
        "width": 3,
    }


def finish(figure: go.Figure, height: int) -> go.Figure:
    """The template, fonts and legend that all figures share."""
    return figure.update_layout(
        template="plotly_white",
        height=height,
        # Small, because axes of this template widen the margin for their labels (automargin).
        margin={"l": 10, "r": 10, "t": 40, "b": 10},
        font={"color": INK, "size": 12},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top"},
    )
