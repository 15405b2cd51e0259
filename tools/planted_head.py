"""A leak planted in one attention head of the embedded model: is the head found, with its size?

The head gets one more value channel: it reads X's steering vector from what enters its block, and
writes along the gradient of Y. Writes a table to the given file: python tools/planted_head.py
planted_head.csv
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

import interp_culture as ic
from interp_culture.attribution import carried_effects, random_sets, restored_readouts
from interp_culture.coupling import slopes
from interp_culture.engine.hardware import choose_threads
from interp_culture.steering import readout_gradients

WORDS = "continuation"
STEERED, AXIS = "X", "Y"
LAYERS = [14, 15]
# Block and head, after the steered layers.
HEADS = ((17, 4), (20, 7), (24, 1))
# Change of Y's P+ per unit of alpha.
SIZES = (0.005, 0.01)
N_RANDOM_SETS = 3


@contextmanager
def leaky_head(
    model: ic.LanguageModel,
    block: int,
    head: int,
    reads: Float[Tensor, " d_model"],
    writes: Float[Tensor, " d_model"],
    size: float,
) -> Iterator[None]:
    """The head also carries `size * (normed stream . reads)` and writes it along `writes`."""
    attention = model.bridge.original_model.model.layers[block].self_attn
    d_head = attention.head_dim
    group = attention.num_key_value_groups
    of_values = slice(head // group * d_head, (head // group + 1) * d_head)
    of_head = slice(head * d_head, (head + 1) * d_head)
    values, output = attention.v_proj.weight, attention.o_proj.weight
    kept = values.detach().clone(), output.detach().clone()
    with torch.no_grad():
        # The direction that the heads of this group write least of as they are.
        channel = torch.linalg.svd(output[:, of_head]).Vh[-1]
        values[of_values] += torch.outer(channel, reads)
        output[:, of_head] += size * torch.outer(writes, channel)
    try:
        yield
    finally:
        with torch.no_grad():
            values.copy_(kept[0])
            output.copy_(kept[1])


def unit(vector: Any) -> Float[Tensor, " d_model"]:
    return torch.nn.functional.normalize(torch.as_tensor(vector).float(), dim=0)


def of_pair(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table.steered == STEERED) & (table.axis == AXIS)].set_index("component")


def main(path: str) -> None:
    choose_threads()
    model = ic.load_model("smollm2")
    train, test = ic.load_scenarios().split(seed=42)
    train, test = train.sample(5), test.sample(2).filter(axis=AXIS)
    vectors = {STEERED: ic.extract(model, train)[STEERED]}
    layers = {STEERED: LAYERS}
    fitted = train.filter(axis=AXIS).sample(2)
    gradients = readout_gradients(model, fitted, WORDS)
    toward = gradients.mean_of_p_positive([scenario.id for scenario in fitted])
    plain = of_pair(carried_effects(model, test, vectors, layers, readout=WORDS))
    rows = []
    for block, head in HEADS:
        norm = model.bridge.original_model.model.layers[block].input_layernorm.weight.detach()
        # The norm scales each coordinate before the values read it.
        reads = unit(unit(vectors[STEERED].direction[LAYERS[-1]]) / norm)
        writes = unit(toward[block])
        name = f"L{block}.H{head}"
        scale = 1.0
        for size in SIZES:
            # First-order in the leak's size: one measurement sets it, the next one is reported.
            for _ in range(2):
                with leaky_head(model, block, head, reads, writes, scale):
                    found = of_pair(carried_effects(model, test, vectors, layers, readout=WORDS))
                growth = found.effect.iloc[0] - plain.effect.iloc[0]
                if abs(growth / size - 1) < 0.2:
                    break
                scale *= size / growth
            with leaky_head(model, block, head, reads, writes, scale):
                found = of_pair(carried_effects(model, test, vectors, layers, readout=WORDS))
                sets = {"none": [], "planted": [name]}
                sets |= random_sets(model, [name], N_RANDOM_SETS, first=LAYERS[-1] + 1)
                runs = restored_readouts(model, test, vectors, layers, sets, readout=WORDS)
            by_set = {
                name: slopes(table, ["steered"]).slope.mean()
                for name, table in runs.groupby("restored")
            }
            change = found.carried - plain.carried
            others = change.drop(name).abs()
            rows.append(
                {
                    "head": name,
                    "size": size,
                    "growth": found.effect.iloc[0] - plain.effect.iloc[0],
                    "carried": change[name],
                    "rank": int((change.abs() > abs(change[name])).sum()) + 1,
                    "next": others.idxmax(),
                    "carried by next": change[others.idxmax()],
                    "lost when restored": by_set["none"] - by_set["planted"],
                    "lost, most of random heads": max(
                        abs(by_set["none"] - by_set[name]) for name in sets if "random" in name
                    ),
                }
            )
            pd.DataFrame(rows).to_csv(path, index=False)


if __name__ == "__main__":
    main(sys.argv[1])
