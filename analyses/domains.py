"""Do vectors carry a value or a setting? Domain-specific vectors and what they move elsewhere (paper, figure 5).

python -m analyses.domains --preset quick
"""

from __future__ import annotations

from itertools import product

import pandas as pd

import interp_culture as ic
from interp_culture.cli.analysis import run_alone
from interp_culture.coupling import reliability as agreement
from interp_culture.coupling.null import beside_random, random_reach
from interp_culture.reporting import figures as plots
from interp_culture.study.analysis import About, Analysis, Section, Tables, interval_text

UNIT = "change of mean P+ per unit alpha"
Vectors = dict[tuple[str, str], ic.SteeringVectors]


def measure(study: ic.Study) -> Tables:
    """The shifts of every axis in every domain, under the vectors of every domain and of all.

    transfer: source (the training domain, or all: the study's own runs), steered, domain (held out), axis (of one
    domain's vectors their own alone), effect (change of mean P+ per unit of alpha, from both signs), low, high, n, and
    null_low, null_high, sure of `beside_random`. cosines: axis, a, b (domains), cosine.
    """
    vectors = domain_vectors(study)
    readouts = study.once(
        "domains.readouts", lambda: pd.concat([_read(study, vectors, a) for a in study.layers])
    )
    of_all = study.steered(study.lead).assign(source="all")
    slopes = pd.concat(
        [ic.coupling.slopes(table, ["source", "steered"]) for table in (readouts, of_all)]
    )
    found = ic.coupling.effects(slopes, ["source", "steered", "domain"], "slope")
    reach = random_reach(ic.coupling.shifts(of_all), ["steered", "domain", "axis"], per_alpha=True)
    return {"transfer": beside_random(found, reach), "cosines": cosines(study, vectors)}


def domain_vectors(study: ic.Study) -> Vectors:
    """By (training domain or "all", axis), all with the norm of the vector of all domains: alpha is the same step."""
    whole = study.vectors()
    found = {("all", axis): v for axis, v in whole.items()}
    for domain, axis in product(study.train.domains, whole):
        ids = [s.id for s in study.train.filter(axis=axis, domain=domain)]
        direction = ic.steering.direction(study.activations.select(ids), study.config.method)
        found[domain, axis] = ic.steering.norm_matched(whole[axis], direction)
    return found


def _read(study: ic.Study, vectors: Vectors, axis: str) -> pd.DataFrame:
    """The held-out scenarios of an axis under its vectors of every domain."""
    alpha = max(study.config.alphas)
    runs: dict[tuple, list[ic.Edit]] = {("", "", "plain", 0.0): []}
    for domain, signed in product(study.train.domains, (alpha, -alpha)):
        runs[domain, axis, "steered", signed] = ic.steer(
            vectors[domain, axis], study.layers[axis], signed
        )
    return study.read(runs, ["source", "steered", "method", "alpha"], study.test.filter(axis=axis))


def cosines(study: ic.Study, vectors: Vectors) -> pd.DataFrame:
    """Of the vectors of two domains, mean over the intervention's layers."""
    own = {
        axis: {domain: vectors[domain, axis] for domain in study.train.domains}
        for axis in study.layers
    }
    return pd.concat(
        [agreement.item_cosines(v, study.layers).assign(axis=axis) for axis, v in own.items()]
    )


def sections(tables: Tables, about: About) -> list[Section]:
    transfer = tables["transfer"].assign(panel=tables["transfer"].steered + " steered")
    own, of_all = transfer[transfer.steered == transfer.axis], transfer[transfer.source == "all"]
    own = own.assign(label=own.source + " → " + own.domain, kind="vectors of " + own.source)
    of_all = of_all.assign(
        label=of_all.domain + ", " + of_all.axis + " read", kind=of_all.axis + " read"
    )
    how = (
        f"Slope from alpha ±{max(about['config']['alphas']):g} at the intervention's layers, on {about['n_test']} "
        f"held-out scenarios; {about['config']['method']} vectors, all of one norm. Bars: 95% bootstrap by item; grey: "
        f"95% of random vectors, on {about['n_null']} scenarios. Hollow: holds 0, or these reach it or were not read."
    )
    return [
        Section(
            _transfer_title(own),
            [_spread_text(own), _cosine_text(tables["cosines"])],
            plots.forest_figure(own, UNIT),
            f"Effect on the steered axis itself, of vectors of one domain (or all) in each domain. {how}",
        ),
        Section(
            _cross_title(of_all[of_all.steered != of_all.axis]),
            [
                "A domain whose cross-effect differs from the others' says that the coupling is of texts, not of values."
            ],
            plots.forest_figure(of_all.sort_values("label"), UNIT),
            f"Effect on either axis, vectors of all domains. {how}",
        ),
    ]


def _transfer_title(own: pd.DataFrame) -> str:
    by_domain = own[own.source != "all"]
    moved = by_domain[by_domain.low > 0]
    beyond = ", ".join(
        f"{axis} {part.sure.sum()} of {len(part)}" for axis, part in moved.groupby("axis")
    )
    title = f"{len(moved)} of {len(by_domain)} domain-to-domain effects are above 0"
    return f"{title}; of these beyond random vectors: {beyond}" if beyond else title


def _spread_text(own: pd.DataFrame) -> str:
    same, whole = own.source == own.domain, own.source == "all"
    within, across, of_all = (
        f"{own.effect[mask].mean():+.4f}" for mask in (same, ~(same | whole), whole)
    )
    return f"Mean per unit alpha: {within} within the training domain, {across} in others, {of_all} of all vectors."


def _cosine_text(cosines: pd.DataFrame) -> str:
    apart = cosines[cosines.a < cosines.b]
    parts = [
        f"{axis} {part.cosine.min():+.2f} to {part.cosine.max():+.2f}"
        for axis, part in apart.groupby("axis")
    ]
    return f"Cosines between the vectors of two domains: {', '.join(parts)}."


def _cross_title(cross: pd.DataFrame) -> str:
    parts = [
        f"{r.axis} under {r.steered} in {r.domain} by {interval_text(r)}"
        for r in cross[cross.sure].itertuples()
    ]
    if not parts:
        return "In no domain does steering one axis move the other beyond its interval and random vectors"
    return f"The other axis moves, beyond random vectors, in {len(parts)} of {len(cross)} cases: {'; '.join(parts)}"


ANALYSIS = Analysis(
    "domains", "Do vectors carry a value, or the setting it was told in?", measure, sections
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
