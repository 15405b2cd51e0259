"""A model whose coupling is known: its blocks write nothing, so a steered step reaches the logits as it is.

Letters stand for poles: a and b are X's positive and negative one, c and d those of Y. The unembedding reads X from one
direction and Y from another; the texts' residual streams differ along a mixture of both. So the mean-difference
vector of X moves Y by `COUPLING` of what it moves X, and Y's moves X by nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from conftest import SIZES, byte_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

import interp_culture as ic
from interp_culture.engine.model import LanguageModel
from interp_culture.scenarios.catalogue import Catalogue
from interp_culture.scenarios.scenario import Scenario, ScenarioSet
from interp_culture.survey.wvs import survey_items

COUPLING = 0.4
ITEMS = {"X": ("X1", "X2", "X3"), "Y": ("Y1", "Y2", "Y3")}
# In their place, for what asks about the cultural map.
MAP_ITEMS = {axis: tuple(i for i in survey_items().index if i.startswith(axis)) for axis in "XY"}
POLES = {"X": ("a", "b"), "Y": ("c", "d")}


def planted_model() -> LanguageModel:
    torch.manual_seed(0)
    hf = LlamaForCausalLM(LlamaConfig(**{**SIZES, "tie_word_embeddings": False})).eval()
    tokenizer = byte_tokenizer()
    ids = {letter: tokenizer.encode(letter, add_special_tokens=False)[0] for letter in "abcd"}
    with torch.no_grad():
        for layer in hf.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        d = SIZES["hidden_size"]
        reads_x, reads_y = torch.eye(d)[0], torch.eye(d)[1]
        embed, unembed = hf.model.embed_tokens.weight, hf.lm_head.weight
        embed.normal_()
        embed[:, :2] = 0
        unembed.normal_().mul_(0.1)
        unembed[:, :2] = 0
        for axis, reads, writes in (
            ("X", reads_x, reads_x + COUPLING * reads_y),
            ("Y", reads_y, reads_y),
        ):
            for letter, sign in zip(POLES[axis], (1, -1), strict=True):
                embed[ids[letter]] = embed[ids["a"]] * 0 + sign * writes
                embed[ids[letter], 2:] = 1.0
                unembed[ids[letter]] = sign * reads
    return LanguageModel.wrap(hf, tokenizer, "planted")


def add_carrier(model: LanguageModel, block: int) -> LanguageModel:
    """Let the MLP of one block read X's direction from the stream and write Y's."""
    mlp = model.bridge.original_model.model.layers[block].mlp
    parts = (mlp.gate_proj, mlp.up_proj, mlp.down_proj)
    gate, up, down = (getattr(part, "original_component", part).weight for part in parts)
    with torch.no_grad():
        for weight in (gate, up, down):
            weight.zero_()
        # One unit: its gate is open where the third dimension of the stream is positive, as at the
        # poles' letters; there it reads X's direction and writes Y's.
        gate[0, 2], up[0, 0], down[1, 0] = 4.0, 1.0, 1.5
    return model


def planted_scenarios(per_item: int = 6) -> ScenarioSet:
    catalogue = Catalogue.model_validate(
        {
            "name": "planted",
            "axes": {a: {"negative": n, "positive": p} for a, (p, n) in POLES.items()},
            "domains": ["only"],
            "items": {i: {"axis": a, "label": i} for a, items in ITEMS.items() for i in items},
        }
    )
    scenarios = [
        Scenario(
            id=f"{item}-{n}", axis=axis, item=item, domain="only", situation=f"{item} case {n}" + "." * n,
            positive=POLES[axis][0] * (1 + n % 3), negative=POLES[axis][1] * (1 + n % 3),
        )
        for axis, items in ITEMS.items()
        for item in items
        for n in range(per_item)
    ]  # fmt: skip
    return ScenarioSet(tuple(scenarios), catalogue)


def planted_study(folder: Path, per_item: int = 6, **settings: Any) -> ic.Study:
    """A study of the model, with the paper's direction; its answers are read as continuations."""
    config: dict[str, Any] = {"method": "mean_diff", "model": "planted", "out": str(folder)}
    study = ic.Study(ic.StudyConfig(**(config | settings)))
    study.model = planted_model()
    study.scenarios = planted_scenarios(per_item)
    # No check on control items, whose result is known: the model answers none of them.
    study.primary_readout = "continuation"
    return study
