"""Analyses: every file is offered under its name, and one analysis finds another."""

from __future__ import annotations

import tomllib

import pytest
from conftest import ROOT

import interp_culture as ic
from interp_culture.study.analysis import chosen, find_analysis, installed

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OFFERED = PROJECT["entry-points"]["interp_culture.analyses"]


def test_every_file_is_offered_under_the_name_that_it_has_in_the_wheel() -> None:
    files = {path.stem for path in (ROOT / "analyses").glob("*.py")} - {"__init__"}
    assert set(OFFERED) == files
    for name, place in OFFERED.items():
        assert place == f"interp_culture_analyses.{name}:ANALYSIS"
        assert find_analysis(name).name == name


def test_all_stands_for_every_analysis() -> None:
    assert [analysis.name for analysis in chosen(["all"])] == list(installed())
    assert [analysis.name for analysis in chosen(["items", "domains"])] == ["items", "domains"]


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    for call in (lambda: find_analysis("item"), lambda: chosen(["items", "item"])):
        with pytest.raises(ic.InputError, match="unknown analysis 'item'; known: all, paradigms"):
            call()


def test_an_analysis_without_readouts_says_so() -> None:
    with pytest.raises(ic.InputError, match="shares no readouts"):
        find_analysis("items").readouts(None)
