"""Why a steering vector moves another axis: each entry of the gain matrix, split by cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd

from interp_culture.coupling.gain import check_steered_here, steps
from interp_culture.coupling.gain_split import Entry, Part, Sample, Texts
from interp_culture.coupling.geometry import whitening_at
from interp_culture.coupling.text_gains import Rows, contrasts_at, gradients_at
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import LEAST_N, LEVEL, NullBand, excludes_zero
from interp_culture.steering.activations import Activations
from interp_culture.steering.readout_gradients import ReadoutGradients
from interp_culture.steering.vectors import SteeringVectors, check_by_axis


def gain_causes(
    gradients: ReadoutGradients,
    scenarios: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    contrasts: Activations,
    train: ScenarioSet,
    *,
    whiten_by: Activations | None = None,
    layers: Mapping[str, Sequence[int]] | None = None,
    draws: int = 1000,
    seed: int = 42,
) -> pd.DataFrame:
    """Each entry G[i, j] of the gain matrix, i not j, as a sum of four causes.

    v_i, v_j are the steering vectors and g_i, g_j the mean gradients of P+. v_i is a mean over the
    texts about i, and so it is a mean over their items. "v" below is the mean over typical items:
    without the fifth of the items with the largest gain on j, and the fifth with the smallest (one
    of each for three to nine items).

    - representation: the part of v along v_j moves j as v_j does. It is c <g_j, v_j>, with
      c = <v, v_j> / <v_j, v_j>.
    - readout: whatever moves i's answer moves j's. It is r <g_i, v - c v_j>, with
      r = <g_j, g_i> / <g_i, g_i>.
    - rest: <g_j - r g_i, v - c v_j>. What later blocks compute from v alone is in it, and chance.
    - dataset: <g_j, v_i - v>, what a few items add, whose texts speak of j too. It needs three
      items.

    The four add up to G exactly. The denominators are estimated without the products of a scenario
    with itself: with them the noise of few texts would make c and r too small, and the rest too
    large.

    Args:
        gradients, scenarios, vectors: as for `gain_matrix`.
        contrasts: positive and negative activations of the training scenarios, whose mean
            difference the vectors are, but for their norm: for the mean difference what
            `read_activations` returned, for the gradient `ReadoutGradients.as_activations`.
        train: the training scenarios.
        whiten_by: activations of the training scenarios, by whose covariance within poles the
            inner products in c are whitened, so that directions in which all texts vary count less.
        layers: as for `gain_matrix`: those that are steered together, by steered axis.
        draws: bootstrap samples: of held-out scenarios, clustered by item, and of training
            scenarios within their items.
        seed: of the bootstrap.

    Returns:
        layer (-1 for layers that are steered together), steered, axis, cause, part (change of P+
        per unit of alpha), low, high (95%, basic bootstrap, for these items; NaN for fewer than six
        scenarios of an axis), null_low and null_high (95% of the parts where the vectors that make
        it have random directions) and shown (whether the interval excludes 0 and the part is beyond
        that band). Layers at which a vector is 0 are left out.

    Raises:
        InputError: one axis alone, an axis without scenarios, layers that do not exist, or vectors
            that are not the mean of the contrasts.

    >>> gradients = ic.steering.readout_gradients(model, test, "continuation")
    >>> contrasts = ic.read_activations(model, train)
    >>> run = {"layers": layers}
    >>> causes = gain_causes(gradients, test, vectors, contrasts, train, **run, draws=20)
    >>> gains = ic.coupling.gain_matrix(gradients, test, vectors, **run)
    >>> entry = gains[(gains.steered == "X") & (gains.axis == "Y")].gain.item()
    >>> bool(abs(causes[causes.steered == "X"].part.sum() - entry) < 1e-6)
    True
    """
    check_by_axis(vectors=vectors)
    if len(vectors) < 2:
        raise InputError("a coupling has two axes or more; give the vectors of two")
    for of_axis in vectors.values():
        check_steered_here(of_axis, gradients, scenarios)
    # Another seed for each axis and half: their draws are independent.
    seeds = {axis: seed + 2 * number for number, axis in enumerate(vectors)}
    texts = {axis: Texts.of(train, axis, draws, own) for axis, own in seeds.items()}
    read = {axis: Sample.of(scenarios, axis, draws, own + 1) for axis, own in seeds.items()}
    data = _Layers(gradients, contrasts, whiten_by, vectors, train, texts, read)
    n_layers = gradients.gradient.shape[1]
    tasks = [
        (number, together, steered, axis)
        for steered, axis in permutations(vectors, 2)
        for number, together in steps(layers, steered, n_layers).items()
        if layers is not None or data.has_vectors(steered, axis, number)
    ]
    rows: list[dict[str, Any]] = []
    # Layer by layer, so that what a layer needs is prepared once for all pairs.
    for number, together, steered, axis in sorted(tasks, key=lambda task: task[0]):
        samples = (texts[steered], texts[axis], read[steered], read[axis])
        few = min(len(sample.ids) for sample in samples)
        splits = [data.entry(steered, axis, layer).split() for layer in together]
        for cause in splits[0]:
            parts = [split[cause] for split in splits]
            row = {"layer": number, "steered": steered, "axis": axis, "cause": cause}
            rows.append(row | _row(parts, is_few=few < LEAST_N))
    return pd.DataFrame(rows)


class _Layers:
    """The entries of all layers and pairs; those of the last layer are kept."""

    def __init__(
        self,
        gradients: ReadoutGradients,
        contrasts: Activations,
        whiten_by: Activations | None,
        vectors: Mapping[str, SteeringVectors],
        train: ScenarioSet,
        texts: Mapping[str, Texts],
        read: Mapping[str, Sample],
    ) -> None:
        self.vectors, self.texts, self.read = vectors, texts, read
        of_last_layer = lru_cache(maxsize=len(vectors))
        self.contrasts = of_last_layer(
            lambda axis, layer: contrasts_at(contrasts, layer, texts[axis].ids, vectors[axis])
        )
        self.moves = of_last_layer(
            lambda axis, layer: gradients_at(gradients, layer, read[axis].ids)
        )

        @of_last_layer
        def weighed(axis: str, layer: int) -> Rows:
            rows = self.contrasts(axis, layer)
            return rows if whiten_by is None else rows @ whitens(layer)

        @lru_cache(maxsize=1)
        def whitens(layer: int) -> np.ndarray:
            assert whiten_by is not None
            return whitening_at(whiten_by, layer, train)

        self.weighed = weighed

    def has_vectors(self, steered: str, axis: str, layer: int) -> bool:
        """Whether the vectors of both axes are not 0 at a layer."""
        return all(bool(self.vectors[name].direction[layer].any()) for name in (steered, axis))

    def entry(self, steered: str, axis: str, layer: int) -> Entry:
        return Entry(
            self.contrasts(steered, layer),
            self.contrasts(axis, layer),
            self.weighed(steered, layer),
            self.weighed(axis, layer),
            self.moves(steered, layer),
            self.moves(axis, layer),
            self.texts[steered],
            self.texts[axis],
            self.read[steered],
            self.read[axis],
        )


def _row(parts: Sequence[Part], is_few: bool) -> dict[str, float | bool]:
    """The sum of the parts of some layers, with its interval and its band by chance.

    The interval is a basic bootstrap: means of resampled scenarios are noisier than the mean
    itself, so that percentiles of products of such means would be off.
    """
    drawn = np.sum([part.drawn for part in parts], axis=0)
    band = NullBand.of_scale(float(np.sqrt(sum(part.scale**2 for part in parts))))
    row = {"part": float(drawn[0]), "low": np.nan, "high": np.nan}
    if not is_few and len(drawn) > 1:
        ends = np.quantile(drawn[1:], [1 - LEVEL / 2, LEVEL / 2])
        row["low"], row["high"] = (2 * drawn[0] - ends).tolist()
    is_shown = excludes_zero(row["low"], row["high"]) and abs(row["part"]) > band.reach
    return row | {"null_low": band.low, "null_high": band.high, "shown": is_shown}
