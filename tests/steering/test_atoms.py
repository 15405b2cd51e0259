"""Vectors as sums of vocabulary directions: planted atoms are found, directions are plain weights."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ARCHITECTURES, byte_tokenizer, tiny_hf
from sklearn.linear_model import orthogonal_mp
from transformer_lens.tools.analysis import JacobianLens
from transformers import GPT2Config, GPT2LMHeadModel, OPTConfig, OPTForCausalLM

from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_directions import lens_directions, unembedding_directions
from interp_culture.errors import InputError
from interp_culture.steering import direction_atoms
from interp_culture.steering.vectors import SteeringVectors

A, B, C = 97, 150, 200
TEXTS = ["A text that is long enough for a lens to be fitted on it.", "And another one like this."]


def with_gain(plain: Any, norm: Any) -> tuple[LanguageModel, Any]:
    """A hooked copy and the plain model, whose final norm has a gain of its own."""
    torch.manual_seed(1)
    with torch.no_grad():
        norm.weight.add_(0.3 * torch.randn(norm.weight.shape))
    return LanguageModel.wrap(copy.deepcopy(plain), byte_tokenizer(), "tiny"), plain


def gpt2() -> tuple[LanguageModel, Any]:
    torch.manual_seed(0)
    sizes = {"vocab_size": 320, "n_embd": 32, "n_layer": 2, "n_head": 4}
    plain = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=1, eos_token_id=2)).eval()
    return with_gain(plain, plain.transformer.ln_f)


def given(**directions: Any) -> dict[str, SteeringVectors]:
    return {a: SteeringVectors.from_tensors(a, d.detach().clone()) for a, d in directions.items()}


def at_all_layers(vector: torch.Tensor, n_layers: int) -> torch.Tensor:
    return vector[None].repeat(n_layers, 1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_directions_are_the_plain_rows_times_the_gain_of_the_norm(architecture: str) -> None:
    plain = tiny_hf(architecture)
    inner = getattr(plain.model, "language_model", plain.model)
    model, _ = with_gain(plain, inner.norm)
    # Gemma adds 1 to its gain.
    gain = inner.norm.weight + architecture.startswith("gemma")
    rows = (plain.lm_head.weight * gain).detach()
    found = unembedding_directions(model)
    expected = torch.nn.functional.normalize(rows[found.tokens], dim=-1)
    torch.testing.assert_close(found.units, expected, atol=1e-5, rtol=1e-4)
    missing = set(range(len(rows))) - set(found.tokens)
    assert all(not rows[token].any() for token in missing)


def test_a_norm_that_subtracts_the_mean_reads_no_mean() -> None:
    model, plain = gpt2()
    found = unembedding_directions(model)
    assert found.units.mean(-1).abs().max() < 1e-6
    torch.manual_seed(2)
    stream = torch.randn(32) + 3
    with torch.no_grad():
        odd = plain.lm_head(
            plain.transformer.ln_f(stream[None]) - plain.transformer.ln_f(-stream[None])
        )[0]
        rows = plain.lm_head.weight * plain.transformer.ln_f.weight
        lengths = (rows - rows.mean(-1, keepdim=True)).norm(dim=-1)
    read = found.units @ stream * lengths
    assert torch.corrcoef(torch.stack([read, odd]))[0, 1] > 0.99999


def test_atoms_of_a_planted_sum_are_its_tokens_and_axes_share_them() -> None:
    plain = tiny_hf("llama")
    model, _ = with_gain(plain, plain.model.norm)
    weight = (plain.lm_head.weight * plain.model.norm.weight).detach()
    rows = torch.nn.functional.normalize(weight, dim=-1)
    x = at_all_layers(2 * rows[A] + rows[B], 4)
    y = at_all_layers(rows[C] - 2 * rows[A], 4)
    table = direction_atoms(model, given(X=x, Y=y), {"X": [1, 2], "Y": [2]}, k=2, n_random=10)
    top = table[table.pole == "positive"].set_index(["axis", "layer", "rank"])
    length = float((2 * rows[A] + rows[B]).norm())
    for layer in (1, 2):
        assert top.token_id["X", layer].tolist() == [A, B]
        np.testing.assert_allclose(top.coefficient["X", layer], [2 / length, 1 / length], rtol=1e-4)
        assert top.explained["X", layer, 1] == pytest.approx(1, abs=1e-5)
    assert top.token["X", 1, 1] == model.tokenizer.decode([A])
    here = table[(table.layer == 2) & (table.token_id == A)].set_index(["axis", "pole"])
    assert here.shared_with["X", "positive"] == "-Y"
    assert here.shared_with["Y", "negative"] == "-X"
    # Y has no vector at layer 1 to share with.
    assert set(table[table.layer == 1].shared_with) == {""}
    assert (table.null_high > table.null_mean).all()
    assert (table.null_high[table.axis == "X"] < 1).all()


def test_one_atom_explains_what_scikit_learn_finds_and_random_vectors_are_within_their_null() -> (
    None
):
    plain = tiny_hf("llama")
    model, _ = with_gain(plain, plain.model.norm)
    directions = unembedding_directions(model)
    torch.manual_seed(3)
    vectors = given(**{f"r{place}": torch.randn(4, 32) for place in range(20)})
    layers = {axis: [0] for axis in vectors}
    one = direction_atoms(model, vectors, layers, k=1, n_random=30)
    for (axis, pole), rows in one.groupby(["axis", "pole"]):
        v = vectors[axis].direction[0] * (1 if pole == "positive" else -1)
        v = v / v.norm()
        # Of both signs, as scikit-learn's pursuit is: the positive one is the nonnegative one.
        cosines = directions.units @ v
        assert rows.token_id.item() == directions.tokens[int(cosines.argmax())]
        signed = orthogonal_mp(directions.units.numpy().T, v.numpy(), n_nonzero_coefs=1)
        share = float(np.square(signed).sum())
        assert rows.explained.item() <= share + 1e-5
        if cosines.max() == cosines.abs().max():
            assert rows.explained.item() == pytest.approx(share, abs=1e-5)
    explained = one.groupby("axis").explained.first()
    assert (explained > one.null_high.iloc[0]).mean() <= 0.2
    assert explained.mean() == pytest.approx(one.null_mean.iloc[0], abs=0.1)


def test_a_fitted_lens_gives_its_own_atoms() -> None:
    plain = tiny_hf("llama")
    model, _ = with_gain(plain, plain.model.norm)
    lens = JacobianLens.fit(model.bridge, TEXTS, corpus="test", dim_batch=32, show_progress=False)
    rows = (lens.jacobians[1].T @ plain.lm_head.weight.T).T
    vectors = given(X=at_all_layers(rows[A] / rows[A].norm() + rows[B] / rows[B].norm(), 4))
    table = direction_atoms(model, vectors, {"X": [1]}, k=2, lens=lens, n_random=2)
    of_pole = table[table.pole == "positive"]
    own = lens.decompose(model.bridge, vectors["X"].direction[1], 1, k=2)
    assert of_pole.token_id.tolist() == own.support.tolist()
    assert set(of_pole.token_id) == {A, B}
    assert set(unembedding_directions(model).tokens) == set(lens_directions(model, lens, 1).tokens)
    without = direction_atoms(model, vectors, {"X": [1]}, k=2, n_random=2)
    assert without.explained.iloc[0] < of_pole.explained.iloc[0]
    with pytest.raises(InputError, match="does not fit tiny, layer 3"):
        direction_atoms(model, vectors, {"X": [3]}, k=2, lens=lens, n_random=2)
    wide = JacobianLens({1: torch.eye(16)}, n_prompts=1, d_model=16)
    with pytest.raises(InputError, match="does not fit tiny, layer 1"):
        direction_atoms(model, vectors, {"X": [1]}, k=2, lens=wide, n_random=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 1000}, "1 to 320"),
        ({"n_random": 1}, "n_random is 1"),
        ({"layers": {}}, "no layer of axis X"),
        ({"layers": {"X": [2]}}, "the vector of X is 0 at layer 2"),
        ({"lens": "lens.pt"}, "lens is a str"),
    ],
)
def test_what_cannot_be_decomposed_is_said(call: dict[str, Any], message: str) -> None:
    model = LanguageModel.wrap(tiny_hf("llama"), byte_tokenizer(), "tiny")
    direction = torch.ones(4, 32)
    direction[2] = 0
    arguments = {"layers": {"X": [1]}, "k": 2} | call
    with pytest.raises(InputError, match=message):
        direction_atoms(model, given(X=direction), **arguments)


def test_a_projection_before_the_unembedding_is_refused() -> None:
    sizes = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "ffn_dim": 64}
    torch.manual_seed(0)
    plain = OPTForCausalLM(
        OPTConfig(
            **sizes, num_attention_heads=4, word_embed_proj_dim=16, do_layer_norm_before=False
        )
    )
    model = LanguageModel.wrap(plain.eval(), byte_tokenizer(), "opt")
    with pytest.raises(InputError, match="more than a norm before its unembedding"):
        direction_atoms(model, given(X=torch.ones(2, 32)), {"X": [1]})
