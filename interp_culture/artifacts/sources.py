"""A hash of the code and data files behind a study, so that changed code recomputes its tables."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

THIS_PACKAGE = __name__.partition(".")[0]
# Rooms that only show numbers or start the work: changing them does not change a study's tables.
PRESENTATION = ("bench", "cli", "reporting")


@cache
def source_hash(package: str) -> str:
    """A hash of a package's Python files and of the data files in its folder.

    Comments and docstrings do not count, nor do the PRESENTATION rooms of `interp_culture`. The
    hash is computed once in a process.
    """
    digest = hashlib.sha256()
    # Sorted, since the order of `rglob` depends on the file system.
    for name, path in sorted(_files(package)):
        # The zero byte separates a name from the content after it.
        digest.update(f"{name}\0".encode())
        digest.update(_code_of(path) if path.suffix == ".py" else path.read_bytes())
    return digest.hexdigest()[:16]


def foreign_package(compute: Callable[..., Any]) -> str | None:
    """The package that a function comes from (of an analysis, say); None for `interp_culture`."""
    # The function in a functools.partial, without its decorators.
    function = inspect.unwrap(getattr(compute, "func", compute))
    module = getattr(function, "__module__", None) or THIS_PACKAGE
    if module == "__main__":
        # `python -m analyses.NAME` (interp_culture_analyses.NAME where it is installed) renames the
        # module; its spec keeps the name.
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        module = spec.name if spec else module
    package = module.partition(".")[0]
    return None if package == THIS_PACKAGE else package


def _files(package: str) -> Iterator[tuple[str, Path]]:
    """The name and path of each file that decides what a package computes."""
    source = getattr(sys.modules[package], "__file__", None)
    if source is None:  # code typed at a prompt has no file
        return
    path = Path(source)
    # A module of a single file has no folder of its own.
    if path.name != "__init__.py":
        yield path.name, path
        return
    for file in path.parent.rglob("*"):
        name = file.relative_to(path.parent)
        presents = package == THIS_PACKAGE and name.parts[0] in PRESENTATION
        if file.is_file() and "__pycache__" not in name.parts and not presents:
            yield name.as_posix(), file


def _code_of(path: Path) -> bytes:
    """The syntax tree without docstrings, as bytes. Comments and layout are not part of it."""
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
