"""The schemas of a study's tables are those of the tables, and of the page in the docs."""

from __future__ import annotations

import doctest
from operator import attrgetter

from tables_page import COMMAND, PAGE, page

import interp_culture as ic
from interp_culture.study import schemas
from interp_culture.study.schemas import SCHEMAS


def test_the_page_is_the_one_that_the_schemas_give() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), f"write it anew: {COMMAND}"


def test_every_column_has_a_meaning() -> None:
    for schema in SCHEMAS.values():
        names = [column.name for column in schema.columns]
        assert len(set(names)) == len(names)
        assert all(column.meaning for column in schema.columns)


def test_the_function_that_computes_a_table_is_public() -> None:
    for schema in SCHEMAS.values():
        assert callable(attrgetter(schema.made_by)(ic)), schema.name


def test_examples() -> None:
    assert doctest.testmod(schemas).failed == 0
