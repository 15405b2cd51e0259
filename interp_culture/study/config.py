"""What decides a study's numbers, from presets, a YAML file and options."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from interp_culture.errors import InputError, check_known
from interp_culture.readout.prompts import Order
from interp_culture.stats import LEAST_RANDOM


class StudyConfig(BaseModel):
    """Everything that decides a study's numbers; `out`, `device` decide only where it runs and lies,
    `analyses` what is asked beyond it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field("smollm2", description="embedded name, Hub id, folder or .gguf file")
    scenarios: str | None = Field(
        None, description="a shipped set by its name, or your own file or folder"
    )
    out: str = Field("results/study", description="folder for tables, vectors, summary and report")
    device: str | None = None
    dtype: str | None = None
    order: Order = "both"
    # Not "random": in a study's tables that names the null.
    method: Literal["mean_diff", "pca", "pca_centred", "lda", "logistic"] = Field(
        "mean_diff", description="how a direction is made of activations"
    )
    seed: int = 42
    alphas: list[float] = Field(
        [1.0, 2.0], min_length=1, description="positive strengths; both signs are run"
    )
    top_k: int = Field(4, ge=1, description="layers that form the intervention")
    layers: dict[str, list[int]] | None = Field(
        None, description="layers of the intervention by axis, in place of the top_k of the sweep"
    )
    n_random: int = Field(
        LEAST_RANDOM, ge=LEAST_RANDOM, description="norm-matched random vectors for the null"
    )
    null_per_item: int | None = Field(
        None,
        ge=1,
        description="held-out scenarios per item under the random vectors; all by default",
    )
    train_per_cell: int | None = Field(
        None, ge=1, description="training scenarios per item x domain; all by default"
    )
    test_per_cell: int | None = Field(
        None, ge=1, description="held-out scenarios per item x domain; all by default"
    )
    sweep_per_item: int | None = Field(
        None, ge=1, description="training scenarios per item in the sweep; all by default"
    )
    sweep_method: Literal["exact", "gradient", "refined"] = Field(
        "exact", description="refined measures only the layers that a backward pass proposes"
    )
    sweep_alphas: list[float] = Field(
        [2.0, -2.0], min_length=1, description="strengths at each single layer"
    )
    analyses: list[str] = Field(
        [], description="analyses to run after the study, by name; [all] for every one"
    )
    persona_per_item: int | None = Field(
        None,
        ge=1,
        description="held-out scenarios per item that are read under every persona; all by default",
    )
    some_per_item: int = Field(
        9, ge=1, description="held-out scenarios per item in analyses that steer in many ways"
    )
    brief: bool = Field(
        False,
        description="the leading readout alone; analyses take fewer layers, strengths, methods, personas and texts",
    )

    def key(self) -> dict[str, Any]:
        return self.model_dump(exclude={"out", "device", "analyses"})


PRESETS: dict[str, dict[str, Any]] = {
    "full": {},
    "quick": {
        "alphas": [2.0],
        "sweep_alphas": [2.0],
        "sweep_method": "refined",
        "train_per_cell": 2,
        "test_per_cell": 1,
        # Two of each item are ten of an axis: with one there would be five, and no interval (stats.LEAST_N).
        "sweep_per_item": 2,
        "null_per_item": 1,
        "some_per_item": 2,
        "brief": True,
        "analyses": ["all"],
        "out": "results/quick",
    },
    "paper": {
        "alphas": [2.0],
        "sweep_per_item": 3,
        "null_per_item": 3,
        "some_per_item": 3,
        "persona_per_item": 15,
        "analyses": ["all"],
        "out": "results/paper",
    },
}


def load_config(
    path: str | Path | None = None, preset: str = "full", **overrides: Any
) -> StudyConfig:
    """A preset, over it a YAML file, over it the overrides that are not None. Raises InputError with the field."""
    check_known("preset", preset, PRESETS)
    values = dict(PRESETS[preset])
    if path is not None:
        values |= _read_yaml(Path(path))
    values |= {k: v for k, v in overrides.items() if v is not None}
    try:
        return StudyConfig.model_validate(values)
    except ValidationError as error:
        where = f"{path}: " if path else ""
        lines = [
            f"{where}field {'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}"
            for e in error.errors()
        ]
        raise InputError("\n".join(lines)) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as UTF-8 YAML: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected `field: value` lines")
    return content
