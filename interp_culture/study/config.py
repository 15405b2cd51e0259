"""The configuration of a study, from a preset, a YAML file and options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictInt,
    ValidationError,
    model_validator,
)

from interp_culture.engine.leaks import Kind
from interp_culture.errors import InputError, check_known, printable
from interp_culture.readout.formats import Readout
from interp_culture.readout.prompts import Order
from interp_culture.stats import LEAST_RANDOM
from interp_culture.steering.layer_choice import Ranking
from interp_culture.yaml_files import read_yaml


def _not_zero(alpha: float) -> float:
    if alpha == 0:
        raise ValueError("0 steers nothing; give another strength")
    return alpha


# A strength of steering; 0 would leave nothing to measure.
Strength = Annotated[FiniteFloat, AfterValidator(_not_zero)]


class PlantedControl(BaseModel):
    """The positive control of a study: a coupling of known size, which it should find."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steered: str | None = Field(
        None, description="the axis whose steering direction the leak reads; default the first"
    )
    axis: str | None = Field(
        None, description="the axis whose P+ the leak raises; default the next"
    )
    size: FiniteFloat = Field(0.02, description="growth of D, change of P+ per unit of alpha")
    block: int | None = Field(
        None,
        ge=0,
        description="block after which the leak acts; default the last layer at which either axis "
        "is steered",
    )
    kind: Kind = Field(
        "representational",
        description="representational reads the steering direction; readout couples the readouts, "
        "after the last block",
    )


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
        None,
        description="name of a shipped set, or your own file or folder; several joined by +",
    )
    out: str = Field("results/study", description="folder for tables, vectors, summary and report")
    device: str | None = None
    dtype: str | None = None
    readout: Readout | None = Field(
        None,
        description="the primary readout, letters or continuation; default: letters where they "
        "pass their check without a caution, else continuation",
    )
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
    method: Literal[
        "chosen", "mean_diff", "pca", "pca_centred", "lda", "logistic", "gradient", "optimised"
    ] = Field(
        "chosen",
        description="how a direction is computed; chosen takes the method and site that move the "
        "readout furthest for their cost on training scenarios; optimised needs layers",
    )
    site: Literal["last", "answer_mean", "answer_last", "letter", "prompt_persona"] = Field(
        "last", description="where the activations are read; the chosen method chooses it too"
    )
    seed: StrictInt = 42
    alphas: list[Annotated[Strength, Field(gt=0)]] = Field(
        [1.0, 2.0], min_length=1, description="strengths above 0; each is run with both signs"
    )
    top_k: StrictInt = Field(4, ge=1, description="how many layers form the intervention")
    layers: dict[str, list[int]] | None = Field(
        None, description="the intervention's layers by axis, in place of the sweep's best top_k"
    )
    layers_by: Ranking = Field(
        "effect",
        description="what ranks layers: effect (the change of P+ in the direction of alpha, "
        "without layers that cost much for it) or differential (its absolute value, as in the "
        "paper)",
    )
    n_random: int = Field(
        LEAST_RANDOM,
        ge=LEAST_RANDOM,
        description="how many norm-matched random vectors form the null, where they are measured",
    )
    null: Literal["predicted", "measured"] = Field(
        "predicted",
        description="predicted takes the effects of random vectors from one backward pass, where "
        "a check by measurement agrees; measured steers with every one of them",
    )
    planted: PlantedControl | None = Field(
        None, description="a positive control: a coupling of known size to be found"
    )
    null_per_item: int | None = Field(
        None,
        ge=1,
        description="held-out scenarios per item read under measured random vectors; default all",
    )
    train_per_cell: int | None = Field(
        None, ge=1, description="training scenarios per item x domain; default all"
    )
    test_per_cell: int | None = Field(
        None, ge=1, description="held-out scenarios per item x domain; default all"
    )
    sweep_per_item: int | None = Field(
        None,
        ge=1,
        description="training scenarios per item in a sweep that reads them; default all",
    )
    sweep_method: Literal["exact", "gradient", "refined"] = Field(
        "exact",
        description="exact steers at every layer; gradient predicts all layers from one backward "
        "pass; refined measures the layers with the largest predicted effect",
    )
    sweep_alphas: list[Strength] = Field(
        [2.0, -2.0], min_length=1, description="strengths for steering a single layer, not 0"
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
        description="primary readout only; the paper's direction and the gradient as candidates; "
        "fewer layers, strengths, methods, personas and texts in the analyses",
    )

    @model_validator(mode="after")
    def _site_of_a_method(self) -> StudyConfig:
        if self.method == "chosen" and self.site != "last":
            raise ValueError(f"site {self.site} needs a method, such as method: mean_diff")
        return self

    @model_validator(mode="after")
    def _layers_to_train(self) -> StudyConfig:
        if self.method == "optimised" and self.layers is None:
            raise ValueError(
                "field method: optimised trains the vectors of fixed layers together; give the "
                "field layers too"
            )
        return self

    def key(self) -> dict[str, Any]:
        """The fields that decide a study's numbers."""
        return self.model_dump(exclude={"out", "device", "analyses"})


PRESETS: dict[str, dict[str, Any]] = {
    "full": {},
    "quick": {
        "alphas": [2.0],
        "sweep_alphas": [2.0],
        "sweep_method": "gradient",
        "train_per_cell": 2,
        "test_per_cell": 2,
        # Two of each of the five items make ten for an axis. One would make five, which is below
        # stats.LEAST_N, so that there would be no interval.
        "sweep_per_item": 2,
        "sample_per_item": 2,
        # About three times the smallest coupling that so few scenarios show.
        "planted": {"size": 0.05},
        "brief": True,
        "analyses": ["couplings", "causes"],
        "out": "results/quick",
    },
    "paper": {
        "method": "mean_diff",
        "layers_by": "differential",
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
        preset: "full" (all scenarios, no analyses), "quick" (a small subset, and the couplings with
            their causes) or "paper" (the paper's direction and layers on all held-out scenarios,
            subsets where there are many runs, all analyses).
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
        # A fault of several fields together has no place.
        if not fault["loc"]:
            reason = fault.get("ctx", {}).get("error", fault["msg"])
            lines.append(f"{where}{printable(str(reason))}")
            continue
        field = printable(".".join(map(str, fault["loc"])))
        lines.append(f"{where}field {field}: {fault['msg']}, got {printable(repr(fault['input']))}")
    return "\n".join(lines)


def _read_yaml(path: Path) -> dict[str, Any]:
    # An empty file is read as None; it changes no field.
    content = read_yaml(path) or {}
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a configuration; write `field: value` lines")
    return content
