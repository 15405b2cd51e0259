"""Where does steering move the model, alone and on top of a persona?

Paper, section 4.2, figures 2 and 3. Run alone: python -m analyses.trajectories --preset quick
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.reporting import figures, points_figure
from interp_culture.study import (
    About,
    Analysis,
    Section,
    Tables,
    TableSchema,
    columns,
    find_analysis,
    interval_text,
)
from interp_culture.survey import TARGETS, countries, culture_map, target_personas

NAMES = ["persona", "kind", "iso3", "steered", "method", "alpha"]
FARTHEST = 2  # end of a path, in units of the largest configured alpha
# Beyond this angle a path is nearer to the other axis, or goes the wrong way.
ON_AXIS = 45

SCHEMAS = (
    TableSchema(
        "moves",
        "a persona, steered axis, alpha and axis read",
        "coupling.effects",
        (
            *(columns.PERSONA, columns.STEERED, columns.ALPHA),
            *columns.effect("mean change of P+ against the persona's plain readout"),
            # Without a persona, at the largest alpha, on the same scenarios.
            *columns.NULL_BAND,
        ),
    ),
    TableSchema(
        "hybrid",
        "a persona, steered axis and axis read",
        "coupling.slopes",
        (
            *(columns.PERSONA, columns.STEERED),
            *columns.effect(
                "response under the persona minus that without one, paired by scenario",
                columns.PER_ALPHA,
            ),
        ),
    ),
    TableSchema(
        "places",
        "a persona, steered axis and alpha",
        "survey.culture_map.places",
        (columns.PERSONA, columns.STEERED, columns.ALPHA, *columns.PLACE),
        on_map=True,
    ),
    TableSchema(
        "angles",
        "a persona, steered axis and alpha",
        "survey.culture_map.movements",
        (columns.PERSONA, *columns.MOVEMENT),
        on_map=True,
    ),
)


def measure(study: ic.Study) -> Tables:
    """Every axis steered: at rising strengths alone, at ± the largest alpha under each persona.

    Returns:
        the tables of `SCHEMAS`.
    """
    table = readouts(study)
    top = max(study.config.alphas)
    by_persona = list(table.groupby("persona", sort=False))
    tables = {
        "moves": moves(study, by_persona),
        "hybrid": persona_effects(table[table.alpha.abs() <= top]),
    }
    if culture_map.covers(set(table["item"])):
        positions = [culture_map.places(part).assign(persona=name) for name, part in by_persona]
        angles = [culture_map.movements(part).assign(persona=name) for name, part in by_persona]
        places = pd.concat(positions)
        tables["places"] = places[places.steered != "neutral"]
        tables["angles"] = pd.concat(angles)
    return tables


def personas(study: ic.Study) -> dict[str, ic.Persona | None]:
    """`none`, `basic:India` ... `advanced:Denmark`."""
    if study.config.brief:
        return target_personas(kinds=["basic"], countries=["India", "Denmark"])
    return target_personas()


def readouts(study: ic.Study) -> pd.DataFrame:
    """`study.sample` under each persona, plain and steered.

    Returns:
        persona, kind, iso3 ("" without a persona), steered, method, alpha, and the columns of
        `probe`.
    """
    strengths = find_analysis("coefficients").readouts(study)
    path = strengths[strengths.alpha.abs() <= FARTHEST * max(study.config.alphas)]
    tables = [path.assign(persona="none", kind="none", iso3="")]
    if culture_map.covers(set(study.sample.items)):
        for name, persona in personas(study).items():
            if persona:
                tables.append(persona_readouts(study, name, persona))
    return pd.concat(tables, ignore_index=True)


def persona_readouts(study: ic.Study, name: str, persona: ic.Persona) -> pd.DataFrame:
    top = max(study.config.alphas)
    about = (name, persona.kind, persona.iso3)
    runs: dict[tuple, list[ic.Edit]] = {(*about, "", "plain", 0.0): []}
    for (axis, v), alpha in product(study.vectors().items(), (top, -top)):
        runs[*about, axis, v.method, alpha] = ic.steer(v, study.layers[axis], alpha)
    return study.once(
        f"trajectories.readouts.{name.replace(':', '-')}",
        lambda: study.read(runs, NAMES, readout=study.format(system=persona.text)),
    )


def moves(study: ic.Study, by_persona: list[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """The effect of every run on every axis, and the random vectors' range at the largest alpha."""
    effects = [
        ic.coupling.effects(ic.coupling.shifts(part), ["persona", "steered", "alpha"])
        for _, part in by_persona
    ]
    table = pd.concat(effects)
    read = set(pd.concat([part.id for _, part in by_persona]))
    null = study.steered(study.primary_readout)
    ranges = ic.coupling.random_range(null[null.id.isin(read)])
    # Random vectors were read at the largest alpha alone; other strengths have no range.
    ends = ["null_low", "null_high"]
    bounds = ranges[["steered", "axis", *ends]].assign(size=max(study.config.alphas))
    # These effects are at one sign of alpha, of which a predicted null lacks a part.
    bounds[ends] *= ic.coupling.one_sided(study.null_record["even"])
    return table.assign(size=table.alpha.abs()).merge(bounds, how="left").drop(columns="size")


def persona_effects(readouts: pd.DataFrame) -> pd.DataFrame:
    """What each persona adds to the effect of steering.

    Returns:
        persona, steered, axis, effect (per unit alpha, under the persona minus without one, paired
        by scenario), low, high, n.
    """
    slopes = pd.concat(
        [
            ic.coupling.slopes(part, ["persona", "steered"])
            for _, part in readouts.groupby("persona", sort=False)
        ]
    )
    is_alone = slopes.persona == "none"
    alone = slopes.loc[is_alone, ["steered", "id", "slope"]]
    paired = slopes[~is_alone].merge(alone, on=["steered", "id"], suffixes=("", "_alone"))
    added = paired.assign(added=paired.slope - paired.slope_alone)
    return ic.coupling.effects(added, ["persona", "steered"], "added")


def sections(tables: Tables, about: About) -> list[Section]:
    where = (
        f"{about['n_sample']} held-out scenarios, {about['primary_readout']} readout, "
        "vectors at the"
        " intervention's layers"
    )
    top = max(about["config"]["alphas"])
    effects = effect_section(tables, top, where)
    if "places" not in tables:
        return [effects]
    return [map_section(tables, top, where), effects]


def effect_section(tables: Tables, top: float, where: str) -> Section:
    table = tables["moves"]
    target = table[(table.axis == table.steered) & (table.alpha.abs() == top)]
    beyond = (target.low * target.high > 0) & (target.effect.abs() > target.null_high)
    drawn = target.assign(
        label=target.persona,
        panel=target.steered + " steered",
        kind=target.alpha.map("alpha {:+g}".format),
        sure=beyond & (target.effect * target.alpha > 0),
    )
    return Section(
        *effect_words(drawn, tables["hybrid"]),
        figures.forest_figure(drawn, "change of mean P+ of the steered axis (0 to 1)"),
        f"Against the plain readout under the same persona; {where}. Bars: 95% bootstrap by item."
        " Hollow: not shown to move as intended. Random vectors: of the same norm, without a"
        " persona. Table: trajectories.moves.",
    )


def map_section(tables: Tables, top: float, where: str) -> Section:
    angles = tables["angles"]
    alone = angles[(angles.persona == "none") & (angles.alpha.abs() == top)]
    return Section(
        *map_words(alone),
        points_figure(
            countries(), paths(tables["places"]), list(TARGETS), path="alpha", apart="persona"
        ),
        f"Arrows point to +alpha. Paths run from alpha {-FARTHEST * top:g} without a persona and"
        f" from {-top:g} under personas; {where}. Table: trajectories.places.",
    )


def paths(places: pd.DataFrame) -> pd.DataFrame:
    """Every steered axis' path, which passes through the plain model under the persona."""
    plain = places[places.steered == ""]
    parts = []
    for axis, steered in places[places.steered != ""].groupby("steered"):
        parts += [steered, plain.assign(steered=axis)]
    # Without a persona first, so that these paths are drawn below the others.
    table = pd.concat(parts).sort_values(
        "persona", key=lambda names: names != "none", kind="stable"
    )
    suffix = np.where(table.persona == "none", " steered", " steered under a persona")
    return table.assign(label=table.steered + suffix)


def map_words(angles: pd.DataFrame) -> tuple[str, list[str]]:
    along = (angles.low > -ON_AXIS) & (angles.high < ON_AXIS)
    # An angle's interval may pass 180 degrees, so that either end can be beyond it.
    off_left = (angles.low > ON_AXIS) & (angles.high < 360 - ON_AXIS)
    off_right = (angles.high < -ON_AXIS) & (angles.low > ON_AXIS - 360)
    off = off_left | off_right
    title = (
        f"{along.sum()} of {len(angles)} paths on the map stay within {ON_AXIS}° of the steered"
        f" axis, {off.sum()} leave it"
    )
    degrees = [
        f"{row.steered} at {row.alpha:+g}: {interval_text(row, 'angle', 0)}"
        for row in angles.itertuples()
    ]
    arithmetic = [
        f"{np.degrees(np.arctan(ratio)):.0f}° for {axis}"
        for axis, ratio in culture_map.projection_coupling().items()
    ]
    return title, [
        f"Degrees from the axis: {'; '.join(degrees)}. Moving all items of one axis alike gives"
        f" {', '.join(arithmetic)} by the map's arithmetic alone."
    ]


def effect_words(target: pd.DataFrame, hybrid: pd.DataFrame) -> tuple[str, list[str]]:
    where = np.where(target.persona == "none", "alone", "under a persona")
    counts = [
        f"{sure.sum() or 'none'} of {len(sure)} runs {group}"
        for group, sure in target.sure.groupby(where)
    ]
    title = (
        f"Steering moves its own axis as intended, beyond random vectors, in {' and '.join(counts)}"
    )
    same_axis = hybrid[hybrid.axis == hybrid.steered]
    changed = same_axis[same_axis.low * same_axis.high > 0]
    text = (
        "A persona changes the effect per unit alpha, by an interval that excludes 0, in"
        f" {len(changed)} of {len(same_axis)} cases"
    )
    cases = [f"{row.steered} {row.persona} {interval_text(row)}" for row in changed.itertuples()]
    return title, [f"{text}: {'; '.join(cases)}." if cases else f"{text}."]


ANALYSIS = Analysis(
    "trajectories",
    "Where does steering move the model, alone and under a persona?",
    measure,
    sections,
    readouts=readouts,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
