"""What was measured of a set of scenarios, as a Markdown page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from interp_culture.coupling.purity import item_purity, least_pure
from interp_culture.scenarios.quality import (
    Check,
    check_quality,
    keyword_shares,
    nearest_pairs,
    tone_by_item,
)
from interp_culture.scenarios.scenario import ScenarioSet


def quality_page(
    scenarios: ScenarioSet,
    purity: pd.DataFrame | None = None,
    about: str = "",
    checks: Sequence[Check] | None = None,
) -> str:
    """Counts, checks with their ranges, the ten nearest pairs; with `purity` (`axis_purity`) also that.

    `about` says how the purity was measured: model and layer. `checks` (`check_quality`) are measured where not given.
    """
    lines = [f"# Quality of the set {scenarios.catalogue.name!r}", ""]
    lines += [
        f"{len(scenarios)} scenarios, digest `{scenarios.digest}`. Written by `interp-culture validate`.",
        "",
    ]
    lines += (
        _counts(scenarios)
        + _checks(check_quality(scenarios) if checks is None else checks)
        + _by_item(scenarios)
        + _pairs(scenarios)
    )
    if purity is not None:
        lines += _purity(purity, about)
    return "\n".join(lines)


def _counts(scenarios: ScenarioSet) -> list[str]:
    counts = scenarios.frame().pivot_table(
        index="item", columns="domain", values="id", aggfunc="count", fill_value=0
    )
    labels = {item: scenarios.catalogue.items[item].label for item in counts.index}
    return _table(
        ["item", "asks", *counts.columns],
        [(i, label, *counts.loc[i]) for i, label in labels.items()],
    )


def _checks(checks: Sequence[Check]) -> list[str]:
    rows = [
        (
            c.name,
            f"{c.value:.3g}",
            f"{c.low:.3g} to {c.high:.3g}",
            "yes" if c.ok else "no",
            c.meaning,
        )
        for c in checks
    ]
    return _table(["check", "value", "range", "within", "meaning"], rows)


def _by_item(scenarios: ScenarioSet) -> list[str]:
    tone = tone_by_item(scenarios).set_index("item")
    rows = [
        (r.item, f"{r.own:.0%}", f"{r.other_axes:.0%}", f"{tone.difference[r.item]:+.3f}")
        for r in keyword_shares(scenarios).itertuples()
    ]
    head = [
        "item",
        "texts with a keyword of its own",
        "with one of another axis",
        "tone, positive minus negative",
    ]
    return ["By item:", "", *_table(head, rows)]


def _pairs(scenarios: ScenarioSet) -> list[str]:
    rows = [
        (p.first, p.second, f"{p.similarity:.3f}") for p in nearest_pairs(scenarios).itertuples()
    ]
    return [
        "The ten most similar pairs of situations:",
        "",
        *_table(["first", "second", "similarity"], rows),
    ]


def _purity(purity: pd.DataFrame, about: str) -> list[str]:
    items = item_purity(purity)
    axes = list(dict.fromkeys(items.toward))
    rows = []
    for (item, axis), group in items.groupby(["item", "axis"], sort=True):
        by = group.set_index("toward")
        rows.append(
            (
                item,
                axis,
                *(
                    f"{r.cosine:+.3f} [{r.low:+.3f}, {r.high:+.3f}]"
                    for r in by.loc[axes].itertuples()
                ),
            )
        )
    worst = [(w.id, w.toward, f"{w.cosine:+.3f}") for w in least_pure(purity).itertuples()]
    return [
        "## Axis purity",
        "",
        f"Mean cosine of an item's differences h(x+) - h(x-) with the mean difference of each axis ({about}); toward "
        "its own axis the item itself is left out. 95% bootstrap over scenarios. An item that speaks of its own axis "
        "alone is positive there and near 0 elsewhere.",
        "",
        *_table(["item", "axis", *(f"toward {a}" for a in axes)], rows),
        "The ten scenarios that lie furthest along another axis:",
        "",
        *_table(["scenario", "toward", "cosine"], worst),
    ]


def _table(head: list[str], rows: Iterable[Iterable[object]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(map(str, row)) + " |" for row in cells] + [""]
