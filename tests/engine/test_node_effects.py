"""Effects of single heads and MLPs: to first order they are those of real replacement."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SIZES, Pair, byte_tokenizer, make_pair
from prompt_groups import groups_of
from transformers import LlamaConfig, LlamaForCausalLM

from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import answer_logprob, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.node_effects import (
    node_means,
    node_patches,
    restoring_effects,
)
from interp_culture.engine.nodes import Node, node_points
from interp_culture.errors import InputError

WEIGHT = np.array([[1.0, 0.0], [-0.5, 0.0]])


def continuations(model: LanguageModel) -> list:
    return [sequences[2:4] for sequences in groups_of(model)[:3]]


def small_edit(model: LanguageModel, strength: float = 3e-3) -> list[Edit]:
    torch.manual_seed(0)
    return [Edit(0, torch.randn(model.d_model), strength)]


def total(values: np.ndarray) -> np.ndarray:
    return (values * WEIGHT).sum((1, 2))


@pytest.mark.parametrize("off", [(), ("resume",), ("trees", "padding")], ids=str)
def test_first_order_effects_are_those_of_real_restoring(pair: Pair, off: tuple) -> None:
    model = replace(pair.model, shortcuts=pair.model.shortcuts.without(*off))
    groups, edits = continuations(model), small_edit(model, 5e-4)
    weights = np.broadcast_to(WEIGHT, (len(groups), 2, 2))
    (found,) = restoring_effects(model, groups, answer_logprob, weights, [edits])
    nodes, effects = found.nodes, found.effect
    assert [node.name for node in nodes[:5]] == ["L1.H0", "L1.H1", "L1.H2", "L1.H3", "L1.mlp"]
    runs = {"": edits, **{node: [*edits, *node_patches(model, [node])] for node in nodes}}
    scores = score_runs(model, groups, runs, answer_logprob)
    np.testing.assert_allclose(found.score, total(scores[""]), atol=1e-4)
    real = np.stack([total(scores[node]) - total(scores[""]) for node in nodes], axis=1)
    assert np.corrcoef(effects.ravel(), real.ravel())[0, 1] > 0.99
    np.testing.assert_allclose(effects, real, atol=0.1 * np.abs(real).max())


def test_heads_may_be_wider_than_the_stream() -> None:
    """As in Qwen3 and Gemma 3, where all heads side by side have more values than the stream."""
    torch.manual_seed(0)
    config = LlamaConfig(**{**SIZES, "head_dim": 16})
    model = LanguageModel.wrap(LlamaForCausalLM(config).eval(), byte_tokenizer(), "wide")
    groups, node = continuations(model), Node(2, "head", 3)
    weights = np.broadcast_to(WEIGHT, (len(groups), 2, 2))
    edits = small_edit(model, 0.1)
    (found,) = restoring_effects(model, groups, answer_logprob, weights, [edits])
    means = node_means(model, groups, [node, Node(1, "mlp")])
    assert sorted(len(mean) for mean in means.values()) == [32, 64]
    runs = {"": edits, "it": [*edits, *node_patches(model, [node])]}
    scores = score_runs(model, groups, runs, answer_logprob)
    real = total(scores["it"]) - total(scores[""])
    effects = found.effect[:, found.nodes.index(node)]
    np.testing.assert_allclose(effects, real, atol=0.1 * np.abs(real).max())


def test_all_nodes_restored_leave_the_step_alone(tiny: LanguageModel) -> None:
    """Then only the vector itself reaches the logits: an independent pass with hooks."""
    groups, edits = continuations(tiny)[:1], small_edit(tiny, 1.0)
    nodes = [node for point in node_points(tiny) for node in point.nodes if node.layer > 0]
    run = {"": [*edits, *node_patches(tiny, nodes)]}
    scores = score_runs(tiny, groups, run, answer_logprob)[""]
    last = [Edit(tiny.n_layers - 1, edits[0].vector, 1.0)]
    expected = score_runs(tiny, groups, {"": last}, answer_logprob)[""]
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_a_restored_node_is_that_of_a_plain_pass_with_hooks(tiny: LanguageModel) -> None:
    """One head of the raw bridge, set to its plain output, on one sequence."""
    (sequence, _), *_ = continuations(tiny)
    edits, node = small_edit(tiny, 1.0), Node(2, "head", 1)
    run = {"": [*edits, *node_patches(tiny, [node])]}
    score = score_runs(tiny, [[sequence]], run, answer_logprob)[""][0, 0, 0]
    tokens = torch.tensor([list(sequence.inputs)])
    kept: dict[str, Any] = {}
    name = "blocks.2.attn.hook_z"

    def keep(z: torch.Tensor, hook: Any = None) -> None:
        kept["z"] = z.clone()

    def restore(z: torch.Tensor, hook: Any = None) -> torch.Tensor:
        z = z.clone()
        z[:, :, 1] = kept["z"][:, :, 1]
        return z

    with torch.inference_mode():
        with tiny.bridge.hooks(fwd_hooks=[(name, keep)]):
            tiny.forward(tokens, use_cache=False)
        with tiny.bridge.hooks(fwd_hooks=[edits[0].hook(), (name, restore)]):
            logits = tiny.forward(tokens, use_cache=False).logits[0].double()
    start = len(sequence.prompt) - 1
    logprobs = logits.log_softmax(-1)
    expected = sum(float(logprobs[start + i, t]) for i, t in enumerate(sequence.answer))
    assert score == pytest.approx(expected, abs=1e-4)


def test_means_replace_an_output_at_every_token(tiny: LanguageModel) -> None:
    groups, node = continuations(tiny), Node(1, "mlp")
    means = node_means(tiny, groups, [node])
    (mean,) = means.values()
    assert mean.shape == (tiny.d_model,)
    zeros = {name: 0 * values for name, values in means.items()}
    run = {"": node_patches(tiny, [node], zeros)}
    ablated = score_runs(tiny, groups, run, answer_logprob)[""]
    edit = Edit(1, torch.ones(tiny.d_model), 1.0, operation="ablate", hook_point="hook_mlp_out")
    assert not np.allclose(
        ablated, score_runs(tiny, groups, {"": [edit]}, answer_logprob)[""], atol=1e-3
    )

    def zero(activation: torch.Tensor, hook: Any = None) -> torch.Tensor:
        return torch.zeros_like(activation)

    with tiny.bridge.hooks(fwd_hooks=[("blocks.1.hook_mlp_out", zero)]):
        expected = score_runs(tiny, groups, {"": ()}, answer_logprob)[""]
    np.testing.assert_allclose(ablated, expected, atol=1e-4)


def test_the_mean_is_over_all_tokens(tiny: LanguageModel) -> None:
    groups = [[s] for s in {s.inputs: s for g in continuations(tiny) for s in g}.values()]
    (mean,) = node_means(tiny, groups, [Node(0, "head", 0)]).values()
    seen = []

    def keep(z: torch.Tensor, hook: Any = None) -> None:
        seen.append(z[0].flatten(1))

    with torch.inference_mode(), tiny.bridge.hooks(fwd_hooks=[("blocks.0.attn.hook_z", keep)]):
        for (sequence,) in groups:
            tiny.forward(torch.tensor([list(sequence.inputs)]), use_cache=False)
    torch.testing.assert_close(mean, torch.cat(seen).mean(0), atol=1e-5, rtol=1e-4)


def test_no_hook_is_left_behind(tiny: LanguageModel) -> None:
    groups, edits = continuations(tiny), small_edit(tiny)
    weights = np.broadcast_to(WEIGHT, (len(groups), 2, 2))
    restoring_effects(tiny, groups, answer_logprob, weights, [edits])
    score_runs(tiny, groups, {"": node_patches(tiny, [Node(1, "mlp")])}, answer_logprob)
    assert not tiny.is_hooked


def test_what_is_not_there_is_named(tiny: LanguageModel) -> None:
    groups = continuations(tiny)
    weights = np.broadcast_to(WEIGHT, (len(groups), 2, 2))
    with pytest.raises(
        InputError, match=r"no component L9\.H1: the model has layers 0 to 3, each with 4"
    ):
        node_patches(tiny, [Node(9, "head", 1)])
    last = [Edit(3, torch.ones(tiny.d_model), 1.0)]
    with pytest.raises(InputError, match="no block follows the edits"):
        restoring_effects(tiny, groups, answer_logprob, weights, [last])


@pytest.mark.parametrize("point", ["attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z"])
def test_edits_of_heads_are_those_of_a_plain_pass_with_hooks(pair: Pair, point: str) -> None:
    """Trees, stems and resumed passes against the raw bridge under `Edit.hook`."""
    model = pair.model
    groups = continuations(model)
    width = model.width_at(1, point)
    torch.manual_seed(1)
    edit = Edit(1, torch.randn(width), 0.5, hook_point=point)
    scores = score_runs(model, groups, {"": [edit]}, answer_logprob)[""][..., 0]
    plain = score_runs(model, groups, {"": ()}, answer_logprob)[""][..., 0]
    for group, members in enumerate(groups):
        for member, sequence in enumerate(members):
            with torch.inference_mode(), model.bridge.hooks(fwd_hooks=[edit.hook()]):
                tokens = torch.tensor([list(sequence.inputs)])
                logits = model.forward(tokens, use_cache=False).logits[0].double()
            start = len(sequence.prompt) - 1
            logprobs = logits.log_softmax(-1)
            expected = sum(float(logprobs[start + i, t]) for i, t in enumerate(sequence.answer))
            assert scores[group, member] == pytest.approx(expected, abs=1e-3)
    assert np.abs(scores - plain).max() > 1e-2


def test_an_edit_of_another_width_is_refused(tiny: LanguageModel) -> None:
    edit = Edit(1, torch.ones(tiny.d_model), 1.0, hook_point="attn.hook_k")
    with pytest.raises(InputError, match=r"\(16 values at blocks\.1\.attn\.hook_k\)"):
        tiny.check_edits([edit])


def test_heads_that_cannot_be_told_apart_count_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_pair("llama").model
    monkeypatch.setattr(model.text_config, "num_attention_heads", 5)
    assert [node.name for node in node_points(model)[0].nodes] == ["L0.attn"]


def test_runs_that_share_a_plain_pass_are_each_alone(pair: Pair) -> None:
    """With different first blocks, so that one run has fewer nodes."""
    model = pair.model
    groups = continuations(model)
    weights = np.broadcast_to(WEIGHT, (len(groups), 2, 2))
    runs = [small_edit(model), [replace(small_edit(model)[0], layer=1)]]
    together = restoring_effects(model, groups, answer_logprob, weights, runs)
    assert len(together[0].nodes) > len(together[1].nodes)
    for edits, found in zip(runs, together, strict=True):
        (alone,) = restoring_effects(model, groups, answer_logprob, weights, [edits])
        assert found.nodes == alone.nodes
        np.testing.assert_allclose(found.effect, alone.effect, atol=1e-7)
        np.testing.assert_allclose(found.score, alone.score, atol=1e-7)
