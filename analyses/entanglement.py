"""How far does one axis drag the other, and is it more than random vectors do? (paper, section 4.2, equation 5)

python -m analyses.entanglement --preset quick
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

import interp_culture as ic
from analyses import extraction, pca_vs_mean_diff, trajectories
from interp_culture.cli.analysis import run_alone
from interp_culture.reporting import figures as plots
from interp_culture.study.analysis import About, Analysis, Section, Tables, interval_text
from interp_culture.survey import culture_map


def measure(study: ic.Study) -> Tables:
    """Response matrices from what the study and other analyses have read; no run of its own.

    matrix: kind (overall, domain, persona, method), group, null (which rows of the table null), and the columns of
    `ic.response_matrix`: D (change of the axis' mean P+ per unit of alpha on the steered one, from both signs of the
    largest configured alpha), ratio (equation 5) and their intervals. null: null (all, a domain, or some, which are
    `study.some`), alpha, and the columns of `ic.coupling.random_range`. map_ratio, where the items are the map's: the columns of
    `culture_map.movements`, whose equation 5 is that of |dx| and |dy|, as in the paper.
    """
    steered, top = study.steered(study.lead), max(study.config.alphas)
    some = steered[steered.id.isin({s.id for s in study.some})]
    nulls = {"all": steered, **dict(list(steered.groupby("domain"))), "some": some}
    null = pd.concat(
        [
            ic.coupling.random_range(part).assign(null=name, alpha=top)
            for name, part in nulls.items()
        ]
    )
    matrices = [
        ic.response_matrix(part[part.alpha.abs() <= top]).assign(kind=kind, group=group, null=null)
        for kind, group, null, part in groups(study, steered)
    ]
    tables = {"matrix": pd.concat(matrices), "null": null}
    return tables | (
        {"map_ratio": culture_map.movements(steered)}
        if culture_map.covers(set(steered["item"]))
        else {}
    )


def groups(study: ic.Study, steered: pd.DataFrame) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """Kind, name, null and readouts of what has a response matrix of its own."""
    yield "overall", "all held-out scenarios", "all", steered
    for domain, part in steered.groupby("domain", sort=False):
        yield "domain", domain, domain, part
    for persona, part in trajectories.readouts(study).groupby("persona", sort=False):
        yield "persona", persona, "some", part
    methods = dict(list(pca_vs_mean_diff.readouts(study).groupby("method", sort=False)))
    for method in [m for m in methods if m not in ("plain", extraction.METHODS["random"])]:
        yield "method", method, "some", pd.concat([methods["plain"], methods[method]])


def sections(tables: Tables, about: About) -> list[Section]:
    cross = (
        tables["matrix"]
        .query("steered != axis")
        .merge(tables["null"], how="left", on=["null", "steered", "axis"])
    )
    cross = cross.assign(
        label=cross.kind + ": " + cross.group, panel=cross.steered + " → " + cross.axis
    )
    bounds = {bound: cross[bound] / cross.alpha for bound in ("null_low", "null_high")}
    drags = cross.assign(effect=cross.D, sure=cross.low * cross.high > 0, **bounds)
    bounds = {
        c: cross[c.replace("low", "ratio_low").replace("high", "ratio_high")]
        for c in ("low", "high", *bounds)
    }
    ratios = cross.assign(effect=cross.ratio, sure=cross.defined, **bounds)
    drags["outside"] = drags.effect.abs() > drags.null_reach / drags.alpha
    ratios["outside"] = (ratios.effect < ratios.null_low) | (ratios.effect > ratios.null_high)
    human = culture_map.human_coupling() if "map_ratio" in tables else {}
    marks = {"X → Y": human["y_per_x"], "Y → X": human["x_per_y"]} if human else {}
    how = (
        f"Alpha ± {max(about['config']['alphas']):g} at the intervention's layers, {about['lead']} readout; bars: 95% "
        f"bootstrap by item. Personas and methods: {about['n_some']} held-out scenarios, else {about['n_test']} or a "
        f"domain's; random vectors (one sign): {about['n_null']}, and those of them in a domain. Hollow: "
    )
    texts = _ratio_texts(ratios, marks) + ([_map_text(tables["map_ratio"])] if human else [])
    figure = plots.forest_figure(
        ratios, "entanglement ratio (0 to 1)", marks=marks, mark="115 countries"
    )
    noise = "the steered axis did not move beyond its interval, and the ratio divides noise."
    responses = plots.forest_figure(drags, "change of mean P+ per unit alpha")
    return [
        Section(_ratio_title(ratios, drags), texts, figure, how + noise),
        Section(*_drag_words(drags), responses, f"{how}the interval holds 0."),
    ]


def _ratio_title(ratios: pd.DataFrame, drags: pd.DataFrame) -> str:
    defined = ratios[ratios.sure]
    return (
        f"The other axis moves, by an interval that excludes 0, in {drags.sure.sum() or 'none'} of {len(drags)} cases; "
        f"{defined.outside.sum() or 'none'} of {len(defined)} defined ratios lie outside the random vectors' range"
    )


def _ratio_texts(ratios: pd.DataFrame, marks: dict[str, float]) -> list[str]:
    texts = [
        f"{r.panel}{'' if r.sure else ' (not defined)'} {r.effect:.2f} [{r.low:.2f}, {r.high:.2f}]; random vectors "
        f"{r.null_low:.2f} to {r.null_high:.2f}{f'; over countries {marks[r.panel]:.2f}' if r.panel in marks else ''}."
        for r in ratios[ratios.kind == "overall"].itertuples()
    ]
    capped = f"{(ratios.null_high > 0.99).sum()} of {len(ratios)}"
    return [
        *texts,
        f"In {capped} cases random vectors reach the ratio's cap of 1: nothing could lie above them.",
    ]


def _map_text(ratios: pd.DataFrame) -> str:
    parts = [
        f"{r.steered} {r.alpha:+g} {r.ratio:.2f}{'' if r.defined else '?'}"
        for r in ratios.itertuples()
    ]
    own = ", ".join(
        f"{ratio:.2f} under {axis}" for axis, ratio in culture_map.projection_coupling().items()
    )
    undefined = (
        "?: the steered coordinate did not move beyond its interval. "
        if not ratios.defined.all()
        else ""
    )
    return f"From map coordinates: {', '.join(parts)}. {undefined}The map's arithmetic alone makes {own}."


def _drag_words(drags: pd.DataFrame) -> tuple[str, list[str]]:
    both = drags[drags.sure & drags.outside]
    title = f"{len(both) or 'None'} of {len(drags)} responses of the other axis exclude 0 and lie beyond random vectors"
    cases = "; ".join(f"{r.panel}, {r.label} {interval_text(r)}" for r in both.itertuples())
    limits = (
        "One in twenty intervals excludes 0 by chance, and the groups share scenarios and vectors."
    )
    return title, [*([f"Per unit alpha: {cases}."] if cases else []), limits]


ANALYSIS = Analysis(
    "entanglement",
    "How far does one axis drag the other, against random vectors?",
    measure,
    sections,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
