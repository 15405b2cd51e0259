"""Vectors from other libraries and edits for other engines: what they say survives, the rest is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Pair, make_pair
from gguf import GGUFReader, GGUFWriter
from safetensors.torch import load_file, save_file
from transformer_lens.model_bridge.sources.inspect.intervention import build_interventions
from transformer_lens.model_bridge.sources.vllm.intervention_specs import validate_spec

from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel, applied
from interp_culture.errors import InputError
from interp_culture.steering import (
    SteeringVectors,
    export_control_vector,
    export_lm_eval,
    export_tensors,
    load_vectors,
    remote_interventions,
    save_vectors,
    steer,
)

TOKENS = torch.tensor([[5, 6, 7, 8, 9]])


@pytest.fixture
def vectors(tiny: LanguageModel) -> SteeringVectors:
    torch.manual_seed(3)
    return SteeringVectors.from_tensors("X", torch.randn(4, tiny.d_model))


def logits(model: LanguageModel, edits: list[Edit]) -> torch.Tensor:
    with torch.no_grad(), applied(model, edits) as bridge:
        return bridge(TOKENS)


# -- out and in again -----------------------------------------------------------------------------


def test_a_control_vector_comes_back_with_its_strengths(
    tiny: LanguageModel, vectors: SteeringVectors, tmp_path: Path
) -> None:
    path = tmp_path / "x.gguf"
    edits = steer(vectors, [1, 3], -1.5)
    export_control_vector(path, edits, "llama")
    back = load_vectors(path, axis="X", n_layers=4)["X"]
    assert torch.equal(back.direction[[1, 3]], -1.5 * vectors.direction[[1, 3]])
    assert not back.direction[[0, 2]].any()
    assert torch.equal(logits(tiny, steer(back, [1, 3], 1.0)), logits(tiny, edits))
    fields = GGUFReader(path).fields
    assert fields["general.architecture"].contents() == "controlvector"
    assert fields["controlvector.model_hint"].contents() == "llama"
    assert fields["controlvector.layer_count"].contents() == 2


def test_plain_tensors_come_back(
    tiny: LanguageModel, vectors: SteeringVectors, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    # Two edits at one place are one tensor.
    edits = [*steer(vectors, [1, 2], 2.0, hook_point="hook_mlp_out")] * 2
    export_tensors(path, edits)
    assert sorted(load_file(path)) == ["blocks.1.hook_mlp_out", "blocks.2.hook_mlp_out"]
    assert "hook_mlp_out" in path.with_suffix(".json").read_text()
    back = load_vectors(path, axis="X", n_layers=4)["X"]
    torch.testing.assert_close(
        logits(tiny, steer(back, [1, 2], 1.0)), logits(tiny, edits), atol=1e-5, rtol=1e-5
    )


def test_lm_eval_adds_what_the_edits_add(vectors: SteeringVectors, tmp_path: Path) -> None:
    """By PyTorch hooks on the modules that lm-eval's `steered` model would hook."""
    pair = make_pair("llama")
    edits = steer(vectors, [0, 2], 1.5)
    export_lm_eval(tmp_path / "x.pt", edits)
    steering = torch.load(tmp_path / "x.pt", weights_only=True)
    modules = dict(pair.plain.base_model.named_modules())
    handles = []
    for name, of in steering.items():
        step = of["steering_vector"] * of["steering_coefficient"]
        assert (of["action"], of["bias"], of["head_index"]) == ("add", None, None)

        def add(module: Any, args: Any, output: Any, step: Any = step) -> Any:
            return (output[0] + step, *output[1:]) if isinstance(output, tuple) else output + step

        handles.append(modules[name].register_forward_hook(add))
    with torch.no_grad():
        expected = pair.plain(TOKENS).logits
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(logits(pair.model, edits), expected, atol=1e-4, rtol=1e-4)


def test_remote_bridges_take_the_interventions(vectors: SteeringVectors) -> None:
    edits = [*steer(vectors, [1], 2.0), *steer(vectors, [2], 2.0, hook_point="hook_resid_pre")]
    specs = remote_interventions(edits)
    for name, spec in specs.items():
        validate_spec(name, spec)
    assert len(build_interventions(specs, list(specs))) == 2
    np.testing.assert_allclose(
        specs["blocks.1.hook_out"]["value"], 2 * vectors.direction[1], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"positions": "answer"}, "cannot say positions 'answer'"),
        ({"operation": "ablate"}, "cannot say operation 'ablate'"),
        ({"hook_point": "hook_mlp_out"}, "cannot say hook point 'hook_mlp_out'"),
        ({"layer": 0}, "llama.cpp has no control vector after block 0"),
    ],
)
def test_what_a_control_vector_cannot_say_is_refused(
    edit: dict[str, Any], message: str, tmp_path: Path
) -> None:
    edits = Edit(**({"layer": 1, "vector": torch.ones(8), "strength": 1.0} | edit))
    with pytest.raises(InputError, match=message):
        export_control_vector(tmp_path / "x.gguf", edits, "llama")
    assert not list(tmp_path.iterdir())


def test_no_edit_and_a_wrong_suffix_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no edit to write"):
        remote_interventions([])
    with pytest.raises(InputError, match=r"by the suffix \.pt"):
        export_lm_eval(tmp_path / "x.bin", Edit(1, torch.ones(8), 1.0))


# -- files of other libraries ---------------------------------------------------------------------


def test_a_control_vector_of_repeng(tmp_path: Path) -> None:
    """As repeng writes it: a direction for every block but the first."""
    path = tmp_path / "repeng.gguf"
    rows = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    writer = GGUFWriter(path, "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_uint32("controlvector.layer_count", 3)
    for number, row in enumerate(rows, start=1):
        writer.add_tensor(f"direction.{number}", row)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = load_vectors(path, axis="X", n_layers=4)["X"]
    np.testing.assert_array_equal(found.direction[1:], rows)
    assert not found.direction[0].any()
    with pytest.raises(InputError, match="does not say of which axis"):
        load_vectors(path)
    with pytest.raises(InputError, match=r"layers 1, 2, 3; the layers of the model are 0 to 2"):
        load_vectors(path, axis="X", n_layers=3)


def test_a_gguf_file_of_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_tensor("blk.0.attn_q.weight", np.ones((8, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InputError, match=r"tensor blk\.0\.attn_q\.weight is not one of a control"):
        load_vectors(path, axis="X", n_layers=4)


def test_plain_tensors_with_names_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_file({"early": torch.ones(8), "late": torch.zeros(8)}, path)
    say = {"axis": "X", "n_layers": 4}
    with pytest.raises(InputError, match=r"at which layer early, late act; say it: layers="):
        load_vectors(path, **say)
    layers = {"early": 1, "late": 2}
    with pytest.raises(InputError, match="where in the block its vectors act"):
        load_vectors(path, **say, layers=layers)
    with pytest.raises(InputError, match=r"no tensor middle; it has early, late"):
        load_vectors(path, **say, layers={**layers, "middle": 3}, hook_point="hook_resid_post")
    found = load_vectors(path, **say, layers=layers, hook_point="hook_resid_pre")["X"]
    assert steer(found, [1], 1.0)[0].hook_name == "blocks.1.hook_resid_pre"
    assert found.direction.sum() == 8


def test_our_own_file_says_all_itself(
    tiny: LanguageModel, vectors: SteeringVectors, tmp_path: Path
) -> None:
    path = tmp_path / "own.safetensors"
    save_vectors(path, {"X": vectors})
    assert torch.equal(load_vectors(path)["X"].direction, vectors.direction)
    with pytest.raises(InputError, match="leave out axis, n_layers"):
        load_vectors(path, axis="X", n_layers=4)


def test_dictionaries_of_dialz_and_steering_vectors() -> None:
    """`directions` of the one holds arrays by layer, `layer_activations` of the other tensors."""
    arrays = {layer: np.full(8, layer, np.float32) for layer in (1, 2, 3)}
    tensors = {layer: torch.from_numpy(array) for layer, array in arrays.items()}
    for given in (arrays, tensors):
        found = SteeringVectors.from_tensors("X", given, n_layers=4)
        assert found.direction[:, 0].tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="say how many layers the model has"):
        SteeringVectors.from_tensors("X", arrays)
    with pytest.raises(InputError, match=r"layers -1; the layers of the model are 0 to 3"):
        SteeringVectors.from_tensors("X", {-1: np.ones(8)}, n_layers=4)
    with pytest.raises(InputError, match="several widths"):
        SteeringVectors.from_tensors("X", {1: np.ones(8), 2: np.ones(9)}, n_layers=4)
    with pytest.raises(InputError, match="has 4 rows, the model 5 layers"):
        SteeringVectors.from_tensors("X", torch.ones(4, 8), n_layers=5)


def test_a_pair_of_models_agrees_on_a_control_vector(pair: Pair, tmp_path: Path) -> None:
    """What is added after a block is added there in the plain model too, on every architecture."""
    torch.manual_seed(1)
    edit = Edit(2, torch.randn(pair.model.d_model), 2.0)
    export_control_vector(tmp_path / "x.gguf", edit, "any")
    back = load_vectors(tmp_path / "x.gguf", axis="X", n_layers=4)["X"]
    found = logits(pair.model, list(steer(back, [2], 1.0)))
    torch.testing.assert_close(found, logits(pair.model, [edit]))
