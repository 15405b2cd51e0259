"""Does the angle between the vectors of two axes predict how far steering one moves the other, layer by layer?

python -m analyses.axis_cosine --preset quick
"""

from __future__ import annotations

import pandas as pd

import interp_culture as ic
from interp_culture.cli.analysis import run_alone
from interp_culture.coupling.geometry import (
    axis_cosines,
    cross_responses,
    layer_coupling,
    prediction,
)
from interp_culture.reporting import figures as plots
from interp_culture.study.analysis import About, Analysis, Section, Tables

N_LAYERS = 10, 3  # the second in a brief study
RUN, PAIR = ["layer", "steered", "draw", "method", "alpha"], ["layer", "steered", "axis"]


def measure(study: ic.Study) -> Tables:
    """The angles at every layer, and the response to steering single layers, about ten of them (three if brief).

    cosines: `axis_cosines` of the training scenarios. coupling: `layer_coupling` of at most three an item (in mean P+
    per unit alpha), null_low, null_high (of norm-matched random vectors, to first order). prediction: `prediction`.
    """
    few, vectors = study.some.sample(3, study.config.seed, by="item"), study.vectors()
    readouts = study.once(
        "axis_cosine.readouts", lambda: study.read(runs(study, [*vectors.values()]), RUN, few)
    )
    null = study.once("axis_cosine.null", lambda: random_effects(study, few))
    cosines = study.once(
        "axis_cosine.cosines", lambda: axis_cosines(study.activations, study.train)
    )
    coupling = layer_coupling(readouts, vectors).merge(null, on=PAIR)
    return {
        "cosines": cosines,
        "coupling": coupling,
        "prediction": prediction(cross_responses(cosines, coupling)),
    }


def runs(study: ic.Study, directions: list[ic.SteeringVectors]) -> dict[tuple, list[ic.Edit]]:
    """Each direction at single layers, by both signs of the largest alpha."""
    top, n, taken = max(study.config.alphas), study.model.n_layers, N_LAYERS[study.config.brief]
    found: dict[tuple, list[ic.Edit]] = {(-1, "", -1, "plain", 0.0): []}
    for draw, v in enumerate(directions):
        for layer in range(n // taken // 2, n, max(1, n // taken)):
            found |= {
                (layer, v.axis, draw, "steered", a): ic.steer(v, [layer], a) for a in (top, -top)
            }
    return found


def random_effects(study: ic.Study, scenarios: ic.ScenarioSet) -> pd.DataFrame:
    """What random vectors would do, to first order: layer, steered, axis, null_low, null_high."""
    n, seed = study.config.n_random, study.config.seed
    steps = runs(
        study, [random for v in study.vectors().values() for random in ic.random_like(v, n, seed)]
    )
    table = ic.readout.predicted_runs(study.model, scenarios, steps, readout=study.format())
    slopes = ic.coupling.slopes(ic.readout.with_keys(table, RUN), RUN[:3])
    draws = slopes.groupby([*PAIR, "draw"]).slope.mean().groupby(PAIR)
    return pd.DataFrame(
        {"null_low": draws.quantile(0.025), "null_high": draws.quantile(0.975)}
    ).reset_index()


def sections(tables: Tables, about: About) -> list[Section]:
    cosines, responses = tables["cosines"], cross_responses(tables["cosines"], tables["coupling"])
    if cosines.empty:
        return []
    cross, angles = (
        responses[responses.kind == "projected"],
        responses[responses.kind != "projected"],
    )
    along = {
        "effect": cross.projected,
        "low": cross.projected,
        "high": cross.projected,
        "way": "along the read axis",
    }
    ways = pd.concat([cross.assign(way="measured"), cross.assign(**along)])
    drawn = cosines.assign(effect=cosines.cosine, pair=cosines.a + " and " + cosines.b)
    names = {
        "effect": "change of mean P+ per unit alpha",
        "foreseen": "cosine",
        "null": "random vectors",
        "pair": "",
    }
    of_cosines = names | {"effect": "cosine", "null": "poles swapped"}
    how = f"Single layers steered, slope of mean P+ from alpha ±{max(about['config']['alphas']):g}, held-out scenarios."
    return [
        Section(
            *_prediction(tables["prediction"]),
            plots.interval_figure(angles, "foreseen", colour="pair", facet="kind", names=names),
            f"A point a layer. {how} Bars: 95% bootstrap by item.",
        ),
        Section(
            *_angles(cosines),
            plots.profile_figure(drawn, "layer", colour="pair", facet="kind", names=of_cosines),
            f"Mean differences of {about['n_train']} training scenarios; whitened by covariance within poles. "
            "Bars: 95% basic bootstrap by item. Grey: middle 95% of noise (means taken away, poles swapped at random).",
        ),
        Section(
            *_coupling(cross),
            plots.profile_figure(
                ways, "layer", colour="way", facet="pair", names=names | {"way": ""}
            ),
            f"{how} Bars: 95% bootstrap by item. Grey: middle 95% of random vectors of the same norm, to first order. "
            "Along the read axis: what the vector's part along the vector of the axis that is read would do.",
        ),
    ]


def _prediction(found: pd.DataFrame) -> tuple[str, list[str]]:
    told = [
        f"{r.kind} {r.steered} → {r.axis} {r.spearman:+.2f} (p {r.p:.3f})"
        for r in found.itertuples()
    ]
    clear = found[(found.kind != "projected") & (found.p < 0.05 / len(found))]
    parts = [
        f"{r.kind} {r.steered} → {r.axis}, Spearman {r.spearman:+.2f}" for r in clear.itertuples()
    ]
    text = f"Rank correlation of what is foreseen and measured over {found.n.max()} layers: {', '.join(told)}."
    title = f"Over layers the coupling goes with the cosine ({'; '.join(parts)})"
    title = (
        title if parts else "That the angle between the vectors predicts the coupling is not shown"
    )
    return title, [text, "Layers are not independent of one another, as p takes them to be."]


def _angles(cosines: pd.DataFrame) -> tuple[str, list[str]]:
    texts = []
    for (kind, a, b), own in cosines.groupby(["kind", "a", "b"]):
        apart = ((own.cosine < own.null_low) | (own.cosine > own.null_high)).sum()
        span = f"{own.cosine.min():+.2f} to {own.cosine.max():+.2f}"
        texts.append(
            f"The {kind} cosine of {a} and {b} is {span} over layers, beyond chance at {apart} of {len(own)}"
        )
    return texts[0], [f"{text}." for text in texts[1:]]


def _coupling(cross: pd.DataFrame) -> tuple[str, list[str]]:
    found, ratios = [], []
    for pair, own in cross.groupby("pair"):
        # To first order a random vector and its opposite move alike: the band lies around 0 already.
        sure = (own.low * own.high > 0) & (
            (own.effect < own.null_low) | (own.effect > own.null_high)
        )
        known = own[own.defined].ratio
        found.append(f"{pair} at {sure.sum()} of {len(own)} layers")
        ratios.append(
            f"{pair} {f'{known.median():.2f}, median of {len(known)}' if len(known) else 'at none'}"
        )
    title = f"The other axis moves, beyond its interval and random vectors, {', '.join(found)}"
    text = f"Entanglement ratio at the layers where the steered axis moves beyond its interval: {'; '.join(ratios)}."
    return title, [text]


ANALYSIS = Analysis(
    "axis_cosine", "Does the angle between the vectors predict the coupling?", measure, sections
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
