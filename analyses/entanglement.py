"""How far does steering one axis drag the other, and is it more than random vectors do?

Paper, section 4.2, equation 5. Run alone: python -m analyses.entanglement --preset quick
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.reporting import figures
from interp_culture.study import (
    About,
    Analysis,
    Column,
    Section,
    Tables,
    TableSchema,
    columns,
    find_analysis,
    interval_text,
)
from interp_culture.survey import culture_map

# Methods of `directions` that have no response matrix of their own.
WITHOUT_MATRIX = ("plain", "random direction")

NULL_GROUP = Column("null", "rows of the table null: all, a domain, or some (`study.sample`)")
SCHEMAS = (
    TableSchema(
        "matrix",
        "a group of readouts, steered axis and axis read",
        "coupling.response_matrix",
        (
            Column("kind", "overall, domain, persona or method"),
            Column("group", "which domain, persona or method"),
            NULL_GROUP,
            *columns.MATRIX,
        ),
    ),
    TableSchema(
        "null",
        "a group of scenarios, steered axis and axis read",
        "coupling.random_range",
        (
            NULL_GROUP,
            *(columns.STEERED, columns.AXIS_READ, columns.ALPHA),
            *columns.NULL_BAND,
            *columns.RANDOM_RATIO,
        ),
    ),
    TableSchema(
        "map_ratio",
        "a steered axis and alpha; the ratio is that of |dx| and |dy|, as in the paper",
        "survey.culture_map.movements",
        columns.MOVEMENT,
        on_map=True,
    ),
)


def measure(study: ic.Study) -> Tables:
    """Response matrices of readouts that the study and other analyses have made.

    Returns:
        the tables of `SCHEMAS`.
    """
    steered = study.steered(study.primary_readout)
    top = max(study.config.alphas)
    matrices = []
    # Paths of `trajectories` go beyond the largest alpha, at which the study's matrix is defined.
    for kind, group, null, readouts in matrix_groups(study, steered):
        matrix = ic.response_matrix(readouts[readouts.alpha.abs() <= top])
        matrices.append(matrix.assign(kind=kind, group=group, null=null))
    tables = {"matrix": pd.concat(matrices), "null": random_ranges(study, steered)}
    if culture_map.covers(set(steered["item"])):
        tables["map_ratio"] = culture_map.movements(steered)
    return tables


def random_ranges(study: ic.Study, steered: pd.DataFrame) -> pd.DataFrame:
    """What random vectors do on the scenarios of each group."""
    some = steered[steered.id.isin({scenario.id for scenario in study.sample})]
    readouts = {"all": steered, **dict(list(steered.groupby("domain"))), "some": some}
    top = max(study.config.alphas)
    ranges = [
        ic.coupling.random_range(part).assign(null=name, alpha=top)
        for name, part in readouts.items()
    ]
    return pd.concat(ranges)


def matrix_groups(
    study: ic.Study, steered: pd.DataFrame
) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """(kind, group, null, readouts) of every response matrix."""
    yield "overall", "all held-out scenarios", "all", steered
    for domain, readouts in steered.groupby("domain", sort=False):
        yield "domain", domain, domain, readouts
    by_persona = find_analysis("trajectories").readouts(study)
    for persona, readouts in by_persona.groupby("persona", sort=False):
        yield "persona", persona, "some", readouts
    by_method = find_analysis("directions").readouts(study)
    plain = by_method[by_method.method == "plain"]
    for method, readouts in by_method.groupby("method", sort=False):
        if method not in WITHOUT_MATRIX:
            # Changes are against the plain rows, which the methods share.
            yield "method", method, "some", pd.concat([plain, readouts])


def sections(tables: Tables, about: About) -> list[Section]:
    cross = cross_rows(tables)
    drags = drag_rows(cross)
    ratios = ratio_rows(cross)
    on_map = "map_ratio" in tables
    human = human_ratios() if on_map else {}
    texts = ratio_texts(ratios, human)
    if on_map:
        texts.append(map_text(tables["map_ratio"]))
    caption = how(about)
    return [
        Section(
            ratio_title(ratios, drags),
            texts,
            figures.forest_figure(
                ratios, "entanglement ratio (0 to 1)", marks=human, mark="115 countries"
            ),
            f"{caption} Hollow: the steered axis did not move beyond its interval, so that the"
            " ratio divides noise. Tables: entanglement.matrix, entanglement.null.",
        ),
        Section(
            *drag_words(drags),
            figures.forest_figure(drags, "change of mean P+ per unit alpha"),
            f"{caption} Hollow: the interval contains 0. Tables: entanglement.matrix,"
            " entanglement.null.",
        ),
    ]


def cross_rows(tables: Tables) -> pd.DataFrame:
    """Every response of an axis that was not steered, with the random vectors' range."""
    matrix = tables["matrix"]
    cross = matrix[matrix.steered != matrix.axis]
    # Most groups have no random vectors of their own; theirs are those of the table null.
    cross = cross.drop(columns=["null_low", "null_high"])
    cross = cross.merge(tables["null"], how="left", on=["null", "steered", "axis"])
    return cross.assign(
        label=cross.kind + ": " + cross.group, panel=cross.steered + " → " + cross.axis
    )


def drag_rows(cross: pd.DataFrame) -> pd.DataFrame:
    """The responses per unit alpha, as `forest_figure` wants them, and outside (the null)."""
    return cross.assign(
        effect=cross.D,
        sure=cross.low * cross.high > 0,
        null_low=cross.null_low / cross.alpha,
        null_high=cross.null_high / cross.alpha,
        outside=cross.D.abs() > cross.null_high / cross.alpha,
    )


def ratio_rows(cross: pd.DataFrame) -> pd.DataFrame:
    """The ratios, as `forest_figure` wants them, and outside (the null)."""
    outside = (cross.ratio < cross.null_ratio_low) | (cross.ratio > cross.null_ratio_high)
    return cross.assign(
        effect=cross.ratio,
        low=cross.ratio_low,
        high=cross.ratio_high,
        sure=cross.defined,
        null_low=cross.null_ratio_low,
        null_high=cross.null_ratio_high,
        outside=outside,
    )


def human_ratios() -> dict[str, float]:
    """The slopes over countries, by panel."""
    slopes = culture_map.human_coupling()
    return {"X → Y": slopes["y_per_x"], "Y → X": slopes["x_per_y"]}


def how(about: About) -> str:
    top = max(about["config"]["alphas"])
    return (
        f"Alpha ±{top:g} at the intervention's layers, {about['primary_readout']} readout. "
        "Bars: 95% bootstrap"
        f" by item. Scenarios: {about['n_sample']} held-out ones for personas and methods,"
        f" {about['n_test']} overall, a domain's share of them for a domain. Grey: middle 95% of"
        f" random vectors (one sign), on {about['n_null']} scenarios or a domain's share of them."
    )


def ratio_title(ratios: pd.DataFrame, drags: pd.DataFrame) -> str:
    defined = ratios[ratios.sure]
    moved = drags.sure.sum() or "none"
    outside = defined.outside.sum() or "none"
    return (
        f"Steering moves the other axis, by an interval that excludes 0, in {moved} of {len(drags)}"
        f" cases; {outside} of {len(defined)} defined ratios are outside the random vectors' range"
    )


def ratio_texts(ratios: pd.DataFrame, human: dict[str, float]) -> list[str]:
    texts = []
    for row in ratios[ratios.kind == "overall"].itertuples():
        undefined = "" if row.sure else " (not defined)"
        countries = f"; over countries {human[row.panel]:.2f}" if row.panel in human else ""
        texts.append(
            f"Ratio {row.panel}{undefined} {row.effect:.2f} [{row.low:.2f}, {row.high:.2f}];"
            f" random vectors {row.null_low:.2f} to {row.null_high:.2f}{countries}."
        )
    # Not 1, since a quantile is interpolated between the ratios.
    capped = (ratios.null_high > 0.99).sum()
    texts.append(
        f"In {capped} of {len(ratios)} cases random vectors reach the ratio's cap of 1, so that no"
        " ratio could exceed theirs."
    )
    return texts


def map_text(movements: pd.DataFrame) -> str:
    ratios = [
        f"{row.steered} {row.alpha:+g} {row.ratio:.2f}{'' if row.defined else '?'}"
        for row in movements.itertuples()
    ]
    arithmetic = ", ".join(
        f"{ratio:.2f} when {axis} is steered"
        for axis, ratio in culture_map.projection_coupling().items()
    )
    legend = ""
    if not movements.defined.all():
        legend = " (?: the steered coordinate did not move beyond its interval)"
    return (
        f"From map coordinates: {', '.join(ratios)}{legend}. The map's arithmetic alone gives"
        f" {arithmetic}."
    )


def drag_words(drags: pd.DataFrame) -> tuple[str, list[str]]:
    beyond = drags[drags.sure & drags.outside]
    title = (
        f"No coupling is shown: none of {len(drags)} responses of the other axis excludes 0 and"
        " is beyond random vectors"
    )
    texts = []
    if len(beyond):
        title = (
            f"{len(beyond)} of {len(drags)} responses of the other axis exclude 0 and are beyond"
            " random vectors"
        )
        cases = [f"{row.panel}, {row.label} {interval_text(row)}" for row in beyond.itertuples()]
        texts.append(f"Per unit alpha: {'; '.join(cases)}.")
    texts.append(
        "One interval in twenty excludes 0 by chance, and the groups share scenarios and vectors."
    )
    return title, texts


ANALYSIS = Analysis(
    "entanglement",
    "How far does steering one axis drag the other, against random vectors?",
    measure,
    sections,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
