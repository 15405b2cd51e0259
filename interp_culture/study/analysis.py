"""One question put to a study: what is measured, and what the report says of it.

Analyses stand outside this package, each in a file of its own, and are found by the entry points of the group
`interp_culture.analyses`: another package brings its own questions by naming them there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from interp_culture.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

GROUP = "interp_culture.analyses"
ALL = "all"

Tables = Mapping[str, "pd.DataFrame"]
About = Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """A figure under the finding that it shows.

    Attributes:
        title: the finding, in words.
        text: what else the numbers say, and their limits.
        caption: how the figure was computed.
    """

    title: str
    text: Sequence[str]
    figure: go.Figure
    caption: str


@dataclass(frozen=True)
class Analysis:
    """One question.

    Attributes:
        name: of its file, its tables (`name.table.parquet`) and its page.
        question: in one sentence.
        measure: `Study` -> tidy tables by name. What takes long goes through `study.once`, so that it is resumable.
        sections: those tables and `study.about` -> what the report shows. Nothing is computed from a model here.
        on_map: it asks about the cultural map; `all` leaves it out where the items are not the map's.
    """

    name: str
    question: str
    measure: Callable[[Any], Tables]
    sections: Callable[[Tables, About], list[Section]]
    on_map: bool = False


def interval_text(row: Any, value: str = "effect", digits: int = 3) -> str:
    """`+0.012 [+0.003, +0.020]` of a row with that value, low and high; in words where there is no interval."""
    from interp_culture.stats import interval_words

    return interval_words(getattr(row, value), row.low, row.high, digits)


def installed() -> dict[str, Analysis]:
    """All analyses that installed packages offer, by name."""
    return {point.name: point.load() for point in entry_points(group=GROUP)}


def chosen(names: Sequence[str]) -> list[Analysis]:
    """The analyses of these names, `all` for every one. Raises InputError for a name that no package offers."""
    known = installed()
    if ALL in names:
        return list(known.values())
    if strangers := [name for name in names if name not in known]:
        raise InputError(f"unknown analysis {strangers[0]!r}; known: {ALL}, {', '.join(known)}")
    return [known[name] for name in names]
