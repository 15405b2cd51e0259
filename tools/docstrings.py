"""A griffe extension: docstrings of this package as Markdown that the reference shows well."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any

from griffe import Extension, Object

# Instructions for doctest are for the tests, not for readers.
DIRECTIVE = re.compile(r"\s*#\s*doctest:.*$")
RETURNS = re.compile(r"^Returns:[ \t]*\n((?:[ \t]+\S.*\n?|[ \t]*\n(?=[ \t]+\S))+)", re.MULTILINE)
RETURNS_IN_LINE = re.compile(r"^Returns: (?=\S)", re.MULTILINE)


class Readable(Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = with_returns_as_text(fenced(obj.docstring.value))


def with_returns_as_text(docstring: str) -> str:
    """`Returns` as a paragraph: the Google style would take `a, b: what` for a type."""
    text = RETURNS.sub(lambda match: f"**Returns:** {textwrap.dedent(match[1])}", docstring)
    return RETURNS_IN_LINE.sub("**Returns:** ", text)


def fenced(docstring: str) -> str:
    """The docstring with a fence around every run of lines from `>>>` to the next blank line.

    The Google style knows examples under an `Examples:` heading only; ours have none.
    """
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
