"""The schemas of tables are those of the tables, and of the pages in the docs."""

from __future__ import annotations

import re
from operator import attrgetter

import pytest
from tables_page import COMMAND, ROOT, analyses, pages

import interp_culture as ic
from interp_culture.study.columns import TableSchema
from interp_culture.study.comparison_schemas import COMPARISON_SCHEMAS
from interp_culture.study.schemas import SCHEMAS

ALL = [
    *SCHEMAS.values(),
    *COMPARISON_SCHEMAS.values(),
    *(schema for analysis in analyses() for schema in analysis.schemas),
]


def test_the_pages_are_those_that_the_schemas_give() -> None:
    for path, text in pages().items():
        assert path.read_text(encoding="utf-8") == text, f"write it anew: {COMMAND}"


@pytest.mark.parametrize("schema", ALL, ids=lambda schema: schema.name)
def test_every_column_has_one_meaning_and_a_public_function(schema: TableSchema) -> None:
    names = [column.name for column in schema.columns]
    assert len(set(names)) == len(names)
    assert all(column.meaning for column in schema.columns)
    assert callable(attrgetter(schema.made_by)(ic))


def test_the_page_of_an_analysis_lists_its_tables() -> None:
    for analysis in analyses():
        names = [schema.name for schema in analysis.schemas]
        page = (ROOT / "docs" / "analyses" / f"{analysis.name}.md").read_text(encoding="utf-8")
        (listed,) = re.findall(r"^Tables: ((?:`[\w.]+`[,.]\s+)+)", page, re.MULTILINE)
        found = [name.rpartition(".")[2] for name in re.findall(r"`([\w.]+)`", listed)]
        assert sorted(found) == sorted(names)
