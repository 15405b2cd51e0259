"""Why does steering one axis move another? Each gain, split into four causes.

Run alone: python -m analyses.causes --preset quick
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.coupling import CAUSES, gain_causes, gain_matrix, gains_of_texts
from interp_culture.reporting import figures
from interp_culture.steering import Candidate
from interp_culture.study import (
    About,
    Analysis,
    Column,
    Section,
    Tables,
    TableSchema,
    columns,
    interval_text,
)

PAPER = Candidate()
# Vectors of other methods are no means of differences between texts.
METHODS = ("mean_diff", "gradient")
DIRECTION = Column("direction", "steered, or paper: the mean difference at the last token")
METRIC = Column("metric", "inner product of the vectors: raw, or whitened within poles")
PART = (
    Column("cause", ", ".join(CAUSES)),
    Column("part", "of the gain; the parts add up to it", columns.PER_ALPHA),
    *columns.INTERVAL,
    Column("null_low", "lower end of 95% of such parts of random directions"),
    Column("null_high", "upper end of 95% of such parts of random directions"),
    Column("shown", "whether the interval excludes 0 and the part is beyond that band"),
)

SCHEMAS = (
    TableSchema(
        "by_layer",
        "a direction, metric, layer, steered axis, other axis and cause",
        "coupling.gain_causes",
        (*(DIRECTION, METRIC, columns.LAYER, columns.STEERED, columns.AXIS_READ, *PART),),
    ),
    TableSchema(
        "together",
        "a direction, steered axis, other axis and cause, at the layers of the intervention",
        "coupling.gain_causes",
        (*(DIRECTION, columns.TOGETHER, columns.STEERED, columns.AXIS_READ, *PART),),
    ),
    TableSchema(
        "gains",
        "a direction, layer, steered axis and axis read; layer -1: those of the intervention",
        "coupling.gain_matrix",
        (*(DIRECTION, columns.LAYER, columns.STEERED, *columns.GAIN),),
    ),
    TableSchema(
        "texts",
        "a direction, steered axis, axis read and training scenario",
        "coupling.gains_of_texts",
        (
            *(DIRECTION, columns.STEERED, columns.AXIS_READ),
            Column("id", "the training scenario of the steered axis"),
            Column("item", "its item"),
            Column("domain", "its domain"),
            Column(
                "gain",
                "of its own difference, at the layers of the intervention; the mean is the gain",
                columns.PER_ALPHA,
            ),
        ),
    ),
)


def measure(study: ic.Study) -> Tables:
    """Gains and their causes at all layers, for the steered direction and for the paper's.

    Returns:
        the tables of `SCHEMAS`, empty for a study of one axis.
    """
    if len(study.vectors()) < 2:
        return columns.empty_tables(SCHEMAS)
    held_out = study.held_out_gradients
    tables: dict[str, list[pd.DataFrame]] = {schema.name: [] for schema in SCHEMAS}
    for name, candidate in candidates(study).items():
        vectors = of_candidate(study, candidate)
        contrasts = study.directions.readings(candidate).contrasts(candidate)
        run = (held_out, study.test, vectors, contrasts, study.train)
        split = partial(gain_causes, *run, seed=study.config.seed)
        for metric, whiten_by in {"raw": None, "whitened": residual_stream(study)}.items():
            parts = study.once(f"causes.{name}_{metric}", partial(split, whiten_by=whiten_by))
            tables["by_layer"].append(parts.assign(direction=name, metric=metric))
        together = study.once(f"causes.{name}_together", partial(split, layers=study.layers))
        tables["together"].append(together.assign(direction=name))
        for layers in (None, study.layers):
            gains = gain_matrix(held_out, study.test, vectors, layers=layers)
            tables["gains"].append(gains.assign(direction=name))
        tables["texts"].append(gains_of_texts(*run, layers=study.layers).assign(direction=name))
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}


def candidates(study: ic.Study) -> dict[str, Candidate]:
    """The direction that is steered, where it is a mean of contrasts, and the paper's."""
    steered = study.directions.candidate
    if steered == PAPER or steered.method not in METHODS:
        return {"paper": PAPER}
    return {"steered": steered, "paper": PAPER}


def of_candidate(study: ic.Study, candidate: Candidate) -> dict[str, ic.SteeringVectors]:
    return study.directions.of_paper() if candidate == PAPER else study.vectors()


def residual_stream(study: ic.Study) -> ic.steering.Activations:
    """The training texts at the paper's site, whose covariance whitens."""
    return study.directions.activations(PAPER.site)


# -- sections -----------------------------------------------------------------------------------


def sections(tables: Tables, about: About) -> list[Section]:
    parts = tables["by_layer"]
    if parts.empty:
        return []
    return [cause_section(tables, direction, about) for direction in dict.fromkeys(parts.direction)]


def cause_section(tables: Tables, direction: str, about: About) -> Section:
    of_direction = {name: table[table.direction == direction] for name, table in tables.items()}
    parts = of_direction["by_layer"]
    raw = parts[parts.metric == "raw"]
    names = {"part": "part of the gain (P+ per unit alpha)", "layer": "steered layer"}
    drawn = raw.assign(pair=raw.steered + " steered, " + raw.axis + " read")
    meanings = "; ".join(f"{cause}: {meaning}" for cause, meaning in CAUSES.items())
    return Section(
        *cause_words(of_direction, direction, about),
        figures.parts_figure(drawn, "layer", facet="pair", names=names, whole="gain"),
        f"First order, {about['n_test']} held-out scenarios; each layer alone. {meanings}."
        " Tables: causes.by_layer, causes.together, causes.gains, causes.texts.",
    )


def cause_words(tables: Tables, direction: str, about: About) -> tuple[str, list[str]]:
    """The answer for the layers of the intervention together."""
    whose = "the steered direction" if direction == "steered" else "the paper's direction"
    gains = tables["gains"]
    titles, details, coupled = [], [], False
    for gain in gains[(gains.layer < 0) & (gains.steered != gains.axis)].itertuples():
        pair = f"{gain.steered} → {gain.axis}"
        together = tables["together"]
        parts = together[(together.steered == gain.steered) & (together.axis == gain.axis)]
        is_coupled = gain.shown
        coupled |= is_coupled
        titles.append(f"{pair} {found(parts, gain.gain) if is_coupled else 'nothing to explain'}")
        named = [f"{p.cause} {interval_text(p, 'part')}" for p in parts.itertuples()]
        layers = ", ".join(map(str, about["layers"][gain.steered]))
        details.append(
            f"{pair} at layers {layers}: gain {interval_text(gain, 'gain')}, of which"
            f" {', '.join(named)}.{items_text(tables['texts'], gain) if is_coupled else ''}"
        )
    title = f"Why {whose} moves the other axis: {'; '.join(titles)}"
    if not coupled:
        title = f"To first order {whose} is not shown to move the other axis: nothing to explain"
    return title, [
        "The gain is the change of P+ per unit of alpha to first order, from the gradient. Its four"
        " parts add up to it. We look for a cause where the interval of the gain excludes 0 and"
        " random vectors do not reach it. A part is named as a cause where the same holds for the"
        " part. Others may be noise, even where their bars are long and cancel each other.",
        *details,
    ]


def found(parts: pd.DataFrame, gain: float) -> str:
    """The causes with the sign of the gain that are shown, the largest first."""
    shown = parts[parts.shown & (parts.part * gain > 0)]
    names = shown.loc[shown.part.abs().sort_values(ascending=False).index].cause
    return f"by {' and '.join(names)}" if len(names) else "no cause shown"


def items_text(texts: pd.DataFrame, gain: Any) -> str:
    """The item whose texts contribute most to a gain."""
    own = texts[(texts.steered == gain.steered) & (texts.axis == gain.axis)]
    sums = own.groupby("item").gain.sum() / len(own)
    item = (sums * gain.gain).idxmax()
    return f" Texts of the item {item} contribute {sums[item]:+.3f}."


ANALYSIS = Analysis(
    "causes",
    "Why does steering one axis move another?",
    measure,
    sections,
    part="why",
    step=3,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
