"""Draw the picture of planted causes: which part of the gain grows, by kind, block and size.

    python tools/planted_picture.py docs/images/planted_causes.csv /tmp/planted.html
    chromium --headless --hide-scrollbars --window-size=900,760 --force-device-scale-factor=2 \
        --screenshot=docs/img/planted_causes.png /tmp/planted.html

docs/images/planted_causes.csv is what tools/planted_causes.py wrote.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from interp_culture.reporting.figure_style import BLUE, GREEN, INK, ORANGE, VERMILION, finish

COLOURS = {"representation": BLUE, "readout": VERMILION, "dataset": GREEN, "rest": ORANGE}


def picture(table: pd.DataFrame) -> str:
    """An HTML page with a panel for each planted kind and block."""
    # Of a leak in a block, the block itself: before it the leak acts too, after it no more.
    table = table[table.layer == table.block]
    blocks = sorted(table.block.unique())
    figure = make_subplots(
        len(COLOURS),
        len(blocks),
        shared_yaxes="all",
        shared_xaxes="all",
        row_titles=list(COLOURS),
        column_titles=[f"at layer {block}" for block in blocks],
        vertical_spacing=0.05,
        horizontal_spacing=0.03,
    )
    for row, kind in enumerate(COLOURS, start=1):
        for column, block in enumerate(blocks, start=1):
            of = table[(table.kind == kind) & (table.block == block)].sort_values("size")
            place = {"row": row, "col": column}
            sizes = [f"{size:g}" for size in of["size"]]
            first = row == column == 1
            for cause, colour in COLOURS.items():
                figure.add_trace(
                    go.Bar(
                        x=sizes, y=of[cause], name=cause, marker_color=colour, legendgroup=cause,
                        showlegend=first,
                    ),
                    **place,
                )  # fmt: skip
            figure.add_trace(
                go.Scatter(
                    x=sizes, y=of["size"], mode="markers", name="planted size", showlegend=first,
                    marker={"symbol": "line-ew", "size": 34, "line": {"width": 2, "color": INK}},
                ),
                **place,
            )  # fmt: skip
    figure.update_xaxes(title_text="planted size", row=len(COLOURS))
    figure.update_yaxes(title_text="growth of part", col=1)
    finish(figure, 740)
    figure.update_layout(width=880, bargap=0.35, legend={"orientation": "h", "y": -0.1})
    figure.update_layout(margin={"l": 10, "r": 30, "t": 40, "b": 10})
    return figure.to_html(include_plotlyjs=True, config={"displayModeBar": False})


if __name__ == "__main__":
    table_path, page_path = map(Path, sys.argv[1:])
    page_path.write_text(picture(pd.read_csv(table_path)), encoding="utf-8")
