"""What vectors say: their logits are those of plain Hugging Face code, projections those of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Pair, make_pair
from planted import planted_model, planted_scenarios

import interp_culture as ic
from interp_culture.errors import InputError
from interp_culture.steering import direction_tokens, token_projections
from interp_culture.steering.vectors import SteeringVectors

LAYERS = {"X": [1, 2], "Y": [2]}


def random_vectors(model: Any, seed: int = 0) -> dict[str, SteeringVectors]:
    torch.manual_seed(seed)
    train, _ = planted_scenarios(2).split()
    made = ic.extract(model, train)
    shape = (model.n_layers, model.d_model)
    return {axis: replace(made[axis], direction=torch.randn(shape)) for axis in "XY"}


def test_the_logits_are_those_of_the_models_norm_and_unembedding(pair: Pair) -> None:
    vectors = random_vectors(pair.model)
    table = direction_tokens(pair.model, vectors, LAYERS, k=4)
    inner = getattr(pair.plain.model, "language_model", pair.plain.model)
    with torch.no_grad():
        for (name, layer), rows in table.groupby(["direction", "layer"]):
            unit = {a: v.direction[layer] / v.direction[layer].norm() for a, v in vectors.items()}
            unit["X - Y"] = unit["X"] - unit["Y"]
            v = unit[name] / unit[name].norm() * pair.model.d_model**0.5
            logits = pair.plain.lm_head(inner.norm(v[None]))[0]
            for pole, sign in (("positive", 1), ("negative", -1)):
                of_pole = rows[rows.pole == pole]
                expected = (sign * logits).topk(4)
                assert of_pole.token_id.tolist() == expected.indices.tolist()
                np.testing.assert_allclose(of_pole.logit, expected.values, rtol=1e-4, atol=1e-5)
    assert set(table.direction) == {"X", "Y", "X - Y"}
    assert set(table[table.direction == "X - Y"].layer) == {2}


def test_a_vector_that_is_a_row_of_the_unembedding_promotes_its_token_beyond_chance() -> None:
    model = planted_model()
    vectors = random_vectors(model)
    row = model.bridge.original_model.lm_head
    weight = getattr(row, "original_component", row).weight
    token = model.tokenizer.encode("a", add_special_tokens=False)[0]
    direction = vectors["X"].direction.clone()
    direction[1] = weight[token].detach()
    planted = {"X": replace(vectors["X"], direction=direction)}
    table = direction_tokens(model, planted, {"X": [1, 2]}, k=1)
    tops = table[table.pole == "positive"].set_index("layer")
    assert tops.token[1] == "a"
    assert tops.logit[1] > tops.random_top[1]
    assert tops.logit[2] < 1.3 * tops.random_top[2]


@pytest.mark.parametrize("texts", [["A new flat.", "No, a much longer text than that."]])
def test_projections_are_those_of_plain_hidden_states(texts: list[str]) -> None:
    pair = make_pair("llama")
    vectors = random_vectors(pair.model)
    table = token_projections(pair.model, texts, vectors, {"X": 1, "Y": 2})
    for axis, layer in {"X": 1, "Y": 2}.items():
        for text, words in enumerate(texts):
            ids = torch.tensor([pair.model.tokenise_texts([words])[0].prompt])
            with torch.no_grad():
                states = pair.plain(ids, output_hidden_states=True).hidden_states
            v = vectors[axis].direction[layer]
            expected = states[layer + 1][0] @ (v / v.norm())
            rows = table[(table.axis == axis) & (table.text == text)]
            np.testing.assert_allclose(rows.projection, expected, rtol=1e-4, atol=1e-4)
    edit = ic.Edit(1, vectors["X"].direction[1], 2.0)
    steered = token_projections(pair.model, texts, vectors, {"X": 1, "Y": 2}, edits=[edit])
    moved = (steered.projection - table.projection)[table.axis == "X"]
    length = float(vectors["X"].direction[1].norm())
    np.testing.assert_allclose(moved, 2 * length, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, v: direction_tokens(m, v, LAYERS, k=0), "k is 0"),
        (lambda m, v: direction_tokens(m, v, {"X": [1]}), "no layer of axis Y"),
        (lambda m, v: direction_tokens(m, v, {"X": [9], "Y": [1]}), "9"),
        (lambda m, v: token_projections(m, [], v, {"X": 1, "Y": 1}), "a text without a token"),
    ],
)
def test_what_cannot_be_read_is_said(call: Any, message: str) -> None:
    model = planted_model()
    with pytest.raises(InputError, match=message):
        call(model, random_vectors(model))
