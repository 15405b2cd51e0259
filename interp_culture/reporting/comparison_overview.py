"""The first screen of a comparison: three questions and their answers."""

from __future__ import annotations

from interp_culture.reporting.comparison_findings import (
    coupling_finding,
    d_words,
    has_null,
    moves_most_finding,
    moving_models,
    own_responses,
    score_differences_finding,
    steered_axes,
    steering_differences_finding,
)
from interp_culture.reporting.effect_findings import Finding, Question
from interp_culture.study.comparison import Comparison


def comparison_questions(comparison: Comparison) -> list[Question]:
    """Whether the models can be steered, whether their axes move together, and how they differ."""
    differences = steering_differences_finding(comparison)
    scores = score_differences_finding(comparison)
    return [
        Question("Can the models be steered?", _steered_finding(comparison)),
        Question("Do the axes move together?", coupling_finding(comparison)),
        Question("Do the models differ?", Finding(differences.answer, scores.answer)),
    ]


def _steered_finding(comparison: Comparison) -> Finding:
    """In which models each axis follows, and by how much."""
    axes = steered_axes(comparison)
    numbers = []
    for axis in axes:
        by_model = [
            f"{row.model} {d_words(row)}" for row in own_responses(comparison, axis).itertuples()
        ]
        numbers.append(f"{axis}: {', '.join(by_model)}")
    evidence = f"Change of P+ per unit of alpha. {'; '.join(numbers)}."
    claims_nothing = any(own_responses(comparison, axis).low.isna().all() for axis in axes)
    if claims_nothing or not has_null(comparison):
        answers = [moves_most_finding(comparison, axis).answer for axis in axes]
        return Finding(" ".join(answers), evidence)
    followed = []
    for axis in axes:
        models = moving_models(comparison, axis)
        names = f" ({', '.join(models)})" if models else ""
        followed.append(f"{axis} in {len(models)} of {len(comparison.models)} models{names}")
    return Finding(f"Steering beyond random vectors is shown: {'; '.join(followed)}.", evidence)
