"""Does it matter how a direction is extracted? Mean difference, PCA and classifiers of one norm at the same layers.

python -m analyses.pca_vs_mean_diff --preset quick
"""

from __future__ import annotations

import pandas as pd

import interp_culture as ic
from analyses import extraction
from analyses.answers import NAMES, perplexities, written
from interp_culture.cli.analysis import run_alone
from interp_culture.reporting import figures as plots
from interp_culture.study.analysis import About, Analysis, Section, Tables, interval_text

OWN, N_TOKENS = "mean_diff", 64


def measure(study: ic.Study) -> Tables:
    """Every method's directions of every axis: what they move, what they cost, how alike and how stable they are.

    effects: method, steered, axis, effect (change of mean P+ per unit alpha, from both signs), low, high, n. against:
    the same less mean_diff's, scenario by scenario. null: steered, axis, low, high (95% of random vectors' effects
    per unit alpha), reach (the size beyond which an effect is outside them). ratios: method, steered, axis,
    ratio (Eq. 5), low, high, defined. cosines, stability: see `extraction`. fluency: method, steered, perplexity (for
    the plain model, of texts written at alpha above 0), low, high.
    """
    table = readouts(study)
    slopes = ic.coupling.slopes(table, ["method", "steered"])
    texts = study.once("pca_vs_mean_diff.texts", lambda: _texts(study))
    fluency = perplexities(texts, ["method", "steered"]).filter(like="perplexity_plain")
    return {
        "readouts": table,
        "effects": ic.coupling.effects(slopes, ["method", "steered"], "slope"),
        "against": ic.coupling.effects(_against(slopes), ["method", "steered"], "slope"),
        "null": _null(study),
        "ratios": _ratios(table),
        "cosines": study.once("pca_vs_mean_diff.cosines", lambda: extraction.cosines(study)),
        "stability": study.once("pca_vs_mean_diff.stability", lambda: extraction.stability(study)),
        "fluency": fluency.set_axis(["perplexity", "low", "high"], axis=1).reset_index(),
    }


def readouts(study: ic.Study) -> pd.DataFrame:
    """steered, method, alpha (0, and both signs of the largest), then the columns of `ic.readout.read_runs`."""
    return study.once(
        "pca_vs_mean_diff.readouts", lambda: study.read(extraction.steered_runs(study), NAMES)
    )


def _texts(study: ic.Study) -> pd.DataFrame:
    runs = {key: edits for key, edits in extraction.steered_runs(study).items() if key[-1] >= 0}
    return written(study, runs, N_TOKENS)


def _against(slopes: pd.DataFrame) -> pd.DataFrame:
    base = slopes[slopes.method == OWN].set_index(["steered", "id"]).slope.rename("base")
    others = slopes[slopes.method != OWN].join(base, on=["steered", "id"])
    return others.assign(slope=others.slope - others.base)


def _null(study: ic.Study) -> pd.DataFrame:
    top = max(study.config.alphas)
    found = ic.coupling.response(study.steered(study.lead)).query("alpha == @top")
    bounds = {"low": found.null_low / top, "high": found.null_high / top}
    reach = (
        ic.coupling.random_range(study.steered(study.lead))
        .set_index(["steered", "axis"])
        .null_reach.div(top)
        .rename("reach")
    )
    return found[["steered", "axis"]].assign(**bounds).join(reach, on=["steered", "axis"])


def _ratios(table: pd.DataFrame) -> pd.DataFrame:
    plain, steered = table[table.method == "plain"], table[table.method != "plain"]
    parts = [
        ic.response_matrix(pd.concat([plain, own])).assign(method=m)
        for m, own in steered.groupby("method")
    ]
    apart = pd.concat(parts).query("steered != axis")
    named = apart.assign(low=apart.ratio_low, high=apart.ratio_high)
    return named[["method", "steered", "axis", "ratio", "low", "high", "defined"]]


def sections(tables: Tables, about: About) -> list[Section]:
    effects, null = tables["effects"], tables["null"]
    alpha, n_random = max(about["config"]["alphas"]), about["config"]["n_random"]
    names = {"effect": "change of mean P+ per unit alpha", "axis": "read", "method": ""}
    beside = null.assign(method=f"{n_random} random vectors", effect=(null.low + null.high) / 2)
    against, ratios = tables["against"], tables["ratios"]
    moved = Section(
        _effect_title(effects, null),
        [
            f"On target less {OWN}, per unit alpha: {_listed(against[against.axis == against.steered])}.",
            f"Entanglement ratio (Eq. 5) where the target moved: {_listed(ratios[ratios.defined], 'ratio', 2)}.",
            _fluency_text(tables["fluency"]),
        ],
        plots.interval_figure(
            pd.concat([effects, beside]), "method", colour="axis", facet="steered", names=names
        ),
        f"Slope from alpha {-alpha:g} and {alpha:g} at the layers that a sweep of {about['config']['method']} vectors "
        f"chose, on {about['n_some']} held-out scenarios; all methods have the norm of those vectors. Bars: 95% "
        f"bootstrap by item; of the {n_random} random vectors, the middle 95% at alpha {alpha:g} on {about['n_null']}.",
    )
    return [moved, *extraction.sections(tables, about)]


def _effect_title(effects: pd.DataFrame, null: pd.DataFrame) -> str:
    bounds = null[null.axis == null.steered].set_index("steered").reach
    own = effects[effects.axis == effects.steered]
    clear = own[(own.low > 0) & (own.effect > own.steered.map(bounds))]
    told = [
        f"{a} by {', '.join(clear[clear.steered == a].method) or 'no method'}"
        for a in sorted(set(own.steered))
    ]
    return f"Moved toward its pole beyond random vectors: {'; '.join(told)}"


def _listed(table: pd.DataFrame, value: str = "effect", digits: int = 3) -> str:
    rows = table.assign(
        where=table.steered.where(table.steered == table.axis, table.steered + " → " + table.axis)
    )
    told = [f"{r.where} by {r.method} {interval_text(r, value, digits)}" for r in rows.itertuples()]
    return "; ".join(told) or "none"


def _fluency_text(fluency: pd.DataFrame) -> str:
    told = [
        f"{r.method} {r.steered} {r.perplexity:.1f} [{r.low:.1f}, {r.high:.1f}]"
        for r in fluency.itertuples()
    ]
    return f"Perplexity of answers for the plain model: {'; '.join(told)}."


ANALYSIS = Analysis(
    "pca_vs_mean_diff", "Does it matter how a direction is extracted?", measure, sections
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
