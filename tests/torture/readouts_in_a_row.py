"""Prints by how many MiB the resident memory grows over many steered readouts.

    python readouts_in_a_row.py READOUTS WARM

Run as a program of its own: type checks, as tests have them, keep memory for each call.
"""

from __future__ import annotations

import gc
import random
import sys
from pathlib import Path

import psutil
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import make_pair

from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import answer_logprob, score_runs
from torture.hook_cases import pairs_of_texts


def resident_mib() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss) / 2**20


def main(readouts: int, warm: int) -> None:
    model = make_pair("llama").model
    rng = random.Random(1)
    vector = torch.randn(model.d_model)
    before = 0.0
    for number in range(readouts):
        if number == warm:
            before = resident_mib()
        groups = pairs_of_texts(model, rng, 2)
        edits = (Edit(rng.randrange(4), vector, rng.uniform(-2, 2)),)
        score_runs(model, groups, {"plain": (), "steered": edits}, answer_logprob)
        assert not model.is_hooked
    print(resident_mib() - before)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
