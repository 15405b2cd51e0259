"""The configuration of a study, from a preset, a YAML file and options."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from interp_culture.errors import InputError, check_known
from interp_culture.readout.prompts import Order
from interp_culture.stats import LEAST_RANDOM


class StudyConfig(BaseModel):
    """Everything that decides a study's numbers.

    Three fields decide no number: `out` (the folder), `device` (where the model runs) and
    `analyses` (what runs after the study).
    """

    # A misspelt field of a YAML file would otherwise keep its default unnoticed.
    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        "smollm2", description="name of an embedded model, Hub id, folder or .gguf file"
    )
    scenarios: str | None = Field(
        None, description="name of a shipped set, or your own file or folder"
    )
    out: str = Field("results/study", description="folder for tables, vectors, summary and report")
    device: str | None = None
    dtype: str | None = None
    order: Order = "both"
    prefix: str | None = Field(
        None,
        description="what the answer of the letters readout begins with ('' is the paper's); "
        "default: chosen on control items",
    )
    think: int | None = Field(
        None,
        ge=0,
        description="for models that think: 0 reads after an empty think block, N after at most N "
        "tokens of the model's own thoughts; default: as the chat template does without thinking",
    )
    # "random" is not a choice here, since it names the null in a study's tables.
    method: Literal["mean_diff", "pca", "pca_centred", "lda", "logistic"] = Field(
        "mean_diff", description="how activations become a direction"
    )
    seed: int = 42
    alphas: list[float] = Field(
        [1.0, 2.0], min_length=1, description="strengths above 0; each is run with both signs"
    )
    top_k: int = Field(4, ge=1, description="how many layers form the intervention")
    layers: dict[str, list[int]] | None = Field(
        None, description="the intervention's layers by axis, in place of the sweep's best top_k"
    )
    n_random: int = Field(
        LEAST_RANDOM,
        ge=LEAST_RANDOM,
        description="how many norm-matched random vectors form the null",
    )
    null_per_item: int | None = Field(
        None,
        ge=1,
        description="held-out scenarios per item read under the random vectors; default all",
    )
    train_per_cell: int | None = Field(
        None, ge=1, description="training scenarios per item x domain; default all"
    )
    test_per_cell: int | None = Field(
        None, ge=1, description="held-out scenarios per item x domain; default all"
    )
    sweep_per_item: int | None = Field(
        None, ge=1, description="training scenarios per item in the sweep; default all"
    )
    sweep_method: Literal["exact", "gradient", "refined"] = Field(
        "exact",
        description="exact steers at every layer; gradient predicts all layers from one backward "
        "pass; refined measures the layers with the largest predicted effect",
    )
    sweep_alphas: list[float] = Field(
        [2.0, -2.0], min_length=1, description="strengths for steering a single layer"
    )
    analyses: list[str] = Field(
        [], description="names of the analyses to run after the study; [all] for all"
    )
    persona_per_item: int | None = Field(
        None,
        ge=1,
        description="held-out scenarios per item read under every persona; default all",
    )
    sample_per_item: int = Field(
        9, ge=1, description="held-out scenarios per item in analyses with many steered runs"
    )
    brief: bool = Field(
        False,
        description="primary readout only; fewer layers, strengths, methods, personas and texts in "
        "the analyses",
    )

    def key(self) -> dict[str, Any]:
        """The fields that decide a study's numbers."""
        return self.model_dump(exclude={"out", "device", "analyses"})


PRESETS: dict[str, dict[str, Any]] = {
    "full": {},
    "quick": {
        "alphas": [2.0],
        "sweep_alphas": [2.0],
        "sweep_method": "refined",
        "train_per_cell": 2,
        "test_per_cell": 1,
        # Two of each of the five items make ten for an axis. One would make five, which is below
        # stats.LEAST_N, so that there would be no interval.
        "sweep_per_item": 2,
        "null_per_item": 1,
        "sample_per_item": 2,
        "brief": True,
        "analyses": ["all"],
        "out": "results/quick",
    },
    "paper": {
        "alphas": [2.0],
        # Subsets where there are many runs: one per layer here, one per random vector below.
        "sweep_per_item": 3,
        "null_per_item": 3,
        "sample_per_item": 3,
        "persona_per_item": 15,
        "analyses": ["all"],
        "out": "results/paper",
    },
}


def load_config(
    path: str | Path | None = None, preset: str = "full", **overrides: Any
) -> StudyConfig:
    """A study's configuration: the preset, then the YAML file, then the overrides.

    Each replaces the values of the one before.

    Args:
        path: a YAML file of `field: value` lines.
        preset: "full" (all scenarios, no analyses), "quick" (a small subset, all analyses) or
            "paper" (all held-out scenarios, subsets where there are many runs, all analyses).
        overrides: values by field; None leaves a field as it is.

    Raises:
        InputError: an unknown preset, a file that is not readable, or a field with a wrong value.

    >>> load_config(preset="quick", seed=7).alphas
    [2.0]
    """
    check_known("preset", preset, PRESETS)
    # A copy, since `|=` would change the preset for later calls.
    values = dict(PRESETS[preset])
    if path is not None:
        values |= _read_yaml(Path(path))
    values |= {field: value for field, value in overrides.items() if value is not None}
    try:
        return StudyConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(_field_errors(error, path)) from error


def _field_errors(error: ValidationError, path: str | Path | None) -> str:
    """One line for each wrong field: file, field, reason and value."""
    where = f"{path}: " if path else ""
    lines = []
    for fault in error.errors():
        field = ".".join(map(str, fault["loc"]))
        lines.append(f"{where}field {field}: {fault['msg']}, got {fault['input']!r}")
    return "\n".join(lines)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        # An empty file is read as None; it changes no field.
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the path of a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as UTF-8 YAML: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a configuration; write `field: value` lines")
    return content
