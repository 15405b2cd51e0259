"""What a user may pass by mistake: taken as it is meant, or refused in words that name argument and fix."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Pair, error_without_type_checks, make_pair
from reference import forward
from safetensors.torch import save_file
from typer.testing import CliRunner

from interp_culture.cli import app
from interp_culture.coupling.steered import steered_readouts
from interp_culture.engine.interventions import HOOK_POINTS, Edit, as_edits, as_runs
from interp_culture.engine.model import LanguageModel, applied
from interp_culture.engine.prompt import Prompt, as_prompts, system_text
from interp_culture.errors import InputError
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.probing import probe
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.edits import steer
from interp_culture.steering.vector_files import load_vectors, save_vectors
from interp_culture.steering.vectors import SteeringVectors
from interp_culture.survey.personas import basic_persona

pytestmark = pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")

IMPORTS = """
import numpy as np, torch
from interp_culture.engine.interventions import Edit, as_edits, as_runs
from interp_culture.engine.prompt import Prompt, as_prompts
from interp_culture.bench.benchmark import Benchmark
from interp_culture.coupling.steered import steered_readouts
from interp_culture.engine.generation import generate, generate_runs
from interp_culture.steering.edits import steer
from interp_culture.steering.layer_choice import choice_overlap, choice_stability, top_layers
from interp_culture.steering.sweep import layer_sweep, sweep_null
from interp_culture.steering.vectors import SteeringVectors
v = SteeringVectors.from_tensors("X", torch.ones(4, 8))
one = torch.ones(8)
"""


@pytest.fixture
def vectors(tiny: LanguageModel) -> SteeringVectors:
    torch.manual_seed(3)
    return SteeringVectors.from_tensors("X", torch.randn(4, tiny.d_model), model=tiny.name)


def test_wrong_arguments_are_named_with_the_fix() -> None:
    """As without type checks; one process for all, since each imports torch."""
    wrong = {
        "steer({'X': v, 'Y': v}, [1], 1.0)": "vectors holds several axes (X, Y); give those of one",
        "steer(one, [1], 1.0)": "vectors is a Tensor; give SteeringVectors",
        "steer(v, 2, 1.0)": "layers is 2; give a list, also of one: layers=[2]",
        "steer(v, '2', 1.0)": "layers is '2'; give a list of numbers",
        "steer(v, {'X': [2]}, 1.0)": "layers holds several axes (X); give one: layers[axis]",
        "steer(v, [2], float('nan'))": "field 'strength' is nan; give a number, neither NaN nor infinite",
        "steer(v, [2], float('inf'))": "field 'strength' is inf",
        "steer(v, [2], [1.0])": "field 'strength' is [1.0]",
        "steer(v, [2], 1e30)": "strength 1e+30 at layer 2 is a step of 2.82843e+30, beyond what numbers hold",
        "steer(v, [2], 1e30, operation='ablate')": "strength 1e+30 at layer 2",
        "steer(v, [2], 1.0, hook_point='resid')": "unknown hook point 'resid'; known: hook_resid_pre",
        "steer(v, [2], 1.0, positions=(-3, -1))": "positions (-3, -1): give 0 <= start < stop",
        "steer(v, [2], 1.0, positions=(3, -1))": "positions (3, -1): give 0 <= start < stop",
        "steer(v, [2], 1.0, positions=(2, 2))": "positions (2, 2): give 0 <= start < stop",
        "steer(v, [2], 1.0, positions=5)": "positions is 5; give one of all, prompt",
        "Edit([1, 2], one, 1.0)": "field 'layer' is [1, 2]; an Edit acts at one layer",
        "Edit(1, 'X', 1.0)": "field 'vector' is a str; give a tensor or an array",
        "Edit(1, torch.ones(2, 8), 1.0)": "field 'vector' has shape (2, 8)",
        "Edit(1, one * float('nan'), 1.0)": "field 'vector' holds NaN or infinity",
        "as_edits(v)": "edits is a SteeringVectors; give a list of Edit, as steer(vectors, layers, alpha) does",
        "as_edits([v])": "edits holds a SteeringVectors",
        "as_edits({'X': []})": "edits is a dict",
        "as_runs([Edit(1, one, 1.0)])": "runs is a list; give edits by name",
        "as_prompts('hello')": "prompts is one prompt; give a list of them",
        "as_prompts([3])": "prompts holds a int; give texts, or Prompt(user=...)",
        "Prompt(3)": "a prompt's user is a int",
        "Prompt('x', system=3)": "system is a int; give the message as text, or a Persona",
        "SteeringVectors.from_tensors('X', one)": "direction has shape (8,); give [layer, d_model]",
        "SteeringVectors.from_tensors('X', 'v')": "direction is a str; give a tensor or an array [layer, d_model]",
        "SteeringVectors.from_tensors('X', v.direction, resid_norm=one)": "resid_norm has 8 layers, direction 4",
        "SteeringVectors.from_tensors('X', v.direction / 0)": "direction holds NaN or infinity",
        "layer_sweep(None, None, {'X': v}, alpha=0)": "alpha is 0, which steers nothing",
        "layer_sweep(None, None, {'X': v}, alpha=[2.0, -0.0])": "alpha is 0, which steers nothing",
        "layer_sweep(None, None, {'X': v}, alpha=[])": "alpha is empty; give one strength or more",
        "layer_sweep(None, None, {'X': v}, k=0)": "k is 0: give the number of layers to choose, 1 or more",
        "sweep_null(None, None, {'X': v}, alpha=0.0)": "alpha is 0, which steers nothing",
        "choice_stability(None, k=0)": "k is 0",
        "choice_overlap(None, k=-1)": "k is -1",
        "steered_readouts(None, None, {'X': v}, {'X': [1]}, alphas=[0.0, -0.0])": "alpha is 0, which steers nothing",
        "steered_readouts(None, None, {'X': v}, {'X': [1]}, alphas=[])": "alpha is 0, which steers nothing",
        "generate(None, ['Hi'], 0)": "max_new_tokens is 0: give 1 or more",
        "generate_runs(None, ['Hi'], {}, -1)": "max_new_tokens is -1: give 1 or more",
        "Benchmark(1, 0, 4, peers=False)": "n_read is 0: give 1 or more",
        "Benchmark(1, 4, 0, peers=False)": "n_sweep is 0: give 1 or more",
    }
    calls = f"""
from interp_culture.errors import InputError
for call in {list(wrong)!r}:
    try:
        eval(call)
        print("accepted:", call)
    except InputError as error:
        print(call, "->", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS + calls], capture_output=True, text=True, check=False
    )
    told = dict(line.split(" -> ", 1) for line in done.stdout.splitlines() if " -> " in line)
    assert list(told) == list(wrong), done.stdout + done.stderr[-500:]
    for call, message in wrong.items():
        assert message in told[call]


# -- what is taken as it is meant -----------------------------------------------------------------


def test_one_edit_is_a_list_of_one(
    tiny: LanguageModel, few: ScenarioSet, vectors: SteeringVectors
) -> None:
    (edit,) = steer(vectors, [1], 2.0)
    assert as_edits(edit) == as_edits([edit]) == (edit,)
    assert as_runs({"a": edit, "b": []}) == {"a": (edit,), "b": ()}
    alone, listed = (probe(tiny, few, edits=e, readout="continuation") for e in (edit, [edit]))
    assert np.array_equal(alone.logit_diff, listed.logit_diff)


def test_arrays_and_personas_are_converted() -> None:
    """Without type checks, as users run it."""
    meant = [
        "Edit(1, np.linspace(-1, 1, 8), 2.0).vector.equal(torch.tensor(np.linspace(-1, 1, 8)).float())",
        "Edit(np.int64(2), one, np.float32(1.0)).layer == 2",
        "Edit(2, one, 1.0, positions=[1, 3]).positions == (1, 3)",
        "Prompt('x', system=basic_persona('India')).system == 'You are a person living in India.'",
    ]
    calls = f"from interp_culture.survey.personas import basic_persona\nprint([eval(call) for call in {meant!r}])"
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS + calls], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str([True] * len(meant)), done.stderr[-500:]


def test_a_persona_is_a_system_message(tiny: LanguageModel, few: ScenarioSet) -> None:
    persona = basic_persona("India")
    assert system_text(persona) == persona.text
    one, two = (
        probe(tiny, few, readout=ReadoutFormat("continuation", system=s))
        for s in (persona, persona.text)
    )
    assert np.array_equal(one.logit_diff, two.logit_diff)


def test_texts_are_prompts() -> None:
    assert as_prompts(["a", Prompt("b", system="c")]) == [Prompt("a"), Prompt("b", system="c")]


def test_vectors_of_ones_own(tiny: LanguageModel, tmp_path: Path) -> None:
    direction = np.ones((4, tiny.d_model))
    mine = SteeringVectors.from_tensors(
        "X", direction, resid_norm=[1.0, 2.0, 3.0, 4.0], method="mine"
    )
    assert mine.direction.dtype == torch.float32
    edits = steer(mine, [3], 1.0)
    assert edits[0].model is None
    tiny.check_edits(edits)
    save_vectors(tmp_path / "v.safetensors", {"X": mine})
    assert torch.equal(
        load_vectors(tmp_path / "v.safetensors")["X"].resid_norm, torch.tensor([1.0, 2, 3, 4])
    )
    bare = SteeringVectors("X", "made", torch.ones(4, tiny.d_model), torch.ones(4), {})
    assert steer(bare, [0], 1.0)[0].model is None


def test_printing_is_short(tiny: LanguageModel, vectors: SteeringVectors) -> None:
    assert (
        repr(vectors)
        == "SteeringVectors(axis 'X', method 'given', 4 layers x 32, model 'tiny-llama')"
    )
    assert repr(tiny) == "LanguageModel('tiny-llama', 4 layers, d_model 32, float32 on cpu)"


# -- files that are no vectors --------------------------------------------------------------------


def plain_safetensors(path: Path) -> None:
    save_file({"X": torch.ones(3)}, path)


def bad_metadata(path: Path) -> None:
    save_file({"X": torch.ones(3)}, path, metadata={"interp_culture": "not json"})


def another_shape(path: Path) -> None:
    about = {"X": {"method": "m", "provenance": {}}}
    tensors = {"X.direction": torch.ones(3), "X.resid_norm": torch.ones(3)}
    save_file(tensors, path, metadata={"interp_culture": json.dumps(about)})


def list_of_axes(path: Path) -> None:
    save_file({"X": torch.ones(3)}, path, metadata={"interp_culture": '["X"]'})


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        (
            "v.gguf",
            lambda path: path.write_bytes(b"GGUF" + bytes(64)),
            "not a .gguf file that can be read: its version is 0",
        ),
        (
            "v.pt",
            lambda path: torch.save({"X": torch.ones(3)}, path),
            "a .pt file that is not a complete",
        ),
        ("v.safetensors", plain_safetensors, "a .safetensors file without its metadata"),
        ("v.safetensors", bad_metadata, "JSONDecodeError"),
        ("v.safetensors", list_of_axes, "AttributeError"),
        ("v.safetensors", another_shape, r"axis X: direction \(3,\)"),
        ("v", lambda path: path.mkdir(), "not a file that save_vectors wrote"),
    ],
)
def test_files_that_are_no_vectors_are_refused(
    tmp_path: Path, name: str, write: Any, message: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(
        InputError, match=rf"not a file that save_vectors wrote \(.*{message}|{message}"
    ) as error:
        load_vectors(tmp_path / name)
    if name != "v.gguf":
        assert "SteeringVectors.from_tensors" in str(error.value)


# -- edits on the raw bridge ----------------------------------------------------------------------


@pytest.mark.parametrize("hook_point", HOOK_POINTS)
def test_the_raw_bridge_runs_under_edits(pair: Pair, hook_point: str) -> None:
    torch.manual_seed(1)
    width = pair.model.width_at(1, hook_point)
    v = SteeringVectors.from_tensors("X", torch.randn(width).repeat(4, 1))
    tokens = torch.tensor([[5, 6, 7, 8]])
    plain = pair.model.bridge(tokens)
    edits = steer(v, [1, 2], 3.0, hook_point=hook_point)
    with torch.no_grad(), applied(pair.model, edits) as bridge:
        steered = bridge(tokens)
        assert pair.model.is_hooked
    assert not pair.model.is_hooked
    assert (steered - plain).abs().max() > 1e-3
    assert torch.equal(pair.model.bridge(tokens), plain)
    with (
        torch.no_grad(),
        applied(pair.model, steer(v, [1, 2], 0.0, hook_point=hook_point)) as bridge,
    ):
        assert torch.equal(bridge(tokens), plain)


def test_a_hook_does_what_the_edit_says() -> None:
    pair = make_pair("llama")
    torch.manual_seed(1)
    edit = Edit(1, torch.randn(pair.model.d_model), 3.0, positions=(1, 3))
    tokens = [5, 6, 7, 8]

    def add(module: Any, args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = hidden.clone()
        hidden[:, 1:3] += 3.0 * edit.vector
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = pair.plain.model.layers[1].register_forward_hook(add)
    expected = forward(pair.plain, tokens)[0]
    handle.remove()
    with torch.no_grad():
        found = pair.model.bridge.run_with_hooks(torch.tensor([tokens]), fwd_hooks=[edit.hook()])
    torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("positions", ["prompt", "answer", "last", "options"])
def test_positions_that_a_plain_pass_does_not_know_are_refused(
    tiny: LanguageModel, positions: Any
) -> None:
    edit = Edit(1, torch.ones(tiny.d_model), 1.0, positions=positions)
    with pytest.raises(InputError, match=f"positions='{positions}': a plain pass knows no prompt"):
        edit.hook()
    with (
        pytest.raises(InputError, match="layer 9 is out of range"),
        applied(tiny, Edit(9, edit.vector, 1.0)),
    ):
        pass


# -- hook points and axes further up --------------------------------------------------------------


def test_steered_readouts_by_axis_and_hook_point(
    tiny: LanguageModel, few: ScenarioSet, vectors: SteeringVectors
) -> None:
    tables = [
        steered_readouts(
            tiny,
            few,
            {"X": vectors},
            {"X": [1]},
            alphas=[4.0],
            n_random=1,
            readout="continuation",
            hook_point=point,
        )
        for point in ("hook_resid_post", "hook_resid_pre")
    ]
    steered = [table[table.steered == "X"].logit_diff.to_numpy() for table in tables]
    assert np.abs(steered[0] - steered[1]).max() > 1e-3
    with pytest.raises(
        InputError,
        match=r"layers has none for axis Y; give layers=\{axis: \[...\]\} for each of X, Y",
    ):
        steered_readouts(tiny, few, {"X": vectors, "Y": vectors}, {"X": [1]}, alphas=[4.0])


def test_steered_readouts_of_what_is_not_by_axis() -> None:
    call = (
        "import torch; from interp_culture.coupling.steered import steered_readouts; "
        "from interp_culture.steering.vectors import SteeringVectors; "
        "v = SteeringVectors.from_tensors('X', torch.ones(4, 8)); "
        "steered_readouts(None, None, {}, {}, alphas=[1.0]) if False else "
        "steered_readouts(None, None, v, {'X': [1]}, alphas=[1.0])"
    )
    assert (
        "vectors is a SteeringVectors; give it by axis: vectors={axis: ...}"
        in error_without_type_checks(call)
    )


@pytest.mark.parametrize(
    "verb", [["steer", "--axis", "X", "--layers", "1"], ["entangle", "--layers", "X=1"]]
)
def test_the_command_line_knows_hook_points(
    verb: list[str], tmp_path: Path, vectors: SteeringVectors
) -> None:
    save_vectors(tmp_path / "v.safetensors", {"X": vectors})
    arguments = [*verb, "--vectors", str(tmp_path / "v.safetensors"), "--hook-point", "resid"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, InputError)
    assert "unknown hook point 'resid'" in str(result.exception)
