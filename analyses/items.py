"""Which items carry an axis, and which betray it? Item vectors, their agreement, what each moves.

Paper, section 4.3. Run alone: python -m analyses.items --preset quick
"""

from __future__ import annotations

from itertools import product

import pandas as pd

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.coupling import (
    beside_random,
    cluster_order,
    item_cosines,
    item_reliability,
    random_reach,
    within_and_between,
)
from interp_culture.reporting import figures
from interp_culture.study import (
    About,
    Analysis,
    Column,
    Section,
    Tables,
    TableSchema,
    columns,
)

RUN = ["source", "steered", "method", "alpha"]
BY_AXIS = ["steered", "axis"]
BY_ITEM = ["steered", "item"]

SOURCE = Column("source", "the item whose vector steers")
EFFECT = columns.effect("mean change of P+, from both signs", columns.PER_ALPHA)
SCHEMAS = (
    TableSchema(
        "cosines",
        "two items; mean over the layers of a's axis, so that it need not be symmetric",
        "coupling.item_cosines",
        columns.cosine("an item", "another, or the same"),
    ),
    TableSchema(
        "reliability",
        "an item",
        "coupling.item_reliability",
        (
            Column("item", "the item"),
            Column("axis", "its axis"),
            Column("cosine", "between the directions of two halves of its texts", "-1 to 1"),
            Column("low", "lower end of the middle 95% of halvings"),
            Column("high", "upper end of the middle 95% of halvings"),
            Column("whole", "reliability of the direction of all its texts (Spearman-Brown)"),
            Column("loo", "cosine with the direction of the axis' other items", "-1 to 1"),
        ),
    ),
    TableSchema(
        "cross",
        "a source and item read",
        "coupling.effects",
        (
            *(SOURCE, columns.STEERED, Column("item", "the item that was read")),
            *EFFECT,
            *columns.BESIDE_RANDOM,
        ),
    ),
    TableSchema(
        "by_axis",
        "a source and axis read, over all its items except the source",
        "coupling.effects",
        (SOURCE, columns.STEERED, *EFFECT, *columns.BESIDE_RANDOM),
    ),
)


def measure(study: ic.Study) -> Tables:
    """One vector per item, added at the layers of the item's axis.

    Returns:
        the tables of `SCHEMAS`.
    """
    vectors = item_vectors(study)
    readouts = study.once("items.readouts", lambda: study.read(item_runs(study, vectors), RUN))
    slopes = ic.coupling.slopes(readouts, ["source", "steered"])
    cross = ic.coupling.effects(slopes, ["source", *BY_ITEM], "slope")
    transferred = slopes[slopes["item"] != slopes.source]
    by_axis = ic.coupling.effects(transferred, ["source", "steered"], "slope")
    random = ic.coupling.shifts(study.steered(study.primary_readout))
    return {
        "cosines": item_cosines(vectors, study.layers),
        "reliability": item_reliability(
            study.directions.contrasts,
            study.train,
            study.layers,
            study.directions.candidate.on_contrasts,
        ),
        "cross": beside_random(cross, random_reach(random, BY_ITEM, per_alpha=True)),
        "by_axis": beside_random(by_axis, reach_without_item(random, list(vectors))),
    }


def item_vectors(study: ic.Study) -> dict[str, ic.SteeringVectors]:
    """Each with the norm of its axis' vector at every layer, so that alpha is the same step."""
    whole = study.vectors()
    vectors = {}
    for item, about in study.train.catalogue.items.items():
        of_item = study.train.filter(item=item)
        # A catalogue may have items of which this set has no scenario.
        if len(of_item):
            direction = study.directions.of(of_item)
            vectors[item] = ic.steering.norm_matched(whole[about.axis], direction)
    return vectors


def item_runs(
    study: ic.Study, vectors: dict[str, ic.SteeringVectors]
) -> dict[tuple, list[ic.Edit]]:
    """Each item's vector at ± the largest alpha, and the plain model."""
    top = max(study.config.alphas)
    runs: dict[tuple, list[ic.Edit]] = {}
    for (item, v), alpha in product(vectors.items(), (top, -top)):
        runs[item, v.axis, v.method, alpha] = ic.steer(v, study.layers[v.axis], alpha)
    runs["", "", "plain", 0.0] = []
    return runs


def reach_without_item(random: pd.DataFrame, sources: list[str]) -> pd.DataFrame:
    """`random_reach` by axis for each source, on the items that its vector is judged on."""
    tables = []
    for source in sources:
        transferred = random[random["item"] != source]
        reach = random_reach(transferred, BY_AXIS, per_alpha=True)
        tables.append(reach.assign(source=source))
    return pd.concat(tables)


def sections(tables: Tables, about: About) -> list[Section]:
    top = max(about["config"]["alphas"])
    how = (
        f"Slope between alpha {-top:g} and {top:g} at the layers of the vector's axis, on"
        f" {about['n_sample']} held-out scenarios."
    )
    trust = tables["reliability"].set_index("item")
    grid = tables["cosines"].pivot(index="a", columns="b", values="cosine")
    order = cluster_order(grid)
    return [
        transfer_section(tables["by_axis"], how),
        cosine_section(tables["cosines"], grid, trust, order),
        cross_section(tables["cross"], order, how),
    ]


def transfer_section(by_axis: pd.DataFrame, how: str) -> Section:
    drawn = by_axis.assign(
        panel=by_axis.axis + " read", kind=by_axis.steered + " items", label=by_axis.source
    )
    return Section(
        transfer_title(by_axis),
        [
            "A vector is not judged on its own item, so that these effects are transfer. Only"
            " effects beyond random vectors are named."
        ],
        figures.forest_figure(drawn, "change of mean P+ per unit alpha"),
        f"{how} Bars: 95% bootstrap by item. Grey: 95% band of random vectors. All have the norm of"
        " the axis' vector. Table: items.by_axis.",
    )


def cosine_section(
    cosines: pd.DataFrame, grid: pd.DataFrame, trust: pd.DataFrame, order: list[str]
) -> Section:
    # A vector's cosine with itself is 1; the diagonal shows how well two halves of it agree.
    diagonal = cosines.a.map(trust.cosine)
    cells = cosines.assign(cosine=cosines.cosine.where(cosines.a != cosines.b, diagonal))
    return Section(
        cosine_title(grid.loc[trust.index, trust.index], list(trust.axis)),
        [trust_text(trust)],
        figures.grid_figure(
            ordered(cells, ["a", "b"], order),
            "a",
            "b",
            "cosine",
            names={"a": "item", "b": "item", "cosine": "cosine"},
        ),
        "Mean over the layers of the row's axis. Diagonal: two halves of one item's texts. Order by"
        " average linkage. Tables: items.cosines, items.reliability.",
    )


def cross_section(cross: pd.DataFrame, order: list[str], how: str) -> Section:
    # In percentage points, since a cell shows two decimals only.
    cells = ordered(cross.assign(points=100 * cross.effect), ["source", "item"], order)
    names = {"source": "vector of", "item": "read", "points": "points"}
    return Section(
        cross_title(cross),
        [],
        figures.grid_figure(cells, "source", "item", "points", names=names),
        f"Percentage points of P+ per unit alpha, at least {cross.n.min()} scenarios a cell. {how}"
        " Table: items.cross.",
    )


def ordered(table: pd.DataFrame, columns: list[str], order: list[str]) -> pd.DataFrame:
    """The rows sorted by these columns of item names, in the given order of items."""
    return table.sort_values(columns, key=lambda names: names.map(order.index))


def transfer_title(by_axis: pd.DataFrame) -> str:
    beyond = by_axis[by_axis.sure]
    if beyond.empty:
        return "No item's vector is shown to move the rest of its axis, or another axis"
    same_axis = beyond.steered == beyond.axis
    intended = names_of(beyond[same_axis & (beyond.effect > 0)])
    wrong = names_of(beyond[same_axis & (beyond.effect < 0)])
    other = names_of(beyond[~same_axis])
    return (
        f"Items whose vector moves the rest of their axis as intended: {intended}; the wrong way:"
        f" {wrong}; another axis: {other}"
    )


def names_of(rows: pd.DataFrame) -> str:
    return ", ".join(dict.fromkeys(rows.source)) or "none"


def cosine_title(grid: pd.DataFrame, axes: list[str]) -> str:
    within, between, p = within_and_between(grid.to_numpy(), axes)
    finding = "are not shown to be more alike than items of two axes"
    if p < 0.05:
        finding = "are more alike than items of two axes"
    return (
        f"Items of one axis {finding}: mean cosine {within:+.2f} against {between:+.2f}"
        f" (p = {p:.3f})"
    )


def trust_text(trust: pd.DataFrame) -> str:
    to_rest = trust.loo.sort_values()
    cosines = ", ".join(f"{item} {cosine:+.2f}" for item, cosine in to_rest.items())
    return (
        "Given how well each item agrees with itself, two items with one direction would show a"
        f" cosine of about {trust.whole.mean():.2f}. Cosine to the rest of the axis: {cosines}."
    )


def cross_title(cross: pd.DataFrame) -> str:
    is_self = cross.source == cross["item"]
    on_self = f"{cross.sure[is_self].sum()} of {is_self.sum()}"
    on_others = f"{cross.sure[~is_self].sum()} of {(~is_self).sum()}"
    return (
        f"Item vectors move their own item beyond random vectors in {on_self} cases, and another"
        f" item in {on_others}"
    )


ANALYSIS = Analysis(
    "items",
    "Which items carry an axis, and which betray it?",
    measure,
    sections,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
