"""Which items carry an axis, and which betray it? Item vectors, their agreement, what each moves (paper, section 4.3).

python -m analyses.items --preset quick
"""

from __future__ import annotations

from itertools import product

import pandas as pd

import interp_culture as ic
from interp_culture import agreement, plots
from interp_culture.analysis import About, Analysis, Section, Tables
from interp_culture.cli.analysis import run_alone


def measure(study: ic.Study) -> Tables:
    """One vector per item, with which the model is steered at the layers of the item's axis.

    cosines, reliability: of `agreement.item_cosines` and `item_reliability`. cross: source, item (read), axis, effect
    (change of mean P+ per unit of alpha, from both signs), low, high, n. by_axis: source, steered, axis, effect, low,
    high, n (all items of that axis but the source); null_low, null_high (95% of random vectors on the same items).
    """
    vectors, alpha, random = item_vectors(study), max(study.config.alphas), study.steered(study.lead)
    signs = product(vectors.items(), (alpha, -alpha))
    runs = {(i, v.axis, v.method, a): ic.steer(v, study.layers[v.axis], a) for (i, v), a in signs}
    runs["", "", "plain", 0.0] = []
    readouts = study.once("items.readouts", lambda: study.read(runs, ["source", "steered", "method", "alpha"]))
    slopes = ic.slopes(readouts, ["source", "steered"])
    rest = ic.effects(slopes[slopes.source != slopes["item"]], ["source", "steered"], "slope")
    null = [_null(random, item, alpha) for item in vectors]
    return {
        "cosines": agreement.item_cosines(vectors, study.layers),
        "reliability": agreement.item_reliability(study.activations, study.train, study.layers, study.config.method),
        "cross": ic.effects(slopes, ["source", "item"], "slope"),
        "by_axis": rest.merge(pd.concat(null)),
    }


def item_vectors(study: ic.Study) -> dict[str, ic.SteeringVectors]:
    """Each with the norm of its axis' vector at every layer, so that alpha is the same step for all."""
    whole, found = study.vectors(), {}
    for item, about in study.train.catalogue.items.items():
        if ids := [s.id for s in study.train.filter(item=item)]:
            direction = ic.direction(study.activations.select(ids), study.config.method)
            found[item] = ic.norm_matched(whole[about.axis], direction)
    return found


def _null(readouts: pd.DataFrame, item: str, alpha: float) -> pd.DataFrame:
    """95% of norm-matched random vectors at the same layers, on all items but this one, per unit of their alpha."""
    found = ic.random_range(readouts[readouts["item"] != item]).set_index(["steered", "axis"])
    return (found[["null_low", "null_high"]] / alpha).assign(source=item).reset_index()


def sections(tables: Tables, about: About) -> list[Section]:
    moved, trust, cross = tables["by_axis"], tables["reliability"].set_index("item"), tables["cross"]
    moved = moved.assign(panel=moved.axis + " read", kind=moved.steered + " items", label=moved.source)
    moved["sure"] = (moved.low * moved.high > 0) & ~moved.effect.between(moved.null_low, moved.null_high)
    grid = tables["cosines"].pivot(index="a", columns="b", values="cosine")
    place = agreement.cluster_order(grid).index
    cosines = tables["cosines"].sort_values(["a", "b"], key=lambda names: names.map(place))
    cells = cross.assign(points=100 * cross.effect).sort_values(["source", "item"], key=lambda names: names.map(place))
    names = {"source": "vector of", "item": "read", "points": "points", "a": "item", "b": "item", "cosine": "cosine"}
    alpha, n_random = max(about["config"]["alphas"]), about["config"]["n_random"]
    how = f"From both signs of alpha {alpha:g} at the layers of the vector's axis, {about['n_some']} held-out scenarios"
    return [
        Section(
            _moved_title(moved),
            ["A vector's own item is not read: what is shown is transfer. Named is what lies beyond random vectors."],
            plots.forest_figure(moved, "change of mean P+ per unit alpha"),
            f"{how}. Bars: 95% bootstrap by item; grey: {n_random} random vectors. All have the axis vector's norm.",
        ),
        Section(
            _cosine_title(grid.loc[trust.index, trust.index], list(trust.axis)),
            [_trust_text(trust)],
            plots.grid_figure(cosines, "a", "b", "cosine", names=names),
            "Mean over the layers of the row's axis; order by average linkage on 1 - cosine.",
        ),
        Section(
            _cross_title(cross),
            [],
            plots.grid_figure(cells, "source", "item", "points", names=names),
            f"Percentage points of P+ per unit alpha, each of {cross.n.min()} to {cross.n.max()} scenarios. {how}.",
        ),
    ]


def _moved_title(moved: pd.DataFrame) -> str:
    clear, own = moved[moved.sure], moved[moved.sure & (moved.steered == moved.axis)]
    parts = own[own.effect > 0], own[own.effect < 0], clear[clear.steered != clear.axis]
    right, wrong, other = (", ".join(dict.fromkeys(part.source)) or "none" for part in parts)
    return f"Items whose vector moves the rest of their axis: {right}; the wrong way: {wrong}; another axis: {other}"


def _cosine_title(grid: pd.DataFrame, axes: list[str]) -> str:
    within, between, p = agreement.within_and_between(grid.to_numpy(), axes)
    found = "point more the same way than others" if p < 0.05 else "are not shown to be closer than others"
    return f"Items of the same axis {found}: mean cosine {within:+.2f} against {between:+.2f} (p = {p:.3f})"


def _trust_text(trust: pd.DataFrame) -> str:
    loo = ", ".join(f"{item} {value:+.2f}" for item, value in trust.loo.sort_values().items())
    halves = f"{trust.cosine.min():.2f} to {trust.cosine.max():.2f}; one direction would give {trust.whole.mean():.2f}"
    return f"Halves of an item's scenarios agree at {halves}. Cosine to the rest of the axis: {loo}."


def _cross_title(cross: pd.DataFrame) -> str:
    clear, own = cross.low * cross.high > 0, cross.source == cross["item"]
    others = f"{(clear & ~own).sum()} of {(~own).sum()} effects on other items (about 5% by chance)"
    return f"Intervals leave out 0 for {(clear & own).sum()} of {own.sum()} effects on the own item, {others}"


ANALYSIS = Analysis("items", "Which items carry an axis, and which betray it?", measure, sections)

if __name__ == "__main__":
    run_alone(ANALYSIS)
