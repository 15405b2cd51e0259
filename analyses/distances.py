"""How far is the model from the country that its persona comes from?

Paper, figure 7. Run alone: python -m analyses.distances --preset quick
"""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pandas as pd
from jaxtyping import Float

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.reporting import figures
from interp_culture.stats import Estimate
from interp_culture.study import (
    About,
    Analysis,
    Column,
    Section,
    Tables,
    TableSchema,
)
from interp_culture.survey import TARGETS, countries, culture_map

COLUMNS = ["paradigm", "kind", "iso3", "country", "effect", "low", "high"]
PLAIN = "the plain model"
NEUTRAL = "no preference"
OTHERS = "other countries' personas"

# By (paradigm, kind of persona, its country): the observed map position first, then the bootstrap
# draws of it where there are any.
Positions = dict[tuple[str, str, str], Float[np.ndarray, "draw 2"]]

POSITION = (
    Column("paradigm", "direct or scenarios"),
    Column("kind", "none, basic, advanced, or no preference (all scores 0.5)"),
    Column("iso3", "code of the persona's country; without a persona each target country"),
    Column("country", "its name"),
)
ENDS = (
    Column("low", "lower end of the 95% interval; NaN for direct answers", "map units"),
    Column("high", "upper end of the 95% interval", "map units"),
)
SCHEMAS = (
    TableSchema(
        "distances",
        "a position and country",
        "survey.culture_map.distance_to",
        (
            *POSITION,
            Column("effect", "Euclidean distance; noise makes it larger", "map units"),
            *ENDS,
            Column("rank", "of the country by nearness; 1 is the nearest"),
        ),
        on_map=True,
    ),
    TableSchema(
        "gains",
        "a persona and what it is compared with",
        "survey.culture_map.distance_to",
        (
            *POSITION,
            Column(
                "effect",
                "distance under against minus distance under the persona, of the same draws: "
                "above 0 the persona is nearer",
                "map units",
            ),
            *ENDS,
            Column("against", "the plain model, no preference, or other countries' personas"),
        ),
        on_map=True,
    ),
)


def measure(study: ic.Study) -> Tables:
    """Distances and gains from the tables of the analysis `paradigms`; no model runs here.

    Returns:
        the tables of `SCHEMAS`.
    """
    positions = map_positions(study.measure(ic.study.find_analysis("paradigms")))
    return {"distances": distances(positions), "gains": gains(positions)}


def map_positions(paradigms: Tables) -> Positions:
    """Every position of `paradigms`, and that of a model without preferences."""
    positions: Positions = {}
    for row in paradigms["places"].itertuples():
        positions[row.paradigm, row.kind, row.iso3] = np.array([[row.x, row.y]])
    for (kind, iso3), readouts in paradigms["readouts"].groupby(["kind", "iso3"]):
        key = ("scenarios", kind, iso3)
        draws = culture_map.place_draws(readouts)
        positions[key] = np.concatenate([positions[key], draws])
    neutral = np.array([culture_map.no_preference()])
    # The names are collected first, since the loop adds keys to `positions`.
    for paradigm in dict.fromkeys(paradigm for paradigm, *_ in positions):
        positions[paradigm, NEUTRAL, ""] = neutral
    return positions


def distances(positions: Positions) -> pd.DataFrame:
    with_persona = list(dict.fromkeys(iso3 for *_, iso3 in positions if iso3))
    rows = []
    for (paradigm, kind, country), points in positions.items():
        ranks = culture_map.distances(*points[0]).set_index("iso3")["rank"]
        for iso3 in [country] if country else with_persona:
            interval = estimate(culture_map.distance_to(iso3, points))
            rows.append((paradigm, kind, iso3, TARGETS[iso3], *interval, ranks[iso3]))
    return pd.DataFrame(rows, columns=[*COLUMNS, "rank"])


def gains(positions: Positions) -> pd.DataFrame:
    rows = []
    for paradigm, kind, country in positions:
        if not country:
            continue
        away = {
            key: culture_map.distance_to(country, points)
            for key, points in positions.items()
            if key[0] == paradigm
        }
        other_countries = [
            iso3 for *group, iso3 in positions if group == [paradigm, kind] and iso3 != country
        ]
        # A persona of any country may move the model nearer to all of them: hence OTHERS.
        references = {
            PLAIN: away[paradigm, "none", ""],
            NEUTRAL: away[paradigm, NEUTRAL, ""],
            OTHERS: np.mean([away[paradigm, kind, iso3] for iso3 in other_countries], axis=0),
        }
        for against, reference in references.items():
            gain = estimate(reference - away[paradigm, kind, country])
            rows.append((paradigm, kind, country, TARGETS[country], *gain, against))
    return pd.DataFrame(rows, columns=[*COLUMNS, "against"])


def estimate(values: Float[np.ndarray, " draw"]) -> tuple[float, float, float]:
    """(value, low, high) of the observed value, which comes first, and its bootstrap draws."""
    return astuple(Estimate.of(values[0], values[1:]))


def sections(tables: Tables, about: About) -> list[Section]:
    away = tables["distances"]
    gained = tables["gains"]
    how = (
        f"{about['n_persona']} held-out scenarios. Bars: 95% bootstrap within items; direct answers"
        " have none."
    )
    names = {"effect": "distance (map units)", "kind": "persona"}
    nearer = {"effect": "nearer by (map units)", "kind": "persona", "against": "nearer than"}
    by_paradigm = gained.assign(kind=gained.paradigm + ", " + gained.kind)
    return [
        Section(
            count_text(gained, PLAIN),
            [distance_text(away), gain_text(gained, PLAIN), f"{count_text(gained, NEUTRAL)}."],
            figures.interval_figure(away, "country", colour="kind", facet="paradigm", names=names),
            f"Euclidean distance to the published coordinates of the country. {how} Table:"
            " distances.distances.",
        ),
        Section(
            count_text(gained, OTHERS),
            [
                "A gain that every persona brings shows no knowledge of the country.",
                gain_text(gained, OTHERS),
            ],
            figures.interval_figure(
                by_paradigm, "country", colour="kind", facet="against", names=nearer
            ),
            f"Distance under the panel's reference minus distance under the persona: above 0 the"
            f" persona is nearer to its country. {how} Table: distances.gains.",
        ),
    ]


def count_text(gained: pd.DataFrame, against: str) -> str:
    # Direct answers have no interval, so that only decisions can be counted.
    decisions = gained[(gained.against == against) & (gained.paradigm == "scenarios")]
    nearer = (decisions.low > 0).sum()
    farther = (decisions.high < 0).sum()
    who = f"{nearer} of {len(decisions)} personas bring decisions nearer to their country"
    if not nearer:
        who = "No persona is shown to bring decisions nearer to its country"
    return f"{who} than {against} ({farther} farther)"


def gain_text(gained: pd.DataFrame, against: str) -> str:
    compared = gained[gained.against == against]
    means = [
        f"{paradigm} {effects.mean():+.2f} ({(effects > 0).sum()} of {len(effects)} above 0)"
        for paradigm, effects in compared.groupby("paradigm").effect
    ]
    return f"Mean gain on {against}, in map units: {', '.join(means)}."


def distance_text(away: pd.DataFrame) -> str:
    means = [
        f"{' '.join(group)} {part.effect.mean():.2f}"
        for group, part in away.groupby(["paradigm", "kind"], sort=False)
    ]
    ranks = away[away.kind.isin(["basic", "advanced"])]["rank"]
    return (
        f"Mean distance in map units: {', '.join(means)}. With a persona, its country ranks"
        f" {ranks.min()} to {ranks.max()} by nearness among {len(countries())} countries."
    )


ANALYSIS = Analysis(
    "distances",
    "How far is the model from the country that its persona comes from?",
    measure,
    sections,
    on_map=True,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
