"""The matrix of couplings of a model whose coupling is known, and its map and graph."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from declared_tables import check_captions, check_tables
from planted import planted_study

import interp_culture as ic
from analyses.couplings import ANALYSIS, graph_section, map_words, sections, similarity
from interp_culture.study.analysis import Tables


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ic.Study:
    return planted_study(
        tmp_path_factory.mktemp("study"), alphas=[0.2], sweep_alphas=[0.2],
        sweep_method="gradient", top_k=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tables(study: ic.Study) -> Tables:
    return study.measure(ANALYSIS)


def test_gains_are_the_measured_responses(tables: Tables) -> None:
    check_tables(ANALYSIS, tables)
    matrix = tables["matrix"].set_index(["steered", "axis"])
    cross = matrix.loc[[("X", "Y"), ("Y", "X")]]
    np.testing.assert_allclose(cross.gain, cross.D, rtol=0.1, atol=0.002)
    # P+ of the steered axis itself goes to 1, where a step counts for less.
    assert (matrix.gain + 0.002 > matrix.D).all()
    assert (matrix.D_low <= matrix.D).all()


def test_the_planted_coupling_is_the_one_that_is_named(study: ic.Study, tables: Tables) -> None:
    made = sections(tables, study.about)
    check_captions(ANALYSIS, made)
    (section,) = made  # a graph of two axes would show no more than the map
    assert section.title == "To first order 1 of 2 couplings is shown: X → Y"
    assert "X → Y +" in section.text[3]


def five_axes() -> pd.DataFrame:
    """A and B move each other, C moves D, E moves nothing."""
    names = list("ABCDE")
    strong = {("A", "B"), ("B", "A"), ("C", "D")}
    rows = []
    for place, steered in enumerate(names):
        for axis in names:
            gain = 0.1 if steered == axis else 0.05 if (steered, axis) in strong else 0.001
            row = {"steered": steered, "axis": axis, "gain": gain, "low": gain - 0.01}
            row |= {"high": gain + 0.01, "D": gain, "D_low": gain - 0.01, "D_high": gain + 0.01}
            is_shown = gain > 0.04
            rows.append(row | {"shown": is_shown, "D_shown": is_shown, "q": 0.001, "place": place})
    return pd.DataFrame(rows)


def test_the_graph_has_an_arrow_for_each_shown_coupling(study: ic.Study) -> None:
    matrix = five_axes()
    section = graph_section(matrix, study.about)
    assert section.title.startswith("2 of 10 pairs of axes are joined by a coupling, 1 of them in")
    arrows = [note for note in section.figure.layout.annotations if note.showarrow]
    assert len(arrows) == 3
    title, text = map_words(matrix)
    assert title == "To first order 3 of 20 couplings are shown: A → B, B → A, C → D"
    assert len(text) == 3 + 3


def test_axes_that_move_each_other_are_side_by_side() -> None:
    matrix = five_axes()
    table = similarity(matrix)
    assert table.loc["A", "B"] == pytest.approx(0.5)
    assert table.loc["A", "A"] == 1
    shuffled = table.loc[list("ACBED"), list("ACBED")]
    order = ic.coupling.cluster_order(shuffled)
    assert abs(order.index("A") - order.index("B")) == 1
    assert abs(order.index("C") - order.index("D")) == 1


def test_none_is_shown_in_words() -> None:
    matrix = five_axes().query("steered in ['D', 'E'] and axis in ['D', 'E']")
    title, _ = map_words(matrix)
    assert title == "To first order none of 2 couplings is shown"
