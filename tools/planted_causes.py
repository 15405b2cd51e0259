"""Planted causes in the embedded model: does the split of a gain name their kind, size and place?

Writes a table of growths to the given file, of all kinds or of those that are named:
python tools/planted_causes.py planted.csv [representation] [dataset] [readout] [rest]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.covariance import LedoitWolf

import interp_culture as ic
from interp_culture.coupling import gain_causes, leak_of_size
from interp_culture.engine import Leak, plant
from interp_culture.engine.hardware import choose_threads
from interp_culture.stats import Estimate, bootstrap_weights, mean_samples
from interp_culture.steering import Activations, ReadoutGradients, readout_gradients

WORDS = "continuation"
STEERED, AXIS = "X", "Y"
# Growths of the gain, P+ per unit of alpha.
SIZES = (0.005, 0.01, 0.02)
LAYERS = (17, 20, 23)
# Scenarios of every item and domain: 75 training texts an axis. As many held-out scenarios where
# the plain model's gradients will do; 15 an axis where each leak takes a backward pass of its own.
PER_CELL, HELD_OUT_PER_CELL, UNDER_LEAKS = 5, 5, 1
# Of P+ by alpha while the size of a leak is set: near the limit that the gain describes.
ALPHA = 0.25


class World:
    """The plain model: its training and held-out scenarios, gradients, vectors and contrasts.

    `few` are the held-out scenarios that are read under leaks.
    """

    def __init__(self) -> None:
        self.model = ic.load_model("smollm2")
        train, test = ic.load_scenarios().split(seed=42)
        self.train, self.test = train.sample(PER_CELL), test.sample(HELD_OUT_PER_CELL)
        # Further texts of Y, so that what is planted has no noise in common with Y's vector.
        used = {scenario.id for scenario in self.train}
        rest = [s.id for s in train.filter(axis=AXIS) if s.id not in used]
        self.further = train.with_ids(rest).sample(PER_CELL)
        self.few = self.test.sample(UNDER_LEAKS)
        # Further dilemmas about X, of which the answers of Y may depend.
        asked = {scenario.id for scenario in self.test}
        rest = [s.id for s in test.filter(axis=STEERED) if s.id not in asked]
        self.further_test = test.with_ids(rest).sample(HELD_OUT_PER_CELL)
        self.contrasts = ic.read_activations(self.model, self.train)
        self.further_contrasts = ic.read_activations(self.model, self.further)
        self.vectors = ic.extract(self.model, self.train, activations=self.contrasts)
        self.gradients = readout_gradients(self.model, self.test, WORDS)

    def rows(
        self,
        of: dict[str, Any],
        gradients: ReadoutGradients,
        layers: Sequence[int],
        **changed: Any,
    ) -> list[dict]:
        """The growth of the gain and of its parts at each of these layers."""
        given = {"vectors": self.vectors, "contrasts": self.contrasts} | changed
        return [of | {"layer": layer} | self._growth(gradients, layer, **given) for layer in layers]

    def _growth(
        self,
        gradients: ReadoutGradients,
        layer: int,
        vectors: dict[str, ic.SteeringVectors],
        contrasts: Activations,
    ) -> dict[str, Any]:
        layers = {axis: [layer] for axis in vectors}
        plain = self.gradients.select(gradients.ids)
        before = self._parts(plain, self.vectors, self.contrasts, layers)
        after = self._parts(gradients, vectors, contrasts, layers)
        ids = set(gradients.ids)
        frame = self.test.filter(axis=AXIS).frame()
        frame = frame[frame.id.isin(ids)]
        growth = self._scenario_gains(gradients, vectors, layer, frame.id) - self._scenario_gains(
            self.gradients, self.vectors, layer, frame.id
        )
        weights = bootstrap_weights(frame["axis"].to_numpy(str), frame["item"].to_numpy(str))
        everything = np.ones(len(growth), dtype=bool)
        gain = Estimate.of_samples(mean_samples(weights, growth, everything))
        parts = after.part - before.part
        named = parts.abs().idxmax()
        row = {"growth": gain.value, "low": gain.low, "high": gain.high, "named": named}
        return row | parts.to_dict() | {"shown": bool(after.shown[named])}

    def _scenario_gains(
        self,
        gradients: ReadoutGradients,
        vectors: dict[str, ic.SteeringVectors],
        layer: int,
        ids: Sequence[str],
    ) -> np.ndarray:
        moves = gradients.select(list(ids)).of_p_positive[:, layer]
        return (moves @ vectors[STEERED].direction[layer].double()).numpy()

    def _parts(
        self,
        gradients: ReadoutGradients,
        vectors: dict[str, ic.SteeringVectors],
        contrasts: Activations,
        layers: dict[str, list[int]],
    ) -> pd.DataFrame:
        scenarios = self.test.with_ids(gradients.ids)
        causes = gain_causes(
            gradients, scenarios, vectors, contrasts, self.train, layers=layers, draws=300
        )
        of_pair = causes[(causes.steered == STEERED) & (causes.axis == AXIS)]
        return of_pair.set_index("cause")


def in_later_blocks(world: World) -> list[dict]:
    """Leaks: after a block, what lies along X's whitened vector is written along Y's gradient."""
    rows = []
    for block in LAYERS:
        layers = {axis: [block] for axis in world.vectors}
        unit = leak_of_size(
            world.model, world.train, world.vectors, layers, steered=STEERED, axis=AXIS,
            size=1.0, block=block, alpha=ALPHA, readout=WORDS,
            reads=whitened(world.contrasts, world.vectors[STEERED].direction, block),
        )  # fmt: skip
        for size in SIZES:
            gradients = planted_gradients(world, replace(unit, size=size * unit.size))
            of = {"kind": "rest", "block": block, "size": size}
            # A leak acts on what is added at its block or before it, and on nothing after it.
            rows += world.rows(of, gradients, [block - 1, block, block + 1])
    return rows


def whitened(contrasts: Activations, direction: torch.Tensor, block: int) -> np.ndarray:
    """A direction by the inverse of the stream's covariance after a block.

    Along the direction itself the stream varies so much that a leak would change every answer.
    """
    streams = torch.cat([contrasts.positive, contrasts.negative])[:, block].double()
    covariance = LedoitWolf().fit(streams.numpy()).covariance_
    return np.linalg.solve(covariance, direction[block].double().numpy()).astype(np.float32)


def in_the_readout(world: World) -> list[dict]:
    """Y's answer also counts as much of the answer to another dilemma about X.

    Its gradient is added to Y's. The size is that at each layer, to first order.
    """
    more = readout_gradients(world.model, world.further_test, WORDS)
    of_y = [world.gradients.ids.index(s.id) for s in world.test.filter(axis=AXIS)]
    # In units of P+ and back: each answer has a slope of its own.
    ratio = more.slope / world.gradients.slope[of_y]
    added = ratio[:, None, None] * more.gradient.double()
    rows = []
    for size in SIZES:
        for layer in LAYERS:
            direction = world.vectors[STEERED].direction[layer].double()
            unit = float((more.of_p_positive[:, layer] @ direction).mean())
            gradient = world.gradients.gradient.double().clone()
            gradient[of_y] += size / unit * added
            gradients = replace(world.gradients, gradient=gradient.float())
            of = {"kind": "readout", "block": layer, "size": size}
            rows += world.rows(of, gradients, [layer])
    return rows


def planted_gradients(world: World, leak: Leak) -> ReadoutGradients:
    planted = plant(world.model, leak)
    planted.readout_checks = world.model.readout_checks
    return readout_gradients(planted, world.few, WORDS)


def in_the_texts(world: World, kind: str) -> list[dict]:
    """Texts of X that differ as texts of Y do: all of them, or those of one item of five.

    Each gets the difference of a further text of Y. The size is that at each layer: what is added
    moves Y by it, to first order.
    """
    rows = []
    ids = world.test.filter(axis=AXIS).frame().id.tolist()
    frame = world.train.frame()
    of_x = (frame["axis"] == STEERED).to_numpy()
    here = of_x
    if kind == "dataset":
        here = (frame["item"] == frame["item"][of_x].iloc[0]).to_numpy()
    differences = differences_of(world.further_contrasts)[: here.sum()]
    for size in SIZES:
        for layer in LAYERS:
            moved = differences[:, layer].sum(0) / of_x.sum()
            unit = float(world.gradients.mean_of_p_positive(ids)[layer] @ moved)
            positive = world.contrasts.positive.double().clone()
            positive[torch.from_numpy(here.copy()), layer] += size / unit * differences[:, layer]
            contrasts = replace(world.contrasts, positive=positive.float())
            vectors = ic.extract(world.model, world.train, activations=contrasts)
            of = {"kind": kind, "block": layer, "size": size}
            rows += world.rows(of, world.gradients, [layer], vectors=vectors, contrasts=contrasts)
    return rows


def differences_of(contrasts: Activations) -> torch.Tensor:
    """Positive minus negative pole [scenario, layer, d_model], in double precision."""
    return contrasts.positive.double() - contrasts.negative.double()


def main(path: str, *kinds: str) -> None:
    choose_threads()
    world = World()
    steps = {
        "representation": partial(in_the_texts, kind="representation"),
        "dataset": partial(in_the_texts, kind="dataset"),
        "readout": in_the_readout,
        "rest": in_later_blocks,
    }
    rows = []
    for kind in kinds or steps:
        rows += steps[kind](world)
        pd.DataFrame(rows).to_csv(path, index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
