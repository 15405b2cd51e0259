"""Draw the picture of the README: responses to steering, over the range of random vectors.

    python tools/response_picture.py docs/images/response.csv /tmp/response.html
    chromium --headless --hide-scrollbars --window-size=900,310 --force-device-scale-factor=2 \
        --screenshot=docs/images/response.png /tmp/response.html

docs/images/response.csv holds the numbers of docs/results.md. A study's response.csv works too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from interp_culture.reporting.figures import forest_figure

NAMES = {"X": "self-expression (X)", "Y": "secular-rational (Y)"}


def picture(response: pd.DataFrame) -> str:
    """An HTML page with the figure alone, a panel for each axis that is read."""
    if "value" in response:
        response = response[response.value == "shift"]
    largest = response.alpha.abs() == response.alpha.abs().max()
    rows = response[largest].sort_values(
        ["axis", "steered", "alpha"], ascending=[True, True, False]
    )
    beyond = (rows.effect > rows.null_high) | (rows.effect < rows.null_low)
    table = rows.assign(
        label=[f"{row.steered} steered, alpha {row.alpha:+g}" for row in rows.itertuples()],
        panel=[f"change of {NAMES.get(axis, axis)}" for axis in rows.axis],
        kind=[f"{axis} steered" for axis in rows.steered],
        sure=(rows.low * rows.high > 0) & beyond,
    )
    figure = forest_figure(
        table, "change of the mean score P+ (0 to 1); filled: beyond random vectors"
    )
    # One scale for both panels, so that a movement has the same length in each.
    reach = 1.1 * float(table[["effect", "low", "high"]].abs().to_numpy().max())
    figure.update_xaxes(range=[-reach, reach])
    figure.update_layout(width=880, height=300, font_size=13, legend_y=-0.36)
    figure.update_layout(margin={"l": 10, "r": 20, "t": 40, "b": 10})
    return figure.to_html(include_plotlyjs=True, config={"displayModeBar": False})


if __name__ == "__main__":
    table_path, page_path = map(Path, sys.argv[1:])
    page_path.write_text(picture(pd.read_csv(table_path)), encoding="utf-8")
