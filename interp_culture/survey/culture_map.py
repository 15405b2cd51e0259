"""Item scores -> answers on the survey's scales -> coordinates on the Inglehart-Welzel map.

x: survival -> self-expression, y: traditional -> secular-rational. Means, standard deviations and weights of the
ten items come from a public recomputation of the factor analysis; the rescaling of the factors is the official
one (x = 1.81 F_x + 0.038, y = 1.61 F_y - 0.1).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.errors import InputError
from interp_culture.stats import Estimate, bootstrap_weights, free_values, weighted_means
from interp_culture.survey.wvs import countries, load_facts, survey_items

SCALE = {"x": (1.81, 0.038), "y": (1.61, -0.1)}


def covers(items: set[str]) -> bool:
    """Whether scores of these items can be placed on the map: it takes all ten."""
    return set(survey_items().index) <= items


def answers(scores: Float[np.ndarray, "*draw item"]) -> Float[np.ndarray, "*draw item"]:
    """Scores in [0, 1] (1 = positive pole; items in `survey_items` order) as answers on each question's scale."""
    items = survey_items()
    low, high = items.minimum.to_numpy(float), items.maximum.to_numpy(float)
    toward_high = np.where(items.sign_of_positive_pole == 1, scores, 1 - scores)
    return low + toward_high * (high - low)


def scores(answers: Float[np.ndarray, "*draw item"]) -> Float[np.ndarray, "*draw item"]:
    """The inverse of `answers`: answers on each question's scale as scores in [0, 1], 1 = positive pole."""
    items = survey_items()
    low, high = items.minimum.to_numpy(float), items.maximum.to_numpy(float)
    toward_high = (answers - low) / (high - low)
    return np.where(items.sign_of_positive_pole == 1, toward_high, 1 - toward_high)


def project(answers: Float[np.ndarray, "*draw item"]) -> Float[np.ndarray, "*draw 2"]:
    """Answers on the survey's scales -> (x, y)."""
    items = survey_items()
    z = (answers - items["mean"].to_numpy()) / items.sd.to_numpy()
    factors = np.stack([z @ items.weight_x.to_numpy(), z @ items.weight_y.to_numpy()], axis=-1)
    scale = np.array([SCALE["x"][0], SCALE["y"][0]])
    shift = np.array([SCALE["x"][1], SCALE["y"][1]])
    return factors * scale + shift


def place(table: pd.DataFrame, seed: int = 42) -> dict[str, float]:
    """Where a readout (a table of `probe`) lies on the map.

    Item scores are means over domains of the mean p_positive; intervals (95%) come from `place_draws`.

    Returns:
        x, y, x_low, x_high, y_low, y_high (map units).
    """
    items, table = survey_items(), _placed(table)
    cells = table.groupby(["item", "domain"]).p_positive.mean()
    point = project(answers(cells.groupby("item").mean()[items.index].to_numpy()))
    low, high = np.percentile(place_draws(table, seed), [2.5, 97.5], axis=0)
    return {
        "x": point[0],
        "y": point[1],
        "x_low": low[0],
        "x_high": high[0],
        "y_low": low[1],
        "y_high": high[1],
    }


def place_draws(table: pd.DataFrame, seed: int = 42) -> Float[np.ndarray, "draw 2"]:
    """Bootstrap draws of `place`: over the scenarios of each item, the ten items being fixed by the map.

    Every domain of an item weighs the same, as in `place`, however many scenarios it has. Tables of the same scenarios
    in the same order are drawn alike: what is computed from two of them, draw by draw, is paired. All are NaN where
    an item has one scenario, of which nothing can be drawn, or fewer than six scenarios vary freely.
    """
    table = _placed(table)
    names, values = table["item"].to_numpy(), table.p_positive.to_numpy()
    # Each item is its own stratum and cluster, so that only its scenarios are drawn.
    weights = bootstrap_weights(names, names, seed=seed) * _domain_weights(table)
    n = free_values(names)
    means = [weighted_means(weights, values, names == item, n) for item in survey_items().index]
    return project(answers(np.stack(means, axis=-1)))


def _domain_weights(table: pd.DataFrame) -> Float[np.ndarray, " scenario"]:
    """The weight of each scenario with which an item's mean is the mean of its domains' means; 1 where those are even.

    `n_item / (n_domains n_cell)`, for an item of n_item scenarios in n_domains domains, n_cell of them in this one.
    """
    of_item = table.groupby("item").domain
    n_cell = table.groupby(["item", "domain"]).domain.transform("size")
    return (of_item.transform("size") / (of_item.transform("nunique") * n_cell)).to_numpy()


def no_preference() -> tuple[float, float]:
    """Where a model without any preference lies: (x, y) of ten scores of 0.5."""
    x, y = project(answers(np.full(len(survey_items()), 0.5)))
    return float(x), float(y)


def displacements(
    before: pd.DataFrame, after: pd.DataFrame, seed: int = 42
) -> Float[np.ndarray, "draw 2"]:
    """How far the model moved on the map between two readouts of the same scenarios: (x, y), map units.

    The observed displacement first, then the draws of the bootstrap, paired by scenario.
    """
    if list(before.id) != list(after.id):
        raise InputError(
            "`before` and `after` hold different scenarios: read the same set for both"
        )
    here, there = place(before, seed), place(after, seed)
    drawn = place_draws(after, seed) - place_draws(before, seed)
    return np.vstack([[there["x"] - here["x"], there["y"] - here["y"]], drawn])


def distances(x: float, y: float) -> pd.DataFrame:
    """Euclidean distance (map units) to every country, nearest first: iso3, country, distance, rank."""
    table = countries().reset_index()
    table["distance"] = np.hypot(table.x - x, table.y - y)
    table = table.sort_values("distance", ignore_index=True)
    return table.assign(rank=table.index + 1)[["iso3", "country", "distance", "rank"]]


def distance_to(iso3: str, points: Float[np.ndarray, "*draw 2"]) -> Float[np.ndarray, "*draw"]:
    """Euclidean distance (map units) of each point to one country's published coordinates."""
    there = countries().loc[iso3]
    return np.hypot(points[..., 0] - there.x, points[..., 1] - there.y)


def human_coupling() -> dict[str, float]:
    """How the two axes go together over countries: r, and the slope of each axis on the other.

    A society 1 further on x lies `y_per_x` further on y: the human baseline of the entanglement ratio.
    r_low, r_high: 95% interval (Fisher's z; countries taken as independent).
    """
    from scipy.stats import linregress, pearsonr

    table = countries()
    r = pearsonr(table.x, table.y)
    interval = r.confidence_interval()
    return {
        "r": float(r.statistic),
        "r_low": float(interval.low),
        "r_high": float(interval.high),
        "y_per_x": float(linregress(table.x, table.y).slope),
        "x_per_y": float(linregress(table.y, table.x).slope),
    }


def projection_check() -> pd.DataFrame:
    """Countries whose ten item means are shipped, projected, beside their published coordinates.

    Returns iso3, year (of the means), x, y, map_x, map_y, map_year and same_survey: whether the years are at most
    one apart. India's published coordinates are of an older survey, and say nothing of the projection.
    """
    items, rows = survey_items().index, []
    for iso3, own in load_facts().means.groupby("iso3"):
        means = own.set_index("item")["mean"]
        if set(items) <= set(means.index):
            x, y = project(means[items].to_numpy())
            there, year = countries().loc[iso3], int(own.year.max())
            rows.append(
                (
                    iso3,
                    year,
                    x,
                    y,
                    there.x,
                    there.y,
                    there.survey_year,
                    abs(year - there.survey_year) <= 1,
                )
            )
    return pd.DataFrame(
        rows, columns=["iso3", "year", "x", "y", "map_x", "map_y", "map_year", "same_survey"]
    )


def projection_accuracy() -> dict[str, float]:
    """How well the projection meets the published map: n countries, rms error and correlation of each coordinate."""
    table = projection_check().query("same_survey")
    out: dict[str, float] = {"n": float(len(table))}
    for axis in ("x", "y"):
        out[f"rms_{axis}"] = float(np.sqrt(((table[axis] - table[f"map_{axis}"]) ** 2).mean()))
        out[f"r_{axis}"] = float(np.corrcoef(table[axis], table[f"map_{axis}"])[0, 1])
    return out


def projection_coupling() -> dict[str, float]:
    """The coupling that the map's own arithmetic makes: all items of one axis move alike, the others stay.

    Every item weighs on both coordinates, so a change of the five X items alone moves y as well.
    """
    items = survey_items()
    step = project(answers(np.zeros(len(items))))
    out = {}
    for axis, on, off in (("X", 0, 1), ("Y", 1, 0)):
        moved = project(answers(items.index.str.startswith(axis).astype(float))) - step
        out[axis] = float(abs(moved[off] / moved[on]))
    return out


def places(readouts: pd.DataFrame) -> pd.DataFrame:
    """Map coordinates of the plain model, of every steered run, and of a model without any preference."""
    rows = []
    for (steered, alpha), run in readouts[readouts.method != "random"].groupby(
        ["steered", "alpha"], sort=True
    ):
        rows.append({"steered": steered, "alpha": alpha, **place(run)})
    x, y = no_preference()
    neutral = {"x": x, "x_low": x, "x_high": x, "y": y, "y_low": y, "y_high": y}
    return pd.DataFrame([*rows, {"steered": "neutral", "alpha": 0.0, **neutral}])


def movements(readouts: pd.DataFrame) -> pd.DataFrame:
    """Where steering of X and of Y moves the plain model on the map, at every alpha.

    Returns:
        steered, alpha, angle, low, high (degrees: 0 along the steered coordinate as intended, 90 where the other one
        alone moves, to the pole of the same sign, -90 to the opposite pole, 180 backward; the interval lies around the
        angle and may reach beyond 180), ratio, ratio_low, ratio_high (equation 5 from coordinates: `min(1, |other| /
        |steered|)`) and defined (whether the interval of the steered coordinate's change excludes 0). Intervals: 95%,
        bootstrap paired by scenario.
    """
    plain, rows = readouts[readouts.method == "plain"], []
    own = readouts[~readouts.method.isin(("plain", "random")) & readouts.steered.isin(("X", "Y"))]
    for (steered, alpha), run in own.groupby(["steered", "alpha"], sort=True):
        moved = np.sign(alpha) * displacements(plain, run).T
        along, across = moved if steered == "X" else moved[::-1]
        angle, ratio = np.degrees(np.arctan2(across, along)), np.minimum(1, np.abs(across / along))
        turned = angle[0] + (angle - angle[0] + 180) % 360 - 180
        turn, er = Estimate.of(turned[0], turned[1:]), Estimate.of(ratio[0], ratio[1:])
        defined = Estimate.of(along[0], along[1:]).excludes_zero
        rows.append(
            (steered, alpha, turn.value, turn.low, turn.high, er.value, er.low, er.high, defined)
        )
    names = [
        "steered",
        "alpha",
        "angle",
        "low",
        "high",
        "ratio",
        "ratio_low",
        "ratio_high",
        "defined",
    ]
    return pd.DataFrame(rows, columns=names)


def all_distances(located: pd.DataFrame) -> pd.DataFrame:
    """Distance of every place to every country (map units), with the country's rank."""
    return pd.concat(
        [
            distances(p.x, p.y).assign(steered=p.steered, alpha=p.alpha)
            for p in located.itertuples()
        ],
        ignore_index=True,
    )


def _placed(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the ten items. Raises InputError where one has none."""
    items = survey_items().index
    if missing := sorted(set(items) - set(table["item"])):
        raise InputError(f"the map needs all ten items; no scenario of {', '.join(missing)}")
    return table[table["item"].isin(items)]
