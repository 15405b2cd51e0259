"""Studies of several models side by side: tables by hand, refusals, and the report."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import make_pair
from planted import MAP_ITEMS, planted_scenarios

import interp_culture as ic
from analyses import coefficients
from interp_culture.artifacts import write_table
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.study import study as study_module
from interp_culture.study.compared_tables import model_labels

SMALL: dict[str, Any] = {
    "alphas": [2.0],
    "sweep_alphas": [2.0],
    "sweep_method": "gradient",
    "train_per_cell": 2,
    "test_per_cell": 1,
    "null_per_item": 1,
    "sample_per_item": 1,
    "top_k": 1,
    "brief": True,
}
ARCHITECTURES = {"a": "llama", "b": "qwen3", "c": "gemma3_text"}


def run(folder: Path, model: LanguageModel, name: str, **settings: Any) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "load_model", lambda *a, **k: replace_name(model, name))
        patch.setattr(study_module, "load_scenarios", lambda path: planted_scenarios(4))
        ic.run_study(ic.StudyConfig(model=name, out=str(folder), **SMALL | settings))
    return folder


def replace_name(model: LanguageModel, name: str) -> LanguageModel:
    model.name = name
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Finished studies of three architectures, the first with the costs of steering."""
    root = tmp_path_factory.mktemp("studies")
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("planted.ITEMS", MAP_ITEMS)
        patch.setattr(coefficients, "BRIEF", replace(coefficients.BRIEF, n_tokens=2))
        patch.setattr(coefficients, "NEUTRAL_CHARACTERS", 60)
        for name, architecture in ARCHITECTURES.items():
            model = make_pair(architecture).model
            analyses = ["coefficients"] if name == "a" else []
            made.append(run(root / name, model, f"tiny/{architecture}", analyses=analyses))
    return made
def test_x(folders):
    import time
    t=time.time()
    c = ic.study.compare(folders)
    print(time.time()-t)
    for n,tab in c.tables.items(): print(n, tab.shape); print(tab.head(4).to_string())
    ic.study.save_comparison(c, "/tmp/hc/cmp")
    ic.reporting.write_comparison(c, "/tmp/hc/cmp")
