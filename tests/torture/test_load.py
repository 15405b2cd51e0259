"""Memory: what runs often keeps it flat, and what runs out of it goes on in smaller batches."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_pair

from interp_culture.engine.generation import generate_runs
from interp_culture.engine.gradients import stream_gradients
from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import answer_logprob, score_runs
from interp_culture.engine.model import LanguageModel
from torture.hook_cases import pairs_of_texts, random_text
from torture.tally import Tally

READOUTS = 1000
# The first ones fill caches of PyTorch and of the package.
WARM = 200
# Of the resident memory over the last 800 readouts.
GROWTH_MIB = 4
CASES = 15
WEIGHTS = np.array([[[1.0, 0.0], [-1.0, 0.0]]])


def test_a_thousand_steered_readouts_keep_memory_flat(tally: Tally) -> None:
    program = Path(__file__).with_name("readouts_in_a_row.py")
    command = [sys.executable, str(program), str(READOUTS), str(WARM)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < GROWTH_MIB
    tally.add("load", "steered readouts in a row, with flat memory", READOUTS)


class Full:
    """A device that holds a number of rows: more of them in a block raise an error."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.errors = 0

    def check(self, module: Any, args: tuple, kwargs: dict) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        if len(hidden) > self.rows:
            self.errors += 1
            raise torch.OutOfMemoryError("on purpose")


@contextmanager
def full(model: LanguageModel, rows: int) -> Iterator[Full]:
    """The model on a device that is full from so many rows on, in any of its blocks."""
    device = Full(rows)
    # The name decides that it is not a hook of the user's.
    Full.check.__module__ = "transformers.full"
    blocks_of = model.bridge.original_model.model.layers
    handles = [
        block.register_forward_pre_hook(device.check, with_kwargs=True) for block in blocks_of
    ]
    try:
        yield device
    finally:
        for handle in handles:
            handle.remove()
        model.batch_limit = None


@pytest.mark.parametrize("work", ["readout", "backward pass", "generation"])
def test_a_full_device_gives_the_same_numbers(work: str, tally: Tally) -> None:
    model = make_pair("llama").model
    rng = random.Random(2)
    edits = (Edit(1, torch.randn(model.d_model), 1.0),)
    for _ in range(CASES):
        groups = pairs_of_texts(model, rng, 9)
        texts = [random_text(rng) for _ in range(5)]

        def done() -> np.ndarray | dict:
            if work == "readout":
                runs = {"plain": (), "steered": edits}
                return np.stack([*score_runs(model, groups, runs, answer_logprob).values()])  # noqa: B023
            if work == "backward pass":
                weights = np.repeat(WEIGHTS, len(groups), 0)  # noqa: B023
                found = stream_gradients(model, groups, answer_logprob, weights, [1, 3])  # noqa: B023
                return np.stack([*found.gradient.values()])
            return generate_runs(model, texts, {"plain": (), "steered": edits}, 4)  # noqa: B023

        expected = done()
        with full(model, rng.randrange(2, 5)) as device:
            found = done()
        assert device.errors
        if isinstance(expected, dict):
            assert found == expected
        else:
            np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
        assert not model.is_hooked
    tally.add("load", f"out of memory in a {work}", CASES)
