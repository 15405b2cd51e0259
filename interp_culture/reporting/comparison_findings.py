"""The findings of a comparison: which model moves most, where axes are coupled, what differs."""

from __future__ import annotations

from typing import Any

import pandas as pd

from interp_culture.reporting.effect_findings import (
    Finding,
    cross_responses,
    effects_as_intended,
    is_coupled,
    moves_alone,
)
from interp_culture.stats import LEAST_N, LEVEL, interval_words
from interp_culture.study.comparison import Comparison
from interp_culture.study.summary import MatrixRow

# Up to so many rows an evidence names them all; beyond, only the largest.
MOST_NAMED = 6


def comparison_findings(comparison: Comparison) -> list[Finding]:
    """All findings: doubtful readouts first, then steering, coupling, differences, steps, cost."""
    answers = [moves_most_finding(comparison, axis) for axis in steered_axes(comparison)]
    answers += [
        coupling_finding(comparison),
        steering_differences_finding(comparison),
        score_differences_finding(comparison),
        steps_finding(comparison),
    ]
    if comparison.cost is not None:
        answers.append(cost_finding(comparison))
    readout = readout_finding(comparison)
    # A readout that fails puts the other findings in doubt, so the reader has to know it first.
    return [*answers, readout] if not failing(comparison) else [readout, *answers]


def steered_axes(comparison: Comparison) -> list[str]:
    """The steered axes, in the order of the matrix."""
    return list(dict.fromkeys(comparison.matrix.steered))


def moves_most_finding(comparison: Comparison, axis: str) -> Finding:
    """Which model moves an axis most when it is steered, and whether its lead is shown."""
    rows = own_responses(comparison, axis).sort_values("D", ascending=False)
    by_model = [f"{row.model} {d_words(row)}" for row in rows.itertuples()]
    evidence = f"Change of P+ of {axis} per unit of alpha (D): {'; '.join(by_model)}."
    best = rows.iloc[0]
    shown = moving_models(comparison, axis)
    moving = [model for model in rows.model if model in shown]
    if rows.low.isna().all():
        answer = (
            f"We claim nothing about steering {axis}: fewer than {LEAST_N} scenarios of {axis} are "
            "shared."
        )
    elif not has_null(comparison):
        answer = (
            f"Steering {axis} moves {axis} most in {best.model} (D = {d_words(best)}), which "
            "was not compared with random vectors."
        )
    elif not moving:
        answer = (
            f"Steering {axis} is not shown to move {axis} in any of the models; the largest D is "
            f"{d_words(best)}, in {best.model}."
        )
    elif best.model not in moving:
        answer = (
            f"Steering {axis} has the largest D in {best.model} ({d_words(best)}), but random "
            f"vectors move it as far; it is shown to move {axis} in {', '.join(moving)}."
        )
    else:
        lead, is_shown = _lead(comparison, axis, best.model, rows.model.iloc[1])
        caution = "" if is_shown else ", a lead that is not shown"
        answer = (
            f"Steering {axis} moves {axis} most in {best.model}: D = {d_words(best)}{caution} "
            f"({lead})."
        )
    if moving:
        evidence += (
            f" Both beyond 0 and beyond random vectors in {len(moving)} of {len(rows)} models: "
            f"{', '.join(moving)}."
        )
    return Finding(answer, evidence)


def own_responses(comparison: Comparison, axis: str) -> pd.DataFrame:
    """The response of an axis to its own steering, a row per model."""
    matrix = comparison.matrix
    return matrix[(matrix.steered == axis) & (matrix.axis == axis)]


def has_null(comparison: Comparison) -> bool:
    """Whether random vectors were read; a study reads them by its primary readout alone."""
    return bool(comparison.response.null_low.notna().any())


def moving_models(comparison: Comparison, axis: str) -> list[str]:
    """The models that move toward the pole, by an interval and beyond random vectors."""
    return [
        row.model
        for row in own_responses(comparison, axis).itertuples()
        if row.low > 0
        and row.p_null <= LEVEL
        and effects_as_intended(comparison.summaries[row.model], axis)
    ]


def _lead(comparison: Comparison, axis: str, model: str, follower: str) -> tuple[str, bool]:
    """The paired difference to the next model in words, and whether its interval excludes 0."""
    table = comparison.differences
    of_axis = table[(table.quantity == "D") & (table.steered == axis) & (table.axis == axis)]
    pair = of_axis[
        of_axis["first"].isin((model, follower)) & of_axis["second"].isin((model, follower))
    ]
    (row,) = pair.itertuples()
    # A pair is in the table once, in the order of the folders.
    sign = 1 if row.first == model else -1
    low, high = sorted((sign * row.low, sign * row.high))
    difference = interval_words(sign * row.difference, low, high)
    return f"{difference} ahead of {follower}, paired", row.shown


def coupling_finding(comparison: Comparison) -> Finding:
    """In which models a coupling is shown."""
    models = comparison.models
    rows = [
        (model, row) for model in models for row in cross_responses(comparison.summaries[model])
    ]
    if not rows:
        return Finding(
            "No coupling can be measured, because the studies have one axis.",
            "A coupling is the movement of one axis when another one is steered.",
        )
    if not has_null(comparison):
        return Finding(
            "No coupling is judged, because this readout was not compared with random vectors.",
            "A study reads random vectors by its primary readout alone.",
        )
    coupled = [(model, row) for model, row in rows if is_coupled(comparison.summaries[model], row)]
    alone = [(model, row) for model, row in rows if moves_alone(comparison.summaries[model], row)]
    if coupled:
        in_models = list(dict.fromkeys(model for model, _ in coupled))
        cases = "; ".join(
            f"{row['axis']} to {row['steered']} in {model}, D = {_d_words_of(row)}"
            for model, row in coupled
        )
        answer = (
            f"A coupling beyond random vectors is shown in {len(in_models)} of {len(models)} "
            f"models: {cases}."
        )
    else:
        answer = f"No coupling is shown in any of the {len(models)} models."
    for model, row in alone:
        answer += (
            f" In {model} steering {row['steered']} moves {row['axis']} beyond random vectors "
            f"({_d_words_of(row)}), but {row['steered']} itself does not measurably move."
        )
    named = rows if len(rows) <= MOST_NAMED else coupled
    numbers = [
        f"{model}, {row['steered']} steered, {row['axis']} read {_d_words_of(row)}"
        for model, row in named
    ]
    evidence = "All responses of another axis are in the figure and in the table matrix."
    return Finding(answer, f"{'; '.join(numbers)}. {evidence}" if numbers else evidence)


def steering_differences_finding(comparison: Comparison) -> Finding:
    """Whether the models differ in how far steering moves the steered axis."""
    table = comparison.differences
    rows = table[(table.quantity == "D") & (table.steered == table.axis)]
    return _differences_finding(comparison, rows, "the effect of steering an axis on itself")


def score_differences_finding(comparison: Comparison) -> Finding:
    """Whether the plain models differ in their scores."""
    table = comparison.differences
    return _differences_finding(
        comparison, table[table.quantity == "score"], "the mean P+ of the plain model"
    )


def _differences_finding(comparison: Comparison, rows: pd.DataFrame, what: str) -> Finding:
    shown = rows[rows.shown]
    n_shared = comparison.n_shared
    if rows.low.isna().all():
        return Finding(
            f"We claim nothing about differences in {what}.",
            f"Fewer than {LEAST_N} scenarios of an axis are shared.",
        )
    largest = rows.loc[rows.difference.abs().idxmax()]
    if shown.empty:
        answer = (
            f"The models are not shown to differ in {what}: none of {len(rows)} paired intervals "
            f"excludes 0; the largest difference is {_difference_words(largest)}."
        )
    else:
        top = shown.loc[shown.difference.abs().idxmax()]
        answer = (
            f"The models differ in {what}: {len(shown)} of {len(rows)} paired intervals exclude 0, "
            f"the largest that of {_difference_words(top)}."
        )
    evidence = (
        f"Each difference is taken within the same scenario ({n_shared} shared, all axes "
        "together). One interval in twenty excludes 0 by chance."
    )
    if len(rows) <= MOST_NAMED:
        named = "; ".join(_difference_words(row) for _, row in rows.iterrows())
        evidence = f"{named}. {evidence}"
    return Finding(answer, evidence)


def _difference_words(row: pd.Series) -> str:
    numbers = interval_words(row.difference, row.low, row.high)
    return f"{row.axis}, {row['first']} minus {row['second']} {numbers}"


def steps_finding(comparison: Comparison) -> Finding:
    """How large the same alpha is in each model."""
    alpha = comparison.steps.alpha.max()
    shares = []
    for axis, rows in comparison.steps.groupby("steered"):
        by_model = [f"{row.model} {row.step_share:.2f}" for row in rows.itertuples()]
        shares.append(f"{axis}: {', '.join(by_model)}")
    return Finding(
        f"The same alpha is another step in every model, so compare D with the steps: at alpha "
        f"{alpha:g} the vector of each steered layer has this share of the residual norm, "
        f"{'; '.join(shares)}.",
        "Vectors are differences of means and have the norm that the model gives them. "
        "The function ic.steering.calibrate finds strengths of equal cost. Table: steps.",
    )


def cost_finding(comparison: Comparison) -> Finding:
    """What the largest common strength costs each model's language."""
    rows = vectors_cost(comparison)
    largest = rows.alpha.max()
    at_largest = rows[rows.alpha == largest]
    costs = []
    for axis, of_axis in at_largest.groupby("steered"):
        by_model = [
            f"{row.model} {interval_words(row.kl, row.kl_low, row.kl_high, sign='')}"
            for row in of_axis.itertuples()
        ]
        costs.append(f"{axis}: {'; '.join(by_model)}")
    missing = [model for model in comparison.models if model not in set(rows.model)]
    evidence = "KL(plain || steered) in nats per token, with 95% intervals over texts."
    if missing:
        evidence += f" Not measured: {', '.join(missing)} (no analysis coefficients)."
    return Finding(
        f"At alpha {largest:+g} steering costs on neutral text, {'; '.join(costs)}.", evidence
    )


def vectors_cost(comparison: Comparison) -> pd.DataFrame:
    """The cost of the vectors at both signs, without random ones."""
    assert comparison.cost is not None
    return comparison.cost[comparison.cost.method != "random"]


def failing(comparison: Comparison) -> list[str]:
    """The models on which the readout of the comparison fails its check."""
    checks = comparison.validity[comparison.validity.readout == comparison.readout]
    return list(checks.model[~checks.ok.astype(bool)])


def readout_finding(comparison: Comparison) -> Finding:
    """Whether the readout of the comparison passes its check on every model."""
    checks = comparison.validity[comparison.validity.readout == comparison.readout]
    accuracies = [f"{row.model} {_accuracy_words(row)}" for row in checks.itertuples()]
    failed = failing(comparison)
    answer = (
        f"The numbers of {', '.join(failed)} say little: the {comparison.readout} readout fails "
        "its validity check there."
        if failed
        else f"The {comparison.readout} readout passes its validity check on every model."
    )
    return Finding(
        answer, f"Right answers on the control items, with 95% intervals: {'; '.join(accuracies)}."
    )


def _accuracy_words(row: Any) -> str:
    return f"{row.accuracy:.0%} [{row.accuracy_low:.0%}, {row.accuracy_high:.0%}]"


def d_words(row: Any) -> str:
    return interval_words(row.D, row.low, row.high)


def _d_words_of(row: MatrixRow) -> str:
    return interval_words(row["D"], row["low"], row["high"])
