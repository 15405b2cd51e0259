"""The projection against published coordinates, by hand, and against its own arithmetic."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from interp_culture.errors import InputError
from interp_culture.survey import culture_map
from interp_culture.survey.wvs import countries, survey_items

# Item means computed from the WVS-7 "Results by Country" percentages, in the order of `survey_items`.
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
        errors.append(culture_map.project(np.array(means)) - [country.x, country.y])
    assert np.sqrt(np.mean(np.square(errors), axis=0)).max() < 0.3


def test_scores_become_answers_on_the_questions_scales() -> None:
    items = survey_items()
    negative = dict(zip(items.index, culture_map.answers(np.zeros(10)), strict=True))
    positive = dict(zip(items.index, culture_map.answers(np.ones(10)), strict=True))
    assert negative == {
        "Y01": 10, "Y02": -2, "Y03": 1, "Y04": 1, "Y05": 1, "X01": 1, "X02": 4, "X03": 1, "X04": 3, "X05": 2,
    }  # fmt: skip
    assert positive == {
        "Y01": 1, "Y02": 2, "Y03": 10, "Y04": 4, "Y05": 3, "X01": 3, "X02": 1, "X03": 10, "X04": 1, "X05": 1,
    }  # fmt: skip


def test_positive_poles_lie_up_and_right() -> None:
    scores = np.stack([np.full(10, 0.2), np.full(10, 0.8)])
    low, high = culture_map.project(culture_map.answers(scores))
    assert (high > low).all()


def table_of(scores: dict[str, float]) -> pd.DataFrame:
    rows = [
        {
            "id": f"{i}-{d}-{n}",
            "axis": i[0],
            "item": i,
            "domain": d,
            "p_positive": s + 0.05 * (n - 1),
        }
        for i, s in scores.items()
        for d in ("family", "legal")
        for n in range(3)
    ]
    return pd.DataFrame(rows)


def test_place_by_hand() -> None:
    items = survey_items()
    scores = dict(zip(items.index, np.linspace(0.2, 0.7, 10), strict=True))
    found = culture_map.place(table_of(scores))
    x, y = -0.0, -0.0
    for item, score in scores.items():
        row = items.loc[item]
        toward = score if row.sign_of_positive_pole == 1 else 1 - score
        z = (row.minimum + toward * (row.maximum - row.minimum) - row["mean"]) / row.sd
        x, y = x + z * row.weight_x, y + z * row.weight_y
    assert found["x"] == pytest.approx(1.81 * x + 0.038)
    assert found["y"] == pytest.approx(1.61 * y - 0.1)
    assert found["x_low"] < found["x"] < found["x_high"]


def uneven(few: float) -> pd.DataFrame:
    """Of every item nine scenarios in a domain with score 0.5, three in another with score `few`."""
    rows = [
        {
            "id": f"{i}-{n}",
            "axis": i[0],
            "item": i,
            "domain": "ab"[n >= 9],
            "p_positive": few if n >= 9 else 0.5,
        }
        for i in survey_items().index
        for n in range(12)
    ]
    return pd.DataFrame(rows)


def test_position_and_interval_weigh_domains_alike() -> None:
    """The draws lie around the position, also where domains have unequal numbers of scenarios."""
    table = uneven(0.9)
    place, draws = culture_map.place(table), culture_map.place_draws(table)
    by_scenario = table.groupby("item").p_positive.mean()[survey_items().index].to_numpy()
    other = culture_map.project(culture_map.answers(by_scenario))
    middle = np.median(draws, axis=0)
    here = np.array([place["x"], place["y"]])
    assert (np.abs(middle - here) < 0.2 * np.abs(other - here)).all()


def test_one_scenario_of_an_item_leaves_no_interval() -> None:
    table = table_of(dict.fromkeys(survey_items().index, 0.5))
    found = culture_map.place(table.drop(table.index[table["item"] == "X01"][1:]))
    assert np.isnan([found["x_low"], found["y_high"]]).all()


def test_missing_items_are_named() -> None:
    scores = {i: 0.5 for i in survey_items().index if i not in ("X02", "Y05")}
    with pytest.raises(InputError, match="no scenario of X02, Y05"):
        culture_map.place(table_of(scores))
    assert not culture_map.covers(set(scores))


def test_distances_and_human_baseline() -> None:
    denmark = countries().loc["DNK"]
    nearest = culture_map.distances(denmark.x, denmark.y)
    assert nearest.iloc[0].to_dict() == {
        "iso3": "DNK",
        "country": "Denmark",
        "distance": 0.0,
        "rank": 1,
    }
    assert len(nearest) == 115
    human = culture_map.human_coupling()
    assert human["r"] == pytest.approx(0.583, abs=0.001)
    assert (human["r_low"], human["r_high"]) == pytest.approx((0.447, 0.692), abs=0.001)
    assert human["y_per_x"] == pytest.approx(0.465, abs=0.001)
    assert human["x_per_y"] == pytest.approx(0.729, abs=0.001)


def test_accuracy_of_the_projection_by_hand() -> None:
    """Root mean square over the countries of the same survey, and not over India (2012 on the map, 2023 here)."""
    table = culture_map.projection_check().set_index("iso3")
    assert list(table.index[~table.same_survey]) == ["IND"]
    found = culture_map.projection_accuracy()
    assert found["n"] == 8
    errors = [table.x[c] - table.map_x[c] for c in table.index if c != "IND"]
    assert found["rms_x"] == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    assert found["rms_x"] == pytest.approx(0.20, abs=0.01)
    assert found["rms_y"] == pytest.approx(0.18, abs=0.01)
    assert found["r_x"] > 0.98
    assert found["r_y"] > 0.99


def test_the_projection_couples_by_itself() -> None:
    found = culture_map.projection_coupling()
    items = survey_items()
    span = (items.maximum - items.minimum) / items.sd * items.sign_of_positive_pole
    own = items.index.str.startswith("X")
    x, y = 1.81 * (span * items.weight_x)[own].sum(), 1.61 * (span * items.weight_y)[own].sum()
    assert found["X"] == pytest.approx(abs(y / x))
