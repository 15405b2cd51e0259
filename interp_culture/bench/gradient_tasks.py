"""The benchmark's tasks that need gradients: those of a readout, and what each component carries.

Both read the continuation, whose options are whole sentences.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.attribution.carriers import carried_effects
from interp_culture.bench.autograd import Options, PlainAutograd
from interp_culture.bench.plain import Steering
from interp_culture.bench.tasks import Setting, Task
from interp_culture.readout.prompts import continuation_prompts
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.readout_gradients import readout_gradients

TOLERANCE = 1e-4


def make_gradient_tasks(setting: Setting, scenarios: ScenarioSet) -> list[Task]:
    """The tasks over all of `scenarios`; plain Hugging Face alone is the other side."""
    return [
        Task(
            "gradients",
            partial(_gradients, setting, scenarios),
            partial(_their_gradients, setting, scenarios),
            TOLERANCE,
            needs=PlainAutograd,
        ),
        Task(
            "components",
            partial(_carried, setting, scenarios),
            partial(_their_carried, setting, scenarios),
            TOLERANCE,
            comparable=_parts,
            needs=PlainAutograd,
        ),
    ]


# -- gradients of the logit difference: [scenario, layer, d_model] ---------------------------------


def _gradients(
    setting: Setting, scenarios: ScenarioSet
) -> Float[np.ndarray, "scenario layer d_model"]:
    return readout_gradients(setting.model, scenarios, "continuation").gradient.numpy()


def _their_gradients(setting: Setting, scenarios: ScenarioSet, side: PlainAutograd) -> np.ndarray:
    return side.gradients(_options(setting, scenarios))


# -- change of P+ per unit of alpha that a component carries: [steered and read axis, component] ---


def _carried(setting: Setting, scenarios: ScenarioSet) -> pd.DataFrame:
    layers = dict.fromkeys(setting.vectors, setting.layers)
    return carried_effects(
        setting.model, scenarios, setting.vectors, layers, readout="continuation"
    )


def _parts(table: pd.DataFrame) -> Float[np.ndarray, "pair component"]:
    n_pairs = len(table[["steered", "axis"]].drop_duplicates())
    return table.carried.to_numpy().reshape(n_pairs, -1)


def _their_carried(setting: Setting, scenarios: ScenarioSet, side: PlainAutograd) -> np.ndarray:
    runs: list[Steering] = [
        {"layers": list(setting.layers), "vectors": of_axis.direction.numpy(), "alpha": alpha}
        for of_axis in setting.vectors.values()
        for alpha in (1.0, -1.0)
    ]
    diffs, changes = side.restored(_options(setting, scenarios), runs)
    p_positive = 1 / (1 + np.exp(-diffs))
    lost = (p_positive * (1 - p_positive))[..., None] * changes
    # Steering up comes before steering down. What is lost under it is what a component carries.
    carried = (lost[1::2] - lost[0::2]) / 2
    axes = np.array([scenario.axis for scenario in scenarios])
    return np.stack(
        [by_scenario[axes == axis].mean(0) for by_scenario in carried for axis in sorted(set(axes))]
    )


def _options(setting: Setting, scenarios: ScenarioSet) -> list[Options]:
    """The tokens of both options of every scenario, the positive one first."""
    pairs: list[Options] = []
    for scenario in scenarios:
        positive, negative = map(setting.model.tokenise, continuation_prompts(scenario))
        pairs.append(
            (
                (list(positive.prompt), list(positive.answer)),
                (list(negative.prompt), list(negative.answer)),
            )
        )
    return pairs
