"""Does it matter how a direction is extracted? Mean difference, PCA and classifiers at one norm.

Paper, section 3.3. Run alone: python -m analyses.pca_vs_mean_diff --preset quick
"""

from __future__ import annotations

import random
from itertools import combinations

import pandas as pd
import torch

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.reporting import figures
from interp_culture.steering import Activations, answer_perplexities
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
Runs = dict[tuple[str, str, float], list[ic.Edit]]

BASELINE = "mean_diff"
RANDOM = "random direction"
# Method -> its name in the tables. `random` needs another one: `ic.coupling.slopes` reserves that
# name for the null and leaves its rows out.
METHODS = {
    "mean_diff": BASELINE,
    "pca": "pca",
    "pca_centred": "pca_centred",
    "lda": "lda",
    "logistic": "logistic",
    "random": RANDOM,
}
# A brief study steers with these alone; their geometry is cheap, so it covers all methods.
BRIEF_STEERED = ("mean_diff", "pca", "random")
N_HALVINGS = 10
N_HALVINGS_BRIEF = 2
N_PROMPTS = 8
N_PROMPTS_BRIEF = 3
N_TOKENS = 64
N_TOKENS_BRIEF = 8

METHOD = Column("method", "how the direction is computed")
GROUP = (METHOD, columns.STEERED)
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
        (*GROUP, *columns.effect("mean change of P+, from both signs", columns.PER_ALPHA)),
    ),
    TableSchema(
        "against",
        "another method than mean_diff, steered axis and axis read",
        "coupling.effects",
        (
            *GROUP,
            *columns.effect("effect minus that of mean_diff, by scenario", columns.PER_ALPHA),
        ),
    ),
    TableSchema(
        "null",
        "a steered axis and axis read",
        "coupling.random_range",
        (
            *(columns.STEERED, columns.AXIS_READ),
            Column("low", "lower end of the middle 95% of random vectors", columns.PER_ALPHA),
            Column("high", "upper end of the middle 95% of random vectors", columns.PER_ALPHA),
            Column("reach", "size beyond which an effect is outside them", columns.PER_ALPHA),
        ),
    ),
    TableSchema(
        "ratios",
        "a method, steered axis and other axis read",
        "coupling.response_matrix",
        (
            *(*GROUP, columns.AXIS_READ),
            Column("ratio", "entanglement ratio (Eq. 5)", columns.PROBABILITY),
            *columns.INTERVAL,
            columns.DEFINED,
        ),
    ),
    TableSchema(
        "cosines",
        "an axis, layer and two methods",
        "steering.direction",
        (
            Column("axis", "the axis of the directions"),
            Column("layer", "the block, from 0"),
            *columns.cosine("a method", "another method"),
        ),
    ),
    TableSchema(
        "stability",
        "an axis, method, layer and halving of the training texts",
        "steering.direction",
        (
            Column("axis", "the axis of the directions"),
            METHOD,
            Column("layer", "the block, from 0"),
            Column("draw", "number of the halving"),
            Column("cosine", "between the directions of the two halves", "-1 to 1"),
        ),
    ),
    TableSchema(
        "fluency",
        "a method and steered axis, at alpha above 0",
        "steering.answer_perplexities",
        (
            *GROUP,
            Column("perplexity", "of the answers, for the plain model", "exp of nats per token"),
            Column("low", "lower end of its 95% interval, bootstrap over prompts"),
            Column("high", "upper end of its 95% interval"),
        ),
    ),
)


def measure(study: ic.Study) -> Tables:
    """Every method's directions: what they move, what they cost, how alike and stable they are.

    Returns:
        the tables of `SCHEMAS`.
    """
    table = readouts(study)
    slopes = ic.coupling.slopes(table, ["method", "steered"])
    texts = study.once("pca_vs_mean_diff.texts", lambda: sampled_answers(study))
    perplexities = answer_perplexities(texts, ["method", "steered"])
    fluency = perplexities.filter(like="perplexity_plain")
    cosines = study.once("pca_vs_mean_diff.cosines", lambda: method_cosines(study))
    stability = study.once("pca_vs_mean_diff.stability", lambda: split_half_cosines(study))
    return {
        "readouts": table,
        "effects": ic.coupling.effects(slopes, ["method", "steered"], "slope"),
        "against": ic.coupling.effects(minus_baseline(slopes), ["method", "steered"], "slope"),
        "null": random_band(study),
        "ratios": entanglement_ratios(table),
        "cosines": cosines,
        "stability": stability,
        "fluency": fluency.set_axis(["perplexity", "low", "high"], axis=1).reset_index(),
    }


def readouts(study: ic.Study) -> pd.DataFrame:
    """`study.sample`, plain and under every method's vectors at ± the largest alpha.

    Returns:
        steered, method, alpha, and the columns of `ic.readout.read_runs`.
    """
    return study.once("pca_vs_mean_diff.readouts", lambda: study.read(steered_runs(study), NAMES))


def steered_runs(study: ic.Study) -> Runs:
    """The plain model, and each axis by each method at ± the largest alpha, all of one norm."""
    alpha = max(study.config.alphas)
    methods = BRIEF_STEERED if study.config.brief else tuple(METHODS)
    runs: Runs = {("", "plain", 0.0): []}
    for axis, vectors in study.vectors().items():
        layers = study.layers[axis]
        # Some methods take seconds a layer, so they run at the steered layers alone.
        activations = axis_activations(study, axis, layers)
        for method in methods:
            label = METHODS[method]
            # The other layers keep the study's vectors, but are not steered.
            direction = vectors.direction.clone()
            direction[layers] = ic.steering.direction(activations, method, study.config.seed)
            matched = ic.steering.norm_matched(vectors, direction, label)
            for signed in (alpha, -alpha):
                runs[axis, label, signed] = ic.steer(matched, layers, signed)
    return runs


def axis_activations(study: ic.Study, axis: str, layers: list[int]) -> Activations:
    """Those of an axis' training scenarios at the given layers."""
    ids = [scenario.id for scenario in study.train.filter(axis=axis)]
    whole = study.activations.select(ids)
    return Activations(whole.ids, whole.positive[:, layers], whole.negative[:, layers])


def sampled_answers(study: ic.Study) -> pd.DataFrame:
    """Answers to situations, plain and steered toward the positive pole.

    Returns:
        steered, method, alpha, and the columns of `ic.steering.sample_answers`.
    """
    brief = study.config.brief
    n_prompts = N_PROMPTS_BRIEF if brief else N_PROMPTS
    toward = {key: edits for key, edits in steered_runs(study).items() if key[-1] >= 0}
    answers = ic.steering.sample_answers(
        study.model,
        ic.steering.situation_prompts(study.sample, n_prompts),
        toward,
        N_TOKENS_BRIEF if brief else N_TOKENS,
        seed=study.config.seed,
    )
    return ic.readout.with_keys(answers, NAMES)


def minus_baseline(slopes: pd.DataFrame) -> pd.DataFrame:
    """The slopes of every other method minus those of the mean difference, by scenario."""
    is_baseline = slopes.method == BASELINE
    baseline = slopes[is_baseline].set_index(["steered", "id"]).slope.rename("baseline")
    others = slopes[~is_baseline].join(baseline, on=["steered", "id"])
    return others.assign(slope=others.slope - others.baseline)


def random_band(study: ic.Study) -> pd.DataFrame:
    """steered, axis, low, high (95% of random vectors' effects per unit alpha), and reach.

    reach: the size beyond which an effect per unit alpha is outside the null; the upper end.
    """
    top = max(study.config.alphas)
    steered = study.steered(study.primary_readout)
    response = ic.coupling.response(steered)
    at_top = response[response.alpha == top]
    ranges = ic.coupling.random_range(steered).set_index(["steered", "axis"])
    reach = ranges.null_high.div(top).rename("reach")
    band = at_top[["steered", "axis"]].assign(
        low=at_top.null_low / top, high=at_top.null_high / top
    )
    return band.join(reach, on=["steered", "axis"])


def entanglement_ratios(table: pd.DataFrame) -> pd.DataFrame:
    is_plain = table.method == "plain"
    matrices = []
    for method, steered in table[~is_plain].groupby("method"):
        matrix = ic.response_matrix(pd.concat([table[is_plain], steered]))
        matrices.append(matrix.assign(method=method))
    matrix = pd.concat(matrices)
    cross = matrix[matrix.steered != matrix.axis]
    ratios = cross.assign(low=cross.ratio_low, high=cross.ratio_high)
    return ratios[["method", "steered", "axis", "ratio", "low", "high", "defined"]]


def method_cosines(study: ic.Study) -> pd.DataFrame:
    """Cosine between the directions of every two methods at every layer.

    Returns:
        axis, layer, a, b (methods), cosine.
    """
    every_layer = list(range(study.model.n_layers))
    rows = []
    for axis in study.layers:
        activations = axis_activations(study, axis, every_layer)
        directions = {
            label: ic.steering.direction(activations, method, study.config.seed)
            for method, label in METHODS.items()
        }
        for a, b in combinations(directions, 2):
            cosines = torch.cosine_similarity(directions[a], directions[b], dim=-1)
            rows += [(axis, layer, a, b, float(cosine)) for layer, cosine in enumerate(cosines)]
    return pd.DataFrame(rows, columns=["axis", "layer", "a", "b", "cosine"])


def split_half_cosines(study: ic.Study) -> pd.DataFrame:
    """Cosine between the directions of two random halves of the training scenarios.

    Returns:
        axis, method, layer, draw (the halving), cosine.
    """
    n_draws = N_HALVINGS_BRIEF if study.config.brief else N_HALVINGS
    rows = []
    for axis, layers in study.layers.items():
        activations = axis_activations(study, axis, layers)
        scenarios = study.train.filter(axis=axis)
        for draw in range(n_draws):
            halves = [activations.select(ids) for ids in halve(scenarios, draw)]
            for method, label in METHODS.items():
                one, other = (ic.steering.direction(half, method, draw) for half in halves)
                cosines = torch.cosine_similarity(one, other, dim=-1)
                for layer, cosine in zip(layers, cosines, strict=True):
                    rows.append((axis, label, layer, draw, float(cosine)))
    return pd.DataFrame(rows, columns=["axis", "method", "layer", "draw", "cosine"])


def halve(scenarios: ic.ScenarioSet, seed: int) -> tuple[list[str], list[str]]:
    """The ids of two random halves, each with half of every item's scenarios."""
    rng = random.Random(seed)
    shuffled: list[str] = []
    for item in scenarios.items:
        ids = [scenario.id for scenario in scenarios.filter(item=item)]
        shuffled += rng.sample(ids, len(ids))
    # An item's scenarios follow one another, so that every second one is half of each item.
    return shuffled[::2], shuffled[1::2]


def sections(tables: Tables, about: About) -> list[Section]:
    return [
        effect_section(tables, about),
        cosine_section(tables["cosines"], about["layers"]),
        stability_section(tables["stability"]),
    ]


def effect_section(tables: Tables, about: About) -> Section:
    effects = tables["effects"]
    null = tables["null"]
    against = tables["against"]
    ratios = tables["ratios"]
    config = about["config"]
    alpha = max(config["alphas"])
    n_random = about["null"]["n"]
    # A bar needs a point in it: the middle of the band.
    band = null.assign(method=f"{n_random} random vectors", effect=(null.low + null.high) / 2)
    names = {"effect": "change of mean P+ per unit alpha", "axis": "read", "method": ""}
    on_target = values_text(against[against.axis == against.steered])
    defined = values_text(ratios[ratios.defined], "ratio", 2)
    return Section(
        effect_title(effects, null),
        [
            f"Effect on the steered axis minus that of {BASELINE}, per unit alpha: {on_target}.",
            f"Entanglement ratio (equation 5) where the steered axis moved: {defined}.",
            fluency_text(tables["fluency"]),
        ],
        figures.interval_figure(
            pd.concat([effects, band]), "method", colour="axis", facet="steered", names=names
        ),
        f"Slope between alpha {-alpha:g} and {alpha:g} on {about['n_sample']} "
        "held-out scenarios, at"
        f" the layers that a sweep of {config['method']} vectors chose; all methods have the norm"
        f" of these vectors. Bars: 95% bootstrap by item; for the {n_random} random vectors, the"
        f" 95% band of their effects at alpha {alpha:g} on {about['n_null']} scenarios. Tables:"
        " pca_vs_mean_diff.effects, pca_vs_mean_diff.null.",
    )


def cosine_section(cosines: pd.DataFrame, layers: dict[str, list[int]]) -> Section:
    drawn = cosines[cosines.a == BASELINE].rename(columns={"b": "method", "cosine": "effect"})
    is_steered = [row.layer in layers[row.axis] for row in drawn.itertuples()]
    compared = drawn[is_steered]
    compared = compared[compared.method != RANDOM]
    names = {"effect": "cosine to mean_diff", "layer": "layer", "method": ""}
    return Section(
        "Cosine to mean_diff at the intervention's layers:"
        f" {ranked(compared.groupby('method').effect.mean())}",
        [
            "PCA finds the direction in which the scenarios' differences are longest. Uncentred PCA"
            " counts them from zero, so that their mean contributes. Centred PCA removes the mean"
            " first, which is the steering vector itself: what remains is how scenarios differ from"
            " one another."
        ],
        figures.interval_figure(
            drawn.assign(low=float("nan"), high=float("nan")),
            "layer",
            colour="method",
            facet="axis",
            names=names,
            lines=True,
        ),
        "Directions from all training scenarios of an axis. The random direction shows the cosine"
        " that chance gives. Table: pca_vs_mean_diff.cosines.",
    )


def stability_section(stability: pd.DataFrame) -> Section:
    keys = ["axis", "method"]
    means = stability.groupby([*keys, "draw"], sort=False).cosine.mean()
    spread = means.groupby(keys, sort=False).agg(effect="mean", low="min", high="max")
    spread = spread.reset_index()
    names = {"effect": "cosine between two halves", "method": "", "axis": "axis"}
    return Section(
        "Cosine between the directions of two halves of the texts:"
        f" {ranked(spread.groupby('method').effect.mean())}",
        ["The part on which two halves disagree depends on the texts, not on the axis."],
        figures.interval_figure(spread, "method", colour="axis", names=names),
        f"Mean over the intervention's layers and {stability.draw.nunique()} halvings within items."
        " Bars: smallest and largest halving. Table: pca_vs_mean_diff.stability.",
    )


def ranked(means: pd.Series) -> str:
    descending = means.sort_values(ascending=False)
    return ", ".join(f"{method} {mean:+.2f}" for method, mean in descending.items())


def effect_title(effects: pd.DataFrame, null: pd.DataFrame) -> str:
    reach = null[null.axis == null.steered].set_index("steered").reach
    target = effects[effects.axis == effects.steered]
    beyond = target.effect > target.steered.map(reach)
    moved = target[(target.low > 0) & beyond]
    parts = []
    for axis in sorted(set(target.steered)):
        methods = ", ".join(moved[moved.steered == axis].method) or "none"
        parts.append(f"{axis} {methods}")
    return f"Methods that move an axis as intended, beyond random vectors: {'; '.join(parts)}"


def values_text(table: pd.DataFrame, value: str = "effect", digits: int = 3) -> str:
    parts = []
    for row in table.itertuples():
        where = row.steered if row.steered == row.axis else f"{row.steered} → {row.axis}"
        parts.append(f"{where} by {row.method} {interval_text(row, value, digits)}")
    return "; ".join(parts) or "none"


def fluency_text(fluency: pd.DataFrame) -> str:
    parts = []
    for row in fluency.itertuples():
        run = f"{row.method} {row.steered}".strip()
        parts.append(f"{run} {row.perplexity:.1f} [{row.low:.1f}, {row.high:.1f}]")
    return f"Perplexity of the answers for the plain model: {'; '.join(parts)}."


ANALYSIS = Analysis(
    "pca_vs_mean_diff",
    "Does it matter how a direction is extracted?",
    measure,
    sections,
    readouts=readouts,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
