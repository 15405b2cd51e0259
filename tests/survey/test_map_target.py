"""A country as a target, and map positions as scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from interp_culture.coupling import target_distances
from interp_culture.errors import InputError
from interp_culture.survey import TARGETS, countries, culture_map, map_scores, map_target


@pytest.fixture
def readouts() -> pd.DataFrame:
    """Four scenarios of each item, with scores that differ."""
    items = [item for item in culture_map.survey_items().index for _ in range(4)]
    p_positive = np.random.default_rng(0).uniform(0.2, 0.8, len(items))
    return pd.DataFrame({"item": items, "domain": "work", "p_positive": p_positive})


@pytest.mark.parametrize("iso3", TARGETS)
def test_a_target_is_the_countrys_place_on_the_map(iso3: str) -> None:
    row = countries().loc[iso3]
    assert map_target(TARGETS[iso3]) == {"x": row.x, "y": row.y}


def test_an_unknown_country_is_refused() -> None:
    with pytest.raises(InputError, match="unknown country 'Atlantis'"):
        map_target("Atlantis")


def test_scores_are_the_place_and_its_draws(readouts: pd.DataFrame) -> None:
    samples = map_scores(readouts, seed=3)
    place = culture_map.place(readouts, seed=3)
    draws = culture_map.place_draws(readouts, seed=3)
    assert (samples["x"][0], samples["y"][0]) == (place["x"], place["y"])
    np.testing.assert_array_equal(np.stack([samples["x"], samples["y"]], axis=1)[1:], draws)


def test_the_distance_to_a_country_is_that_of_the_map(readouts: pd.DataFrame) -> None:
    samples = map_scores(readouts)
    points = np.stack([samples["x"], samples["y"]], axis=1)
    distances = target_distances(readouts, map_target("DNK"), map_scores)
    np.testing.assert_allclose(distances, culture_map.distance_to("DNK", points))
