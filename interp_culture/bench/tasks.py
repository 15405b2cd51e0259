"""The benchmark's tasks, each as done by this package and by another implementation.

Both sides get the same scenarios, prompts and vectors and return arrays of the same meaning, so
that the timed outputs are also compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.bench.plain import Run
from interp_culture.engine.generation import generate
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.errors import InputError
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.probing import read_runs
from interp_culture.readout.prompts import continuation_prompts, contrastive_texts, letter_prompts
from interp_culture.readout.validity import check_readout
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.edits import steer
from interp_culture.steering.extraction import extract
from interp_culture.steering.sweep import SweepMethod, layer_sweep
from interp_culture.steering.vectors import SteeringVectors
from interp_culture.survey.personas import advanced_persona

# The largest strength of a study by default.
ALPHA = 2.0
NEW_TOKENS = 24
# The paper's letters, right after the prompt, so that no answer prefix has to be chosen.
LETTERS = ReadoutFormat("letters", prefix="")


@runtime_checkable
class Worker(Protocol):
    """The interface of the sides in `plain` and `peers`."""

    def extract(self, pairs: list[tuple[str, str]]) -> np.ndarray: ...
    def read(
        self, prompts: list[list[int]], tokens: list[int], runs: Sequence[Run]
    ) -> np.ndarray: ...
    def score(
        self, prompts: list[list[int]], answers: list[list[int]], runs: Sequence[Run]
    ) -> np.ndarray: ...
    def generate(
        self, prompts: list[list[int]], max_new_tokens: int, runs: Sequence[Run]
    ) -> Any: ...


@dataclass(frozen=True)
class Task:
    """A task of the benchmark.

    Attributes:
        ours: does the task with this package.
        theirs: does it with another implementation; None if no other has it.
        tolerance: the largest accepted difference of the outputs; None if they are not compared.
        rival: the task of the others that is compared in time, if `theirs` is None.
        comparable: converts our output to the form of theirs.
        needs: the kind of side that has an implementation.
    """

    name: str
    ours: Callable[[], Any]
    theirs: Callable[[Any], Any] | None
    tolerance: float | None
    rival: str | None = None
    comparable: Callable[[Any], Any] = lambda out: out
    needs: type = Worker

    def can_be_done_by(self, side: Any) -> bool:
        """Whether another side has an implementation."""
        return self.theirs is not None and isinstance(side, self.needs)


@dataclass(frozen=True)
class Setting:
    """The model, the vectors and the layers steered together, shared by all tasks."""

    model: LanguageModel
    vectors: dict[str, SteeringVectors]
    layers: tuple[int, ...]

    @property
    def axis(self) -> str:
        return min(self.vectors)

    def edits(self) -> list[Edit]:
        return steer(self.vectors[self.axis], self.layers, ALPHA)

    def run(self, layers: Sequence[int]) -> Run:
        return {
            "layers": list(layers),
            "vectors": self.vectors[self.axis].direction.numpy(),
            "alpha": ALPHA,
        }


def make_tasks(setting: Setting, scenarios: ScenarioSet, n_sweep: int, n_read: int) -> list[Task]:
    """The tasks, over `n_read` scenarios of all items.

    Sweeps take longer, so they use `n_sweep` scenarios of one axis.
    """
    read = spread(scenarios, n_read)
    swept = spread(scenarios.filter(axis=setting.axis), n_sweep)
    return [
        Task(
            "extraction",
            partial(_directions, setting, read),
            partial(_their_directions, setting, read),
            1e-3,
        ),
        Task(
            "exact sweep",
            partial(_sweep, setting, swept, "exact"),
            partial(_their_sweep, setting, swept),
            1e-3,
            comparable=partial(_logit_shifts, swept),
        ),
        Task(
            "gradient sweep", partial(_sweep, setting, swept, "gradient"), None, None, "exact sweep"
        ),
        Task(
            "refined sweep", partial(_sweep, setting, swept, "refined"), None, None, "exact sweep"
        ),
        Task(
            "steered persona",
            partial(_letters, setting, read),
            partial(_their_letters, setting, read),
            1e-3,
        ),
        Task(
            "continuation",
            partial(_choices, setting, read),
            partial(_their_choices, setting, read),
            1e-3,
        ),
        Task(
            "generation", partial(_texts, setting, read), partial(_their_texts, setting, read), 0.0
        ),
    ]


def spread(scenarios: ScenarioSet, n: int) -> ScenarioSet:
    """`n` scenarios, evenly spaced over the set. Raises InputError for more than there are."""
    if not 1 <= n <= len(scenarios):
        raise InputError(f"{n} scenarios of {len(scenarios)}; give 1 to {len(scenarios)}")
    indices = np.linspace(0, len(scenarios) - 1, n).round().astype(int)
    return ScenarioSet(tuple(scenarios.scenarios[i] for i in indices), scenarios.catalogue)


# -- extraction: [axis, layer, d_model] ------------------------------------------------------------


def _directions(
    setting: Setting, scenarios: ScenarioSet
) -> Float[np.ndarray, "axis layer d_model"]:
    return np.stack([v.direction.numpy() for v in extract(setting.model, scenarios).values()])


def _their_directions(setting: Setting, scenarios: ScenarioSet, worker: Worker) -> np.ndarray:
    directions = []
    for axis in scenarios.axes:
        pairs = [contrastive_texts(scenario) for scenario in scenarios.filter(axis=axis)]
        directions.append(worker.extract(pairs))
    return np.stack(directions)


# -- the sweep: change of the logit difference, [layer, scenario] ----------------------------------


def _sweep(setting: Setting, scenarios: ScenarioSet, method: SweepMethod) -> pd.DataFrame:
    vectors = {setting.axis: setting.vectors[setting.axis]}
    return layer_sweep(
        setting.model, scenarios, vectors, alpha=ALPHA, readout="continuation", method=method
    )


def _logit_shifts(
    scenarios: ScenarioSet, sweep: pd.DataFrame
) -> Float[np.ndarray, "layer scenario"]:
    by_layer = sweep.pivot(index="layer", columns="id", values="logit_shift")
    ids = [scenario.id for scenario in scenarios]
    return by_layer[ids].to_numpy()


def _their_sweep(setting: Setting, scenarios: ScenarioSet, worker: Worker) -> np.ndarray:
    runs = [None, *(setting.run([layer]) for layer in range(setting.model.n_layers))]
    diffs = _scored(setting, scenarios, worker, runs)
    return diffs[1:] - diffs[:1]


# -- readouts: the logit difference, [scenario] ----------------------------------------------------


def _choices(setting: Setting, scenarios: ScenarioSet) -> Float[np.ndarray, " scenario"]:
    table = read_runs(setting.model, scenarios, {"": ()}, readout="continuation")
    return table.logit_diff.to_numpy()


def _their_choices(setting: Setting, scenarios: ScenarioSet, worker: Worker) -> np.ndarray:
    return _scored(setting, scenarios, worker, [None])[0]


def _scored(
    setting: Setting, scenarios: ScenarioSet, worker: Worker, runs: Sequence[Run]
) -> np.ndarray:
    sequences = [setting.model.tokenise(p) for s in scenarios for p in continuation_prompts(s)]
    answers = [list(s.answer) for s in sequences]
    sums = worker.score([list(s.prompt) for s in sequences], answers, runs)
    per_token = sums / np.array([len(a) for a in answers])
    # Prompts alternate between the positive and the negative option of a scenario.
    return per_token[:, 0::2] - per_token[:, 1::2]


def _letters(setting: Setting, scenarios: ScenarioSet) -> Float[np.ndarray, " scenario"]:
    runs = {"": setting.edits()}
    form = replace(LETTERS, system=_persona())
    table = read_runs(setting.model, scenarios, runs, readout=form)
    return table.logit_diff.to_numpy()


def _their_letters(setting: Setting, scenarios: ScenarioSet, worker: Worker) -> np.ndarray:
    letters = check_readout(setting.model, LETTERS).letters
    space = " " if letters == " A" else ""
    tokens = [setting.model.tokenizer.encode(space + x, add_special_tokens=False)[0] for x in "AB"]
    prompts = [p for s in scenarios for p in letter_prompts(s, "both", 42, _persona())]
    ids = [list(setting.model.tokenise(p.prompt).prompt) for p in prompts]
    logits = worker.read(ids, tokens, [setting.run(setting.layers)])[0]
    # positive is the index of the positive pole's letter; every scenario has both orders.
    signs = np.array([1 if p.positive == 0 else -1 for p in prompts])
    logit_diffs = (logits[:, 0] - logits[:, 1]) * signs
    # The mean over both orders cancels a preference for one letter.
    return logit_diffs.reshape(-1, 2).mean(1)


def _persona() -> str:
    return advanced_persona("India").text


# -- generation: texts -----------------------------------------------------------------------------


def _texts(setting: Setting, scenarios: ScenarioSet) -> list[str]:
    return generate(setting.model, _questions(scenarios), NEW_TOKENS, setting.edits())


def _their_texts(setting: Setting, scenarios: ScenarioSet, worker: Worker) -> list[str]:
    ids = [list(setting.model.tokenise(p).prompt) for p in _questions(scenarios)]
    (new,) = worker.generate(ids, NEW_TOKENS, [setting.run(setting.layers)])
    return setting.model.tokenizer.batch_decode(new, skip_special_tokens=True)


def _questions(scenarios: ScenarioSet) -> list[Prompt]:
    return [Prompt(f"{s.situation} What would you do?") for s in scenarios]
