"""A hash of the code and the data files that numbers come from: tables of other code are not taken for today's."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

OWN = __name__.partition(".")[0]
# What only shows numbers, or starts the work: it may change while a study's tables stay.
PRESENTATION = ("bench", "cli", "reporting")


@cache
def source_hash(package: str) -> str:
    """Hash of a package's Python files, but for comments and docstrings, and of the data files beside them.

    Of `interp_culture` without the modules of PRESENTATION. Computed once for a process.
    """
    digest = hashlib.sha256()
    for name, path in sorted(_files(package)):
        digest.update(f"{name}\0".encode())
        digest.update(_meaning(path) if path.suffix == ".py" else path.read_bytes())
    return digest.hexdigest()[:16]


def foreign_package(compute: Callable[..., Any]) -> str | None:
    """The package beside `interp_culture` that a function comes from, an analysis' say; None for our own."""
    inner = inspect.unwrap(
        getattr(compute, "func", compute)
    )  # of a functools.partial, within its decorators
    module = getattr(inner, "__module__", None) or OWN
    if module == "__main__" and (spec := getattr(sys.modules["__main__"], "__spec__", None)):
        # python -m analyses.NAME in a clone, or interp_culture_analyses.NAME where it is installed.
        module = spec.name
    package = module.partition(".")[0]
    return None if package == OWN else package


def _files(package: str) -> Iterator[tuple[str, Path]]:
    """Name and path of the files that decide what a package computes."""
    place = getattr(sys.modules[package], "__file__", None)
    if place is None:  # typed in at a prompt
        return
    path = Path(place)
    if path.name != "__init__.py":
        yield path.name, path
        return
    for file in path.parent.rglob("*"):
        name = file.relative_to(path.parent)
        shown = package == OWN and name.parts[0] in PRESENTATION
        if file.is_file() and "__pycache__" not in name.parts and not shown:
            yield name.as_posix(), file


def _meaning(path: Path) -> bytes:
    """The syntax tree without docstrings: comments and layout change no number."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            del body[0]
    return ast.dump(tree).encode()


def _is_text(statement: ast.AST) -> bool:
    value = getattr(statement, "value", None)
    return (
        isinstance(statement, ast.Expr)
        and isinstance(value, ast.Constant)
        and isinstance(value.value, str)
    )
