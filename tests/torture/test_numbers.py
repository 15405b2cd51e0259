"""NaN and infinity in any weight are errors that name the block where they appear."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from conftest import make_pair

from interp_culture.engine.generation import generate
from interp_culture.engine.gradients import stream_gradients
from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import answer_logprob, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from torture.hook_cases import pairs_of_texts, random_text
from torture.tally import Tally

CASES = 20
MODULES = ("self_attn.o_proj", "self_attn.v_proj", "mlp.down_proj", "mlp.up_proj")


def spoil(model: LanguageModel, block: int, module: str, value: float) -> None:
    """Put a value into one weight of a block, after loading."""
    part = model.bridge.original_model.model.layers[block].get_submodule(module)
    with torch.no_grad():
        getattr(part, "original_component", part).weight[0, 0] = value


def run(model: LanguageModel, by: str, rng: random.Random) -> None:
    groups = pairs_of_texts(model, rng, 2)
    if by == "readout":
        edits = (Edit(0, torch.ones(model.d_model), 1.0),)
        score_runs(model, groups, {"plain": (), "steered": edits}, answer_logprob)
    elif by == "backward pass":
        weights = np.repeat([[[1.0, 0.0], [-1.0, 0.0]]], len(groups), 0)
        stream_gradients(model, groups, answer_logprob, weights, [0])
    else:
        generate(model, [random_text(rng)], 3)


@pytest.mark.parametrize("by", ["readout", "backward pass", "generation"])
def test_a_spoilt_weight_is_placed(by: str, tally: Tally) -> None:
    rng = random.Random(by)
    for _ in range(CASES):
        model = make_pair("llama").model
        block = rng.randrange(model.n_layers)
        spoil(model, block, rng.choice(MODULES), rng.choice([torch.nan, torch.inf]))
        with pytest.raises(InputError, match=rf"first at blocks\.{block}\.hook_resid_post"):
            run(model, by, rng)
    tally.add("numbers", f"NaN or infinite weights, met by a {by}", CASES)
