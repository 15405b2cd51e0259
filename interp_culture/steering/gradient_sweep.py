"""The sweep of all layers from gradients that are there already: no pass of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.readout_gradients import ReadoutGradients
from interp_culture.steering.sweep import SWEEP_COLUMNS
from interp_culture.steering.vectors import SteeringVectors


def gradient_sweep(
    gradients: ReadoutGradients,
    scenarios: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    alphas: Sequence[float],
) -> pd.DataFrame:
    """What `layer_sweep` returns with the method "gradient", from gradients of these scenarios.

    Args:
        gradients: of the readout on the scenarios, or on more.
        scenarios: of all axes; each axis is swept with its own scenarios.
        vectors: by axis.
        alphas: strengths.

    Raises:
        InputError: a scenario without a gradient.

    >>> gradients = ic.steering.readout_gradients(model, train, "continuation")
    >>> sweep = gradient_sweep(gradients, train, vectors, [1.0])
    >>> len(sweep) == model.n_layers * len(train)
    True
    """
    tables = []
    for axis, of_axis in vectors.items():
        frame = scenarios.filter(axis=axis).frame()
        own = gradients.select(frame.id.tolist())
        plain = own.logit_diff.double()
        per_alpha = torch.einsum("sld,ld->sl", own.gradient.double(), of_axis.direction.double())
        for layer in range(per_alpha.shape[1]):
            for alpha in alphas:
                change = alpha * per_alpha[:, layer]
                p_positive = (plain + change).sigmoid()
                shift = (p_positive - plain.sigmoid()).numpy()
                run = frame[["id", "axis", "item", "domain"]].assign(
                    steered=axis,
                    layer=layer,
                    alpha=alpha,
                    p_positive=p_positive.numpy(),
                    shift=shift,
                    differential=np.abs(shift),
                    logit_shift=change.numpy(),
                    method="gradient",
                    predicted_shift=shift,
                )
                tables.append(run)
    return pd.concat(tables, ignore_index=True)[SWEEP_COLUMNS]
