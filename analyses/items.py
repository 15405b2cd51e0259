"""Which items carry an axis, and which betray it? Item vectors, their agreement, what each moves (paper, section 4.3).

python -m analyses.items --preset quick
"""

from __future__ import annotations

from itertools import product

import pandas as pd

import interp_culture as ic
from interp_culture.cli.analysis import run_alone
from interp_culture.coupling import reliability as agreement
from interp_culture.coupling.null import beside_random, random_reach
from interp_culture.reporting import figures as plots
from interp_culture.study.analysis import About, Analysis, Section, Tables

BY_AXIS, BY_ITEM = ["steered", "axis"], ["steered", "item"]


def measure(study: ic.Study) -> Tables:
    """One vector per item, with which the model is steered at the layers of the item's axis.

    cosines, reliability: of `agreement.item_cosines` and `item_reliability`. cross: source, steered (its axis), item
    (read), axis, effect (change of mean P+ per unit of alpha, from both signs), low, high, n. by_axis: source, steered,
    axis, effect, low, high, n (all items of that axis but the source). Both as `beside_random`, on the same items.
    """
    vectors, alpha = item_vectors(study), max(study.config.alphas)
    signs = product(vectors.items(), (alpha, -alpha))
    runs = {(i, v.axis, v.method, a): ic.steer(v, study.layers[v.axis], a) for (i, v), a in signs}
    runs["", "", "plain", 0.0] = []
    readouts = study.once(
        "items.readouts", lambda: study.read(runs, ["source", "steered", "method", "alpha"])
    )
    slopes = ic.coupling.slopes(readouts, ["source", "steered"])
    cross = ic.coupling.effects(slopes, ["source", *BY_ITEM], "slope")
    rest = ic.coupling.effects(
        slopes[slopes.source != slopes["item"]], ["source", "steered"], "slope"
    )
    random = ic.coupling.shifts(study.steered(study.lead))
    null = [
        random_reach(random[random["item"] != i], BY_AXIS, per_alpha=True).assign(source=i)
        for i in vectors
    ]
    return {
        "cosines": agreement.item_cosines(vectors, study.layers),
        "reliability": agreement.item_reliability(
            study.activations, study.train, study.layers, study.config.method
        ),
        "cross": beside_random(cross, random_reach(random, BY_ITEM, per_alpha=True)),
        "by_axis": beside_random(rest, pd.concat(null)),
    }


def item_vectors(study: ic.Study) -> dict[str, ic.SteeringVectors]:
    """Each with the norm of its axis' vector at every layer, so that alpha is the same step for all."""
    whole, found = study.vectors(), {}
    for item, about in study.train.catalogue.items.items():
        if ids := [s.id for s in study.train.filter(item=item)]:
            direction = ic.steering.direction(study.activations.select(ids), study.config.method)
            found[item] = ic.steering.norm_matched(whole[about.axis], direction)
    return found


def sections(tables: Tables, about: About) -> list[Section]:
    moved, cross, pairs = tables["by_axis"], tables["cross"], tables["cosines"]
    moved = moved.assign(
        panel=moved.axis + " read", kind=moved.steered + " items", label=moved.source
    )
    trust = tables["reliability"].set_index("item")
    grid = pairs.pivot(index="a", columns="b", values="cosine")
    place = agreement.cluster_order(grid).index
    pairs = pairs.assign(cosine=pairs.cosine.where(pairs.a != pairs.b, pairs.a.map(trust.cosine)))
    pairs = pairs.sort_values(["a", "b"], key=lambda names: names.map(place))
    cells = cross.assign(points=100 * cross.effect).sort_values(
        ["source", "item"], key=lambda names: names.map(place)
    )
    names = {
        "source": "vector of",
        "item": "read",
        "points": "points",
        "a": "item",
        "b": "item",
        "cosine": "cosine",
    }
    alpha, n = max(about["config"]["alphas"]), about["n_some"]
    how = f"From both signs of alpha {alpha:g} at the layers of the vector's axis, on {n} held-out scenarios"
    return [
        Section(
            _moved_title(moved),
            [
                "A vector's own item is not read: what is shown is transfer. Named is what lies beyond random vectors."
            ],
            plots.forest_figure(moved, "change of mean P+ per unit alpha"),
            f"{how}. Bars: 95% bootstrap by item; grey: 95% of random vectors. All have the norm of the axis' vector.",
        ),
        Section(
            _cosine_title(grid.loc[trust.index, trust.index], list(trust.axis)),
            [_trust_text(trust)],
            plots.grid_figure(pairs, "a", "b", "cosine", names=names),
            "Mean over the layers of the row's axis; diagonal: halves of one item. Order by average linkage.",
        ),
        Section(
            _cross_title(cross),
            [],
            plots.grid_figure(cells, "source", "item", "points", names=names),
            f"Percentage points of P+ per unit alpha, {cross.n.min()} or more scenarios a cell. {how}.",
        ),
    ]


def _moved_title(moved: pd.DataFrame) -> str:
    clear, own = moved[moved.sure], moved[moved.sure & (moved.steered == moved.axis)]
    parts = own[own.effect > 0], own[own.effect < 0], clear[clear.steered != clear.axis]
    right, wrong, other = (", ".join(dict.fromkeys(part.source)) or "none" for part in parts)
    return f"Items whose vector moves the rest of their axis: {right}; the wrong way: {wrong}; another axis: {other}"


def _cosine_title(grid: pd.DataFrame, axes: list[str]) -> str:
    within, between, p = agreement.within_and_between(grid.to_numpy(), axes)
    found = (
        "point more the same way than others"
        if p < 0.05
        else "are not shown to be closer than others"
    )
    return f"Items of the same axis {found}: mean cosine {within:+.2f} against {between:+.2f} (p = {p:.3f})"


def _trust_text(trust: pd.DataFrame) -> str:
    loo = ", ".join(f"{item} {value:+.2f}" for item, value in trust.loo.sort_values().items())
    whole = f"two that share a direction would show about {trust.whole.mean():.2f}"
    return f"Held against how far an item agrees with itself, {whole}. Cosine to the rest of the axis: {loo}."


def _cross_title(cross: pd.DataFrame) -> str:
    own = cross.source == cross["item"]
    itself, others = (f"{cross.sure[mask].sum()} of {mask.sum()}" for mask in (own, ~own))
    return f"Beyond random vectors, item vectors move their own item in {itself} cases and another in {others}"


ANALYSIS = Analysis("items", "Which items carry an axis, and which betray it?", measure, sections)

if __name__ == "__main__":
    run_alone(ANALYSIS)
