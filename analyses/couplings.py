"""Which axes move together, to first order and as measured?

Run alone: python -m analyses.couplings --preset quick
"""

from __future__ import annotations

from typing import Any

import pandas as pd

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.coupling import cluster_order, gain_matrix
from interp_culture.reporting import coupling_figures
from interp_culture.stats import interval_words
from interp_culture.study import (
    About,
    Analysis,
    Column,
    Section,
    Tables,
    TableSchema,
    columns,
)

SCHEMAS = (
    TableSchema(
        "matrix",
        "a steered axis and axis read, all layers of the intervention steered together",
        "coupling.gain_matrix",
        (
            *(columns.TOGETHER, columns.STEERED, *columns.GAIN),
            *columns.interval("D", "measured at the largest alpha", columns.PER_ALPHA),
            Column("D_shown", "shown of the measured response, see the table matrix"),
            Column("place", "of the steered axis among all, similar ones side by side"),
        ),
    ),
)


def measure(study: ic.Study) -> Tables:
    """The gains of all pairs of axes at the layers of the intervention, beside the responses.

    Returns:
        the tables of `SCHEMAS`.
    """
    gains = gain_matrix(study.held_out_gradients, study.test, study.vectors(), layers=study.layers)
    responses = ic.response_matrix(study.steered(study.primary_readout))
    ends = {name: f"D_{name}" for name in ("low", "high", "shown")}
    measured = responses.rename(columns=ends)[["steered", "axis", "D", *ends.values()]]
    order = cluster_order(similarity(gains))
    places = {axis: place for place, axis in enumerate(order)}
    return {"matrix": gains.merge(measured).assign(place=lambda t: t.steered.map(places))}


def similarity(gains: pd.DataFrame) -> pd.DataFrame:
    """How far two axes move each other, beside how far each moves itself: 1 is as far."""
    grid = gains.pivot(index="steered", columns="axis", values="gain").abs()
    grid = grid.loc[:, grid.index]
    own = pd.Series(grid.to_numpy().diagonal(), grid.index) ** 0.5
    return grid.div(own, axis=0).div(own, axis=1).clip(upper=1).fillna(0)


# -- sections -----------------------------------------------------------------------------------


def sections(tables: Tables, about: About) -> list[Section]:
    matrix = tables["matrix"]
    made = [map_section(matrix, about)]
    cross = matrix[matrix.steered != matrix.axis]
    if matrix.steered.nunique() > 2 and cross.shown.any():
        made.append(graph_section(matrix, about))
    return made


def map_section(matrix: pd.DataFrame, about: About) -> Section:
    return Section(
        *map_words(matrix),
        coupling_figures.coupling_map(matrix, in_order(matrix), "gain (P+ per unit alpha)"),
        f"Gains on {about['n_test']} held-out scenarios, with 95% intervals, bootstrap by item. Red"
        " is above 0, blue below. A frame: the gain is shown. Table: couplings.matrix.",
    )


def map_words(matrix: pd.DataFrame) -> tuple[str, list[str]]:
    cross = matrix[matrix.steered != matrix.axis]
    own = matrix[matrix.steered == matrix.axis]
    found = [f"{row.steered} → {row.axis}" for row in cross[cross.shown].itertuples()]
    title = (
        f"To first order {len(found) or 'none'} of {len(cross)} couplings"
        f" {'is' if len(found) < 2 else 'are'} shown"
    )
    if found:
        title += f": {', '.join(found)}"
    if cross.empty:
        title = "One axis alone has no coupling"
    text = [
        "A gain is the change of P+ of the axis that is read, per unit of alpha on the steered"
        " axis, for small alpha: the dot product of the steering vector with the gradient of the"
        " axis that is read, summed over the layers that are steered together.",
        f"Each axis on itself: {'; '.join(gain_words(row) for row in own.itertuples())}.",
    ]
    if len(cross):
        text.append(
            "A coupling is shown if its interval excludes 0 and random vectors do not reach it,"
            f" both adjusted for the {cross.q.notna().sum()} pairs (Benjamini and Hochberg: on"
            " average at most 5% of the couplings that are named are false)."
        )
        listed = cross if len(cross) <= 2 else cross[cross.shown | cross.D_shown]
        text += [f"{gain_words(row)}; q {row.q:.2g}." for row in listed.itertuples()]
    return title, text


def gain_words(row: Any) -> str:
    """A gain with its interval, beside the measured response."""
    gain = interval_words(row.gain, row.low, row.high)
    return (
        f"{row.steered} → {row.axis} {gain}"
        f" (measured {interval_words(row.D, row.D_low, row.D_high)})"
    )


def graph_section(matrix: pd.DataFrame, about: About) -> Section:
    cross = matrix[matrix.steered != matrix.axis]
    shown = cross[cross.shown]
    joined = {frozenset(pair) for pair in zip(shown.steered, shown.axis, strict=True)}
    return Section(
        # A pair with a coupling in both directions is one pair of two couplings.
        f"{len(joined)} of {len(cross) // 2} pairs of axes are joined by a coupling,"
        f" {len(shown) - len(joined)} of them in both directions",
        ["An arrow starts at the steered axis and ends at the axis that it moves."],
        coupling_figures.coupling_graph(matrix, in_order(matrix)),
        "Couplings that are shown. Red: a step toward the positive pole moves the other axis toward"
        " its positive pole. Blue: toward its negative pole. Filled: an axis that moves itself."
        f" {about['n_test']} held-out scenarios. Table: couplings.matrix.",
    )


def in_order(matrix: pd.DataFrame) -> list[str]:
    return matrix.drop_duplicates("steered").sort_values("place").steered.tolist()


ANALYSIS = Analysis(
    "couplings",
    "Which axes move together?",
    measure,
    sections,
    part="why",
    step=1,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
