"""Which direction moves the model most? Methods and sites at one norm and at one cost.

Paper, section 3.3. Run alone: python -m analyses.directions --preset quick
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import pandas as pd

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.coupling import (
    beside_random,
    effects_by_readout,
    minus_reference,
    multiples,
    random_reach,
)
from interp_culture.reporting import figures
from interp_culture.stats import interval_words
from interp_culture.steering import (
    Candidate,
    Training,
    direction_cosines,
    equal_kl_strengths,
    half_cosines,
)
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
# By axis and by a candidate's name in the tables.
ByAxis = dict[str, dict[str, ic.SteeringVectors]]
# A call, since the vectors are made only when a table needs them.
Vectors = Callable[[], ByAxis]
Runs = dict[tuple[str, str, float], list[ic.Edit]]

PAPER = "mean_diff"
# `ic.coupling.slopes` reserves the name "random" for the null and leaves its rows out.
RANDOM = "random direction"
OF_CONTRASTS = (
    *(Candidate(method) for method in ("mean_diff", "pca", "pca_centred", "lda", "logistic")),
    *(Candidate(PAPER, site) for site in ("answer_mean", "answer_last", "letter")),
    Candidate("gradient"),
)
# Its texts are made of system messages for the poles, which not every axis has.
PERSONA = Candidate(PAPER, "prompt_persona")
BRIEF = (Candidate(), Candidate(PAPER, "answer_mean"), Candidate("pca"), Candidate("gradient"))
# More epochs move the validation scenarios little further, and each takes minutes on two cores.
TRAINING = Training(epochs=3, patience=1)
KINDS = {"gradient": "made from the readout", "optimised": "made from the readout"}
KINDS[RANDOM] = "one random vector"
N_HALVINGS = 10
N_HALVINGS_BRIEF = 2
# The search for a strength reads every text several times, so that few beginnings are used.
N_NEUTRAL = 6
N_NEUTRAL_BRIEF = 2

METHOD = Column("method", "the direction: its method, and its site where that is not last")
AXIS = Column("axis", "the axis of the directions")
LAYER = Column("layer", "a steered block, from 0")
PER_PAPER_ALPHA = "P+ per unit of the paper's alpha"
SCHEMAS = (
    TableSchema(
        "readouts",
        "a run at equal norm and held-out scenario",
        "readout.read_runs",
        (*columns.RUN, *columns.READ),
    ),
    TableSchema(
        "effects",
        "a direction, steered axis and axis read, at equal norm",
        "coupling.effects",
        (
            *(METHOD, columns.STEERED),
            *columns.effect("mean change of P+, from both signs", columns.PER_ALPHA),
        ),
    ),
    TableSchema(
        "against",
        "another direction than the paper's, steered axis and axis read, at equal norm",
        "coupling.minus_reference",
        (
            *(METHOD, columns.STEERED),
            *columns.effect("effect minus that of mean_diff, by scenario", columns.PER_ALPHA),
        ),
    ),
    TableSchema(
        "equal_kl",
        "a direction, steered axis and axis read, at equal KL; mean_diff keeps its alpha",
        "coupling.multiples",
        (
            *(METHOD, columns.STEERED),
            *columns.effect("mean change of P+, from both signs", PER_PAPER_ALPHA),
            *columns.interval("multiple", "effect divided by that of mean_diff, steered axis", ""),
            Column("alpha", "strength, mean over the signs"),
            Column("kl", "KL(plain || steered), mean over the signs", "nats per token"),
        ),
    ),
    TableSchema(
        "strengths",
        "a direction, steered axis and sign",
        "steering.equal_kl_strengths",
        (
            *(METHOD, columns.STEERED),
            Column("sign", "1 toward the positive pole, -1 toward the negative one"),
            Column("alpha", "strength with the KL of mean_diff at the largest alpha, above 0"),
            Column("kl", "KL(plain || steered) on neutral text", "nats per token"),
        ),
    ),
    TableSchema(
        "null",
        "a comparison, steered axis and axis read",
        "coupling.random_reach",
        (
            Column("at", "equal norm; or equal KL, where the band has the strength of one vector"),
            *(columns.STEERED, columns.AXIS_READ, *columns.NULL_BAND),
        ),
    ),
    TableSchema(
        "ratios",
        "a direction, steered axis and other axis read, at equal norm",
        "coupling.response_matrix",
        (
            *(METHOD, columns.STEERED, columns.AXIS_READ),
            Column("ratio", "entanglement ratio (Eq. 5)", columns.PROBABILITY),
            *columns.INTERVAL,
            columns.DEFINED,
        ),
    ),
    TableSchema(
        "transfer",
        "a readout, direction and steered axis; the other readout only if it passes its check, and "
        "not in a brief study",
        "coupling.effects_by_readout",
        (
            *(columns.READOUT, METHOD, columns.STEERED),
            *columns.effect("mean change of the logit difference per alpha", columns.NATS),
        ),
    ),
    TableSchema(
        "cosines",
        "an axis, steered layer and two directions",
        "steering.direction_cosines",
        (AXIS, LAYER, *columns.cosine("a direction", "another direction")),
    ),
    TableSchema(
        "stability",
        "an axis, direction, steered layer and halving of the training texts",
        "steering.half_cosines",
        (
            *(AXIS, METHOD, LAYER),
            Column("draw", "number of the halving"),
            Column("cosine", "between the directions of the two halves", "-1 to 1"),
        ),
    ),
)


def measure(study: ic.Study) -> Tables:
    """What every candidate moves at equal norm and at equal KL; how alike and stable they are.

    Returns:
        the tables of `SCHEMAS`.
    """
    vectors = cache(partial(candidate_vectors, study))
    table = read_equal_norm(study, vectors)
    strengths = study.once("directions.strengths", lambda: kl_strengths(study, vectors()))
    at_equal_kl = study.once(
        "directions.equal_kl_readouts",
        lambda: study.read(equal_kl_runs(study, vectors(), strengths), NAMES),
    )
    slopes = ic.coupling.slopes(table, GROUP)
    return {
        "readouts": table,
        "effects": ic.coupling.effects(slopes, GROUP, "slope"),
        "against": ic.coupling.effects(minus_reference(slopes, PAPER), GROUP, "slope"),
        "equal_kl": equal_kl_effects(at_equal_kl, strengths),
        "strengths": strengths,
        "null": random_band(study, strengths),
        "ratios": entanglement_ratios(table),
        "transfer": transfer(study, vectors, table),
        "cosines": study.once("directions.cosines", lambda: cosines(study, vectors())),
        "stability": study.once("directions.stability", lambda: split_half_cosines(study)),
    }


def readouts(study: ic.Study) -> pd.DataFrame:
    """`study.sample`, plain and under every candidate at ± the largest alpha, all of one norm.

    Returns:
        steered, method, alpha, and the columns of `ic.readout.read_runs`.
    """
    return read_equal_norm(study, partial(candidate_vectors, study))


# -- candidates ---------------------------------------------------------------------------------


def of_contrasts(study: ic.Study) -> tuple[Candidate, ...]:
    """The candidates that are made of contrasts between training texts."""
    if study.config.brief:
        return BRIEF
    axes = study.scenarios.catalogue.axes
    has_systems = all(axes[axis].systems is not None for axis in study.layers)
    return (*OF_CONTRASTS, PERSONA) if has_systems else OF_CONTRASTS


def name_of(candidate: Candidate) -> str:
    return candidate.method if candidate.site == "last" else str(candidate)


def candidate_vectors(study: ic.Study) -> ByAxis:
    """The vectors of every candidate by axis and name, with the norms of the paper's."""
    made = {
        name_of(candidate): study.directions.at_layers(candidate, study.layers)
        for candidate in of_contrasts(study)
    }
    if not study.config.brief:
        training = replace(TRAINING, alpha=max(study.config.alphas))
        made["optimised"] = study.directions.optimised(study.layers, training)
    made[RANDOM] = {
        axis: ic.random_like(paper, 1, study.config.seed)[0]
        for axis, paper in study.directions.of_paper().items()
    }
    return {axis: {name: of[axis] for name, of in made.items()} for axis in study.layers}


# -- tables -------------------------------------------------------------------------------------


def read_equal_norm(study: ic.Study, vectors: Vectors) -> pd.DataFrame:
    return study.once(
        "directions.readouts",
        partial(read_as, study, vectors, study.primary_readout),
    )


def equal_norm_runs(study: ic.Study, vectors: ByAxis) -> Runs:
    """The plain model, and each axis under each candidate at ± the largest alpha."""
    top = max(study.config.alphas)
    runs: Runs = {("", "plain", 0.0): []}
    for axis, by_name in vectors.items():
        for name, of_name in by_name.items():
            for signed in (top, -top):
                runs[axis, name, signed] = ic.steer(of_name, study.layers[axis], signed)
    return runs


def neutral_texts(study: ic.Study) -> list[str]:
    """The beginnings of some of the shipped neutral texts."""
    n = N_NEUTRAL_BRIEF if study.config.brief else N_NEUTRAL
    return ic.scenarios.neutral_beginnings(n)


def kl_strengths(study: ic.Study, vectors: ByAxis) -> pd.DataFrame:
    """steered and the columns of `equal_kl_strengths`."""
    top = max(study.config.alphas)
    texts = neutral_texts(study)
    tables = [
        equal_kl_strengths(study.model, by_name, study.layers[axis], PAPER, top, texts).assign(
            steered=axis
        )
        for axis, by_name in vectors.items()
    ]
    return pd.concat(tables, ignore_index=True)


def equal_kl_runs(study: ic.Study, vectors: ByAxis, strengths: pd.DataFrame) -> Runs:
    """The plain model and every candidate at its strength, under the paper's alpha.

    So effects per unit of alpha are in one unit, which at equal norm is the same.
    """
    top = max(study.config.alphas)
    runs: Runs = {("", "plain", 0.0): []}
    for row in strengths.itertuples():
        of_name = vectors[row.steered][row.method]
        edits = ic.steer(of_name, study.layers[row.steered], row.sign * row.alpha)
        runs[row.steered, row.method, row.sign * top] = edits
    return runs


def equal_kl_effects(at_equal_kl: pd.DataFrame, strengths: pd.DataFrame) -> pd.DataFrame:
    slopes = ic.coupling.slopes(at_equal_kl, GROUP)
    relative = multiples(slopes, PAPER).assign(axis=lambda table: table.steered)
    costs = strengths.groupby(GROUP, as_index=False)[["alpha", "kl"]].mean()
    effects = ic.coupling.effects(slopes, GROUP, "slope")
    return effects.merge(relative, "left", [*GROUP, "axis"]).merge(costs, on=GROUP)


def random_band(study: ic.Study, strengths: pd.DataFrame) -> pd.DataFrame:
    """The band of the study's random vectors, per unit of the paper's alpha.

    At equal KL it is scaled by the strength at which one random vector has this KL.
    """
    shifted = ic.coupling.shifts(study.steered(study.primary_readout))
    band = random_reach(shifted, ["steered", "axis"], per_alpha=True)
    alphas = strengths[strengths.method == RANDOM].groupby("steered").alpha.mean()
    scale = band.steered.map(alphas / max(study.config.alphas))
    scaled = band.assign(null_low=band.null_low * scale, null_high=band.null_high * scale)
    return pd.concat([band.assign(at="equal norm"), scaled.assign(at="equal KL")])


def entanglement_ratios(table: pd.DataFrame) -> pd.DataFrame:
    is_plain = table.method == "plain"
    matrices = []
    for method, steered in table[~is_plain].groupby("method"):
        matrix = ic.response_matrix(pd.concat([table[is_plain], steered]))
        matrices.append(matrix.assign(method=method))
    matrix = pd.concat(matrices)
    cross = matrix[matrix.steered != matrix.axis]
    ratios = cross.assign(low=cross.ratio_low, high=cross.ratio_high)
    return ratios[[*GROUP, "axis", "ratio", "low", "high", "defined"]]


def transfer(study: ic.Study, vectors: Vectors, primary: pd.DataFrame) -> pd.DataFrame:
    """The effect on the steered axis by each readout, in logits, at equal norm."""
    read = partial(read_as, study, vectors)
    by_readout = study.by_readout("directions.transfer_readouts", primary, read)
    effects = effects_by_readout(by_readout, GROUP)
    return effects[effects.axis == effects.steered]


def read_as(study: ic.Study, vectors: Vectors, readout: ic.readout.Readout) -> pd.DataFrame:
    form = study.format(readout)
    return study.read(equal_norm_runs(study, vectors()), NAMES, readout=form)


def cosines(study: ic.Study, vectors: ByAxis) -> pd.DataFrame:
    """Between every two candidates: axis, layer, a, b, cosine."""
    tables = [
        direction_cosines(by_name, study.layers[axis]).assign(axis=axis)
        for axis, by_name in vectors.items()
    ]
    return pd.concat(tables, ignore_index=True)


def split_half_cosines(study: ic.Study) -> pd.DataFrame:
    """Between the directions of two halves: axis, method, layer, draw (the halving), cosine."""
    candidates = {name_of(candidate): candidate for candidate in of_contrasts(study)}
    readings = study.directions.readings(*candidates.values())
    n_draws = N_HALVINGS_BRIEF if study.config.brief else N_HALVINGS
    tables = [
        half_cosines(readings, candidates, axis, layers, n_draws).assign(axis=axis)
        for axis, layers in study.layers.items()
    ]
    return pd.concat(tables, ignore_index=True)


# -- sections -----------------------------------------------------------------------------------


def sections(tables: Tables, about: About) -> list[Section]:
    rows = compared(tables)
    own = rows[rows.axis == rows.steered]
    other = rows[rows.axis != rows.steered]
    shown = [effect_section(own, tables, about)]
    if len(other):
        shown.append(drag_section(other, tables["ratios"], about))
    shown += [cosine_section(tables["cosines"]), stability_section(tables["stability"])]
    if tables["transfer"].readout.nunique() > 1:
        shown.append(transfer_section(tables["transfer"], about))
    return shown


def compared(tables: Tables) -> pd.DataFrame:
    """The effects of both comparisons in the columns of `forest_figure`, the furthest first."""
    parts = []
    for at, name in (("equal norm", "effects"), ("equal KL", "equal_kl")):
        band = tables["null"][tables["null"]["at"] == at]
        effects = tables[name][[*GROUP, "axis", "effect", "low", "high"]]
        parts.append(beside_random(effects.assign(at=at), band))
    rows = pd.concat(parts, ignore_index=True)
    own = rows[rows.axis == rows.steered]
    # Directions without a strength of equal KL come last.
    means = own[own["at"] == "equal KL"].groupby("method").effect.mean()
    order = rows.method.map(means).sort_values(ascending=False, kind="stable").index
    kind = rows.method.map(KINDS).fillna("made from activations")
    ranked_rows = rows.assign(label=rows.method, kind=kind).loc[order]
    # Of each axis, equal norm and equal KL are side by side.
    rows = ranked_rows.sort_values(["steered", "axis"], kind="stable")
    names = rows.steered.where(rows.axis == rows.steered, rows.steered + " → " + rows.axis)
    return rows.assign(panel=names + ", " + rows["at"])


def effect_section(own: pd.DataFrame, tables: Tables, about: About) -> Section:
    equal_kl = own[own["at"] == "equal KL"]
    against = tables["against"]
    paper = equal_kl[equal_kl.method == PAPER]
    return Section(
        effect_title(equal_kl),
        [
            f"The paper's direction moves {axis_texts(paper)} per unit alpha.",
            multiple_text(tables["equal_kl"]),
            against_text(against[against.axis == against.steered]),
            strength_text(tables["strengths"]),
        ],
        forest(own),
        how(about) + " Equal KL: the strength, for each sign, at which the KL on neutral text is"
        f" that of the paper's direction at alpha {max(about['config']['alphas']):g}; the band has"
        " the strength of one random vector. Hollow: not beyond the band, or the interval contains"
        " 0. Tables: directions.effects, directions.equal_kl, directions.null.",
    )


def drag_section(other: pd.DataFrame, ratios: pd.DataFrame, about: About) -> Section:
    equal_kl = other[(other["at"] == "equal KL") & (other.method != RANDOM)]
    beyond = equal_kl[equal_kl.sure]
    return Section(
        f"{len(beyond) or 'None'} of {len(equal_kl)} effects on the other axis are beyond random"
        f" vectors at equal KL{': ' if len(beyond) else ''}{values_text(beyond, empty='')}",
        [
            "Entanglement ratio (equation 5) at equal norm, where the steered axis moved:"
            f" {values_text(ratios[ratios.defined], 'ratio', 2)}."
        ],
        forest(other),
        f"{how(about)} Tables: directions.effects, directions.equal_kl, directions.null.",
    )


def forest(rows: pd.DataFrame) -> figures.go.Figure:
    figure = figures.forest_figure(rows, "change of mean P+ per unit of the paper's alpha")
    # One scale, since equal norm and equal KL are compared.
    return figure.update_xaxes(matches="x")


def how(about: About) -> str:
    return (
        f"From both signs on {about['n_sample']} held-out scenarios, at the study's layers, which"
        f" were chosen for {about['direction']['name']}. Bars: 95% bootstrap by item. Grey: 95%"
        f" band of {about['null']['n']} random vectors."
    )


def effect_title(equal_kl: pd.DataFrame) -> str:
    """The direction that moves each axis furthest, among those beyond random vectors."""
    moved = equal_kl[equal_kl.sure & (equal_kl.effect > 0) & (equal_kl.method != RANDOM)]
    furthest = moved.loc[moved.groupby("steered").effect.idxmax()]
    parts = [
        f"{in_words(method)} moves {' and '.join(rows.steered)} furthest at equal KL:"
        f" {axis_texts(rows)} per unit alpha"
        for method, rows in furthest.groupby("method")
    ]
    if still := sorted(set(equal_kl.steered) - set(furthest.steered)):
        parts.append(f"No direction moves {' or '.join(still)} beyond random vectors at equal KL")
    return "; ".join(parts)


def in_words(method: str) -> str:
    words = {PAPER: "The paper's direction", "gradient": "The gradient of the readout"}
    return words.get(method, f"The direction {method}")


def axis_texts(rows: pd.DataFrame) -> str:
    return ", ".join(f"{row.steered} {interval_text(row)}" for row in rows.itertuples())


def multiple_text(equal_kl: pd.DataFrame) -> str:
    others = equal_kl[(equal_kl.method != PAPER) & equal_kl.multiple.notna()]
    parts = [
        f"{row.steered} by {row.method} "
        + interval_words(row.multiple, row.multiple_low, row.multiple_high, 1, "")
        for row in others.itertuples()
    ]
    words = "; ".join(parts) or "not defined, since no interval of the paper's excludes 0"
    return f"Effect at equal KL as a multiple of that of the paper's direction: {words}."


def against_text(against: pd.DataFrame) -> str:
    more = values_text(against[against.low > 0])
    less = values_text(against[against.high < 0])
    return (
        "At equal norm, effect on the steered axis minus that of the paper's direction, paired by"
        f" scenario, where the interval excludes 0: above it {more}; below it {less}."
    )


def strength_text(strengths: pd.DataFrame) -> str:
    parts = []
    for steered, of_axis in strengths.groupby("steered"):
        means = of_axis.groupby("method", sort=False)[["alpha", "kl"]].mean()
        alphas = ", ".join(f"{method} {alpha:.2f}" for method, alpha in means.alpha.items())
        parts.append(f"{steered} ({means.kl[PAPER]:.3g} nats per token) {alphas}")
    return f"Mean alpha of equal KL: {'; '.join(parts)}."


def values_text(
    table: pd.DataFrame, value: str = "effect", digits: int = 3, empty: str = "none"
) -> str:
    parts = []
    for row in table.itertuples():
        where = row.steered if row.steered == row.axis else f"{row.steered} → {row.axis}"
        parts.append(f"{where} by {row.method} {interval_text(row, value, digits)}")
    return "; ".join(parts) or empty


def cosine_section(table: pd.DataFrame) -> Section:
    means = table.groupby(["a", "b"], sort=False, as_index=False).cosine.mean()
    to_paper = means[(means.a == PAPER) & (means.b != RANDOM)].set_index("b").cosine
    names = dict.fromkeys([*means.a, *means.b])
    itself = pd.DataFrame({"a": list(names), "b": list(names), "cosine": 1.0})
    both = pd.concat([itself, means, means.rename(columns={"a": "b", "b": "a"})])
    labels = {"a": "", "b": "", "cosine": "cosine"}
    return Section(
        f"Of the other directions, {to_paper.idxmax()} is most like the paper's (cosine"
        f" {to_paper.max():+.2f}) and {to_paper.idxmin()} least ({to_paper.min():+.2f})",
        [
            f"Cosine to the paper's direction: {ranked(to_paper)}.",
            "Uncentred PCA counts differences from zero, so that their mean contributes. Centred"
            " PCA removes the mean first, which is the paper's direction itself: what remains is"
            " how scenarios differ from one another.",
        ],
        figures.grid_figure(both, "a", "b", "cosine", names=labels),
        "From all training scenarios of an axis; mean over axes and steered layers. The random"
        " vector shows the cosine that chance gives. Table: directions.cosines.",
    )


def stability_section(stability: pd.DataFrame) -> Section:
    keys = ["axis", "method"]
    means = stability.groupby([*keys, "draw"], sort=False).cosine.mean()
    spread = means.groupby(keys, sort=False).agg(effect="mean", low="min", high="max")
    spread = spread.reset_index()
    by_method = spread.groupby("method").effect.mean()
    names = {"effect": "cosine between two halves", "method": "", "axis": "axis"}
    return Section(
        f"{in_words(by_method.idxmax())} is the most stable: its versions from two halves of"
        f" the training texts have a cosine of {by_method.max():+.2f}",
        [
            f"Cosine between halves: {ranked(by_method)}.",
            "The part on which two halves disagree depends on the texts, not on the axis.",
        ],
        figures.interval_figure(spread, "method", colour="axis", names=names),
        f"Mean over the steered layers and {stability.draw.nunique()} halvings within items."
        " Bars: smallest and largest halving. Table: directions.stability.",
    )


def transfer_section(table: pd.DataFrame, about: About) -> Section:
    excludes_zero = table.low * table.high > 0
    rows = table.assign(
        label=table.method,
        kind=table.method.map(KINDS).fillna("made from activations"),
        panel=table.steered + ", " + table.readout,
        null_low=float("nan"),
        null_high=float("nan"),
        sure=excludes_zero,
    )
    other = rows[rows.readout != about["primary_readout"]]
    carried = other[other.sure & (other.effect > 0)]
    parts = [
        f"{axis} by {', '.join(carried[carried.steered == axis].method) or 'none'}"
        for axis in sorted(set(other.steered))
    ]
    (readout,) = set(other.readout)
    return Section(
        f"Directions that move the axis as intended by the other readout, {readout}, too:"
        f" {'; '.join(parts)}",
        [
            "The gradient and the optimised vectors are made from the primary readout"
            f" ({about['primary_readout']}). An effect that the other readout does not show is on"
            " the way of answering rather than on the value.",
            f"Their logits per unit alpha by {readout}: {values_text(carried, digits=2)}.",
        ],
        figures.forest_figure(rows, "logit difference per unit alpha (continuation: per token)"),
        f"Equal norm, own axis, {about['n_sample']} held-out scenarios. Bars: 95% bootstrap by"
        " item. Hollow: the interval contains 0. Table: directions.transfer.",
    )


def ranked(means: pd.Series) -> str:
    descending = means.sort_values(ascending=False)
    return ", ".join(f"{name} {mean:+.2f}" for name, mean in descending.items())


ANALYSIS = Analysis(
    "directions",
    "Which direction moves the model most?",
    measure,
    sections,
    readouts=readouts,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
