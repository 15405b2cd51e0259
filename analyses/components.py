"""Which attention heads and MLPs read a vector, which carry what it does, and what is left without?

Run alone: python -m analyses.components --preset quick
"""

from __future__ import annotations

from functools import partial

import pandas as pd

import interp_culture as ic
from interp_culture.attribution import (
    Source,
    carried_effects,
    random_sets,
    read_effects,
    restored_readouts,
)
from interp_culture.cli import run_alone
from interp_culture.coupling import multiples
from interp_culture.reporting import figures
from interp_culture.reporting.component_map import component_map
from interp_culture.stats import interval_words
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

GROUP = ["method", "steered"]
# Steering as it is, with no component put back.
NONE = "none"
RANDOM = "random set"
# Components that are put back together.
SET_SIZE = 8
N_RANDOM_SETS = 10
N_RANDOM_SETS_BRIEF = 5
N_NAMED = 3
IN_PLACE = {
    "plain": "with the outputs of the run without steering in their place",
    "mean": "with their mean outputs in their place",
}

PAIR = (columns.STEERED, columns.AXIS_READ)
BY = Column("by", "what is put back: plain (the run without steering) or mean (over all tokens)")
SET = Column(
    "method",
    f"{NONE}; carriers:AXIS, the components that carry most to that axis; or {RANDOM} and its "
    "number",
)
SCHEMAS = (
    TableSchema(
        "read",
        "a steered axis, axis read and component",
        "attribution.read_effects",
        (
            *PAIR,
            Column("component", "such as L12.attn, L12.mlp, or the unembedding"),
            Column("layer", "its block, from 0"),
            Column("kind", "attn, mlp, block where they read the stream at once, or unembedding"),
            Column(
                "read",
                "part of the gain that starts there; the parts add up to it",
                columns.PER_ALPHA,
            ),
            *columns.INTERVAL,
        ),
    ),
    TableSchema(
        "carried",
        "a half, steered axis, axis read and component",
        "attribution.carried_effects",
        (
            Column("half", "train (the components are chosen there) or held_out"),
            *PAIR,
            Column("component", "such as L12.H3 (an attention head) or L12.mlp"),
            Column("layer", "its block, from 0"),
            Column("kind", "head, mlp, or attn where heads cannot be told apart"),
            Column("head", "the number of the head; -1 for other kinds"),
            Column("effect", "measured change of mean P+, of the whole model", columns.PER_ALPHA),
            Column("carried", "part of it that passes the component", columns.PER_ALPHA),
            *columns.INTERVAL,
        ),
    ),
    TableSchema(
        "sets",
        "a steered axis, set and component",
        "attribution.random_sets",
        (columns.STEERED, SET, Column("component", "a member of the set")),
    ),
    TableSchema(
        "readouts",
        "a run with a set of components put back, and held-out scenario",
        "attribution.restored_readouts",
        (BY, *columns.RUN, *columns.READ),
    ),
    TableSchema(
        "effects",
        "what is put back, a set, steered axis and axis read",
        "coupling.effects",
        (
            *(BY, SET, columns.STEERED),
            *columns.effect("mean change of P+, from both signs", columns.PER_ALPHA),
        ),
    ),
    TableSchema(
        "kept",
        "what is put back, a set and steered axis that moves without a set",
        "coupling.multiples",
        (
            *(BY, SET, columns.STEERED),
            *columns.interval("multiple", "own effect divided by that with no set", ""),
        ),
    ),
)


def measure(study: ic.Study) -> Tables:
    """What every component carries, and what is left when the largest carriers are put back.

    Returns:
        the tables of `SCHEMAS`; empty where no block follows the steered ones.
    """
    if max(min(layers) for layers in study.layers.values()) + 1 >= study.model.n_layers:
        return columns.empty_tables(SCHEMAS)
    read = study.once("components.read", partial(read_by, study))
    halves = {"train": study.sweep_scenarios, "held_out": study.sample}
    carried = pd.concat(
        [
            study.once(f"components.{half}", partial(carried_by, study, scenarios)).assign(
                half=half
            )
            for half, scenarios in halves.items()
        ],
        ignore_index=True,
    )
    sets = chosen_sets(study, carried[carried.half == "train"])
    readouts = study.once("components.readouts", partial(read_without, study, sets))
    by_source = {
        by: ic.coupling.slopes(rows.drop(columns="by"), GROUP)
        for by, rows in readouts.groupby("by")
    }
    effects = [
        ic.coupling.effects(slopes, GROUP, "slope").assign(by=by)
        for by, slopes in by_source.items()
    ]
    kept = [multiples(slopes, NONE).assign(by=by) for by, slopes in by_source.items()]
    return {
        "read": read,
        "carried": carried,
        "sets": members(sets),
        "readouts": readouts,
        "effects": pd.concat(effects, ignore_index=True),
        "kept": pd.concat(kept, ignore_index=True),
    }


def read_by(study: ic.Study) -> pd.DataFrame:
    return read_effects(
        study.model,
        study.sample,
        study.vectors(),
        study.layers,
        readout=study.format(),
        seed=study.config.seed,
    )


def carried_by(study: ic.Study, scenarios: ic.ScenarioSet) -> pd.DataFrame:
    return carried_effects(
        study.model,
        scenarios,
        study.vectors(),
        study.layers,
        alpha=max(study.config.alphas),
        readout=study.format(),
        seed=study.config.seed,
    )


def chosen_sets(study: ic.Study, carried: pd.DataFrame) -> dict[str, dict[str, list[str]]]:
    """By steered axis: no component, the largest carriers to each axis, and random sets.

    A carrier to an axis carries in the direction in which the axis moved on these scenarios.
    """
    n_random = N_RANDOM_SETS_BRIEF if study.config.brief else N_RANDOM_SETS
    sets: dict[str, dict[str, list[str]]] = {}
    for steered, layers in study.layers.items():
        sets[steered] = {NONE: []}
        for axis, rows in carried[carried.steered == steered].groupby("axis"):
            sets[steered][f"carriers:{axis}"] = largest_carriers(rows)
        own = sets[steered][f"carriers:{steered}"]
        drawn = random_sets(
            study.model, own, n_random, first=min(layers) + 1, seed=study.config.seed
        )
        sets[steered] |= {f"{RANDOM} {place}": names for place, names in enumerate(drawn.values())}
    return sets


def largest_carriers(rows: pd.DataFrame, size: int = SET_SIZE) -> list[str]:
    along = (rows.carried * rows.effect.iloc[0]).sort_values(ascending=False, kind="stable")
    by_kind = rows.loc[along.index].groupby("kind", sort=False)
    # At most half of a kind, so that there are as many others for a random set.
    is_few = by_kind.cumcount() < by_kind.component.transform("size") // 2
    return rows.loc[along.index][is_few].component.head(size).tolist()


def members(sets: dict[str, dict[str, list[str]]]) -> pd.DataFrame:
    rows = [
        (steered, name, component)
        for steered, by_name in sets.items()
        for name, components in by_name.items()
        for component in components
    ]
    return pd.DataFrame(rows, columns=["steered", "method", "component"])


def read_without(study: ic.Study, sets: dict[str, dict[str, list[str]]]) -> pd.DataFrame:
    """The runs of all sets. The plain model's rows of a set have its name and strength 0."""
    tables = []
    sources: tuple[Source, ...] = ("plain",) if study.config.brief else ("plain", "mean")
    for by in sources:
        for steered, of_axis in sets.items():
            table = restored_readouts(
                study.model,
                study.sample,
                {steered: study.vectors()[steered]},
                {steered: study.layers[steered]},
                of_axis,
                alpha=max(study.config.alphas),
                readout=study.format(),
                by=by,
            )
            is_steered = table.steered != ""
            tables.append(table[is_steered].assign(method=table.restored, by=by))
            # Both signs are compared with each other, so that one plain run stands for all.
            plain = table[~is_steered & (table.restored == NONE)]
            if steered == next(iter(sets)):
                tables.append(plain.assign(by=by))
    return pd.concat(tables, ignore_index=True).drop(columns=["restored", "draw"])


# -- sections -----------------------------------------------------------------------------------


def sections(tables: Tables, about: About) -> list[Section]:
    if tables["carried"].empty:
        return []
    return [
        read_section(tables["read"], about),
        carried_section(tables["carried"], about),
        restored_section(tables, about),
    ]


def read_section(read: pd.DataFrame, about: About) -> Section:
    drawn = read.assign(
        pair=read.steered + " steered, " + read.axis + " read", cause=read.kind, part=read["read"]
    )
    names = {"part": "part of the gain (P+ per unit alpha)", "layer": "layer that reads"}
    details = []
    for (steered, axis), rows in read.groupby(["steered", "axis"]):
        sums = rows.groupby("kind")["read"].sum()
        shown = rows[rows.low * rows.high > 0]
        largest = shown.loc[shown["read"].abs().nlargest(N_NAMED).index]
        named = named_components(largest, "read")
        by_kind = ", ".join(f"{kind} {value:+.3f}" for kind, value in sums.items())
        details.append(
            f"{steered} → {axis}: {sums.sum():+.3f} in all ({by_kind}). The largest that are shown:"
            f" {named or 'none'}."
        )
    return Section(
        read_title(read),
        [
            "All blocks after a steered layer read the vector that was added. A part is what comes"
            " of one block's reading it, to first order; what later blocks do with that block's"
            " output is in it. The parts add up to the gain.",
            *details,
        ],
        figures.parts_figure(drawn, "layer", facet="pair", names=names, whole="all of a layer"),
        f"{about['n_sample']} held-out scenarios. The unembedding stands after the last layer."
        " Table: components.read.",
    )


def read_title(read: pd.DataFrame) -> str:
    own = read[read.steered == read.axis]
    parts = []
    for steered, rows in own.groupby("steered"):
        whole = rows["read"].sum()
        top = rows.loc[rows["read"].abs().idxmax()]
        parts.append(
            f"{steered} is read most by {top.component} ({top['read']:+.3f} of {whole:+.3f})"
        )
    return f"For the effect of a vector on its own axis, {'; '.join(parts)}"


def carried_section(carried: pd.DataFrame, about: About) -> Section:
    held_out = carried[carried.half == "held_out"]
    pairs = ["steered", "axis"]
    drawn = held_out.assign(
        pair=held_out.steered + " steered, " + held_out.axis + " read",
        row=held_out["head"].map("H{}".format).where(held_out.kind == "head", held_out.kind),
    )
    details = []
    for (steered, axis), rows in carried.groupby(pairs):
        by_half = rows.pivot(index="component", columns="half", values="carried")
        largest = rows[rows.half == "held_out"]
        largest = largest.loc[largest.carried.abs().nlargest(N_NAMED).index]
        named = named_components(largest, "carried")
        details.append(
            f"{steered} → {axis}, in all {largest.effect.iloc[0]:+.3f}: {named}. Both halves of the"
            f" scenarios agree with r = {by_half.train.corr(by_half.held_out):.2f}."
        )
    return Section(
        carried_title(held_out),
        [
            "A component carries what would be lost if it put out what it does without steering,"
            " estimated by the gradient. Components of one path count the same effect, so that the"
            " numbers do not add up.",
            *details,
        ],
        component_map(drawn, "carried", "P+ per unit alpha"),
        f"{about['n_sample']} held-out scenarios, alpha"
        f" ±{max(about['config']['alphas']):g}, from both signs. Table: components.carried.",
    )


def named_components(rows: pd.DataFrame, value: str) -> str:
    return ", ".join(f"{row.component} {interval_text(row, value)}" for row in rows.itertuples())


def carried_title(held_out: pd.DataFrame) -> str:
    own = held_out[held_out.steered == held_out.axis]
    parts = []
    for steered, rows in own.groupby("steered"):
        shown = rows[rows.low * rows.high > 0]
        if shown.empty:
            parts.append(f"{steered} none is shown")
            continue
        top = shown.loc[shown.carried.abs().idxmax()]
        parts.append(f"{steered} {top.component} ({interval_text(top, 'carried')})")
    return f"The largest carrier of an axis' own effect that is shown: {', '.join(parts)}"


def restored_section(tables: Tables, about: About) -> Section:
    effects = tables["effects"]
    plain = effects[effects.by == "plain"]
    # Without a set first, random sets last.
    places = plain.method.map(lambda name: (name != NONE, name.startswith(RANDOM)))
    plain = plain.loc[places.sort_values(kind="stable").index]
    is_random = plain.method.str.startswith(RANDOM)
    drawn = plain.assign(
        label=plain.method,
        kind=is_random.map({True: RANDOM, False: "chosen on training scenarios"}),
        panel=plain.steered + " steered, " + plain.axis + " read",
        null_low=float("nan"),
        null_high=float("nan"),
        sure=plain.low * plain.high > 0,
    )
    n = int(tables["sets"].groupby(["steered", "method"]).size().max())
    return Section(
        restored_title(tables["kept"], n),
        [f"{left_words(tables, by)}." for by in dict.fromkeys(effects.by)],
        figures.forest_figure(drawn, "change of mean P+ per unit alpha"),
        f"{about['n_sample']} held-out scenarios, steered at alpha"
        f" ±{max(about['config']['alphas']):g} while {n} components put out what they do without"
        " steering. Random sets have as many heads and MLPs. Bars: 95% bootstrap by item. Hollow:"
        " the interval contains 0. Tables: components.effects, components.kept, components.sets.",
    )


def restored_title(kept: pd.DataFrame, n: int) -> str:
    here = kept[(kept.by == "plain") & (kept.method != NONE)]
    if here.empty:
        return "No axis is shown to move, so that there is no effect to take away"
    parts = []
    for steered, rows in here.groupby("steered"):
        by_method = rows.set_index("method").multiple
        of_random = by_method[by_method.index.str.startswith(RANDOM)]
        parts.append(
            f"{steered} keeps {by_method[f'carriers:{steered}']:.2f} of its effect without its"
            f" {n} largest carriers, and {of_random.median():.2f} without as many random components"
        )
    return "; ".join(parts)


def left_words(tables: Tables, by: str) -> str:
    """What is left under each chosen set, with the range of the random ones."""
    effects, kept = (tables[name][tables[name].by == by] for name in ("effects", "kept"))
    parts = []
    for (steered, axis), rows in effects.groupby(["steered", "axis"]):
        is_random = rows.method.str.startswith(RANDOM)
        named = ", ".join(
            f"{row.method} {interval_text(row)}" for row in rows[~is_random].itertuples()
        )
        of_random = rows[is_random].effect
        parts.append(
            f"{steered} → {axis} {named}, random sets {of_random.min():+.3f} to"
            f" {of_random.max():+.3f}"
        )
    shares = [
        f"{row.steered} {row.method} "
        + interval_words(row.multiple, row.multiple_low, row.multiple_high, 2, "")
        for row in kept[~kept.method.str.startswith((NONE, RANDOM))].itertuples()
    ]
    words = f"Effect per unit alpha, {IN_PLACE[by]}: {'; '.join(parts)}"
    return f"{words}. Own effect kept: {'; '.join(shares)}" if shares else words


ANALYSIS = Analysis(
    "components",
    "Which attention heads and MLPs carry what steering does?",
    measure,
    sections,
    part="why",
    step=4,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
