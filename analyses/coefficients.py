"""What does steering strength buy, and what does it cost? Shifts, divergence and perplexity.

Paper, section 4.5, figure 6. Run alone: python -m analyses.coefficients --preset quick
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.reporting import figures
from interp_culture.stats import interval_words
from interp_culture.steering import BudgetError, answer_perplexities, mean_intervals
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

BUDGET = 0.1  # KL on neutral text, nats per token
TEMPERATURE = 0.7  # the paper's
# Every run reads every text, so only their beginnings are used.
NEUTRAL_CHARACTERS = 600


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        steps: strengths in units of half the study's largest alpha.
        n_prompts: situations to which an answer is sampled in every run.
        n_tokens: length of an answer; the paper's perplexity is that of the first 128 tokens.
        n_neutral: neutral texts; all shipped ones where None.
    """

    steps: tuple[float, ...]
    n_prompts: int
    n_tokens: int
    n_neutral: int | None


# Step 2 is the study's largest alpha, where its own random vectors were measured.
WHOLE = Size((0.5, 1, 2, 4, 8), n_prompts=8, n_tokens=128, n_neutral=None)
BRIEF = Size((2, 4), n_prompts=3, n_tokens=16, n_neutral=2)

EFFECT = columns.effect("mean change of P+")
SCHEMAS = (
    TableSchema(
        "readouts",
        "a run and held-out scenario",
        "readout.read_runs",
        (*columns.RUN, *columns.READ),
    ),
    TableSchema(
        "effects",
        "a steered axis, alpha and axis read",
        "coupling.effects",
        (columns.STEERED, columns.ALPHA, *EFFECT),
    ),
    TableSchema(
        "ratios",
        "a steered axis, alpha and axis read",
        "coupling.entanglement",
        (
            *(columns.STEERED, columns.ALPHA, columns.AXIS_READ),
            Column("ratio", "entanglement ratio (Eq. 5)", columns.PROBABILITY),
            *columns.INTERVAL,
            columns.DEFINED,
        ),
    ),
    TableSchema(
        "null",
        "a steered axis, alpha and axis read, of the study's own runs",
        "coupling.response",
        columns.RESPONSE,
    ),
    TableSchema(
        "calibrated",
        "a steered axis and axis read, at the strength that costs the budget",
        "steering.calibrate",
        (
            *(columns.STEERED, columns.ALPHA),
            *EFFECT,
            Column("budget", "KL that the strength costs", "nats per token"),
        ),
    ),
    TableSchema(
        "divergence",
        "a run and neutral text",
        "steering.kl_on_neutral",
        (
            *columns.RUN,
            Column("text", "number of the text"),
            Column("kl", "KL(plain || steered), mean over its tokens", "nats per token"),
            Column("n_tokens", "number of its tokens"),
        ),
    ),
    TableSchema(
        "texts",
        "a run and prompt; plain and toward the positive pole",
        "steering.sample_answers",
        (*columns.RUN, *columns.ANSWER),
    ),
    TableSchema(
        "cost",
        "a run; perplexities only where answers were sampled",
        "steering.answer_perplexities",
        (
            *columns.RUN,
            *columns.interval("kl", "KL(plain || steered) on neutral text", "nats per token"),
            *columns.PERPLEXITIES,
            Column(
                "step_share", "size of the step as a share of the residual norm, mean over layers"
            ),
        ),
    ),
)


def measure(study: ic.Study) -> Tables:
    """Every axis' vectors at five strengths and both signs, and what each strength costs.

    Returns:
        the tables of `SCHEMAS`.
    """
    strengths = readouts(study)
    at_budget = study.once("coefficients.calibrated_readouts", lambda: budget_readouts(study))
    calibrated = ic.coupling.effects(ic.coupling.shifts(at_budget), ["steered", "alpha"])
    divergence = study.once("coefficients.divergence", lambda: neutral_divergence(study))
    texts = study.once("coefficients.texts", lambda: sampled_answers(study))
    return {
        "readouts": strengths,
        "effects": ic.coupling.effects(ic.coupling.shifts(strengths), ["steered", "alpha"]),
        "ratios": entanglement_ratios(strengths),
        "null": ic.coupling.response(study.steered(study.primary_readout)),
        "calibrated": calibrated.assign(budget=BUDGET),
        "divergence": divergence,
        "texts": texts,
        "cost": cost_table(study, divergence, texts),
    }


def size_of(study: ic.Study) -> Size:
    return BRIEF if study.config.brief else WHOLE


def readouts(study: ic.Study) -> pd.DataFrame:
    """`study.sample`, plain and under each axis' vectors at every strength.

    Returns:
        steered, method, alpha, and the columns of `probe`.
    """
    runs = {key: edits for key, edits in steered_runs(study).items() if key[1] != "random"}
    return study.once("coefficients.readouts", lambda: study.read(runs, NAMES))


def steered_runs(study: ic.Study) -> Runs:
    """The plain model, each axis' vectors at ±alpha, and a random vector of their norm at alpha."""
    steps = size_of(study).steps
    runs: Runs = {("", "plain", 0.0): []}
    for axis, vectors in study.vectors().items():
        layers = study.layers[axis]
        # Another one at each strength, so that one odd draw does not shape the whole curve.
        random_vectors = ic.random_like(vectors, len(steps), study.config.seed)
        for step, random in zip(steps, random_vectors, strict=True):
            alpha = step * max(study.config.alphas) / 2
            for signed in (alpha, -alpha):
                runs[axis, vectors.method, signed] = ic.steer(vectors, layers, signed)
            runs[axis, "random", alpha] = ic.steer(random, layers, alpha)
    return runs


def budget_readouts(study: ic.Study) -> pd.DataFrame:
    """Readouts at the strength that costs the budget, without axes that never cost that much."""
    runs: Runs = {("", "plain", 0.0): []}
    for axis, vectors in study.vectors().items():
        layers = study.layers[axis]
        with suppress(BudgetError):
            alpha = ic.steering.calibrate(
                study.model, vectors, layers, BUDGET, texts=neutral_texts(study)
            )
            runs[axis, vectors.method, alpha] = ic.steer(vectors, layers, alpha)
    return study.read(runs, NAMES)


def entanglement_ratios(strengths: pd.DataFrame) -> pd.DataFrame:
    plain = strengths[strengths.method == "plain"]
    steered_rows = strengths[strengths.method != "plain"]
    rows = []
    for (steered, alpha), after in steered_rows.groupby(["steered", "alpha"]):
        entanglement = ic.entanglement(plain, after, steered)
        for axis, ratio in entanglement.ratio.items():
            estimate = (ratio.value, ratio.low, ratio.high)
            rows.append((steered, alpha, axis, *estimate, entanglement.defined))
    columns = ["steered", "alpha", "axis", "ratio", "low", "high", "defined"]
    return pd.DataFrame(rows, columns=columns)


def neutral_texts(study: ic.Study) -> list[str]:
    """The beginnings of the shipped neutral texts."""
    return ic.scenarios.neutral_beginnings(size_of(study).n_neutral, NEUTRAL_CHARACTERS)


def neutral_divergence(study: ic.Study) -> pd.DataFrame:
    """KL(plain || steered) of every run: steered, method, alpha, and `ic.kl_on_neutral`."""
    divergence = ic.kl_on_neutral(study.model, steered_runs(study), neutral_texts(study))
    return ic.readout.with_keys(divergence, NAMES)


def sampled_answers(study: ic.Study) -> pd.DataFrame:
    """Answers to situations, plain and steered toward the positive pole.

    Returns:
        steered, method, alpha, and the columns of `ic.steering.sample_answers`.
    """
    size = size_of(study)
    # One sign halves the time that sampling takes.
    toward = {key: edits for key, edits in steered_runs(study).items() if key[-1] >= 0}
    answers = ic.steering.sample_answers(
        study.model,
        ic.steering.situation_prompts(study.sample, size.n_prompts),
        toward,
        size.n_tokens,
        temperature=TEMPERATURE,
        seed=study.config.seed,
    )
    return ic.readout.with_keys(answers, NAMES)


def cost_table(study: ic.Study, divergence: pd.DataFrame, texts: pd.DataFrame) -> pd.DataFrame:
    """What each run costs the model's language.

    Returns:
        steered, method, alpha, kl (plain || steered, nats per token on neutral text) with its
        interval over texts, the columns of `answer_perplexities` for runs with sampled answers, and
        step_share (|alpha v| / |h|, mean over the steered layers).
    """
    kl = mean_intervals(divergence, "kl", "text", NAMES)
    cost = pd.concat([kl, answer_perplexities(texts, NAMES)], axis=1).reset_index()
    norm_shares = {}
    for axis, vectors in study.vectors().items():
        share = vectors.direction.norm(dim=-1) / vectors.resid_norm
        norm_shares[axis] = float(share[study.layers[axis]].mean())
    # The plain model has no axis and takes no step.
    return cost.assign(step_share=cost.alpha.abs() * cost.steered.map(norm_shares).fillna(0.0))


def sections(tables: Tables, about: About) -> list[Section]:
    return [
        effect_section(tables, about),
        divergence_section(tables["cost"], about),
        perplexity_section(tables["cost"], tables["texts"], about),
    ]


def effect_section(tables: Tables, about: About) -> Section:
    top = max(about["config"]["alphas"])
    effects = tables["effects"]
    names = {"effect": "change of mean P+ (0 to 1)", "axis": "read"}
    return Section(
        effect_title(effects, tables["null"], top),
        [
            ratio_text(tables["ratios"]),
            *calibrated_text(tables["calibrated"], set(effects.steered)),
        ],
        figures.interval_figure(
            effects, "alpha", colour="axis", facet="steered", names=names, lines=True
        ),
        f"{vectors_used(about)}, {about['n_sample']} held-out scenarios. "
        "Bars: 95% bootstrap by item."
        f" The title's effect at alpha {top:g} is on all {about['n_test']} held-out scenarios, the"
        f" random vectors on {about['n_null']}. Tables: coefficients.effects, coefficients.null.",
    )


def divergence_section(cost: pd.DataFrame, about: About) -> Section:
    top = max(about["config"]["alphas"])
    at_top = cost[cost.alpha == -top]  # no random vector has a negative alpha
    shares = ", ".join(f"{row.steered} {row.step_share:.2f}" for row in at_top.itertuples())
    return Section(
        divergence_title(cost, top),
        [f"A step of alpha {top:g}, as a share of the residual stream's norm: {shares}."],
        cost_figure(cost, "kl", "KL(plain || steered), nats per token"),
        f"{vectors_used(about)}; the first {NEUTRAL_CHARACTERS} characters of neutral texts. One"
        " random vector per strength. Bars: 95% bootstrap over texts. Table: coefficients.cost.",
    )


def perplexity_section(cost: pd.DataFrame, texts: pd.DataFrame, about: About) -> Section:
    top = max(about["config"]["alphas"])
    return Section(
        perplexity_title(cost),
        sample_texts(texts, [top, cost.alpha.max()]),
        cost_figure(cost, "perplexity_plain", "perplexity for the plain model"),
        f"{vectors_used(about)}; {texts.prompt.nunique()} answers per run at temperature"
        f" {TEMPERATURE:g}, scored by the plain model, for which repetition is likely text too."
        " Dotted: its own answers. Bars: 95% bootstrap over prompts. Table: coefficients.cost.",
    )


def vectors_used(about: About) -> str:
    return f"Vectors: {about['direction']['name']}, at the intervention's layers"


def effect_title(effects: pd.DataFrame, null: pd.DataFrame, top: float) -> str:
    parts = []
    at_top = null[(null.axis == null.steered) & (null.alpha == top)]
    for row in at_top.itertuples():
        band = "within"
        if row.outside_null:
            band = "beyond"
        elif np.isnan(row.low):
            band = "not shown to be beyond"
        strength = lowest_strength(
            effects[(effects.steered == row.steered) & (effects.axis == row.axis)]
        )
        parts.append(
            f"Steering {row.axis} moves it by {interval_text(row)} at alpha {top:g}, {band} random"
            f" vectors; {strength}"
        )
    return ". ".join(parts)


def lowest_strength(effects: pd.DataFrame) -> str:
    """The lowest |alpha| at which either sign moves the axis to its own side, in words."""
    intended = np.where(effects.alpha > 0, effects.low > 0, effects.high < 0)
    moved = set(effects[intended].alpha)
    # A vector that pushes P+ one way whatever its sign would pass with one sign.
    both = [alpha for alpha in sorted(moved) if alpha > 0 and -alpha in moved]
    if not both:
        return "no strength tested works with both signs"
    return f"the lowest strength that works with both signs is |alpha| {both[0]:g}"


def ratio_text(ratios: pd.DataFrame) -> str:
    toward = ratios[ratios.alpha > 0]
    parts = []
    for (steered, axis), pair in toward.groupby(["steered", "axis"]):
        values = [
            interval_text(row, "ratio", 2) if row.defined else "not defined"
            for row in pair.itertuples()
        ]
        parts.append(f"{axis} when {steered} is steered, {', '.join(values)}")
    strengths = ", ".join(f"{alpha:g}" for alpha in sorted(set(toward.alpha)))
    return f"Entanglement ratio (equation 5) at alpha {strengths}: {'; '.join(parts)}."


def calibrated_text(calibrated: pd.DataFrame, axes: set[str]) -> list[str]:
    texts = []
    if never := sorted(axes - set(calibrated.steered)):
        texts.append(
            f"Steering {', '.join(never)} costs less than {BUDGET:g} nats per token at every"
            " strength tried."
        )
    for (steered, alpha, budget), run in calibrated.groupby(["steered", "alpha", "budget"]):
        moves = " and ".join(f"{row.axis} by {interval_text(row)}" for row in run.itertuples())
        texts.append(
            f"At alpha {alpha:.2f}, which costs {budget:g} nats per token, steering {steered} moves"
            f" {moves}."
        )
    return texts


def divergence_title(cost: pd.DataFrame, alpha: float) -> str:
    parts = []
    for axis, runs in cost[cost.alpha == alpha].groupby("steered"):
        is_random = runs.method == "random"
        (vector,) = runs[~is_random].itertuples()
        (random,) = runs[is_random].itertuples()
        parts.append(
            f"{axis} costs {kl_text(vector)} nats per token, {compared(vector, random)} a random"
            f" vector of its norm ({kl_text(random)})"
        )
    return f"At alpha {alpha:g} steering {'; '.join(parts)}"


def compared(vector: Any, random: Any) -> str:
    """How the KL of a vector compares with that of a random one, by their intervals."""
    if np.isnan([vector.kl_low, random.kl_low]).any():
        return "not distinguishable from"
    if vector.kl_low > random.kl_high:
        return "more than"
    return "less than" if vector.kl_high < random.kl_low else "about as much as"


def kl_text(row: Any) -> str:
    return interval_words(row.kl, row.kl_low, row.kl_high, sign="")


def perplexity_title(cost: pd.DataFrame) -> str:
    steered = cost[cost.method != "plain"]
    parts = []
    for (axis, is_random), runs in steered.groupby(["steered", steered.method == "random"]):
        first = runs[runs.rise_low > 0].alpha.abs().min()
        where = "at no strength tested" if np.isnan(first) else f"first at |alpha| {first:g}"
        parts.append(f"a random vector of its norm {where}" if is_random else f"{axis} {where}")
    return f"Steered answers become less likely to the plain model than its own: {', '.join(parts)}"


def sample_texts(texts: pd.DataFrame, alphas: list[float]) -> list[str]:
    """Answers to the first prompt: the plain model's, and those steered along the first axis."""
    prompt = texts.prompt.iloc[0]
    answers = texts[(texts.prompt == prompt) & (texts.method != "random")]
    is_plain = answers.method == "plain"
    first_axis = answers[~is_plain].steered.min()
    steered = (answers.steered == first_axis) & answers.alpha.isin(alphas)
    lines = [
        f"{row.steered or 'plain'} at alpha {row.alpha:g}: “{shorten(row.text, 200)}”"
        for row in answers[is_plain | steered].itertuples()
    ]
    return [f"To “{prompt}”:", *lines]


def cost_figure(cost: pd.DataFrame, value: str, words: str) -> go.Figure:
    """A cost by strength on logarithmic axes; the dotted line is the plain model."""
    runs = cost[cost.method != "plain"].dropna(subset=[value])
    runs = runs.sort_values(["steered", "alpha"], ascending=[True, False])
    toward = np.where(runs.alpha > 0, "toward the positive pole", "toward the negative pole")
    drawn = pd.DataFrame(
        {
            "effect": runs[value],
            "low": runs[f"{value}_low"],
            "high": runs[f"{value}_high"],
            "strength": runs.alpha.abs(),
            "vectors": np.where(runs.method == "random", "random, same norm", toward),
            "steered": runs.steered,
        }
    )
    names = {"strength": "|alpha|", "effect": words, "vectors": ""}
    figure = figures.interval_figure(
        drawn, "strength", colour="vectors", facet="steered", names=names, lines=True, log="xy"
    )
    # The strengths that were run, in place of powers of ten.
    figure.update_xaxes(tickvals=sorted(set(drawn.strength)))
    plain = float(cost[cost.method == "plain"][value].iloc[0])
    if plain > 0:  # the plain model's own KL is 0, which a logarithmic axis cannot show
        figure.add_hline(y=plain, line={"dash": "dot", "width": 1})
    return figure


ANALYSIS = Analysis(
    "coefficients",
    "What does steering strength buy, and what does it cost?",
    measure,
    sections,
    readouts=readouts,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
