"""A drag of three sizes, planted in the embedded model: does decoupled steering take it away?

Writes the effects of every method to the given file: python tools/planted_decoupling.py out.csv
"""

from __future__ import annotations

import sys

import pandas as pd

import interp_culture as ic
from interp_culture.coupling import decouple, leak_of_size
from interp_culture.coupling.random_vectors import predicted_random
from interp_culture.engine import plant
from interp_culture.readout import read_runs, with_keys
from interp_culture.steering import readout_gradients

WORDS = "continuation"
STEERED, AXIS = "Y", "X"
LAYERS = {"X": [13, 14, 16, 17], "Y": [14, 15, 16, 17]}
# Growth of the drag, P+ per unit of alpha.
SIZES = (0.02, 0.05, 0.1)
ALPHA = 2.0
METHODS = ("gram_schmidt", "inverse", "nearest", "least_norm")
UNCHANGED = "unchanged"
NAMES = ["steered", "method", "draw", "alpha"]


def main(path: str) -> None:
    plain = ic.load_model("smollm2")
    train, test = ic.load_scenarios().split(seed=42)
    train, test = train.sample(4), test.sample(2)
    first = readout_gradients(plain, train, WORDS)
    vectors = ic.extract(plain, train)
    tables = []
    for size in SIZES:
        leak = leak_of_size(
            plain, train.sample(1), vectors, LAYERS, steered=STEERED, axis=AXIS, size=size,
            alpha=ALPHA, readout=WORDS, writes=first.mean_of_p_positive(
                [s.id for s in train.filter(axis=AXIS)]).numpy(),
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
        runs = {("", "plain", -1, 0.0): []}
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
