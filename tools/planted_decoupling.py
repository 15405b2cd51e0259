"""A drag of three sizes, planted in the embedded model: does decoupled steering take it away?

Writes the effects of every method to the given file: python tools/planted_decoupling.py out.csv
"""

from __future__ import annotations

import sys

import pandas as pd
from planted_causes import whitened

import interp_culture as ic
from interp_culture.coupling import decouple, leak_of_size
from interp_culture.coupling.random_vectors import predicted_random
from interp_culture.engine import plant
from interp_culture.engine.hardware import choose_threads
from interp_culture.readout import read_runs, with_keys
from interp_culture.steering import norm_matched, readout_gradients

WORDS = "continuation"
STEERED, AXIS = "Y", "X"
LAYERS = {"X": [14, 15, 17, 20], "Y": [16, 17, 19, 20]}
# Growth of the drag, P+ per unit of alpha; the axis itself moves by about 0.05, and 30 scenarios
# an axis show a drag from about 0.03 on.
SIZES = (0.03, 0.06, 0.12)
ALPHA = 1.0
METHODS = ("gram_schmidt", "inverse", "nearest", "least_norm")
UNCHANGED = "unchanged"
NAMES = ["steered", "method", "draw", "alpha"]


def main(path: str) -> None:
    choose_threads()
    plain = ic.load_model("smollm2")
    train, test = ic.load_scenarios().split(seed=42)
    train, test = train.sample(3), test.sample(2)
    first = readout_gradients(plain, train, WORDS)
    contrasts = ic.read_activations(plain, train)
    vectors = {}
    for axis, paper in ic.extract(plain, train, activations=contrasts).items():
        ids = [scenario.id for scenario in train.filter(axis=axis)]
        vectors[axis] = norm_matched(paper, first.select(ids).gradient.mean(0), "gradient")
    # The size is set on some scenarios, and the leak writes along the gradient of the others: that
    # of the same ones would move them further than held-out ones.
    sized = train.sample(1)
    left_out = {scenario.id for scenario in sized}
    of_axis = [s.id for s in train.filter(axis=AXIS) if s.id not in left_out]
    block = max(LAYERS[STEERED])
    reads = whitened(contrasts, vectors[STEERED].direction, block)
    writes = first.mean_of_p_positive(of_axis).numpy()
    tables = []
    for size in SIZES:
        leak = leak_of_size(
            plain, sized, vectors, LAYERS, steered=STEERED, axis=AXIS, size=size,
            block=block, alpha=ALPHA, readout=WORDS, reads=reads, writes=writes,
        )  # fmt: skip
        model = plant(plain, leak)
        model.readout_checks = plain.readout_checks
        gradients = readout_gradients(model, train, WORDS)
        made = {UNCHANGED: vectors}
        for method in METHODS:
            layers = None if method == "gram_schmidt" else LAYERS
            made[method] = decouple(
                vectors, method, train=train, gradients=gradients, layers=layers
            )
        runs: dict[tuple, list] = {("", "plain", -1, 0.0): []}
        for method, by_axis in made.items():
            for sign in (1, -1):
                edits = ic.steer(by_axis[STEERED], LAYERS[STEERED], sign * ALPHA)
                runs[STEERED, method, -1, sign * ALPHA] = edits
        read = with_keys(read_runs(model, test, runs, readout=WORDS), NAMES)
        random = predicted_random(
            model, test, {STEERED: vectors[STEERED]}, LAYERS, alpha=ALPHA, readout=WORDS
        )
        slopes = ic.coupling.slopes(read, ["steered", "method"])
        band = ic.coupling.random_reach(
            ic.coupling.shifts(pd.concat([read, random])), ["steered", "axis"], per_alpha=True
        )
        effects = ic.coupling.beside_random(
            ic.coupling.effects(slopes, ["method", "steered"], "slope"), band
        )
        kept = ic.coupling.multiples(slopes, UNCHANGED).set_index("method")
        tables.append(effects.assign(size=size, kept=effects.method.map(kept.multiple)))
        pd.concat(tables).to_csv(path, index=False)


if __name__ == "__main__":
    main(sys.argv[1])
