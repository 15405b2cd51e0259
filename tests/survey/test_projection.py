"""The projection against published coordinates, and scores against the questions' scales."""

from __future__ import annotations

import numpy as np

from interp_culture.survey.projection import answers, project, scores
from interp_culture.survey.wvs import countries, survey_items

# Item means from the percentages of the WVS-7 "Results by Country", in the order of `survey_items`.
PUBLISHED = {
    "MEX": [8.585, -0.31, 3.29, 1.385, 1.472, 1.923, 1.496, 4.388, 2.44, 1.895],
    "VNM": [6.021, 0.266, 4.167, 1.46, 1.172, 1.901, 1.553, 5.643, 2.717, 1.723],
    "DEU": [4.926, 0.818, 5.462, 1.926, 1.672, 2.314, 1.841, 7.854, 1.419, 1.54],
    "JPN": [4.52, 1.164, 4.868, 1.844, 2.795, 1.852, 1.8, 6.711, 1.585, 1.644],
    "NGA": [9.446, -0.785, 1.716, 1.428, 1.1, 1.804, 1.894, 1.506, 2.581, 1.869],
}


def test_published_answers_land_near_published_coordinates() -> None:
    errors = []
    for iso3, means in PUBLISHED.items():
        country = countries().loc[iso3]
        errors.append(project(np.array(means)) - [country.x, country.y])
    assert np.sqrt(np.mean(np.square(errors), axis=0)).max() < 0.3


def test_scores_become_answers_on_the_questions_scales() -> None:
    items = survey_items()
    negative = dict(zip(items.index, answers(np.zeros(10)), strict=True))
    positive = dict(zip(items.index, answers(np.ones(10)), strict=True))
    assert negative == {
        "Y01": 10, "Y02": -2, "Y03": 1, "Y04": 1, "Y05": 1,
        "X01": 1, "X02": 4, "X03": 1, "X04": 3, "X05": 2,
    }  # fmt: skip
    assert positive == {
        "Y01": 1, "Y02": 2, "Y03": 10, "Y04": 4, "Y05": 3,
        "X01": 3, "X02": 1, "X03": 10, "X04": 1, "X05": 1,
    }  # fmt: skip


def test_positive_poles_are_up_and_right() -> None:
    low, high = project(answers(np.stack([np.full(10, 0.2), np.full(10, 0.8)])))
    assert (high > low).all()


def test_scores_are_the_inverse_of_answers() -> None:
    expected = np.linspace(0, 1, 30).reshape(3, 10)
    np.testing.assert_allclose(scores(answers(expected)), expected)
