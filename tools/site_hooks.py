"""MkDocs hooks: pages that are made while the site is built, so that they cannot be out of date."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from command_line_page import command_line_page
from configuration_page import configuration_page
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
NOTEBOOK = "walkthrough.ipynb"
# A link to a place in the repository that is no page of the site, such as ../../analyses.
OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:analyses|recipes|tests|interp_culture)[^)]*\)")
# Files of the repository that are shown as a page of the site: the link's end, and the page.
SHOWN_AS = {
    "../interp_culture/study/config.py)": "reference/configuration.md)",
    f"({NOTEBOOK})": "(walkthrough.md)",
}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not files of docs/."""
    pages = {
        "walkthrough.md": notebook_page(ROOT / "docs" / NOTEBOOK),
        "reference/command_line.md": command_line_page(),
        "reference/configuration.md": configuration_page(),
        "changelog.md": repository_page("CHANGELOG.md"),
        "contributing.md": repository_page("CONTRIBUTING.md"),
    }
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links out of docs/, as the site has them.

    A link to a file that has a page leads to the page. Any other link becomes plain text, because
    it works in the repository only.
    """
    if page.file.src_uri != "walkthrough.md":  # it links to the notebook itself
        for end, of_site in SHOWN_AS.items():
            markdown = markdown.replace(end, of_site)
    return OUTSIDE.sub(r"\1", markdown)


def repository_page(name: str) -> str:
    """A Markdown file of the repository's root, with its links into docs/ as the site has them."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return text.replace("](docs/", "](")


def notebook_page(path: Path) -> str:
    """The cells of a notebook as Markdown; nothing is executed."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    note = f"This page is [the notebook]({path.name}) `docs/{path.name}`. The tests run it.\n"
    title, *rest = [cell_markdown(cell) for cell in cells]
    return "\n\n".join([title, note, *rest])


def cell_markdown(cell: dict[str, Any]) -> str:
    """One cell: its text as it is, its code in a block."""
    source = "".join(cell["source"])
    return source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"
