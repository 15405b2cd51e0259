"""How far is the model from the country it is told to speak for? (paper, figure 7)

python -m analyses.distances --preset quick
"""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pandas as pd
from jaxtyping import Float

import interp_culture as ic
from analyses.paradigms import ANALYSIS as PARADIGMS
from interp_culture.cli.analysis import run_alone
from interp_culture.reporting import figures as plots
from interp_culture.stats import Estimate
from interp_culture.study.analysis import About, Analysis, Section, Tables
from interp_culture.survey import culture_map
from interp_culture.survey.wvs import TARGETS, countries

COLUMNS = ["paradigm", "kind", "iso3", "country", "effect", "low", "high"]
PLAIN, NEUTRAL, OTHERS = "the plain model", "no preference", "other countries' personas"

# By paradigm, kind and country of the persona: the observed place, then the bootstrap's draws where there are any.
Clouds = dict[tuple[str, str, str], Float[np.ndarray, "place 2"]]


def measure(study: ic.Study) -> Tables:
    """From the tables of the analysis `paradigms` alone: no model is run anew.

    Both tables: paradigm (direct, scenarios), kind (none, basic, advanced; no preference: all scores 0.5), iso3 and
    country (the persona's own; without one each that has one), effect, low, high (95% bootstrap; NaN of direct).
    distances: effect (Euclidean, map units; noise lifts its draws), rank (of the country by nearness, 1 = nearest).
    gains: against, effect (distance of `against` minus the persona's, of the same draws: positive = persona nearer).
    """
    found = clouds(study.measure(PARADIGMS))
    return {"distances": distances(found), "gains": gains(found)}


def clouds(told: Tables) -> Clouds:
    found = {
        (p.paradigm, p.kind, p.iso3): np.array([[p.x, p.y]]) for p in told["places"].itertuples()
    }
    for (kind, iso3), part in told["readouts"].groupby(["kind", "iso3"]):
        key = "scenarios", kind, iso3
        found[key] = np.concatenate([found[key], culture_map.place_draws(part)])
    return found | {
        (paradigm, NEUTRAL, ""): np.array([culture_map.no_preference()]) for paradigm, *_ in found
    }


def distances(found: Clouds) -> pd.DataFrame:
    rows, told = [], dict.fromkeys(iso3 for *_, iso3 in found if iso3)
    for (paradigm, kind, own), cloud in found.items():
        ranks = culture_map.distances(*cloud[0]).set_index("iso3")["rank"]
        for iso3 in [own] if own else told:
            away = culture_map.distance_to(iso3, cloud)
            rows.append((paradigm, kind, iso3, TARGETS[iso3], *_interval(away), ranks[iso3]))
    return pd.DataFrame(rows, columns=[*COLUMNS, "rank"])


def gains(found: Clouds) -> pd.DataFrame:
    rows = []
    for paradigm, kind, own in (key for key in found if key[2]):
        strangers = [iso3 for *of, iso3 in found if of == [paradigm, kind] and iso3 != own]
        away = {
            key: culture_map.distance_to(own, cloud)
            for key, cloud in found.items()
            if key[0] == paradigm
        }
        others = np.mean([away[paradigm, kind, iso3] for iso3 in strangers], axis=0)
        against = {
            PLAIN: away[paradigm, "none", ""],
            NEUTRAL: away[paradigm, NEUTRAL, ""],
            OTHERS: others,
        }
        for name, theirs in against.items():
            rows.append(
                (
                    paradigm,
                    kind,
                    own,
                    TARGETS[own],
                    *_interval(theirs - away[paradigm, kind, own]),
                    name,
                )
            )
    return pd.DataFrame(rows, columns=[*COLUMNS, "against"])


def _interval(values: Float[np.ndarray, " place"]) -> tuple[float, float, float]:
    return astuple(Estimate.of(values[0], values[1:]))


def sections(tables: Tables, about: About) -> list[Section]:
    away, gained = tables["distances"], tables["gains"]
    names = {"effect": "distance (map units)", "kind": "persona", "against": "nearer than"}
    how = f"{about['n_told']} held-out scenarios. Bars: 95% bootstrap within items; direct answers have none."
    nearer = names | {"effect": "nearer by (map units)"}
    both = gained.assign(kind=gained.paradigm + ", " + gained.kind)
    return [
        Section(
            _count_text(gained, PLAIN),
            [_distance_text(away), _gain_text(gained, PLAIN), f"{_count_text(gained, NEUTRAL)}."],
            plots.interval_figure(away, "country", colour="kind", facet="paradigm", names=names),
            f"Euclidean distance to the published coordinates of the country. {how}",
        ),
        Section(
            _count_text(gained, OTHERS),
            [
                "A gain that any persona brings shows no knowledge of the country.",
                _gain_text(gained, OTHERS),
            ],
            plots.interval_figure(both, "country", colour="kind", facet="against", names=nearer),
            f"Distance of what a panel names, minus that of the persona: above 0 the persona is nearer. {how}",
        ),
    ]


def _count_text(gained: pd.DataFrame, against: str) -> str:
    own = gained[(gained.against == against) & (gained.paradigm == "scenarios")]
    nearer, farther = (own.low > 0).sum(), (own.high < 0).sum()
    counted = f"{nearer} of {len(own)} personas bring" if nearer else "No persona is shown to bring"
    return f"{counted} decisions nearer to {'their' if nearer else 'its'} country than {against} ({farther} farther)"


def _gain_text(gained: pd.DataFrame, against: str) -> str:
    effects = gained[gained.against == against].groupby("paradigm").effect
    told = [
        f"{paradigm} {own.mean():+.2f} ({(own > 0).sum()} of {len(own)} above 0)"
        for paradigm, own in effects
    ]
    return f"Mean gain on {against}, in map units: {', '.join(told)}."


def _distance_text(away: pd.DataFrame) -> str:
    told = away[away.kind.isin(["basic", "advanced"])]
    means = [
        f"{' '.join(k)} {part.effect.mean():.2f}"
        for k, part in away.groupby(["paradigm", "kind"], sort=False)
    ]
    ranks = f"{told['rank'].min()} to {told['rank'].max()} among {len(countries())} countries by nearness"
    return (
        f"Mean distance in map units: {', '.join(means)}. With a persona its country ranks {ranks}."
    )


ANALYSIS = Analysis(
    "distances",
    "How far is it from the country that it speaks for?",
    measure,
    sections,
    on_map=True,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
