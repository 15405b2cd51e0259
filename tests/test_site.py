"""Pages and docstrings that the documentation site makes while it is built."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from typer.main import get_command

from interp_culture.cli import app
from interp_culture.study.config import StudyConfig

TOOLS = Path(__file__).parent.parent / "tools"
DOCSTRING = """What it does.

    >>> add(1, 2)  # doctest: +SKIP
    3

Args:
    one: a number.
"""


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(TOOLS), *sys.path])


def test_every_verb_and_option_is_on_the_page() -> None:
    from command_line_page import command_line_page, verbs_of

    page = command_line_page()
    assert "\n## models install\n" in page
    for name, verb in verbs_of(get_command(app)):
        assert f"\n## {name}\n" in page
        for parameter in verb.params:
            shown = parameter.opts[0] if parameter.param_type_name == "option" else "`"
            assert shown in page, f"{name} {shown}"


def test_every_field_of_the_configuration_has_a_row_with_its_meaning() -> None:
    from configuration_page import configuration_page

    rows = [line.split("|")[1:-1] for line in configuration_page().splitlines() if "| `" in line]
    assert [row[0].strip(" `") for row in rows] == list(StudyConfig.model_fields)
    assert all(row[-1].strip() for row in rows)


def test_an_example_becomes_a_block_without_instructions_for_tests() -> None:
    pytest.importorskip("griffe")
    from docstrings import fenced

    shown = fenced(DOCSTRING)
    assert "    ```pycon\n    >>> add(1, 2)\n    3\n    ```\n" in shown
    assert shown.endswith("Args:\n    one: a number.\n")


def test_returns_become_a_paragraph_that_is_not_read_as_types() -> None:
    pytest.importorskip("griffe")
    from docstrings import with_returns_as_text

    shown = with_returns_as_text(
        "Do.\n\nReturns:\n    a, b (axes): what\n    they are.\n\nRaises:\n    X: y."
    )
    assert shown == "Do.\n\n**Returns:** a, b (axes): what\nthey are.\n\nRaises:\n    X: y."
    assert with_returns_as_text("Returns: a and b.") == "**Returns:** a and b."


def test_a_notebook_becomes_a_page_and_links_out_of_docs_lose_their_target() -> None:
    pytest.importorskip("mkdocs")
    from site_hooks import NOTEBOOK, ROOT, notebook_page, on_page_markdown

    page = notebook_page(ROOT / "docs" / NOTEBOOK)
    assert page.startswith("# ")
    assert "```python\nimport pandas as pd\n\nimport interp_culture as ic\n" in page
    here = Mock(**{"file.src_uri": "how_to/gpu.md"})
    assert (
        on_page_markdown("[here](../../analyses), [there](speed.md)", here)
        == "here, [there](speed.md)"
    )
    # What the repository has as a file and the site as a page leads to the page.
    fields = on_page_markdown("[fields](../../interp_culture/study/config.py)", here)
    assert fields == "[fields](../reference/configuration.md)"
    assert on_page_markdown("[steps](walkthrough.ipynb)", here) == "[steps](walkthrough.md)"
