"""Edits that `steer` makes of vectors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.edits import steer
from interp_culture.steering.extraction import extract


def test_steer_gives_one_edit_a_layer(tiny: LanguageModel, few: ScenarioSet) -> None:
    v = extract(tiny, few)["Y"]
    edits = steer(v, [1, 3], alpha=-0.5)
    assert [(e.layer, e.strength, e.hook_name) for e in edits] == [
        (1, -0.5, "blocks.1.hook_resid_post"),
        (3, -0.5, "blocks.3.hook_resid_post"),
    ]
    assert torch.equal(edits[1].vector, v.direction[3])
    with pytest.raises(
        InputError, match="layer 9 is out of range: these vectors have layers 0 to 3"
    ):
        steer(v, [9], 1.0)


def test_edits_fit_only_the_weights_that_their_vectors_come_from(
    tiny: LanguageModel, few: ScenarioSet
) -> None:
    v = extract(tiny, few)["Y"]
    (edit,) = steer(v, [1], alpha=1.0)
    other_name = LanguageModel(tiny.bridge, tiny.tokenizer, "elsewhere")
    other_name.check_edits([edit])
    other_weights = "of another model"
    with pytest.raises(InputError, match="extracted on"):
        tiny.check_edits([replace(edit, weights=other_weights)])
    elsewhere = replace(v, provenance={**v.provenance, "weights": other_weights})
    tiny.check_edits(steer(elsewhere, [1], 1.0, origin="any"))
