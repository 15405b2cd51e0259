"""Does the angle between the vectors of two axes predict how far steering one moves the other?

Layer by layer. Run alone: python -m analyses.axis_cosine --preset quick
"""

from __future__ import annotations

import pandas as pd

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.coupling import axis_cosines, cross_responses, layer_coupling, prediction
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

# Each layer costs a run per axis and sign; with fewer a correlation over layers shows nothing.
N_LAYERS = 10
N_LAYERS_BRIEF = 3
PER_ITEM = 3  # scenarios: every layer is a run of its own
RUN = ["layer", "steered", "draw", "method", "alpha"]
PAIR = ["layer", "steered", "axis"]

SCHEMAS = (
    TableSchema(
        "cosines",
        "a layer, two axes and kind of cosine",
        "coupling.axis_cosines",
        (
            Column("layer", "the block, from 0"),
            Column("kind", "raw, or whitened by the covariance within poles"),
            *columns.cosine("an axis", "another axis"),
            Column("low", "lower end of its 95% interval, basic bootstrap by item"),
            Column("high", "upper end of its 95% interval"),
            Column("null_low", "lower end of the middle 95% with the poles swapped at random"),
            Column("null_high", "upper end of the middle 95% with the poles swapped at random"),
        ),
    ),
    TableSchema(
        "coupling",
        "a layer, steered axis and axis read",
        "coupling.layer_coupling",
        (
            columns.LAYER,
            Column("effect", "change of mean P+, from both signs", columns.PER_ALPHA),
            *(c for c in columns.MATRIX if c.name not in ("D", "null_low", "null_high")),
            Column(
                "projected",
                "effect of the part of the steered vector along the vector of the axis read",
                columns.PER_ALPHA,
            ),
            Column("null_low", "lower end of the middle 95% of random vectors, to first order"),
            Column("null_high", "upper end of the middle 95% of random vectors, to first order"),
        ),
    ),
    TableSchema(
        "prediction",
        "a kind of prediction, steered axis and axis read",
        "coupling.prediction",
        (
            Column("kind", "raw or whitened (cosine), or projected"),
            *(columns.STEERED, columns.AXIS_READ),
            Column("n", "number of layers"),
            Column("spearman", "of the predicted and measured responses", "-1 to 1"),
            Column("p", "of spearman: two-sided, by permutation, as if layers were independent"),
            Column("pearson", "of the predicted and measured responses", "-1 to 1"),
        ),
    ),
)


def measure(study: ic.Study) -> Tables:
    """The angles at every layer, and the responses to steering about ten layers one at a time.

    A brief study steers about three layers.

    Returns:
        the tables of `SCHEMAS`.
    """
    few = study.sample.sample(PER_ITEM, study.config.seed, by="item")
    vectors = study.vectors()
    runs = single_layer_runs(study, list(vectors.values()))
    readouts = study.once("axis_cosine.readouts", lambda: study.read(runs, RUN, few))
    null = study.once("axis_cosine.null", lambda: random_band(study, few))
    cosines = study.once(
        "axis_cosine.cosines", lambda: axis_cosines(study.activations, study.train)
    )
    coupling = layer_coupling(readouts, vectors).merge(null, on=PAIR)
    return {
        "cosines": cosines,
        "coupling": coupling,
        "prediction": prediction(cross_responses(cosines, coupling)),
    }


def single_layer_runs(
    study: ic.Study, directions: list[ic.SteeringVectors]
) -> dict[tuple, list[ic.Edit]]:
    """Each direction at single layers, spread over the model, at ± the largest alpha."""
    top = max(study.config.alphas)
    wanted = N_LAYERS_BRIEF if study.config.brief else N_LAYERS
    layers = spread_layers(study.model.n_layers, wanted)
    runs: dict[tuple, list[ic.Edit]] = {(-1, "", -1, "plain", 0.0): []}
    for draw, direction in enumerate(directions):
        for layer in layers:
            for alpha in (top, -top):
                key = (layer, direction.axis, draw, "steered", alpha)
                runs[key] = ic.steer(direction, [layer], alpha)
    return runs


def random_band(study: ic.Study, scenarios: ic.ScenarioSet) -> pd.DataFrame:
    """Effects of random vectors to first order: layer, steered, axis, null_low, null_high (95%)."""
    n = study.config.n_random
    seed = study.config.seed
    random_vectors = [
        random
        for vectors in study.vectors().values()
        for random in ic.random_like(vectors, n, seed)
    ]
    runs = single_layer_runs(study, random_vectors)
    # To first order one backward pass gives every run; measuring 40 vectors a layer takes hours.
    table = ic.readout.predicted_runs(study.model, scenarios, runs, readout=study.format())
    # By layer, axis and vector; the slope is taken over alpha, the last column of RUN.
    slopes = ic.coupling.slopes(ic.readout.with_keys(table, RUN), RUN[:3])
    random_slopes = slopes.assign(method="random")
    return ic.coupling.random_reach(random_slopes, PAIR, "slope")


def sections(tables: Tables, about: About) -> list[Section]:
    cosines = tables["cosines"]
    if cosines.empty:  # a single axis has no angle to another
        return []
    responses = cross_responses(cosines, tables["coupling"])
    names = {
        "effect": "change of mean P+ per unit alpha",
        "foreseen": "cosine",
        "null": "random vectors",
        "pair": "",
    }
    top = max(about["config"]["alphas"])
    how = (
        f"Single layers steered; slope of mean P+ between alpha {-top:g} and {top:g},"
        " held-out scenarios. Bars: 95% bootstrap by item."
    )
    angles = responses[responses.kind != "projected"]
    predicted = Section(
        *prediction_words(tables["prediction"]),
        figures.interval_figure(angles, "foreseen", colour="pair", facet="kind", names=names),
        f"One point per layer. {how} Tables: axis_cosine.cosines, axis_cosine.coupling.",
    )
    cross = responses[responses.kind == "projected"]
    return [predicted, angle_section(cosines, names, about), coupling_section(cross, names, how)]


def angle_section(cosines: pd.DataFrame, names: dict[str, str], about: About) -> Section:
    drawn = cosines.assign(effect=cosines.cosine, pair=cosines.a + " and " + cosines.b)
    named = names | {"effect": "cosine", "null": "poles swapped"}
    return Section(
        *angle_words(cosines),
        figures.profile_figure(drawn, "layer", colour="pair", facet="kind", names=named),
        f"Mean differences of {about['n_train']} training scenarios; whitened by the covariance"
        " within poles. Bars: 95% basic bootstrap by item. Grey: middle 95% of cosines with the"
        " mean difference removed and the poles swapped at random. Table: axis_cosine.cosines.",
    )


def coupling_section(cross: pd.DataFrame, names: dict[str, str], how: str) -> Section:
    along = cross.assign(
        effect=cross.projected, low=cross.projected, high=cross.projected, way="along the read axis"
    )
    both = pd.concat([cross.assign(way="measured"), along])
    return Section(
        *coupling_words(cross),
        figures.profile_figure(
            both, "layer", colour="way", facet="pair", names=names | {"way": ""}
        ),
        f"{how} Grey: 95% band of random vectors of the same norm, to first order. Along the read"
        " axis: the effect expected from the part of the steered vector that is parallel to the"
        " vector of the axis that is read. Table: axis_cosine.coupling.",
    )


def prediction_words(predictions: pd.DataFrame) -> tuple[str, list[str]]:
    correlations = [
        f"{row.kind} {row.steered} → {row.axis} {row.spearman:+.2f} (p {row.p:.3f})"
        for row in predictions.itertuples()
    ]
    by_angle = predictions.kind != "projected"
    # Bonferroni: one test per kind and pair.
    significant = predictions[by_angle & (predictions.p < 0.05 / len(predictions))]
    named = [
        f"{row.kind} {row.steered} → {row.axis}, Spearman {row.spearman:+.2f}"
        for row in significant.itertuples()
    ]
    title = "We found no evidence that the angle between the vectors predicts the coupling"
    if named:
        title = f"Over layers, the cosine predicts the coupling: {'; '.join(named)}"
    return title, [
        f"Spearman correlation of predicted and measured responses over {predictions.n.max()}"
        f" layers: {', '.join(correlations)}.",
        "The p values treat layers as independent, which they are not.",
    ]


def angle_words(cosines: pd.DataFrame) -> tuple[str, list[str]]:
    texts = []
    for (kind, a, b), layers in cosines.groupby(["kind", "a", "b"]):
        outside = (layers.cosine < layers.null_low) | (layers.cosine > layers.null_high)
        span = f"{layers.cosine.min():+.2f} to {layers.cosine.max():+.2f}"
        texts.append(
            f"The {kind} cosine of {a} and {b} is {span} over layers, beyond chance at"
            f" {outside.sum()} of {len(layers)}"
        )
    return texts[0], [f"{text}." for text in texts[1:]]


def coupling_words(cross: pd.DataFrame) -> tuple[str, list[str]]:
    counts = []
    medians = []
    for pair, layers in cross.groupby("pair"):
        # A random vector and its negative have opposite first-order effects, so the band is
        # centred at 0 and either end may be crossed.
        outside = (layers.effect < layers.null_low) | (layers.effect > layers.null_high)
        beyond = (layers.low * layers.high > 0) & outside
        counts.append(f"{pair} at {beyond.sum()} of {len(layers)} layers")
        ratios = layers[layers.defined].ratio
        median = f"{ratios.median():.2f}, median of {len(ratios)}" if len(ratios) else "at no layer"
        medians.append(f"{pair} {median}")
    title = f"Single layers move the other axis, beyond 0 and random vectors: {', '.join(counts)}"
    return title, [
        "Entanglement ratio at the layers where the steered axis itself moves beyond its interval:"
        f" {'; '.join(medians)}."
    ]


ANALYSIS = Analysis(
    "axis_cosine",
    "Does the angle between the vectors predict the coupling?",
    measure,
    sections,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
