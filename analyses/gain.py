"""Does the gradient explain what steering does, and at which layers are the axes coupled?

Run alone: python -m analyses.gain --preset quick
"""

from __future__ import annotations

import pandas as pd

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.coupling import gain_agreement, gain_matrix
from interp_culture.reporting import figures
from interp_culture.steering import spread_layers
from interp_culture.study import (
    About,
    Analysis,
    Column,
    Section,
    Tables,
    TableSchema,
    columns,
)

# Every layer costs four runs of each axis.
N_LAYERS = 10
N_LAYERS_BRIEF = 5
# The small strength, as a share of the study's largest alpha: near enough to the limit that the
# gradient describes, and far above rounding.
SMALL = 1 / 8
RUN = ["layer", "steered", "method", "alpha"]
KEYS = ["layer", "steered", "axis"]

SCHEMAS = (
    TableSchema(
        "by_layer",
        "a layer, steered axis and axis read",
        "coupling.gain_matrix",
        (*(columns.LAYER, columns.STEERED, *columns.GAIN),),
    ),
    TableSchema(
        "measured",
        "a steered layer, steered axis, strength and axis read",
        "coupling.effects",
        (
            *(columns.LAYER, columns.STEERED),
            *columns.effect("measured change of mean P+, from both signs", columns.PER_ALPHA),
            Column("alpha", "strength, both signs"),
            Column("gain", "on the same scenarios", columns.PER_ALPHA),
        ),
    ),
    TableSchema(
        "agreement",
        "a strength, steered axis and axis read; all for every pair together",
        "coupling.gain_agreement",
        (
            *(Column("alpha", "strength, both signs"), columns.STEERED, columns.AXIS_READ),
            Column("n", "number of layers"),
            Column("r", "Pearson correlation of gains and measured effects", "-1 to 1"),
            Column("slope", "of measured effects on gains, through 0"),
        ),
    ),
)


def measure(study: ic.Study) -> Tables:
    """The gains of all layers, and the measured effects of some at a small and a large strength.

    Returns:
        the tables of `SCHEMAS`.
    """
    vectors = study.vectors()
    few = study.sample
    gradients = study.held_out_gradients
    measured = measured_effects(study, few)
    gains = gain_matrix(gradients, few, vectors)
    agreements = [
        gain_agreement(gains, of_alpha).assign(alpha=alpha)
        for alpha, of_alpha in measured.groupby("alpha")
    ]
    return {
        "by_layer": gain_matrix(gradients, study.test, vectors),
        "measured": measured.merge(gains[[*KEYS, "gain"]]),
        "agreement": pd.concat(agreements, ignore_index=True),
    }


def measured_effects(study: ic.Study, scenarios: ic.ScenarioSet) -> pd.DataFrame:
    """Layers steered alone, at both strengths: layer, steered, alpha and `ic.coupling.effects`."""
    runs = single_layer_runs(study)
    table = study.once("gain.readouts", lambda: study.read(runs, RUN, scenarios))
    parts = []
    for alpha in strengths(study):
        at_alpha = table[table.alpha.abs().isin([0.0, alpha])]
        slopes = ic.coupling.slopes(at_alpha, ["layer", "steered"])
        effects = ic.coupling.effects(slopes, ["layer", "steered"], "slope")
        parts.append(effects.assign(alpha=alpha))
    return pd.concat(parts, ignore_index=True)


def strengths(study: ic.Study) -> tuple[float, float]:
    top = max(study.config.alphas)
    return SMALL * top, top


def single_layer_runs(study: ic.Study) -> dict[tuple, list[ic.Edit]]:
    """The plain model, and each axis at layers spread over the model, at ± both strengths."""
    wanted = N_LAYERS_BRIEF if study.config.brief else N_LAYERS
    layers = spread_layers(study.model.n_layers, wanted)
    runs: dict[tuple, list[ic.Edit]] = {(-1, "", "plain", 0.0): []}
    for axis, of_axis in study.vectors().items():
        for layer in layers:
            for alpha in strengths(study):
                for signed in (alpha, -alpha):
                    runs[layer, axis, "steered", signed] = ic.steer(of_axis, [layer], signed)
    return runs


# -- sections -----------------------------------------------------------------------------------


def sections(tables: Tables, about: About) -> list[Section]:
    return [profile_section(tables, about), agreement_section(tables, about)]


def profile_section(tables: Tables, about: About) -> Section:
    gains = tables["by_layer"]
    names = {
        "effect": "first-order change of mean P+ per unit alpha",
        "layer": "steered layer",
        "axis": "axis read",
        "null": "random vectors",
    }
    panels = gains.assign(effect=gains.gain, panel=gains.steered + " steered")
    chosen = {f"{axis} steered": layers for axis, layers in about["layers"].items()}
    return Section(
        *profile_words(gains),
        figures.profile_figure(
            panels, "layer", colour="axis", facet="panel", names=names, marked=chosen
        ),
        f"One backward pass over {about['n_test']} held-out scenarios. Each layer alone. Bars: 95%"
        " bootstrap by item. Grey: 95% of random vectors of the same norm. Shaded: the layers of"
        " the intervention. Table: gain.by_layer.",
    )


def profile_words(gains: pd.DataFrame) -> tuple[str, list[str]]:
    found = []
    for (steered, axis), rows in gains.groupby(["steered", "axis"]):
        if steered != axis:
            at = ", ".join(map(str, rows.layer[rows.shown])) or "no layer"
            found.append(f"{steered} moves {axis} at {at}")
    title = f"To first order, beyond random vectors: {'; '.join(found)}"
    if not found:
        title = "To first order: the gain of the one axis, by layer"
    return title, [
        "A gain is the dot product of a steering vector with the gradient of the axis that is"
        " read.",
        "A layer counts if its interval excludes 0 and random vectors do not reach it, both"
        f" adjusted for all {gains.q.notna().sum()} gains of one axis on another (false discovery"
        " rate 5%).",
    ]


def agreement_section(tables: Tables, about: About) -> Section:
    measured = tables["measured"]
    names = {
        "effect": "measured change of mean P+ per unit alpha",
        "gain": "gain, to first order",
        "pair": "steered → read",
    }
    drawn = measured.assign(
        pair=measured.steered + " → " + measured.axis,
        strength=[f"alpha ±{alpha:g}" for alpha in measured.alpha],
    )
    return Section(
        *agreement_words(tables["agreement"]),
        figures.interval_figure(drawn, "gain", colour="pair", facet="strength", names=names),
        f"A point is a layer, steered alone; {about['n_sample']} held-out scenarios, both axes from"
        " the same ones. Bars: 95% bootstrap by item. Tables: gain.measured, gain.agreement.",
    )


def agreement_words(agreement: pd.DataFrame) -> tuple[str, list[str]]:
    whole = agreement[agreement.steered == "all"]
    small, large = whole.loc[whole.alpha.idxmin()], whole.loc[whole.alpha.idxmax()]
    title = (
        f"Gains and measured effects correlate with {small.r:.2f} at alpha ±{small.alpha:g} and"
        f" with {large.r:.2f} at ±{large.alpha:g}"
    )
    pairs = agreement[(agreement.steered != "all") & (agreement.alpha == large.alpha)]
    each = [
        f"{row.steered} → {row.axis} {row.r:.2f}, {row.slope:.2f}" for row in pairs.itertuples()
    ]
    return title, [
        f"Measured effects are {small.slope:.2f} times the gains at the small strength and"
        f" {large.slope:.2f} times at the large one: below 1 a step of this size saturates.",
        f"Correlation over layers and slope at alpha ±{large.alpha:g}: {'; '.join(each)}.",
    ]


ANALYSIS = Analysis(
    "gain",
    "Does the gradient explain what steering does?",
    measure,
    sections,
    part="why",
    step=2,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
