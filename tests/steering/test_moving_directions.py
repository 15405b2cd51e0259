"""Directions that move a readout: by its gradient, and by training. Each against a known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Pair
from planted import planted_model, planted_scenarios
from prompt_groups import groups_of

from interp_culture.engine.gradients import predict_runs, stream_gradients
from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import answer_logprob, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.readout.probing import probe
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering import optimised as optimised_module
from interp_culture.steering.edits import steer
from interp_culture.steering.extraction import extract
from interp_culture.steering.optimised import Training, optimise
from interp_culture.steering.readout_gradients import readout_gradients
from interp_culture.steering.sites import Site
from interp_culture.steering.vectors import SteeringVectors, random_like

STEP = 3e-3


@pytest.mark.parametrize("off", [(), ("resume",), ("trees", "padding")])
@pytest.mark.parametrize("positions", ["all", "answer"])
def test_gradients_under_edits_are_central_differences(
    pair: Pair, positions: str, off: tuple[str, ...]
) -> None:
    model = replace(pair.model, shortcuts=pair.model.shortcuts.without(*off))
    groups = [sequences[2:4] for sequences in groups_of(model)]
    weights = np.broadcast_to(np.array([[1.0, 0.0], [-0.5, 0.0]]), (len(groups), 2, 2))
    torch.manual_seed(3)
    edits = [Edit(layer, torch.randn(model.d_model), 1.0) for layer in (1, 2)]
    streams = range(2, model.n_layers + 1)
    by_stream = stream_gradients(
        model,
        groups,
        answer_logprob,
        weights,
        streams,
        positions=positions,  # type: ignore[arg-type]
        edits=edits,
    )
    gradient = {stream: by_stream.gradient[stream].mean(0) for stream in streams}
    for layer in range(1, model.n_layers):
        v = torch.randn(model.d_model)
        runs = {s: [*edits, Edit(layer, v, s * STEP, positions=positions)] for s in (1, -1)}  # type: ignore[arg-type]
        values = score_runs(model, groups, runs, answer_logprob)
        slope = ((values[1] - values[-1]) * weights).sum((1, 2)).mean() / (2 * STEP)
        assert float(gradient[layer + 1] @ v.double().numpy()) == pytest.approx(
            slope, abs=0.02, rel=0.02
        )


def test_the_gradient_is_what_predictions_use(tiny: LanguageModel) -> None:
    groups = [sequences[2:4] for sequences in groups_of(tiny)]
    weights = np.ones((len(groups), 2, 2))
    v = torch.randn(tiny.d_model)
    runs = {"": (), "v": [Edit(1, v, 1.0)]}
    predicted = predict_runs(tiny, groups, runs, answer_logprob, weights)
    by_group = stream_gradients(tiny, groups, answer_logprob, weights, [2]).gradient[2]
    expected = predicted["v"] - predicted[""]
    assert by_group @ v.double().numpy() == pytest.approx(expected, rel=1e-4)


def test_gradients_pass_only_through_vectors_added_after_a_block(tiny: LanguageModel) -> None:
    groups = [sequences[2:4] for sequences in groups_of(tiny)]
    edit = Edit(1, torch.ones(tiny.d_model), 1.0, operation="ablate")
    with pytest.raises(InputError, match=r"'ablate' at blocks\.1\.hook_resid_post"):
        stream_gradients(
            tiny, groups, answer_logprob, np.ones((len(groups), 2, 2)), [2], edits=[edit]
        )


@pytest.fixture(scope="module")
def planted() -> tuple[LanguageModel, ScenarioSet]:
    return planted_model(), planted_scenarios(4)


def test_the_gradient_is_the_direction_that_the_readout_reads(planted: tuple) -> None:
    """The planted unembedding reads X from coordinate 0 and Y from coordinate 1."""
    model, train = planted
    vectors = extract(model, train, "gradient", readout="continuation")
    mean = extract(model, train)
    for axis, coordinate in (("X", 0), ("Y", 1)):
        rows = vectors[axis].direction
        shares = rows / rows.norm(dim=-1, keepdim=True)
        assert (shares[:, coordinate] > 0.9).all()
        torch.testing.assert_close(rows.norm(dim=-1), mean[axis].direction.norm(dim=-1))
        assert vectors[axis].provenance["readout"] == "continuation"


def effect(model: LanguageModel, test: ScenarioSet, vectors: SteeringVectors) -> float:
    """Half the change of the logit difference of the axis' held-out scenarios from -1 to 1."""
    of_axis = test.filter(axis=vectors.axis)
    ends = [
        probe(model, of_axis, edits=steer(vectors, [1, 2], alpha), readout="continuation")
        for alpha in (1.0, -1.0)
    ]
    return float((ends[0].logit_diff - ends[1].logit_diff).mean() / 2)


@pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
def test_trained_vectors_move_most_then_the_gradient_then_chance(planted: tuple) -> None:
    """On held-out scenarios of a model whose readout has one direction for all of them."""
    model, scenarios = planted
    train, test = scenarios.filter(axis="X").split(seed=1)
    layers = {"X": [1, 2]}
    training = Training(epochs=6, batch=4, step=0.1, validation=0.34)
    gradient = extract(model, train, "gradient", readout="continuation")["X"]
    trained = extract(
        model, train, "optimised", readout="continuation", layers=layers, training=training
    )["X"]
    by_gradient = effect(model, test, gradient)
    assert effect(model, test, trained) > 0.95 * by_gradient
    chance = [abs(effect(model, test, v)) for v in random_like(gradient, 3)]
    assert by_gradient > max(chance)


@pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
def test_training_raises_the_effect_on_texts_that_it_sees(
    tiny: LanguageModel, few: ScenarioSet
) -> None:
    """The validation scenario is a copy of those that are fitted, in a model with active blocks."""
    one = few.filter(item="X01").scenarios[0]
    copies = tuple(one.model_copy(update={"id": f"copy-{n}"}) for n in range(4))
    same = ScenarioSet(copies, few.catalogue)
    # For a small step the gradient is the best direction; this one is long enough to bend.
    norms = 10 * extract(tiny, same)["X"].direction
    training = Training(epochs=4, batch=3, step=0.2, validation=0.25, patience=8)
    trained = optimise(tiny, same, "continuation", [1, 2], norms, training=training)
    assert trained.steps > 0
    assert max(trained.validation) > 1.1 * trained.validation[0]
    matched = SteeringVectors.from_tensors("X", norms)
    chance = [abs(effect(tiny, same, v)) for v in random_like(matched, 3)]
    assert max(trained.validation) > max(chance)


@pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
def test_trained_vectors_have_the_norms_and_depend_on_the_seed_alone(
    tiny: LanguageModel, few: ScenarioSet
) -> None:
    train = few.filter(axis="Y")
    norms = extract(tiny, train)["Y"].direction
    training = Training(epochs=1, batch=3)
    one, same, other = (
        optimise(tiny, train, "continuation", [2, 1], norms, training=training, seed=seed)
        for seed in (1, 1, 2)
    )
    assert torch.equal(one.direction, same.direction)
    assert one.validation == same.validation
    assert one.validation != other.validation
    torch.testing.assert_close(one.direction[1:3].norm(dim=-1), norms[1:3].norm(dim=-1))
    assert one.direction[[0, 3]].abs().max() == 0


def test_the_best_epoch_is_kept_and_training_ends_when_none_is_better(
    planted: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, train = planted
    of_axis = train.filter(axis="X")
    norms = extract(model, of_axis)["X"].direction
    measured: list[torch.Tensor] = []
    effects = iter([1.0, 2.0, 5.0, 3.0, 4.0, 9.0])

    def effect(task: object, rows: list[int], vectors: torch.Tensor) -> float:
        measured.append(vectors)
        return next(effects)

    monkeypatch.setattr(optimised_module._Task, "effect", effect)
    training = Training(epochs=5, batch=4, patience=2, validation=0.25)
    trained = optimise(model, of_axis, "continuation", [1], norms, training=training)
    assert trained.validation == [1.0, 2.0, 5.0, 3.0, 4.0]
    assert torch.equal(trained.direction[1], measured[2][0])
    # Nine scenarios of twelve are fitted, four at a time.
    assert trained.steps == 2 * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "gradient"}, "method 'gradient' moves a readout; name it"),
        ({"method": "optimised", "readout": "continuation"}, "name them by axis: layers="),
        (
            {"method": "optimised", "readout": "continuation", "layers": {"Z": [1]}},
            "layers has none for axis X",
        ),
        (
            {"method": "optimised", "readout": "continuation", "layers": {"X": [9]}},
            "layer 9 is out of range",
        ),
        (
            {
                "method": "gradient",
                "readout": "continuation",
                "site": Site("answer", "end", "hook_mlp_out"),
            },
            "hook_mlp_out: gradients are taken on the residual stream between blocks",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
def test_what_a_method_needs_is_named(
    tiny: LanguageModel, few: ScenarioSet, arguments: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        extract(tiny, few, **arguments)


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(InputError, match="field 'batch' is 0; give above 0"):
        Training(batch=0)
    with pytest.raises(InputError, match=r"field 'validation' is 0\.8; give at most 0\.5"):
        Training(validation=0.8)


@pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
def test_the_gradient_before_a_block_is_that_after_the_previous_one(
    tiny: LanguageModel, few: ScenarioSet
) -> None:
    two = few.filter(item="X01")
    after = readout_gradients(tiny, two, "continuation").gradient
    before = readout_gradients(tiny, two, "continuation", hook_point="hook_resid_pre").gradient
    torch.testing.assert_close(before[:, 1:], after[:, :-1])
