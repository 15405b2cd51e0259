"""Tokens in coloured cells: rows wrap, nothing invisible, nothing read as markup."""

from __future__ import annotations

import numpy as np
import pandas as pd

from interp_culture.reporting.token_map import ROW_LENGTH, token_map


def cells(figure: object) -> pd.DataFrame:
    """All cells of a figure."""
    parts = [
        pd.DataFrame({"text": t.text, "start": t.base, "width": t.x, "row": t.y})
        for t in figure.data
    ]
    return pd.concat(parts, ignore_index=True)


def drawn(tokens: list[str], values: list[float], texts: list[str] | None = None) -> object:
    table = pd.DataFrame({"text": texts or "one", "token": tokens, "z": values, "beyond": False})
    table.loc[0, "beyond"] = True
    return token_map(table, "z", "sd")


def test_rows_wrap_and_cells_do_not_overlap() -> None:
    tokens = [" word" * (1 + n % 3) for n in range(60)]
    placed = cells(drawn(tokens, list(np.linspace(-3, 2, 60))))
    assert placed.row.nunique() > 3
    for _, row in placed.groupby("row"):
        ends = row.start + row.width
        assert (row.start.iloc[1:].to_numpy() == ends.iloc[:-1].to_numpy()).all()
        assert ends.max() <= ROW_LENGTH
    long = cells(drawn(["a", "x" * 200, "b"], [1.0, 2.0, 3.0]))
    assert long.row.tolist() == [0, 1, 2]
    assert long.width.max() == ROW_LENGTH


def test_what_is_invisible_or_markup_is_shown_as_it_is_read() -> None:
    placed = cells(drawn([" a", "\n", "\t", "<b>", "&"], [1.0, 2.0, 3.0, 4.0, 5.0]))
    assert placed.text.tolist() == ["·a", "⏎", "⇥", "&lt;b&gt;", "&amp;"]


def test_texts_are_named_at_their_first_row_whatever_the_order_of_the_table() -> None:
    figure = drawn(["a", "b", "c"], [1.0, -2.0, 0.5], ["X\nhighest", "<Y>", "X\nhighest"])
    assert list(figure.layout.yaxis.ticktext) == ["X<br>highest", "&lt;Y&gt;"]
    placed = cells(figure).set_index("text")
    assert placed.row["a"] == placed.row["c"] == figure.layout.yaxis.tickvals[0]
    assert placed.row["b"] == figure.layout.yaxis.tickvals[1]
    (of_values, plain) = figure.data
    assert list(of_values.marker.color) == [1.0, 0.5, -2.0]
    assert list(of_values.marker.line.width) == [1.6, 0.5, 0.5]
    assert len(plain.text) == 0


def test_cells_without_a_value_have_no_colour() -> None:
    values, plain = drawn(["a", "b"], [np.nan, -2.0]).data
    assert list(plain.text) == ["a"]
    assert plain.marker.color == "white"
    nothing = drawn(["a"], [np.nan])
    assert nothing.layout.coloraxis.cmax == 1
    assert drawn(["a"], [0.0]).layout.coloraxis.cmax == 1
    assert list(values.text) == ["b"]
