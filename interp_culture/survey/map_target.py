"""A country's coordinates as a target of steering, and map positions as the scores to steer."""

from __future__ import annotations

import numpy as np
import pandas as pd

from interp_culture.stats import Samples
from interp_culture.survey.culture_map import place, place_draws
from interp_culture.survey.wvs import countries, find_country


def map_target(country: str) -> dict[str, float]:
    """The published coordinates of a country (map units), as a target for `align`.

    Args:
        country: a name or iso3 code of the 2023 map.

    Raises:
        InputError: a country that is not on the map.

    >>> ic.survey.map_target("Denmark") == ic.survey.map_target("DNK")
    True
    """
    position = countries().loc[find_country(country)]
    return {"x": float(position.x), "y": float(position.y)}


def map_scores(readouts: pd.DataFrame, seed: int = 42) -> dict[str, Samples]:
    """The map position of a readout: the observed one first, then those of `place_draws`.

    Args:
        readouts: a table of `probe`, with scenarios of all ten survey items.
        seed: of the bootstrap.

    Returns:
        x (survival to self-expression) and y (traditional to secular-rational), map units.

    Raises:
        InputError: an item without a scenario.

    >>> table = readouts[readouts.method == "plain"]
    >>> {name: len(samples) for name, samples in ic.survey.map_scores(table).items()}
    {'x': 2001, 'y': 2001}
    """
    position = place(readouts, seed)
    draws = place_draws(readouts, seed)
    return {
        "x": np.append(position["x"], draws[:, 0]),
        "y": np.append(position["y"], draws[:, 1]),
    }
