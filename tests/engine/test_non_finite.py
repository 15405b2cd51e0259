"""NaN and infinity are errors that name where they appear first, whoever runs the pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import byte_tokenizer, make_pair, tiny_hf

from interp_culture.engine.generation import generate
from interp_culture.engine.gradients import stream_gradients
from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import answer_logprob, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.errors import InputError

WEIGHTS = np.array([[[1.0, 0.0], [-1.0, 0.0]]])


def groups(model: LanguageModel) -> list:
    return [[model.tokenise(Prompt("Is it late?", answer)) for answer in (" Yes.", " No.")]]


@pytest.fixture
def broken() -> LanguageModel:
    """A model with one NaN among the weights of block 2, which came after loading."""
    model = make_pair("llama").model
    mlp = model.bridge.original_model.model.layers[2].mlp.down_proj
    with torch.no_grad():
        getattr(mlp, "original_component", mlp).weight[0, 0] = torch.nan
    return model


PLACE = r"the plain model gives NaN .* first at blocks.2.hook_resid_post \(float32\).*bfloat16"


def test_scores_of_the_plain_model(broken: LanguageModel) -> None:
    with pytest.raises(InputError, match=PLACE):
        score_runs(broken, groups(broken), {"": ()}, answer_logprob)
    # Steering is not to blame.
    edits = [Edit(1, torch.ones(broken.d_model), 1.0)]
    with pytest.raises(InputError, match=PLACE):
        score_runs(broken, groups(broken), {"": edits}, answer_logprob)


def test_gradients(broken: LanguageModel) -> None:
    with pytest.raises(InputError, match=PLACE):
        stream_gradients(broken, groups(broken), answer_logprob, WEIGHTS, [1])


def test_a_gradient_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The square root of 0 is finite, and its derivative is not."""
    model = make_pair("llama").model

    def score(model: LanguageModel, final: torch.Tensor, batch: object) -> torch.Tensor:
        values = answer_logprob(model, final, batch)  # type: ignore[arg-type]
        return (values * 0).sqrt()

    with pytest.raises(InputError, match="gradient is NaN or infinite from residual stream 4 down"):
        stream_gradients(model, groups(model), score, WEIGHTS, [1])


def test_generation(broken: LanguageModel) -> None:
    with pytest.raises(InputError, match=PLACE):
        generate(broken, ["Is it late?", "Why?"], 4)


def test_a_step_beyond_the_dtype() -> None:
    model = LanguageModel.wrap(tiny_hf("llama").half(), byte_tokenizer(), "tiny")
    edits = [Edit(1, torch.ones(model.d_model), 1e5)]
    wanted = (
        r"steering with strength 100000 at layer 1 gives NaN .* first at "
        r"blocks.1.hook_resid_post \(float16\); lower the strength"
    )
    with pytest.raises(InputError, match=wanted):
        score_runs(model, groups(model), {"plain": (), "steered": edits}, answer_logprob)
    with pytest.raises(InputError, match=wanted):
        generate(model, ["Is it late?"], 4, edits)
