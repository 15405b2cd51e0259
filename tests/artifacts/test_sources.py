"""The hash of a package changes with its code and data, and with nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from interp_culture.artifacts.files import content_key
from interp_culture.artifacts.sources import foreign_package, source_hash

HashOf = Callable[[str], str]


@pytest.fixture
def hash_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HashOf:
    """A function that gives the hash of a package with this code in its only module."""
    (tmp_path / "probe_package").mkdir()
    (tmp_path / "probe_package" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("probe_package")

    def measured(code: str) -> str:
        (tmp_path / "probe_package" / "steps.py").write_text(code)
        source_hash.cache_clear()
        return source_hash("probe_package")

    yield measured
    del sys.modules["probe_package"]
    source_hash.cache_clear()


def test_a_changed_constant_changes_the_hash_and_a_comment_does_not(hash_of: HashOf) -> None:
    first = hash_of('"""Words."""\nSTEP = 1\n')
    assert hash_of('"""Other words."""\n\n# why\nSTEP = 1\n') == first
    assert hash_of('"""Words."""\nSTEP = 2\n') != first


def test_a_changed_data_file_changes_the_hash(hash_of: HashOf, tmp_path: Path) -> None:
    first = hash_of("STEP = 1\n")
    (tmp_path / "probe_package" / "data.csv").write_text("1")
    assert hash_of("STEP = 1\n") != first


def test_a_function_belongs_to_the_package_that_defines_it() -> None:
    from analyses import items

    assert foreign_package(content_key) is None
    assert foreign_package(items.measure) == "analyses"
    assert foreign_package(partial(items.measure, None)) == "analyses"
