"""Positions, distances and movements of readouts on the Inglehart-Welzel cultural map.

x: survival (-) to self-expression (+). y: traditional (-) to secular-rational (+).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.errors import InputError
from interp_culture.stats import Estimate, bootstrap_weights, free_values, weighted_means

# `scores` is unused here but part of this module's public interface.
from interp_culture.survey.projection import answers, project, scores  # noqa: F401
from interp_culture.survey.wvs import countries, load_facts, survey_items

# The map coordinate, as a column number, that steering of an axis is meant to move.
COORDINATE_OF_AXIS = {"X": 0, "Y": 1}
ANGLE_COLUMNS = ["angle", "low", "high"]
RATIO_COLUMNS = ["ratio", "ratio_low", "ratio_high", "defined"]
CHECK_COLUMNS = ["iso3", "year", "x", "y", "map_x", "map_y", "map_year", "same_survey"]


def covers(items: set[str]) -> bool:
    """Whether these items have a position on the map, which needs all ten survey items."""
    return set(survey_items().index) <= items


def place(table: pd.DataFrame, seed: int = 42) -> dict[str, float]:
    """The map position of a readout, with 95% intervals from `place_draws`.

    An item's score is the mean over domains of the mean p_positive.

    Args:
        table: a table of `probe` (columns item, domain and p_positive are used).

    Returns:
        x, y, x_low, x_high, y_low, y_high (map units).

    Raises:
        InputError: if one of the ten items has no scenario.
    """
    items = survey_items().index
    table = _survey_rows(table)
    # Domains first, so that each has equal weight whatever its number of scenarios.
    domain_means = table.groupby(["item", "domain"]).p_positive.mean()
    item_scores = domain_means.groupby("item").mean()[items].to_numpy()
    position = project(answers(item_scores))
    low, high = np.percentile(place_draws(table, seed), [2.5, 97.5], axis=0)
    return {
        "x": position[0],
        "y": position[1],
        "x_low": low[0],
        "x_high": high[0],
        "y_low": low[1],
        "y_high": high[1],
    }


def place_draws(table: pd.DataFrame, seed: int = 42) -> Float[np.ndarray, "draw 2"]:
    """Bootstrap draws of `place`, over the scenarios of each item; the map fixes the ten items.

    As in `place`, the domains of an item have equal weight, whatever their numbers of scenarios.
    Two tables of the same scenarios in the same order get the same draws, so that differences
    between them are paired. All draws are NaN if an item has a single scenario, or if fewer than
    six scenarios vary freely.
    """
    table = _survey_rows(table)
    item_names = table["item"].to_numpy()
    values = table.p_positive.to_numpy()
    # Each item is its own stratum and cluster, so that only its scenarios are drawn.
    weights = bootstrap_weights(item_names, item_names, seed=seed) * _domain_weights(table)
    n = free_values(item_names)
    means = [
        weighted_means(weights, values, item_names == item, n) for item in survey_items().index
    ]
    return project(answers(np.stack(means, axis=-1)))


def _domain_weights(table: pd.DataFrame) -> Float[np.ndarray, " scenario"]:
    """Scenario weights that make an item's mean the mean of its domain means.

    The weight is `n_item / (n_domains n_cell)`, for an item with n_item scenarios in n_domains
    domains, n_cell of them in the scenario's own domain. It is 1 for domains of equal size.
    """
    domains = table.groupby("item").domain
    n_cell = table.groupby(["item", "domain"]).domain.transform("size")
    return (domains.transform("size") / (domains.transform("nunique") * n_cell)).to_numpy()


def no_preference() -> tuple[float, float]:
    """The map position (x, y) of a model without any preference: all ten scores are 0.5.

    >>> x, y = no_preference()
    >>> f"{x:+.2f} {y:+.2f}"
    '+0.19 +1.84'
    """
    x, y = project(answers(np.full(len(survey_items()), 0.5)))
    return float(x), float(y)


def displacements(
    before: pd.DataFrame, after: pd.DataFrame, seed: int = 42
) -> Float[np.ndarray, "draw 2"]:
    """The change of map position from one readout to another of the same scenarios.

    Returns:
        (x, y) in map units, after minus before: the observed change in the first row, then the
        bootstrap draws, paired by scenario.

    Raises:
        InputError: if the tables hold different scenarios.
    """
    if list(before.id) != list(after.id):
        raise InputError(
            "`before` and `after` hold different scenarios: read the same set for both"
        )
    start = place(before, seed)
    end = place(after, seed)
    observed = [end["x"] - start["x"], end["y"] - start["y"]]
    # One seed draws the same scenarios in both readouts, which pairs the draws.
    draws = place_draws(after, seed) - place_draws(before, seed)
    return np.vstack([observed, draws])


def distances(x: float, y: float) -> pd.DataFrame:
    """Euclidean distance from (x, y) to every country, nearest first.

    Returns:
        iso3, country, distance (map units), rank (1 = nearest).

    >>> distances(0.5, -0.2).head(2)
      iso3   country  distance  rank
    0  PRT  Portugal  0.178802     1
    1  POL    Poland  0.251006     2
    """
    table = countries().reset_index()
    table["distance"] = np.hypot(table.x - x, table.y - y)
    table = table.sort_values("distance", ignore_index=True)
    table["rank"] = table.index + 1
    return table[["iso3", "country", "distance", "rank"]]


def distance_to(iso3: str, points: Float[np.ndarray, "*draw 2"]) -> Float[np.ndarray, "*draw"]:
    """Euclidean distance (map units) of each point to one country's published coordinates."""
    country = countries().loc[iso3]
    return np.hypot(points[..., 0] - country.x, points[..., 1] - country.y)


def human_coupling() -> dict[str, float]:
    """How the two axes covary over countries; the human baseline of the entanglement ratio.

    Returns:
        r (Pearson); r_low, r_high (95% interval by Fisher's z, countries taken as independent);
        y_per_x, x_per_y (slopes: a country 1 higher on x is `y_per_x` higher on y).

    >>> coupling = human_coupling()
    >>> f"{coupling['r']:.2f} {coupling['y_per_x']:.2f} {coupling['x_per_y']:.2f}"
    '0.58 0.47 0.73'
    """
    # Imported here: scipy.stats takes half a second.
    from scipy.stats import linregress, pearsonr

    table = countries()
    r = pearsonr(table.x, table.y)
    interval = r.confidence_interval()
    # The slopes are not inverses of each other: their product is r squared.
    return {
        "r": float(r.statistic),
        "r_low": float(interval.low),
        "r_high": float(interval.high),
        "y_per_x": float(linregress(table.x, table.y).slope),
        "x_per_y": float(linregress(table.y, table.x).slope),
    }


def projection_check() -> pd.DataFrame:
    """Projected and published coordinates of the countries whose ten item means are shipped.

    Returns:
        iso3, year (of the means), x, y (projected), map_x, map_y (published), map_year and
        same_survey (whether the two years are at most one apart). India's published coordinates
        come from an older survey than its means, so they do not test the projection.
    """
    items = survey_items().index
    rows = []
    for iso3, facts in load_facts().means.groupby("iso3"):
        means = facts.set_index("item")["mean"]
        if not set(items) <= set(means.index):
            continue
        x, y = project(means[items].to_numpy())
        published = countries().loc[iso3]
        year = int(facts.year.max())
        # The field work of one survey can span two years.
        same_survey = abs(year - published.survey_year) <= 1
        rows.append(
            (iso3, year, x, y, published.x, published.y, published.survey_year, same_survey)
        )
    return pd.DataFrame(rows, columns=CHECK_COLUMNS)


def projection_accuracy() -> dict[str, float]:
    """How well projected coordinates agree with published ones, over countries of the same survey.

    Returns:
        n (countries), rms_x, rms_y (root mean square error, map units), r_x, r_y (correlations).
    """
    check = projection_check()
    table = check[check.same_survey]
    accuracy: dict[str, float] = {"n": float(len(table))}
    for axis in ("x", "y"):
        projected = table[axis]
        published = table[f"map_{axis}"]
        accuracy[f"rms_{axis}"] = float(np.sqrt(((projected - published) ** 2).mean()))
        accuracy[f"r_{axis}"] = float(np.corrcoef(projected, published)[0, 1])
    return accuracy


def projection_coupling() -> dict[str, float]:
    """The coupling that the map's own arithmetic creates.

    Every item has a weight on both coordinates, so moving only the five X items also moves y.

    Returns:
        axis -> |change of the other coordinate| / |change of the axis' own coordinate|, when the
        items of this axis all move from the negative to the positive pole and the others stay.
    """
    items = survey_items().index
    # Any start gives the same shift: `answers` and `project` are linear but for a constant.
    start = project(answers(np.zeros(len(items))))
    coupling = {}
    for axis, target in COORDINATE_OF_AXIS.items():
        shift = project(answers(items.str.startswith(axis).astype(float))) - start
        coupling[axis] = float(abs(shift[1 - target] / shift[target]))
    return coupling


def places(readouts: pd.DataFrame) -> pd.DataFrame:
    """Map positions of the plain model, of every steered run, and of a model without preference.

    Args:
        readouts: tables of `probe`, with the columns steered, alpha and method. Runs with random
            vectors are left out.

    Returns:
        steered, alpha, and the columns of `place`. The row without preference has
        steered = "neutral" and an interval of width 0.
    """
    runs = readouts[readouts.method != "random"].groupby(["steered", "alpha"], sort=True)
    rows = [{"steered": steered, "alpha": alpha, **place(run)} for (steered, alpha), run in runs]
    x, y = no_preference()
    neutral = {"x": x, "x_low": x, "x_high": x, "y": y, "y_low": y, "y_high": y}
    return pd.DataFrame([*rows, {"steered": "neutral", "alpha": 0.0, **neutral}])


def movements(readouts: pd.DataFrame) -> pd.DataFrame:
    """The direction in which steering of X and of Y moves the plain model on the map, per alpha.

    Args:
        readouts: as for `places`; the row group with method "plain" is the start.

    Returns:
        One row per steered axis and alpha: steered, alpha; angle, low, high (degrees: 0 if only
        the steered coordinate moves, in the intended direction; 90 if only the other one moves,
        to the pole of the same sign; -90 if it moves to the opposite pole; 180 if the steered one
        moves backward; the interval is around the angle and may go beyond 180); ratio, ratio_low,
        ratio_high (equation 5 on coordinates: `min(1, |other| / |steered|)`); defined (whether
        the interval of the steered coordinate's change excludes 0). Intervals: 95%, by a
        bootstrap paired by scenario.
    """
    plain = readouts[readouts.method == "plain"]
    with_vectors = ~readouts.method.isin(("plain", "random"))
    steered_runs = readouts[with_vectors & readouts.steered.isin(COORDINATE_OF_AXIS)]
    rows = []
    for (steered, alpha), run in steered_runs.groupby(["steered", "alpha"], sort=True):
        target = COORDINATE_OF_AXIS[steered]
        # Turned round for a negative alpha: 0 degrees is the intended direction for both signs.
        shifts = np.sign(alpha) * displacements(plain, run)
        rows.append((steered, alpha, *_movement(shifts[:, target], shifts[:, 1 - target])))
    return pd.DataFrame(rows, columns=["steered", "alpha", *ANGLE_COLUMNS, *RATIO_COLUMNS])


def _movement(
    target: Float[np.ndarray, " draw"], other: Float[np.ndarray, " draw"]
) -> tuple[float, float, float, float, float, float, bool]:
    """Angle and ratio of a shift, each with its interval, and whether the ratio is defined.

    Both arrays hold the observed change first, then the bootstrap draws.
    """
    angles = np.degrees(np.arctan2(other, target))
    # Draws are turned to within 180 degrees of the observed angle, since angles are cyclic.
    angles = angles[0] + (angles - angles[0] + 180) % 360 - 180
    ratios = np.minimum(1, np.abs(other / target))
    angle = Estimate.of(angles[0], angles[1:])
    ratio = Estimate.of(ratios[0], ratios[1:])
    defined = Estimate.of(target[0], target[1:]).excludes_zero
    return angle.value, angle.low, angle.high, ratio.value, ratio.low, ratio.high, defined


def all_distances(located: pd.DataFrame) -> pd.DataFrame:
    """Distance (map units) of every row of `places` to every country, with the country's rank."""
    tables = []
    for row in located.itertuples():
        to_countries = distances(row.x, row.y)
        tables.append(to_countries.assign(steered=row.steered, alpha=row.alpha))
    return pd.concat(tables, ignore_index=True)


def _survey_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the ten items. Raises InputError if an item has none."""
    items = survey_items().index
    if missing := sorted(set(items) - set(table["item"])):
        raise InputError(f"the map needs all ten items; no scenario of {', '.join(missing)}")
    return table[table["item"].isin(items)]
