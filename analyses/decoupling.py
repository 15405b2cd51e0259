"""Can one axis be steered without the other? Changed vectors, judged on held-out scenarios.

Run alone: python -m analyses.decoupling --preset quick
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.coupling import (
    DECOUPLINGS,
    Decoupling,
    beside_random,
    decouple,
    effects_by_readout,
    equal_effect_strengths,
    gain_matrix,
    multiples,
    random_reach,
)
from interp_culture.reporting import figures
from interp_culture.stats import interval_words
from interp_culture.steering import Candidate, answer_perplexities, mean_kl
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
OF_VECTORS = ("gram_schmidt", "whitened", "leace")
ByMethod = dict[str, dict[str, ic.SteeringVectors]]
Runs = dict[tuple[str, str, float], list[ic.Edit]]
N_NEUTRAL = 4
N_NEUTRAL_BRIEF = 2
# Situations to which an answer is sampled in every run: as few as have an interval.
N_PROMPTS = 6
# The paper's perplexity is that of the first 128 tokens.
N_TOKENS = 128
EQUAL_NORM = "equal norm"
EQUAL_EFFECT = "equal effect"
METHOD = Column("method", f"{UNCHANGED}, or how the vectors were decoupled")
EFFECT = (
    *columns.effect("mean change of P+, from both signs", columns.PER_ALPHA),
    *columns.BESIDE_RANDOM,
)
MULTIPLE = columns.interval(
    "multiple", "own effect divided by that of the unchanged vectors", unit=""
)

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
        (METHOD, columns.STEERED, *EFFECT),
    ),
    TableSchema(
        "kept",
        "a method and steered axis whose unchanged vectors move it",
        "coupling.multiples",
        (METHOD, columns.STEERED, *MULTIPLE),
    ),
    TableSchema(
        "gains",
        "a method, steered axis and axis read, to first order",
        "coupling.gain_matrix",
        (METHOD, columns.TOGETHER, columns.STEERED, *columns.GAIN),
    ),
    TableSchema(
        "by_domain",
        "a method, steered axis, domain and axis read",
        "coupling.effects",
        (METHOD, columns.STEERED, Column("domain", "of the held-out scenarios"), *EFFECT),
    ),
    TableSchema(
        "by_readout",
        "a readout, method, steered axis and axis read; the other readout only if it passes its "
        "check, and not in a brief study",
        "coupling.effects_by_readout",
        (
            *(columns.READOUT, METHOD, columns.STEERED),
            *columns.effect("mean change of the logit difference per alpha", columns.NATS),
        ),
    ),
    TableSchema(
        "cost",
        "a method, steered axis and comparison; equal effect only where the effect is shown",
        "steering.kl_on_neutral",
        (
            *(METHOD, columns.STEERED),
            Column("at", "equal norm, or equal effect on the steered axis, to first order"),
            Column("alpha", "strength; at equal effect the largest alpha divided by `multiple`"),
            Column("kl", "KL(plain || steered) on neutral text", "nats per token"),
        ),
    ),
    TableSchema(
        "perplexity",
        "the plain model, or a method and steered axis at equal effect; none in a brief study",
        "steering.answer_perplexities",
        (*columns.RUN, *columns.PERPLEXITIES),
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
    read = partial(read_as, study, steered_runs(study, vectors))
    table = study.once("decoupling.readouts", partial(read, study.primary_readout))
    slopes = ic.coupling.slopes(table, GROUP)
    shifted = ic.coupling.shifts(study.steered(study.primary_readout))
    kept = multiples(slopes, UNCHANGED)
    at = strengths(vectors, kept, max(study.config.alphas))
    by_readout = study.by_readout("decoupling.other_readouts", table, read)
    return {
        "readouts": table,
        "effects": effects_of(shifted, slopes),
        "kept": kept,
        "gains": first_order(study, vectors),
        "by_domain": effects_of(shifted, slopes, ["domain"]),
        "by_readout": effects_by_readout(by_readout, GROUP),
        "cost": study.once("decoupling.cost", partial(cost, study, vectors, at)),
        "perplexity": perplexity(study, vectors, at),
    }


def decoupled_vectors(study: ic.Study) -> ByMethod:
    """The vectors of every axis, by method, with one norm."""
    vectors = study.vectors()
    of_train = partial(
        decouple,
        train=study.train,
        gradients=study.directions.gradients,
        activations=study.directions.activations(Candidate().site),
    )
    made: ByMethod = {UNCHANGED: vectors}
    for method in BRIEF if study.config.brief else DECOUPLINGS:
        layers = None if method in OF_VECTORS else study.layers
        made[method] = of_train(vectors, method, layers=layers)
    return made


def steered_runs(study: ic.Study, vectors: ByMethod) -> Runs:
    """The plain model, and each axis under each method at ± the largest alpha."""
    top = max(study.config.alphas)
    runs: Runs = {("", "plain", 0.0): []}
    for method, by_axis in vectors.items():
        for axis, of_axis in by_axis.items():
            for alpha in (top, -top):
                runs[axis, method, alpha] = ic.steer(of_axis, study.layers[axis], alpha)
    return runs


def read_as(study: ic.Study, runs: Runs, readout: ic.readout.Readout) -> pd.DataFrame:
    return study.read(runs, NAMES, readout=study.format(readout))


def effects_of(shifted: pd.DataFrame, slopes: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """The effect of each method in every group of `by`, with the band of the random vectors.

    Args:
        shifted: of the study's own runs, which have the random vectors.
    """
    band = random_reach(shifted, ["steered", *by, "axis"], per_alpha=True)
    return beside_random(ic.coupling.effects(slopes, [*GROUP, *by], "slope"), band)


def first_order(study: ic.Study, vectors: ByMethod) -> pd.DataFrame:
    gradients = study.held_out_gradients
    tables = [
        gain_matrix(gradients, study.test, by_axis, layers=study.layers).assign(method=method)
        for method, by_axis in vectors.items()
    ]
    return pd.concat(tables, ignore_index=True)


def strengths(vectors: ByMethod, kept: pd.DataFrame, top: float) -> pd.DataFrame:
    """The alpha of every method at equal norm, and at equal effect on the steered axis."""
    pairs = [(method, axis) for method, by_axis in vectors.items() for axis in by_axis]
    at_norm = pd.DataFrame(pairs, columns=GROUP).assign(at=EQUAL_NORM, alpha=top)
    at_effect = equal_effect_strengths(kept, top).assign(at=EQUAL_EFFECT)
    return pd.concat([at_norm, at_effect], ignore_index=True)


def cost(study: ic.Study, vectors: ByMethod, at: pd.DataFrame) -> pd.DataFrame:
    n = N_NEUTRAL_BRIEF if study.config.brief else N_NEUTRAL
    runs = {row.Index: edits_of(study, vectors, row) for row in at.itertuples()}
    means = mean_kl(study.model, runs, ic.scenarios.neutral_beginnings(n))
    return at.assign(kl=at.index.map(means))


def perplexity(study: ic.Study, vectors: ByMethod, at: pd.DataFrame) -> pd.DataFrame:
    """Of answers that are sampled at equal effect, toward the positive pole."""
    if study.config.brief:
        return columns.empty_tables(SCHEMAS)["perplexity"]
    runs: Runs = {("", "plain", 0.0): []}
    for row in at[at["at"] == EQUAL_EFFECT].itertuples():
        runs[row.steered, row.method, row.alpha] = edits_of(study, vectors, row)
    answers = study.once("decoupling.answers", partial(sampled_answers, study, runs))
    return answer_perplexities(answers, NAMES).reset_index()


def sampled_answers(study: ic.Study, runs: Runs) -> pd.DataFrame:
    prompts = ic.steering.situation_prompts(study.sample, N_PROMPTS)
    answers = ic.steering.sample_answers(
        study.model, prompts, runs, N_TOKENS, seed=study.config.seed
    )
    return ic.readout.with_keys(answers, NAMES)


def edits_of(study: ic.Study, vectors: ByMethod, row: Any) -> list[ic.Edit]:
    """Those of a row of `strengths`."""
    return ic.steer(vectors[row.method][row.steered], study.layers[row.steered], row.alpha)


# -- sections -----------------------------------------------------------------------------------


def sections(tables: Tables, about: About) -> list[Section]:
    effects = tables["effects"]
    if effects.empty:
        return []
    cross = effects[effects.steered != effects.axis]
    drawn = effects.assign(
        label=effects.method,
        kind="measured effect",
        panel=[f"{r.steered} steered, {r.axis} read" for r in effects.itertuples()],
    )
    top = max(about["config"]["alphas"])
    return [
        Section(
            title(cross),
            words(tables, cross, about["primary_readout"]),
            figures.forest_figure(drawn, "change of mean P+ per unit alpha"),
            f"{about['n_sample']} held-out scenarios, alpha ±{top:g}; vectors and gradients of the"
            " training half, all of one norm. Bars: 95% bootstrap by item. Grey: 95% of random"
            " vectors. Hollow: not shown. Tables: decoupling.effects, decoupling.kept,"
            " decoupling.gains, decoupling.by_domain, decoupling.by_readout, decoupling.cost,"
            " decoupling.perplexity.",
        )
    ]


def title(cross: pd.DataFrame) -> str:
    before = cross[(cross.method == UNCHANGED) & cross.sure]
    if before.empty:
        return "There is no coupling to take away: the other axis is not shown to move"
    parts = []
    for row in before.itertuples():
        pair = cross[(cross.steered == row.steered) & (cross.axis == row.axis)]
        gone = pair[~pair.sure & (pair.effect.abs() <= pair.null_high)].method.tolist()
        parts.append(
            f"{row.steered} → {row.axis}: within random vectors after {', '.join(gone)}"
            if gone
            else f"{row.steered} → {row.axis}: it stays beyond random vectors"
        )
    return f"Decoupled vectors: {'; '.join(parts)}"


def words(tables: Tables, cross: pd.DataFrame, primary: str) -> list[str]:
    kept = tables["kept"]
    changed = kept[kept.method != UNCHANGED]
    sentences = [
        f"The other axis, per unit alpha: {listed(cross, interval_text)}.",
        "Effect kept on the steered axis, as a multiple of the unchanged vectors':"
        f" {listed(changed, multiple_text) or 'they are not shown to move their axis'}.",
    ]
    for at, rows in tables["cost"].groupby("at", sort=False):
        costs = listed(rows, lambda row: f"{row.kl:.3f} (alpha {row.alpha:.2g})")
        sentences.append(f"KL on neutral text at {at}, nats per token: {costs}.")
    answered = tables["perplexity"]
    steered = answered[answered.method != "plain"]
    if len(steered):
        sentences.append(
            "Rise of the cross-entropy of sampled answers at equal effect, against the plain"
            f" model's own, nats per token: {listed(steered, rise_text)}."
        )
    sentences.append(domain_words(tables["by_domain"]))
    by_readout = tables["by_readout"]
    for readout, rows in by_readout[by_readout.readout != primary].groupby("readout"):
        effects = listed(rows, partial(interval_text, digits=2))
        sentences.append(f"By {readout}, logits per unit alpha: {effects}.")
    return sentences


def listed(table: pd.DataFrame, text: Callable[[Any], str]) -> str:
    """Each row in words, after its axes and method."""
    has_axis_read = "axis" in table
    parts = []
    for row in table.itertuples():
        axes = f"{row.steered} → {row.axis}" if has_axis_read else row.steered
        parts.append(f"{axes} {row.method} {text(row)}")
    return "; ".join(parts)


def multiple_text(row: Any) -> str:
    return interval_words(row.multiple, row.multiple_low, row.multiple_high, 2, "")


def rise_text(row: Any) -> str:
    return interval_words(row.rise, row.rise_low, row.rise_high)


def domain_words(by_domain: pd.DataFrame) -> str:
    parts = []
    for method, rows in by_domain.dropna(subset=["low"]).groupby("method", sort=False):
        is_own = rows.steered == rows.axis
        moved = f"{(rows.low[is_own] > 0).sum()} of {is_own.sum()}"
        drag = f"{rows.sure[~is_own].sum()} of {(~is_own).sum()}"
        parts.append(f"{method} {moved} and {drag}")
    if not parts:
        return "No domain has the six held-out scenarios of an axis that an interval needs."
    return (
        "By domain, cases in which the steered axis moves as intended and in which the other axis"
        f" moves beyond random vectors: {'; '.join(parts)}."
    )


ANALYSIS = Analysis(
    "decoupling",
    "Can one axis be steered without the other?",
    measure,
    sections,
    part="why",
    step=5,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
