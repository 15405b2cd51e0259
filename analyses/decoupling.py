"""Can one axis be steered without the other? Changed vectors, judged on held-out scenarios.

Run alone: python -m analyses.decoupling --preset quick
"""

from __future__ import annotations

from functools import partial

import pandas as pd

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.coupling import (
    DECOUPLINGS,
    Decoupling,
    beside_random,
    decouple,
    gain_matrix,
    multiples,
    random_reach,
)
from interp_culture.reporting import figures
from interp_culture.stats import interval_words
from interp_culture.steering import Candidate, mean_kl
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

NAMES = ["steered", "method", "alpha"]
GROUP = ["method", "steered"]
# The vectors as they are, which the others are compared with.
UNCHANGED = "unchanged"
BRIEF: tuple[Decoupling, ...] = ("gram_schmidt", "inverse", "nearest")
# These look at single layers; the others take the coupling out of the sum over all layers.
OF_VECTORS = ("gram_schmidt", "whitened")
N_NEUTRAL = 4
N_NEUTRAL_BRIEF = 2
METHOD = Column("method", f"{UNCHANGED}, or how the vectors were decoupled")

SCHEMAS = (
    TableSchema(
        "readouts",
        "a run and held-out scenario",
        "readout.read_runs",
        (*columns.RUN, *columns.READ),
    ),
    TableSchema(
        "effects",
        "a method, steered axis and axis read",
        "coupling.effects",
        (
            *(METHOD, columns.STEERED),
            *columns.effect("mean change of P+, from both signs", columns.PER_ALPHA),
            *columns.BESIDE_RANDOM,
        ),
    ),
    TableSchema(
        "kept",
        "a method and steered axis whose unchanged vectors move it",
        "coupling.multiples",
        (
            *(METHOD, columns.STEERED),
            *columns.interval(
                "multiple", "own effect divided by that of the unchanged vectors", ""
            ),
        ),
    ),
    TableSchema(
        "gains",
        "a method, steered axis and axis read, to first order",
        "coupling.gain_matrix",
        (*(METHOD, columns.TOGETHER, columns.STEERED, *columns.GAIN),),
    ),
    TableSchema(
        "cost",
        "a method and steered axis, at the largest alpha",
        "steering.kl_on_neutral",
        (
            *(METHOD, columns.STEERED),
            Column("kl", "KL(plain || steered) on neutral text", "nats per token"),
        ),
    ),
)


def measure(study: ic.Study) -> Tables:
    """What decoupled vectors of the training half move on held-out scenarios, and what they cost.

    Returns:
        the tables of `SCHEMAS`, empty for a study of one axis.
    """
    if len(study.vectors()) < 2:
        return columns.empty_tables(SCHEMAS)
    vectors = decoupled_vectors(study)
    runs = steered_runs(study, vectors)
    table = study.once("decoupling.readouts", lambda: study.read(runs, NAMES))
    slopes = ic.coupling.slopes(table, GROUP)
    effects = ic.coupling.effects(slopes, GROUP, "slope")
    shifted = ic.coupling.shifts(study.steered(study.primary_readout))
    band = random_reach(shifted, ["steered", "axis"], per_alpha=True)
    return {
        "readouts": table,
        "effects": beside_random(effects, band),
        "kept": multiples(slopes, UNCHANGED),
        "gains": first_order(study, vectors),
        "cost": study.once("decoupling.cost", lambda: cost(study, vectors)),
    }


def decoupled_vectors(study: ic.Study) -> dict[str, dict[str, ic.SteeringVectors]]:
    """The vectors of every axis, by method, with one norm."""
    vectors = study.vectors()
    of_train = partial(
        decouple,
        train=study.train,
        gradients=study.directions.gradients,
        activations=study.directions.activations(Candidate().site),
    )
    made: dict[str, dict[str, ic.SteeringVectors]] = {UNCHANGED: vectors}
    for method in BRIEF if study.config.brief else DECOUPLINGS:
        layers = None if method in OF_VECTORS else study.layers
        made[method] = of_train(vectors, method, layers=layers)
    return made


def steered_runs(
    study: ic.Study, vectors: dict[str, dict[str, ic.SteeringVectors]]
) -> dict[tuple[str, str, float], list[ic.Edit]]:
    """The plain model, and each axis under each method at ± the largest alpha."""
    top = max(study.config.alphas)
    runs: dict[tuple[str, str, float], list[ic.Edit]] = {("", "plain", 0.0): []}
    for method, by_axis in vectors.items():
        for axis, of_axis in by_axis.items():
            for alpha in (top, -top):
                runs[axis, method, alpha] = ic.steer(of_axis, study.layers[axis], alpha)
    return runs


def first_order(study: ic.Study, vectors: dict[str, dict[str, ic.SteeringVectors]]) -> pd.DataFrame:
    gradients = study.held_out_gradients
    tables = [
        gain_matrix(gradients, study.test, by_axis, layers=study.layers).assign(method=method)
        for method, by_axis in vectors.items()
    ]
    return pd.concat(tables, ignore_index=True)


def cost(study: ic.Study, vectors: dict[str, dict[str, ic.SteeringVectors]]) -> pd.DataFrame:
    n = N_NEUTRAL_BRIEF if study.config.brief else N_NEUTRAL
    top = max(study.config.alphas)
    runs = {
        (method, axis): ic.steer(of_axis, study.layers[axis], top)
        for method, by_axis in vectors.items()
        for axis, of_axis in by_axis.items()
    }
    means = mean_kl(study.model, runs, ic.scenarios.neutral_beginnings(n))
    return pd.DataFrame([(*run, kl) for run, kl in means.items()], columns=[*GROUP, "kl"])


# -- sections -----------------------------------------------------------------------------------


def sections(tables: Tables, about: About) -> list[Section]:
    effects = tables["effects"]
    if effects.empty:
        return []
    drawn = effects.assign(
        label=effects.method,
        kind="measured effect",
        panel=[f"{r.steered} steered, {r.axis} read" for r in effects.itertuples()],
    )
    top = max(about["config"]["alphas"])
    return [
        Section(
            *words(tables),
            figures.forest_figure(drawn, "change of mean P+ per unit alpha"),
            f"{about['n_sample']} held-out scenarios, alpha ±{top:g}; vectors and gradients of the"
            " training half, all of one norm. Bars: 95% bootstrap by item. Grey: 95% of random"
            " vectors. Hollow: not shown. Tables: decoupling.effects, decoupling.kept,"
            " decoupling.gains, decoupling.cost.",
        )
    ]


def words(tables: Tables) -> tuple[str, list[str]]:
    effects = tables["effects"]
    cross = effects[effects.steered != effects.axis]
    before = cross[(cross.method == UNCHANGED) & cross.sure]
    if before.empty:
        title = "There is no coupling to take away: the other axis is not shown to move"
    else:
        titles = []
        for row in before.itertuples():
            pair = cross[(cross.steered == row.steered) & (cross.axis == row.axis)]
            gone = pair[~pair.sure & (pair.effect.abs() <= pair.null_high)].method.tolist()
            titles.append(
                f"{row.steered} → {row.axis}: within random vectors after {', '.join(gone)}"
                if gone
                else f"{row.steered} → {row.axis}: it stays beyond random vectors"
            )
        title = f"Decoupled vectors: {'; '.join(titles)}"
    drag = [
        f"{row.steered} → {row.axis} {row.method} {interval_text(row)}"
        for row in cross.itertuples()
    ]
    kept = [
        f"{row.steered} {row.method}"
        f" {interval_words(row.multiple, row.multiple_low, row.multiple_high, 2, '')}"
        for row in tables["kept"].itertuples()
        if row.method != UNCHANGED
    ]
    costs = [f"{row.steered} {row.method} {row.kl:.3f}" for row in tables["cost"].itertuples()]
    return title, [
        f"The other axis, per unit alpha: {'; '.join(drag)}.",
        "Effect kept on the steered axis, as a multiple of the unchanged vectors':"
        f" {'; '.join(kept) or 'they are not shown to move their axis'}.",
        f"KL on neutral text at the largest alpha, nats per token: {'; '.join(costs)}.",
    ]


ANALYSIS = Analysis(
    "decoupling",
    "Can one axis be steered without the other?",
    measure,
    sections,
    part="why",
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
