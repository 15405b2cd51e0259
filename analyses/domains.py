"""Do vectors carry a value or a setting? Vectors of one domain and what they move in the others.

Paper, figure 5. Run alone: python -m analyses.domains --preset quick
"""

from __future__ import annotations

from itertools import product

import pandas as pd

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.coupling import beside_random, item_cosines, random_reach
from interp_culture.reporting import figures
from interp_culture.study import (
    About,
    Analysis,
    Column,
    Section,
    Tables,
    TableSchema,
    columns,
    interval_text,
)

UNIT = "change of mean P+ per unit alpha"
RUN = ["source", "steered", "method", "alpha"]
ALL = "all"  # vectors of the training scenarios of every domain
Vectors = dict[tuple[str, str], ic.SteeringVectors]

SCHEMAS = (
    TableSchema(
        "transfer",
        "a source, steered axis, domain and axis read (of one domain's vectors, the steered one)",
        "coupling.effects",
        (
            Column("source", "domain of the training texts, or all (the study's own runs)"),
            columns.STEERED,
            Column("domain", "domain of the held-out scenarios"),
            *columns.effect("mean change of P+, from both signs", columns.PER_ALPHA),
            *columns.BESIDE_RANDOM,
        ),
    ),
    TableSchema(
        "cosines",
        "an axis and two domains",
        "coupling.item_cosines",
        (
            Column("axis", "the axis of the vectors"),
            *columns.cosine("a domain", "another, or the same"),
        ),
    ),
)


def measure(study: ic.Study) -> Tables:
    """Every axis in every domain, steered with the vectors of each domain and of all domains.

    Returns:
        the tables of `SCHEMAS`.
    """
    vectors = domain_vectors(study)
    by_domain = study.once(
        "domains.readouts",
        lambda: pd.concat([axis_readouts(study, vectors, axis) for axis in study.layers]),
    )
    of_all = study.steered(study.primary_readout).assign(source=ALL)
    slopes = pd.concat(
        [ic.coupling.slopes(table, ["source", "steered"]) for table in (by_domain, of_all)]
    )
    effects = ic.coupling.effects(slopes, ["source", "steered", "domain"], "slope")
    shifts = ic.coupling.shifts(of_all)
    # One band serves the vectors of all domains, since all have the norm of the random ones.
    reach = random_reach(shifts, ["steered", "domain", "axis"], per_alpha=True)
    return {"transfer": beside_random(effects, reach), "cosines": cosines(study, vectors)}


def domain_vectors(study: ic.Study) -> Vectors:
    """Vectors by (training domain or "all", axis), all with the norm of those of all domains.

    One norm makes alpha the same step for each of them.
    """
    whole = study.vectors()
    vectors = {(ALL, axis): v for axis, v in whole.items()}
    for domain, axis in product(study.train.domains, whole):
        direction = study.directions.of(study.train.filter(axis=axis, domain=domain))
        vectors[domain, axis] = ic.steering.norm_matched(whole[axis], direction)
    return vectors


def axis_readouts(study: ic.Study, vectors: Vectors, axis: str) -> pd.DataFrame:
    """The held-out scenarios of an axis, steered with its vectors of every domain."""
    alpha = max(study.config.alphas)
    runs: dict[tuple, list[ic.Edit]] = {("", "", "plain", 0.0): []}
    for domain, signed in product(study.train.domains, (alpha, -alpha)):
        edits = ic.steer(vectors[domain, axis], study.layers[axis], signed)
        runs[domain, axis, "steered", signed] = edits
    return study.read(runs, RUN, study.test.filter(axis=axis))


def cosines(study: ic.Study, vectors: Vectors) -> pd.DataFrame:
    """Cosines between the vectors of two domains, mean over the intervention's layers."""
    tables = []
    for axis in study.layers:
        by_domain = {domain: vectors[domain, axis] for domain in study.train.domains}
        tables.append(item_cosines(by_domain, study.layers).assign(axis=axis))
    return pd.concat(tables)


def sections(tables: Tables, about: About) -> list[Section]:
    transfer = tables["transfer"].assign(panel=tables["transfer"].steered + " steered")
    target = transfer[transfer.steered == transfer.axis]
    target = target.assign(
        label=target.source + " → " + target.domain, kind="vectors of " + target.source
    )
    of_all = transfer[transfer.source == ALL]
    of_all = of_all.assign(
        label=of_all.domain + ", " + of_all.axis + " read", kind=of_all.axis + " read"
    )
    caption = how(about)
    return [
        Section(
            transfer_title(target),
            [spread_text(target), cosine_text(tables["cosines"])],
            figures.forest_figure(target, UNIT),
            "Effect on the steered axis, of vectors of one domain (or all) in each domain."
            f" {caption}",
        ),
        Section(
            cross_title(of_all[of_all.steered != of_all.axis]),
            [
                "A cross-effect in one domain alone would mean that the texts of this domain are"
                " coupled, not the values."
            ],
            figures.forest_figure(of_all.sort_values("label"), UNIT),
            f"Effect on either axis, of vectors of all domains. {caption}",
        ),
    ]


def how(about: About) -> str:
    top = max(about["config"]["alphas"])
    return (
        f"Slope between alpha {-top:g} and {top:g} at the intervention's layers, on"
        f" {about['n_test']} held-out scenarios; vectors: {about['direction']['name']}, all of one"
        " norm. Bars: 95% bootstrap by item. Grey: 95% band of random vectors, on"
        f" {about['n_null']} scenarios."
        " Hollow: the interval contains 0, or the effect is inside the band, or there is no band."
        " Table: domains.transfer."
    )


def transfer_title(target: pd.DataFrame) -> str:
    by_domain = target[target.source != ALL]
    above = by_domain[by_domain.low > 0]
    title = (
        f"Vectors of one domain move their axis as intended in {len(above)} of {len(by_domain)}"
        " domain-to-domain cases"
    )
    beyond = ", ".join(
        f"{axis} {part.sure.sum()} of {len(part)}" for axis, part in above.groupby("axis")
    )
    return f"{title}; of these, beyond random vectors: {beyond}" if beyond else title


def spread_text(target: pd.DataFrame) -> str:
    within = target.source == target.domain
    whole = target.source == ALL
    means = {
        "within the training domain": target.effect[within].mean(),
        "in other domains": target.effect[~(within | whole)].mean(),
        "for vectors of all domains": target.effect[whole].mean(),
    }
    parts = [f"{mean:+.4f} {where}" for where, mean in means.items() if pd.notna(mean)]
    return f"Mean effect per unit alpha: {', '.join(parts)}."


def cosine_text(cosines: pd.DataFrame) -> str:
    # The table has both orders of each pair, and each domain with itself.
    pairs = cosines[cosines.a < cosines.b]
    spans = [
        f"{axis} {part.cosine.min():+.2f} to {part.cosine.max():+.2f}"
        for axis, part in pairs.groupby("axis")
    ]
    return f"Cosines between the vectors of two domains: {', '.join(spans) or 'none'}."


def cross_title(cross: pd.DataFrame) -> str:
    beyond = [
        f"{row.axis} under {row.steered} in {row.domain} by {interval_text(row)}"
        for row in cross[cross.sure].itertuples()
    ]
    if not beyond:
        return "In no domain does steering one axis move the other beyond 0 and random vectors"
    return (
        f"Steering moves the other axis beyond random vectors in {len(beyond)} of {len(cross)}"
        f" cases: {'; '.join(beyond)}"
    )


ANALYSIS = Analysis(
    "domains",
    "Do vectors carry a value, or the setting of its texts?",
    measure,
    sections,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
