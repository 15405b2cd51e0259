"""Map positions, distances and couplings, against published figures and computed by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from interp_culture.errors import InputError
from interp_culture.survey import culture_map
from interp_culture.survey.wvs import countries, survey_items


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
    position = culture_map.place(table_of(scores))
    x = 0.0
    y = 0.0
    for item, score in scores.items():
        row = items.loc[item]
        toward = score if row.sign_of_positive_pole == 1 else 1 - score
        z = (row.minimum + toward * (row.maximum - row.minimum) - row["mean"]) / row.sd
        x += z * row.weight_x
        y += z * row.weight_y
    assert position["x"] == pytest.approx(1.81 * x + 0.038)
    assert position["y"] == pytest.approx(1.61 * y - 0.1)
    assert position["x_low"] < position["x"] < position["x_high"]


def uneven(few: float) -> pd.DataFrame:
    """Per item, nine scenarios of one domain with score 0.5 and three of another with `few`."""
    rows = [
        {
            "id": f"{i}-{n}",
            "axis": i[0],
            "item": i,
            "domain": "a" if n < 9 else "b",
            "p_positive": few if n >= 9 else 0.5,
        }
        for i in survey_items().index
        for n in range(12)
    ]
    return pd.DataFrame(rows)


def test_position_and_interval_weigh_domains_alike() -> None:
    """Draws are centred on the position, even if domains have unequal numbers of scenarios."""
    table = uneven(0.9)
    place = culture_map.place(table)
    draws = culture_map.place_draws(table)
    by_scenario = table.groupby("item").p_positive.mean()[survey_items().index].to_numpy()
    other = culture_map.project(culture_map.answers(by_scenario))
    centre = np.median(draws, axis=0)
    position = np.array([place["x"], place["y"]])
    assert (np.abs(centre - position) < 0.2 * np.abs(other - position)).all()


def test_one_scenario_of_an_item_leaves_no_interval() -> None:
    table = table_of(dict.fromkeys(survey_items().index, 0.5))
    position = culture_map.place(table.drop(table.index[table["item"] == "X01"][1:]))
    assert np.isnan([position["x_low"], position["y_high"]]).all()


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
    """Over countries of the same survey, which leaves out India (map of 2012, means of 2023)."""
    table = culture_map.projection_check().set_index("iso3")
    assert list(table.index[~table.same_survey]) == ["IND"]
    accuracy = culture_map.projection_accuracy()
    assert accuracy["n"] == 8
    errors = [table.x[c] - table.map_x[c] for c in table.index if c != "IND"]
    assert accuracy["rms_x"] == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    assert accuracy["rms_x"] == pytest.approx(0.20, abs=0.01)
    assert accuracy["rms_y"] == pytest.approx(0.18, abs=0.01)
    assert accuracy["r_x"] > 0.98
    assert accuracy["r_y"] > 0.99


def test_the_projection_alone_couples_the_axes() -> None:
    coupling = culture_map.projection_coupling()
    items = survey_items()
    span = (items.maximum - items.minimum) / items.sd * items.sign_of_positive_pole
    of_x = items.index.str.startswith("X")
    x = 1.81 * (span * items.weight_x)[of_x].sum()
    y = 1.61 * (span * items.weight_y)[of_x].sum()
    assert coupling["X"] == pytest.approx(abs(y / x))
