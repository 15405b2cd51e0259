"""What a study will do, and about how long it takes here, before a model is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from interp_culture.engine.hardware import matmul_rate
from interp_culture.engine.model_size import ModelSize, model_size
from interp_culture.notebook import as_html
from interp_culture.scenarios.scenario import Scenario, ScenarioSet
from interp_culture.study.config import StudyConfig
from interp_culture.study.directions import BRIEF_CANDIDATES
from interp_culture.study.study import CHECKED, CHECKED_BRIEF, Study

COLUMNS = ["step", "state", "texts", "tokens", "seconds"]

# English text, by the tokenizers of the packaged models; a chat template adds some tokens.
CHARACTERS_PER_TOKEN = 4.4
TOKENS_OF_TEMPLATE = 30
# A pass with its gradient costs three plain ones. A steered pass starts, on average over layers,
# half way.
GRADIENT, STEERED = 3.0, 0.5
# Of the rate of a large matrix product, measured on the embedded model with two cores.
EFFICIENCY = 0.8
# What libraries and one batch take beside the weights, measured likewise.
WORKING_MIB = 1400.0
# Control items, each by letters (two orders) and by continuation.
CONTROLS, READS_OF_CONTROL = 52, 3
N_SITES = 5
# Of a model whose configuration is not known.
USUAL_LAYERS = 30


@dataclass(frozen=True)
class StudyPlan:
    """The steps of a study.

    Attributes:
        steps: step, state ("there" if the folder has its table, which is used if nothing that
            decides it has changed; else "to do"), texts (read once), tokens, and seconds (NaN where
            they are not estimated).
        model: its size; None where it has no configuration that can be read without its weights.
        gflops: the rate of a matrix product on this machine.
        memory_mib: about the peak, weights included; None as `model`.
    """

    steps: pd.DataFrame
    model: ModelSize | None
    gflops: float
    memory_mib: float | None

    def _repr_html_(self) -> str:
        return as_html(f"Study: about {self.seconds / 60:.0f} minutes to do", steps=self.steps)

    @property
    def seconds(self) -> float:
        """Of what is to do, without analyses; NaN where the model's size is not known."""
        if self.model is None:
            return float("nan")
        return float(self.steps[self.steps.state == "to do"].seconds.sum())


def plan_study(config: StudyConfig) -> StudyPlan:
    """The steps of a study, with the texts and tokens that each reads, and about its time here.

    Times follow from the number of weights and the machine's measured rate; they are right to
    about a factor of two. How long an analysis takes is not estimated.

    Raises:
        InputError: a file of scenarios that cannot be read.

    >>> plan = plan_study(ic.study.load_config(preset="quick"))
    >>> plan.steps.step.tolist()[:3]
    ['check the readouts', 'read the training texts', 'gradients on the training half']
    """
    study = Study(config)
    size = model_size(config.model)
    rate = matmul_rate(repeats=50)
    rows: list[tuple[str, str, int | None, int | None, float | None]] = []
    for step, table, scenarios, passes in _steps(study, size):
        tokens = passes * sum(map(_tokens, scenarios))
        seconds = None if size is None else 2 * size.parameters * tokens / (rate * EFFICIENCY)
        texts = round(passes * len(scenarios))
        rows.append((step, _state(study, table), texts, round(tokens), seconds))
    for analysis in study.analyses():
        state = _state(study, f"{analysis.name}.tables")
        rows.append((f"analysis {analysis.name}", state, None, None, None))
    steps = pd.DataFrame(rows, columns=COLUMNS).astype(
        {"texts": "Int64", "tokens": "Int64", "seconds": "float64"}
    )
    memory = None if size is None else size.parameters * 4 / 2**20 + WORKING_MIB
    return StudyPlan(steps, size, rate / 1e9, memory)


def _state(study: Study, table: str) -> str:
    """Whether the folder has the table's manifest, which is written last."""
    return "there" if list(Path(study.config.out).glob(f"{table}.json")) else "to do"


def _tokens(scenario: Scenario) -> float:
    """About the tokens of a dilemma with both options."""
    texts = (scenario.situation or "", scenario.positive, scenario.negative)
    return sum(map(len, texts)) / CHARACTERS_PER_TOKEN + TOKENS_OF_TEMPLATE


def _steps(study: Study, size: ModelSize | None) -> Iterator[tuple[str, str, ScenarioSet, float]]:
    """Each step: in words, its table, its scenarios, and how often each of them is read whole."""
    config = study.config
    n_axes = len(study.scenarios.axes)
    is_chosen = config.method == "chosen"
    n_candidates = len(BRIEF_CANDIDATES) if config.brief else N_SITES
    sites = 2 if config.brief else N_SITES
    controls = study.train.sample(1)
    yield "check the readouts", "validity", controls, CONTROLS * READS_OF_CONTROL / len(controls)
    yield "read the training texts", "vectors", study.train, 2.0 * (sites if is_chosen else 1)
    if is_chosen or config.method in ("gradient", "optimised"):
        yield "gradients on the training half", "direction_choice", study.train, GRADIENT
    if is_chosen:
        costs = n_candidates * n_axes * STEERED
        yield "compare directions", "direction_choice", study.sweep_scenarios, costs
    if config.layers is None and config.sweep_method != "gradient":
        runs = n_axes * len(config.sweep_alphas) * STEERED
        yield (
            "sweep layers",
            "sweep",
            study.sweep_scenarios,
            1 + runs * (size.n_layers if size else USUAL_LAYERS),
        )
    strengths = 2 * len(config.alphas)
    steered = 1 + n_axes * strengths * STEERED
    if config.null == "predicted":
        yield "gradients on the held-out half", "null_check", study.test, GRADIENT
        n_checked = CHECKED_BRIEF if config.brief else CHECKED
        checked = study.test.sample(1, by="item")
        yield "check the null", "null_check", checked, 1 + n_checked * n_axes * STEERED
    else:
        null = study.null or study.test
        yield "random vectors", "steered_*", null, config.n_random * n_axes * STEERED
    yield "steer the held-out half", "steered_*", study.test, steered
    if not config.brief:
        yield "steer it by the other readout", "steered_*", study.test, steered
    if study.control is not None:
        axis = study.control["axis"]
        yield "plant a coupling", "planted", study.sweep_scenarios.filter(axis=axis), 2 * GRADIENT
        read = study.test.filter(axis=axis) if config.brief else study.test
        yield "measure the planted coupling", "planted", read, 1 + 2 * STEERED
    if not config.brief:
        yield "steer with the paper's directions", "paper_matrix", study.test, 2 * n_axes * STEERED
