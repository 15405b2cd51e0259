"""Where does steering move the model, alone and on top of a persona? (paper, section 4.2, figures 2 and 3)

python -m analyses.trajectories --preset quick
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

import interp_culture as ic
from analyses import coefficients
from analyses.paradigms import personas
from interp_culture.cli.analysis import run_alone
from interp_culture.reporting import figures as plots
from interp_culture.study.analysis import About, Analysis, Section, Tables, interval_text
from interp_culture.survey import culture_map
from interp_culture.survey.wvs import TARGETS, countries

NAMES = ["persona", "kind", "iso3", "steered", "method", "alpha"]
FARTHEST = 2  # end of a path, in units of the largest configured alpha


def measure(study: ic.Study) -> Tables:
    """Every axis steered at rising strengths without a persona, by the largest configured alpha under each persona.

    moves: persona, steered, alpha, axis, effect (change of mean P+ against the persona's plain readout), low, high, n;
    null_low, null_high, null_reach (random vectors, same scenarios, no persona; at the largest alpha). hybrid: persona,
    steered, axis, effect (per unit alpha under the persona minus alone, paired by scenario), low, high, n. On the map:
    places: persona, steered, alpha, x, y (map units), x_low, x_high, y_low, y_high; angles: persona and the columns of
    `culture_map.movements` (degrees from the intended direction, and equation 5 from coordinates).
    """
    table, top, null = readouts(study), max(study.config.alphas), study.steered(study.lead)
    by_persona = list(table.groupby("persona", sort=False))
    moves = pd.concat(
        [
            ic.coupling.effects(ic.coupling.shifts(part), ["persona", "steered", "alpha"])
            for _, part in by_persona
        ]
    )
    bounds = ic.coupling.random_range(null[null.id.isin(table.id)])[
        ["steered", "axis", "null_low", "null_high", "null_reach"]
    ]
    moves = (
        moves.assign(size=moves.alpha.abs())
        .merge(bounds.assign(size=top), how="left")
        .drop(columns="size")
    )
    tables = {"moves": moves, "hybrid": hybrid(table[table.alpha.abs() <= top])}
    if culture_map.covers(set(table["item"])):
        places = pd.concat(
            [culture_map.places(part).assign(persona=name) for name, part in by_persona]
        )
        angles = pd.concat(
            [culture_map.movements(part).assign(persona=name) for name, part in by_persona]
        )
        tables |= {"places": places[places.steered != "neutral"], "angles": angles}
    return tables


def readouts(study: ic.Study) -> pd.DataFrame:
    """`study.some` under each persona: persona, kind, iso3 ("" alone), steered, method, alpha, columns of `probe`."""
    path = coefficients.readouts(study)
    parts = [
        path[path.alpha.abs() <= FARTHEST * max(study.config.alphas)].assign(
            persona="none", kind="none", iso3=""
        )
    ]
    if culture_map.covers(set(study.some.items)):
        parts += [
            _read(study, name, persona)
            for name, persona in personas(study.config.brief).items()
            if persona
        ]
    return pd.concat(parts, ignore_index=True)


def _read(study: ic.Study, name: str, persona: ic.Persona) -> pd.DataFrame:
    top, about, text = max(study.config.alphas), (name, persona.kind, persona.iso3), persona.text
    runs: dict[tuple, list[ic.Edit]] = {(*about, "", "plain", 0.0): []}
    for (axis, v), alpha in product(study.vectors().items(), (top, -top)):
        runs[*about, axis, v.method, alpha] = ic.steer(v, study.layers[axis], alpha)
    return study.once(
        f"trajectories.readouts.{name.replace(':', '-')}",
        lambda: study.read(runs, NAMES, readout=study.format(system=text)),
    )


def hybrid(readouts: pd.DataFrame) -> pd.DataFrame:
    """What each persona adds to the effect of steering per unit alpha."""
    slopes = pd.concat(
        [
            ic.coupling.slopes(part, ["persona", "steered"])
            for _, part in readouts.groupby("persona", sort=False)
        ]
    )
    alone = slopes.loc[slopes.persona == "none", ["steered", "id", "slope"]]
    both = slopes[slopes.persona != "none"].merge(
        alone, on=["steered", "id"], suffixes=("", "_alone")
    )
    return ic.coupling.effects(
        both.assign(added=both.slope - both.slope_alone), ["persona", "steered"], "added"
    )


def sections(tables: Tables, about: About) -> list[Section]:
    top = max(about["config"]["alphas"])
    own = tables["moves"].query("axis == steered and abs(alpha) == @top")
    beyond = (own.low * own.high > 0) & (own.effect.abs() > own.null_reach)
    own = own.assign(
        label=own.persona, panel=own.steered + " steered", kind=own.alpha.map("alpha {:+g}".format)
    )
    own["sure"] = beyond & (own.effect * own.alpha > 0)
    where = f"{about['n_some']} held-out scenarios, {about['lead']} readout, vectors at the intervention's layers"
    caption = (
        f"Against the plain readout under the same persona; {where}; bars: 95% bootstrap by item. "
    )
    caption += "Hollow: not shown to move as intended. Random vectors: of the same norm, without a persona."
    bars = plots.forest_figure(own, "change of mean P+ of the steered axis (0 to 1)")
    found = Section(*_moves_words(own, tables["hybrid"]), bars, caption)
    if "places" not in tables:
        return [found]
    map_ = plots.points_figure(
        countries(), _paths(tables["places"]), list(TARGETS), path="alpha", apart="persona"
    )
    caption = (
        f"Arrows to +alpha, alone from {-FARTHEST * top:g}, under personas from {-top:g}; {where}."
    )
    alone = tables["angles"].query("persona == 'none' and abs(alpha) == @top")
    return [Section(*_map_words(alone), map_, caption), found]


def _paths(places: pd.DataFrame) -> pd.DataFrame:
    """Every steered axis' path through the plain model of the persona."""
    plain = places[places.steered == ""]
    paths = pd.concat(
        [pd.concat([own, plain.assign(steered=s)]) for s, own in places.groupby("steered") if s]
    )
    paths = paths.sort_values("persona", key=lambda name: name != "none", kind="stable")
    return paths.assign(
        label=paths.steered
        + np.where(paths.persona == "none", " steered", " steered under a persona")
    )


def _map_words(angles: pd.DataFrame) -> tuple[str, list[str]]:
    on = (angles.low > -45) & (angles.high < 45)
    off = ((angles.low > 45) & (angles.high < 315)) | ((angles.high < -45) & (angles.low > -315))
    title = f"{on.sum()} of {len(angles)} paths on the map keep within 45° of the steered axis, {off.sum()} do not"
    parts = [
        f"{r.steered} at {r.alpha:+g}: {interval_text(r, 'angle', 0)}" for r in angles.itertuples()
    ]
    own = ", ".join(
        f"{np.degrees(np.arctan(r)):.0f}° under {a}"
        for a, r in culture_map.projection_coupling().items()
    )
    return title, [
        f"Degrees: {'; '.join(parts)}. Moving all items of one axis alike makes {own} by arithmetic alone."
    ]


def _moves_words(own: pd.DataFrame, hybrid: pd.DataFrame) -> tuple[str, list[str]]:
    groups = own.sure.groupby(np.where(own.persona == "none", "alone", "under a persona"))
    counts = [f"{part.sum() or 'none'} of {len(part)} runs {where}" for where, part in groups]
    title = (
        f"Steering moves its own axis as intended, beyond random vectors, in {' and '.join(counts)}"
    )
    same = hybrid[hybrid.axis == hybrid.steered]
    clear = [
        f"{r.steered} {r.persona} {interval_text(r)}"
        for r in same[same.low * same.high > 0].itertuples()
    ]
    text = f"A persona changes the effect per unit alpha, beyond the interval, in {len(clear)} of {len(same)} cases"
    return title, [f"{text}: {'; '.join(clear)}." if clear else f"{text}."]


ANALYSIS = Analysis(
    "trajectories",
    "Where does steering move the model, alone and under a persona?",
    measure,
    sections,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
