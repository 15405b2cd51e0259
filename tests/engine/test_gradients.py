"""First-order predictions equal the derivative of exact reads, and refined sweeps use them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Pair
from planted import planted_model, planted_scenarios
from prompt_groups import groups_of

from interp_culture.engine import batching, graph
from interp_culture.engine.blocks import run_block
from interp_culture.engine.gradients import StreamGradients, predict_runs, stream_gradients
from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import answer_logprob, next_token_logits, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.writers import MIDDLE
from interp_culture.errors import InputError
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.probing import predicted_runs, read_runs
from interp_culture.steering import sweep as sweep_module
from interp_culture.steering.extraction import extract
from interp_culture.steering.layer_choice import top_layers
from interp_culture.steering.sweep import SweepWarning, layer_sweep, sweep_agreement

STEP = 3e-4


@pytest.mark.parametrize("positions", ["all", "prompt", "answer", "last", (2, 40)])
def test_predictions_are_central_differences_of_exact_reads(pair: Pair, positions: Any) -> None:
    """Every layer's end, both scores, all architectures."""
    model = pair.model
    for members, score, weight in (
        (slice(2, 4), answer_logprob, [[1.0, 0.0], [-0.5, 0.0]]),
        (slice(0, 2), next_token_logits([5, 7]), [[1.0, -1.0, 0.0], [-1.0, 1.0, 0.5]]),
    ):
        groups = [sequences[members] for sequences in groups_of(model)]
        weights = np.broadcast_to(np.array(weight), (len(groups), *np.shape(weight)))
        torch.manual_seed(6)
        vectors = {layer: torch.randn(model.d_model) for layer in range(model.n_layers)}

        def runs(strength: float, vectors: dict = vectors) -> dict:
            return {k: [Edit(k, v, strength, positions=positions)] for k, v in vectors.items()}

        plain = score_runs(model, groups, {"": ()}, score)[""]
        up, down = (score_runs(model, groups, runs(s), score) for s in (STEP, -STEP))
        predicted = predict_runs(model, groups, {"": (), **runs(1.0)}, score, weights)
        np.testing.assert_allclose(predicted[""], (plain * weights).sum((1, 2)), atol=1e-4)
        for layer in vectors:
            slope = ((up[layer] - down[layer]) * weights).sum((1, 2)) / (2 * STEP)
            np.testing.assert_allclose(
                predicted[layer] - predicted[""], slope, atol=0.05, rtol=0.02
            )


def test_predictions_are_the_same_whichever_shortcuts_hold(pair: Pair) -> None:
    """In trees, in one padded pass, and in a pass for each length."""
    groups = [sequences[2:4] for sequences in groups_of(pair.model)]
    weights = np.ones((len(groups), 2, 2))
    torch.manual_seed(6)
    runs = {
        layer: [Edit(layer, torch.randn(pair.model.d_model), 1.0)]
        for layer in range(pair.model.n_layers)
    }
    predicted = []
    for off in ((), ("resume",), ("trees",), ("trees", "padding")):
        model = replace(pair.model, shortcuts=pair.model.shortcuts.without(*off))
        by_run = predict_runs(model, groups, {"": (), **runs}, answer_logprob, weights)
        predicted.append(np.stack(list(by_run.values())))
    for other in predicted[1:]:
        np.testing.assert_allclose(other, predicted[0], atol=1e-3, rtol=1e-4)


def test_a_graph_too_large_for_the_device_is_not_kept(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks run again in the backward pass instead, and the gradients are the same."""
    model = pair.model
    groups = [sequences[2:4] for sequences in groups_of(model)]
    weights = np.ones((len(groups), 2, 2))
    points = [f"blocks.{layer}.{MIDDLE}" for layer in range(1, 3)]
    points = [name for name in points if name in model.bridge.hook_dict]
    edits = [Edit(1, torch.ones(model.d_model), 0.5)]
    ran: list[object] = []

    def counted(block: Any, *inputs: Any) -> torch.Tensor:
        ran.append(block)
        return run_block(block, *inputs)

    monkeypatch.setattr(graph, "run_block", counted)

    def gradients() -> tuple[StreamGradients, int]:
        ran.clear()
        found = stream_gradients(
            model, groups, answer_logprob, weights, [1, 2], edits=edits, points=points
        )
        return found, len(ran)

    kept, n_kept = gradients()
    monkeypatch.setattr(batching, "CPU_GRAPH_BYTES", 0)
    again, n_again = gradients()
    assert n_again == 2 * n_kept > 0
    np.testing.assert_array_equal(again.score, kept.score)
    for stream, gradient in again.gradient.items():
        np.testing.assert_allclose(gradient, kept.gradient[stream], atol=1e-6)
    for name, gradient in again.at_point.items():
        np.testing.assert_allclose(gradient, kept.at_point[name], atol=1e-6)


def test_batches_are_small_enough_for_their_graphs(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = [sequences[2:4] for sequences in groups_of(tiny)] * 8
    room = batching.LEAST_GRAPH_TOKENS / batching.graph_tokens(tiny)
    monkeypatch.setattr(batching, "CPU_GRAPH_BYTES", int(batching.CPU_GRAPH_BYTES * room) + 1)
    batches = batching.lay_out(tiny, groups, share_stem=False, with_graph=True)
    assert len(batches) > len(batching.lay_out(tiny, groups, share_stem=False))
    assert all(batching.graph_fits(tiny, batch) for batch in batches)


def test_edits_of_several_layers_add_up_and_scale(pair: Pair) -> None:
    model = pair.model
    groups = [sequences[2:4] for sequences in groups_of(model)]
    weights = np.ones((len(groups), 2, 2))
    one, two = (Edit(layer, torch.randn(model.d_model), 1.0) for layer in (0, 2))
    twice = Edit(2, two.vector, 2.0)
    runs = {"": (), "1": [one], "2": [two], "12": [one, two], "22": [twice]}
    p = predict_runs(model, groups, runs, answer_logprob, weights)
    np.testing.assert_allclose(p["12"] - p[""], p["1"] + p["2"] - 2 * p[""], atol=1e-6)
    np.testing.assert_allclose(p["22"] - p[""], 2 * (p["2"] - p[""]), atol=1e-6)


def test_edits_within_a_block_are_refused(tiny) -> None:  # type: ignore[no-untyped-def]
    edit = Edit(1, torch.ones(tiny.d_model), 1.0, hook_point="hook_mlp_out")
    groups = [sequences[2:4] for sequences in groups_of(tiny)]
    with pytest.raises(
        InputError, match=r"blocks\.1\.hook_mlp_out: gradients are taken on the residual stream"
    ):
        predict_runs(tiny, groups, {"": [edit]}, answer_logprob, np.ones((len(groups), 2, 2)))


@pytest.fixture(scope="module")
def planted() -> tuple:
    model = planted_model()
    scenarios = planted_scenarios()
    return model, scenarios, extract(model, scenarios)


@pytest.mark.parametrize("readout", ["letters", "continuation"])
def test_predicted_tables_are_those_of_exact_reads_at_small_strength(
    planted: tuple, readout: str
) -> None:
    model, scenarios, vectors = planted
    runs = {"": (), 1: [Edit(1, vectors["X"].direction[1], 0.01)]}
    exact = read_runs(model, scenarios, runs, readout=readout)  # type: ignore[arg-type]
    predicted = predicted_runs(model, scenarios, runs, readout=readout)  # type: ignore[arg-type]
    assert list(predicted.id) == list(exact.id)
    assert list(predicted.run) == list(exact.run)
    np.testing.assert_allclose(predicted.logit_diff, exact.logit_diff, atol=1e-3)
    np.testing.assert_allclose(predicted.p_positive, exact.p_positive, atol=1e-3)


def test_a_refined_sweep_measures_its_proposals(planted: tuple) -> None:
    model, scenarios, vectors = planted
    exact, refined, gradient = (
        layer_sweep(
            model, scenarios, vectors, alpha=[0.2, -0.2], readout="continuation", method=method, k=1
        )  # type: ignore[arg-type]
        for method in ("exact", "refined", "gradient")
    )
    keys = ["steered", "layer", "alpha", "id"]
    assert exact[keys].equals(refined[keys])
    assert exact[keys].equals(gradient[keys])
    assert set(gradient.method) == {"gradient"}
    assert exact.predicted_shift.isna().all()
    measured = refined[refined.method == "exact"]
    assert measured.groupby("steered").layer.nunique().to_dict() == {"X": 4, "Y": 4}
    both = measured.merge(exact, on=keys, suffixes=("", "_exact"))
    np.testing.assert_allclose(both["shift"], both.shift_exact, atol=1e-6)
    np.testing.assert_allclose(
        measured.predicted_shift, gradient.predicted_shift[measured.index], atol=1e-9
    )
    agreement = sweep_agreement(refined)
    assert list(agreement.n_layers) == [4] * 4
    assert (agreement.error < 0.02).all()
    assert sweep_agreement(exact).empty


def made_sweep(monkeypatch: pytest.MonkeyPatch, predicted: list[int], true: list[int]) -> None:
    """A sweep with given mean differentials of each layer, predicted and measured."""
    import pandas as pd

    def table(method: str, values: list[int], layers: Iterable[int]) -> pd.DataFrame:
        rows = [
            {"layer": n, "alpha": 1.0, "id": "a", "differential": values[n], "shift": values[n]}
            for n in layers
        ]
        return pd.DataFrame(rows).assign(
            method=method, predicted_shift=np.nan, axis="X", item="X1", domain="d"
        )

    cls = sweep_module._Sweep
    monkeypatch.setattr(
        cls,
        "measured",
        lambda self, layers: table("exact", true, layers).drop(columns="predicted_shift"),
    )
    monkeypatch.setattr(
        cls,
        "predicted",
        lambda self, layers: table("gradient", predicted, layers).assign(predicted_shift=0.0),
    )


@pytest.mark.parametrize(
    ("true", "measured", "warns"),
    [
        # The prediction has the best two in order. Measured: they, the margin, two checks (8, 11).
        ([12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1], 6, False),
        # The fourth proposal is among the best two: two more are measured.
        ([12, 9, 10, 11, 8, 7, 6, 5, 4, 3, 2, 1], 8, False),
        # A check is among them: the search goes on to the end.
        ([12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 13], 12, False),
        # The measurements contradict the proposal: all layers are measured.
        ([12, 11, 1, 2, 3, 4, 5, 6, 9, 7, 8, 10], 12, True),
    ],
)
def test_a_refined_sweep_goes_on_until_the_best_are_settled(
    planted: tuple, monkeypatch: pytest.MonkeyPatch, true: list, measured: int, warns: bool
) -> None:
    import warnings

    made_sweep(monkeypatch, list(range(12, 0, -1)), true)
    model, scenarios, vectors = planted
    sweep = sweep_module._Sweep(
        model, scenarios, vectors["X"], [1.0], ReadoutFormat("continuation")
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = sweep.refined(range(12), k=2, by="differential").assign(steered="X", axis="X")
    assert (table.method == "exact").sum() == measured
    assert len(table) == 12
    assert any(issubclass(w.category, SweepWarning) for w in caught) == warns
    assert top_layers(table, "X", 2) == sorted(np.argsort(true)[-2:].tolist())


def test_unknown_methods_are_named(planted: tuple) -> None:
    from conftest import error_without_type_checks

    call = (
        "from interp_culture.steering.sweep import layer_sweep; "
        "layer_sweep(None, None, {}, method='fast')"
    )
    assert (
        "unknown sweep method 'fast'; known: exact, gradient, refined"
        in error_without_type_checks(call)
    )
