"""Whether an analysis returns the tables and names them in its captions as its schemas declare."""

from __future__ import annotations

import re
from collections.abc import Sequence

from interp_culture.study.analysis import Analysis, Section, Tables


def check_tables(analysis: Analysis, tables: Tables) -> None:
    """Every table is declared, with exactly its columns; only tables of the map may be absent."""
    schemas = {schema.name: schema for schema in analysis.schemas}
    assert set(tables) <= set(schemas)
    assert all(schemas[name].on_map for name in set(schemas) - set(tables))
    for name, table in tables.items():
        faults = (schemas[name].unknown(list(table)), schemas[name].missing(list(table)))
        assert faults == ([], []), f"{name}: undeclared {faults[0]}, declared in vain {faults[1]}"


def check_captions(analysis: Analysis, sections: Sequence[Section]) -> None:
    """Every caption ends with the tables that its figure is drawn from."""
    names = {f"{analysis.name}.{schema.name}" for schema in analysis.schemas}
    for section in sections:
        match = re.search(r" Tables?: ([^:]+)\.$", section.caption)
        assert match, section.caption
        assert set(match[1].split(", ")) <= names
