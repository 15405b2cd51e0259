"""A griffe extension: `>>>` examples of a docstring become code blocks, wherever they stand in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from griffe import Extension, Object

# Instructions for doctest are for the tests, not for readers.
DIRECTIVE = re.compile(r"\s*#\s*doctest:.*$")


class Examples(Extension):
    """The Google style knows examples only under an `Examples:` heading; this package writes them bare."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(docstring: str) -> str:
    """The docstring with a fence around every run of lines from `>>>` to the next blank line."""
    return "\n".join(_fenced_lines(docstring.splitlines()))


def _fenced_lines(lines: list[str]) -> Iterator[str]:
    indent = None
    for line in [*lines, ""]:
        begins = line.lstrip().startswith(">>>")
        if indent is None and begins:
            indent = line[: len(line) - len(line.lstrip())]
            yield f"\n{indent}```pycon"
        if indent is not None and not line.strip():
            yield f"{indent}```"
            indent = None
        yield DIRECTIVE.sub("", line)
