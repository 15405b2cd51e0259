"""A study of a tiny model that takes a second, for tests that stop and restart it often."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from planted import planted_model, planted_scenarios

from interp_culture.artifacts import journal
from interp_culture.study import StudyConfig, run_study
from interp_culture.study import study as study_module

# By the words of the options, with a measured null and one analysis: every kind of file is written.
SETTINGS = {
    "method": "gradient",
    "readout": "continuation",
    "alphas": [0.1],
    "sweep_alphas": [0.1],
    "sweep_method": "gradient",
    "test_per_cell": 1,
    "sample_per_item": 1,
    "top_k": 1,
    "brief": True,
    "analyses": ["gain"],
}


@contextmanager
def planted_world() -> Iterator[None]:
    """Studies get a planted model with its scenarios, and keep every batch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "load_model", lambda *a, **k: planted_model())
        patch.setattr(study_module, "load_scenarios", lambda path: planted_scenarios(4))
        for module in ("scenarios.neutral", "steering.fluency"):
            patch.setattr(f"interp_culture.{module}.load_neutral", lambda: {"a": "abcd abcd"})
        patch.setattr(journal, "SECONDS", 0.0)
        yield


def run(folder: Path) -> None:
    run_study(StudyConfig(model="planted", out=str(folder), **SETTINGS))  # type: ignore[arg-type]


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    return {path.stem: pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))}


def check_same(one: dict[str, pd.DataFrame], other: dict[str, pd.DataFrame]) -> None:
    assert set(one) == set(other)
    for name, table in one.items():
        pd.testing.assert_frame_equal(table, other[name], check_exact=True, obj=name)
