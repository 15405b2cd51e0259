"""Writers of a vector: their parts add up to it, equal plain passes, and a planted one is named."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Pair, byte_tokenizer
from planted import add_carrier, planted_model, planted_scenarios
from zoo import entry

import interp_culture as ic
from interp_culture.attribution import write_effects
from interp_culture.engine.loading import load_model
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.readout.prompts import contrastive_texts

WRITER = 2
# Beside those of `pair`: parallel blocks, biases and Conv1D, norms after the attention, one key for
# all heads, more parts than two, and recurrent blocks.
NAMES = [
    "GPT-2",
    "GPT-NeoX, Pythia",
    "Llama, biased and tied",
    "OLMo 2",
    "Gemma 2",
    "Gemma 4, per-layer inputs",
    "Falcon",
    "Qwen3-Next",
    "Mamba",
]


def every_layer(model: LanguageModel) -> dict[str, list[int]]:
    return {axis: list(range(model.n_layers)) for axis in "XY"}


def check_sums(model: LanguageModel, scenarios: ic.ScenarioSet) -> Any:
    vectors = ic.extract(model, scenarios)
    table = write_effects(model, scenarios, vectors, every_layer(model))
    sums = table.groupby(["steered", "layer"]).written.sum()
    norms = {axis: vectors[axis].direction.norm(dim=-1) for axis in "XY"}
    expected = [float(norms[axis][layer]) for axis, layer in sums.index]
    np.testing.assert_allclose(sums, expected, rtol=1e-4)
    np.testing.assert_allclose(table.groupby(["steered", "layer"]).share.sum(), 1, rtol=1e-9)
    assert not model.is_hooked
    return table


def test_the_parts_add_up_to_the_vector(pair: Pair) -> None:
    table = check_sums(pair.model, planted_scenarios(2))
    # In Gemma 3 a norm comes after the heads.
    split = {"embed", "attn", "mlp"} if "gemma" in pair.model.name else {"embed", "head", "mlp"}
    assert set(table.kind) == split


@pytest.mark.parametrize("name", NAMES)
def test_they_do_on_other_architectures(name: str) -> None:
    model = load_model(entry(name).build(), tokenizer=byte_tokenizer(), device="cpu")
    table = check_sums(model, planted_scenarios(2))
    kinds = {
        "OLMo 2": {"embed", "attn", "mlp"},
        "Gemma 2": {"embed", "attn", "mlp"},
        "Gemma 4, per-layer inputs": {"embed", "attn", "mlp"},
        "Qwen3-Next": {"embed", "head", "attn", "mlp"},
        "Mamba": {"embed", "block"},
    }
    assert set(table.kind) == kinds.get(name, {"embed", "head", "mlp"})


def outputs_at_the_end(plain: Any, tokens: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """What each component of a plain Llama adds at the last token, by PyTorch hooks."""
    found: dict[str, torch.Tensor] = {}
    handles = []

    def keep(layer: int) -> Any:
        def heads(module: Any, args: tuple) -> None:
            width = plain.config.head_dim
            for head in range(plain.config.num_attention_heads):
                here = slice(head * width, (head + 1) * width)
                found[f"L{layer}.H{head}"] = module.weight[:, here] @ args[0][0, -1, here]

        def mlp(module: Any, args: tuple, output: torch.Tensor) -> None:
            found[f"L{layer}.mlp"] = output[0, -1]

        return heads, mlp

    for layer, block in enumerate(plain.model.layers):
        heads, mlp = keep(layer)
        handles.append(block.self_attn.o_proj.register_forward_pre_hook(heads))
        handles.append(block.mlp.register_forward_hook(mlp))
    with torch.no_grad():
        found["embed"] = plain.model.embed_tokens.weight[tokens[-1]]
        plain(torch.tensor([list(tokens)]), use_cache=False)
    for handle in handles:
        handle.remove()
    return {name: output.detach().double() for name, output in found.items()}


def test_each_part_is_that_of_plain_passes_with_hooks() -> None:
    """Two query heads share a key here, so that a head's place is not that of its keys."""
    plain = entry("Llama").build()
    model = load_model(copy.deepcopy(plain), tokenizer=byte_tokenizer(), device="cpu")
    scenarios = planted_scenarios(2).filter(axis="X")
    vectors = ic.extract(model, scenarios)
    table = write_effects(model, scenarios, vectors, {"X": [2]}).set_index("component")
    unit = vectors["X"].direction[2].double()
    unit = unit / unit.norm()
    sums = dict.fromkeys(table.index, 0.0)
    for scenario in scenarios:
        positive, negative = (
            outputs_at_the_end(plain, model.tokenise_text(text).prompt)
            for text in contrastive_texts(scenario)
        )
        for name in sums:
            sums[name] += float((positive[name] - negative[name]) @ unit) / len(scenarios)
    assert len(table) == 1 + 3 * 5
    np.testing.assert_allclose(table.written, [sums[name] for name in table.index], atol=1e-5)
    assert table.written.abs().max() > 1e-2


def test_batches_and_shortcuts_change_nothing(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenarios = planted_scenarios(2)
    vectors, layers = ic.extract(tiny, scenarios), {"X": [3, 1], "Y": [2]}
    table = write_effects(tiny, scenarios, vectors, layers)
    assert table.equals(write_effects(tiny, scenarios, vectors, layers))
    plain = replace(tiny, shortcuts=tiny.shortcuts.without("trees", "padding", "resume"))
    monkeypatch.setattr("interp_culture.engine.batching.batch_tokens", lambda model: 300)
    other = write_effects(plain, scenarios, vectors, layers)
    numbers = ["written", "low", "high", "null_high", "share"]
    np.testing.assert_allclose(other[numbers], table[numbers], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("site", ["answer_mean", "letter"])
def test_other_sites_add_up_too(site: str, tiny: LanguageModel) -> None:
    scenarios = planted_scenarios(2)
    vectors = ic.extract(tiny, scenarios, site=site)
    table = write_effects(tiny, scenarios, vectors, {"X": [2], "Y": [2]}, site=site)
    norms = [float(vectors[axis].direction[2].norm()) for axis in "XY"]
    np.testing.assert_allclose(table.groupby("steered").written.sum(), norms, rtol=1e-4)


def planted_writer() -> tuple[LanguageModel, ic.ScenarioSet, Any]:
    """One MLP writes along Y's direction what it reads of X's; no other component writes."""
    model, scenarios = add_carrier(planted_model(), WRITER), planted_scenarios()
    return model, scenarios, ic.extract(model, scenarios)


def test_the_one_writer_of_a_planted_model_is_named() -> None:
    model, scenarios, vectors = planted_writer()
    table = write_effects(model, scenarios, vectors, {"X": [1, 3], "Y": [3]})
    of_x = table[table.steered == "X"].set_index(["layer", "component"])
    name = f"L{WRITER}.mlp"
    others = of_x.drop([(3, name), (1, "embed"), (3, "embed")])
    np.testing.assert_allclose(others[["written", "null_high"]], 0, atol=1e-9)
    assert of_x.share[1, "embed"] == pytest.approx(1)
    row = of_x.loc[3, name]
    assert row.low > row.null_high > 0
    # The stream has x + 0.4 y from the embedding; the MLP adds m y, so that <m y, v> / |v| is:
    along_y = float(vectors["X"].direction[3, 1] / vectors["X"].direction[3].norm())
    added = float(vectors["X"].direction[3, 1] - vectors["X"].direction[1, 1])
    assert row.written == pytest.approx(added * along_y, rel=1e-5)
    y = table[(table.steered == "Y") & (table.component == name)]
    assert y.written.item() == pytest.approx(0, abs=1e-6)


def test_the_band_is_that_of_random_directions() -> None:
    model, scenarios, vectors = planted_writer()
    table = write_effects(model, scenarios, vectors, {"X": [3], "Y": [3]})
    reach = table[table.component == f"L{WRITER}.mlp"].null_high.iloc[0]
    added = vectors["X"].direction[3] - vectors["X"].direction[1]
    directions = torch.randn(5000, model.d_model, generator=torch.Generator().manual_seed(0))
    written = (directions / directions.norm(dim=-1, keepdim=True)) @ added
    assert float((written.abs() <= reach).float().mean()) == pytest.approx(0.95, abs=0.01)


def test_there_is_no_share_without_an_interval(tiny: LanguageModel) -> None:
    few = planted_scenarios(1)
    table = write_effects(tiny, few, ic.extract(tiny, few), {"X": [2], "Y": [2]})
    assert set(table.n) == {3}
    assert table[["low", "high", "share"]].isna().all().all()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"X": [0]}, "Y"),
        ({"X": [9], "Y": [0]}, "9"),
        ({"X": [1, 1], "Y": [0]}, "each once"),
    ],
)
def test_layers_that_do_not_fit_are_said(layers: dict, message: str) -> None:
    model, scenarios, vectors = planted_writer()
    with pytest.raises(InputError, match=message):
        write_effects(model, scenarios, vectors, layers)


def test_vectors_without_a_length_or_of_another_place_are_refused() -> None:
    model, scenarios, vectors = planted_writer()
    empty = replace(vectors["X"], direction=0 * vectors["X"].direction)
    with pytest.raises(InputError, match="length 0 at layer 1"):
        write_effects(model, scenarios, {"X": empty}, {"X": [1]})
    site = ic.steering.Site(hook_point="hook_mlp_out")
    elsewhere = ic.extract(model, scenarios, site=site)
    with pytest.raises(InputError, match="act at hook_mlp_out"):
        write_effects(model, scenarios, elsewhere, {"X": [1], "Y": [1]})
    y = scenarios.filter(axis="Y")
    with pytest.raises(InputError, match="no scenario of axis X"):
        write_effects(model, y, {"X": vectors["X"]}, {"X": [1]})
