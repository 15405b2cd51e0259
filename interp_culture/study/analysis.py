"""An analysis: one question to a study, what it measures, and what the report says about it.

Analyses live outside this package, one per file, and are found through the entry points of the
group `interp_culture.analyses`. Another package adds its own questions by naming them there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal

from interp_culture.errors import InputError
from interp_culture.study.columns import TableSchema

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

GROUP = "interp_culture.analyses"
ALL = "all"
# The part of a report that an analysis belongs to: the couplings explained, or further questions.
Part = Literal["why", "more"]

# Quoted, since pandas is imported for type checks only.
Tables = Mapping[str, "pd.DataFrame"]
About = Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """A finding with the figure that shows it.

    Attributes:
        title: the finding in one sentence, the answer first.
        text: further numbers, and what limits them.
        figure: the plotly figure.
        caption: how the figure was computed.
    """

    title: str
    text: Sequence[str]
    figure: go.Figure
    caption: str


def _no_readouts(study: Any) -> pd.DataFrame:
    raise InputError("this analysis shares no readouts; use its tables: study.measure(analysis)")


@dataclass(frozen=True)
class Analysis:
    """One question.

    Attributes:
        name: the name of its file, of its tables (`name.table.parquet`) and of its page.
        question: the question in one sentence.
        measure: `Study` -> tidy tables by name. Slow steps go through `study.once`, so that an
            interrupted study resumes after the last finished step.
        sections: these tables and `study.about` -> sections of the report. No model runs here.
        part: of the report: "why" explains the couplings, and comes before the tables; "more" is
            any further question.
        step: its place within the part; analyses of one step are in the order of their names.
        on_map: whether the question is about the cultural map. `all` then skips it for scenarios
            whose items are not those of the map.
        readouts: `Study` -> readouts that other analyses may use, with the run's keys as columns.
            Raises InputError by default.
        schemas: what the tables of `measure` hold, for readers and for tests.
    """

    name: str
    question: str
    measure: Callable[[Any], Tables]
    sections: Callable[[Tables, About], list[Section]]
    part: Part = "more"
    step: int = 0
    on_map: bool = False
    readouts: Callable[[Any], pd.DataFrame] = _no_readouts
    schemas: tuple[TableSchema, ...] = ()


def interval_text(row: Any, value: str = "effect", digits: int = 3) -> str:
    """A table row's value with its interval, or a remark that there is no interval.

    Args:
        row: a row of `DataFrame.itertuples` with the columns `value`, low and high.
        value: the column of the value.
        digits: digits after the point.

    >>> import pandas as pd
    >>> (row,) = pd.DataFrame({"effect": [0.0123], "low": [0.004], "high": [0.02]}).itertuples()
    >>> interval_text(row)
    '+0.012 [+0.004, +0.020]'
    """
    from interp_culture.stats import interval_words

    return interval_words(getattr(row, value), row.low, row.high, digits)


def installed() -> dict[str, Analysis]:
    """All analyses that installed packages offer, by name."""
    return {name: point.load() for name, point in _offered().items()}


def find_analysis(name: str) -> Analysis:
    """The analysis of this name, so that one analysis can use the tables or readouts of another.

    Raises:
        InputError: no installed package offers an analysis of this name.

    >>> find_analysis("axis_cosine").name
    'axis_cosine'
    """
    offered = _offered()
    if name not in offered:
        known = ", ".join([ALL, *offered])
        raise InputError(f"unknown analysis {name!r}; known: {known}")
    return offered[name].load()


def chosen(names: Sequence[str]) -> list[Analysis]:
    """The analyses of these names; `all` stands for every one.

    Raises:
        InputError: no installed package offers an analysis of one of these names.
    """
    if ALL in names:
        return list(installed().values())
    return [find_analysis(name) for name in names]


def _offered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
