"""The projection of item scores and survey answers to the coordinates of the cultural map."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from interp_culture.survey.wvs import survey_items

# The official rescaling of the factors: x = 1.81 F_x + 0.038, y = 1.61 F_y - 0.1. Means, standard
# deviations and weights of the items come from a public recomputation of the factor analysis.
SCALE = {"x": (1.81, 0.038), "y": (1.61, -0.1)}


def answers(scores: Float[np.ndarray, "*draw item"]) -> Float[np.ndarray, "*draw item"]:
    """Turn scores into answers on each question's own scale.

    Args:
        scores: in [0, 1], 1 = positive pole; the last axis is in the order of `survey_items`.
    """
    items = survey_items()
    low = items.minimum.to_numpy(float)
    high = items.maximum.to_numpy(float)
    # On four scales the low answer is the positive pole (X02: 1 is very happy).
    toward_high = np.where(items.sign_of_positive_pole == 1, scores, 1 - scores)
    return low + toward_high * (high - low)


def scores(answers: Float[np.ndarray, "*draw item"]) -> Float[np.ndarray, "*draw item"]:
    """Turn answers on each question's scale into scores in [0, 1], 1 = positive pole.

    This is the inverse of `answers`.
    """
    items = survey_items()
    low = items.minimum.to_numpy(float)
    high = items.maximum.to_numpy(float)
    toward_high = (answers - low) / (high - low)
    return np.where(items.sign_of_positive_pole == 1, toward_high, 1 - toward_high)


def project(answers: Float[np.ndarray, "*draw item"]) -> Float[np.ndarray, "*draw 2"]:
    """Project answers on the survey's scales to map coordinates (x, y)."""
    items = survey_items()
    z = (answers - items["mean"].to_numpy()) / items.sd.to_numpy()
    factors = np.stack([z @ items.weight_x.to_numpy(), z @ items.weight_y.to_numpy()], axis=-1)
    scale = np.array([SCALE["x"][0], SCALE["y"][0]])
    shift = np.array([SCALE["x"][1], SCALE["y"][1]])
    return factors * scale + shift
