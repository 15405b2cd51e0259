"""A Markdown page on the quality of a set of scenarios."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from interp_culture.coupling.purity import item_purity, least_pure
from interp_culture.scenarios.measures import keyword_shares, nearest_pairs, tone_by_item
from interp_culture.scenarios.quality import Check, check_quality
from interp_culture.scenarios.scenario import ScenarioSet


def quality_page(
    scenarios: ScenarioSet,
    purity: pd.DataFrame | None = None,
    about: str = "",
    checks: Sequence[Check] | None = None,
) -> str:
    """Counts, checks with their ranges, measures by item, and the ten most similar pairs.

    Args:
        purity: the table of `axis_purity`, for a section on it.
        about: the model and layer of `purity`.
        checks: the result of `check_quality`; computed if not given.

    >>> print(quality_page(ic.load_scenarios("tone")))
    # Quality of the set 'tone'
    ...
    All ... checks are within their ranges.
    ...
    """
    if checks is None:
        checks = check_quality(scenarios)
    lines = [
        f"# Quality of the set {scenarios.catalogue.name!r}",
        "",
        f"{len(scenarios)} scenarios, digest `{scenarios.digest}`. "
        "Written by `interp-culture validate`.",
        "",
        _verdict(checks),
        "",
        *_counts(scenarios),
        *_checks(checks),
        *_by_item(scenarios),
        *_pairs(scenarios),
    ]
    if purity is not None:
        lines += _purity(purity, about)
    return "\n".join(lines)


def _verdict(checks: Sequence[Check]) -> str:
    outside = [check.name for check in checks if not check.ok]
    if not outside:
        return f"All {len(checks)} checks are within their ranges."
    return f"{len(outside)} of {len(checks)} checks are out of range: {', '.join(outside)}."


def _counts(scenarios: ScenarioSet) -> list[str]:
    counts = scenarios.frame().pivot_table(
        index="item", columns="domain", values="id", aggfunc="count", fill_value=0
    )
    rows = []
    for item, row in counts.iterrows():
        rows.append([item, scenarios.catalogue.items[str(item)].label, *row])
    return [
        "Scenarios by item and domain:",
        "",
        *_table(["item", "asks", *counts.columns], rows),
    ]


def _checks(checks: Sequence[Check]) -> list[str]:
    rows = []
    for check in checks:
        bounds = f"{check.low:.3g} to {check.high:.3g}"
        within = "yes" if check.ok else "no"
        rows.append([check.name, f"{check.value:.3g}", bounds, within, check.meaning])
    return [
        "Checks of the whole set:",
        "",
        *_table(["check", "value", "range", "within", "meaning"], rows),
    ]


def _by_item(scenarios: ScenarioSet) -> list[str]:
    tone = tone_by_item(scenarios).set_index("item").difference
    rows = [
        [row.item, f"{row.own:.0%}", f"{row.other_axes:.0%}", f"{tone[row.item]:+.3f}"]
        for row in keyword_shares(scenarios).itertuples()
    ]
    columns = [
        "item",
        "texts with a keyword of this item",
        "texts with a keyword of another axis",
        "tone, positive minus negative (VADER, -2 to 2)",
    ]
    return ["Keywords and tone by item:", "", *_table(columns, rows)]


def _pairs(scenarios: ScenarioSet) -> list[str]:
    rows = [
        [pair.first, pair.second, f"{pair.similarity:.3f}"]
        for pair in nearest_pairs(scenarios).itertuples()
    ]
    return [
        "The ten most similar pairs of situations (TF-IDF cosine):",
        "",
        *_table(["first", "second", "similarity"], rows),
    ]


def _purity(purity: pd.DataFrame, about: str) -> list[str]:
    items = item_purity(purity)
    axes = list(dict.fromkeys(items.toward))
    rows = []
    for (item, axis), group in items.groupby(["item", "axis"], sort=True):
        by_axis = group.set_index("toward").loc[axes]
        cosines = [f"{r.cosine:+.3f} [{r.low:+.3f}, {r.high:+.3f}]" for r in by_axis.itertuples()]
        rows.append([item, axis, *cosines])
    worst = [[w.id, w.toward, f"{w.cosine:+.3f}"] for w in least_pure(purity).itertuples()]
    return [
        "## Axis purity",
        "",
        "An item whose texts are about one axis only has a positive cosine toward that axis, and a "
        "cosine near 0 toward the others.",
        "",
        "The table gives the mean cosine between an item's activation differences h(x+) - h(x-) "
        f"and the mean difference of each axis ({about}), with 95% bootstrap intervals over "
        "scenarios. For the direction of an item's own axis, the item itself is left out.",
        "",
        *_table(["item", "axis", *(f"toward {a}" for a in axes)], rows),
        "The ten scenarios with the largest cosine toward another axis, in either direction:",
        "",
        *_table(["scenario", "toward", "cosine"], worst),
    ]


def _table(columns: list[str], rows: Iterable[Iterable[object]]) -> list[str]:
    cells = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(map(str, row)) + " |" for row in cells] + [""]
