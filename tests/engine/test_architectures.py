"""Every architecture of the zoo is right, beside plain Hugging Face, or refused in words."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from architecture_checks import (
    ASKED,
    CHECKS,
    FORMS,
    NEW_TOKENS,
    READOUTS,
    TOLERANCE,
    Opened,
    edits_of,
    error,
    expected_choices,
    expected_texts,
    few_controls,
    opened,
    pushes_of,
    with_a_long_one,
    writing_push,
)
from conftest import byte_tokenizer
from models_page import COMMAND, PAGE, page
from tiny_models import ROPE_LENGTH, Entry
from zoo import ZOO, entry

from interp_culture.engine.generation import generate
from interp_culture.engine.loading import load_model
from interp_culture.engine.prompt import Prompt
from interp_culture.errors import InputError
from interp_culture.readout.probing import read_runs
from interp_culture.steering.activations import read_activations

INSTALLED = [e for e in ZOO if e.is_installed]
READ = [e.name for e in INSTALLED if e.expect != "refused"]
GROWING = [e.name for e in INSTALLED if e.rope_length is not None]


@pytest.fixture(autouse=True, scope="module")
def brief_checks() -> Iterator[None]:
    """Few control items, and one thread: tiny matrices gain nothing by a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with few_controls():
        yield
    torch.set_num_threads(threads)


def case_of(name: str) -> Opened:
    """The model; the test is left out where it may be refused and is."""
    case = opened(name)
    if case.model is None and case.entry.expect == "right or refused":
        pytest.skip(f"refused, as it may be: {case.entry.why}")
    return case


@pytest.mark.parametrize("about", INSTALLED, ids=lambda e: e.name)
def test_an_architecture_is_loaded_or_refused_as_expected(about: Entry) -> None:
    case = opened(about.name)
    assert about.expect == "right" or about.why
    if case.model is None:
        assert about.expect != "right", case.refusal
    else:
        assert about.expect != "refused", f"{about.name} should be refused: {about.why}"


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", READ)
def test_numbers_equal_plain_hugging_face(name: str, check: str) -> None:
    assert CHECKS[check](case_of(name)) <= TOLERANCE


@pytest.mark.parametrize("name", READ)
def test_what_is_compared_differs(name: str) -> None:
    """A check that steered and plain numbers alike would pass is none."""
    case_of(name)
    for readout in READOUTS:
        plain = expected_choices(name, readout, "plain")
        for run in ("early", "middle"):
            assert error(expected_choices(name, readout, run), plain) > 10 * TOLERANCE
    # Without a final norm, the mean of both orders of the letters cancels what is added last.
    last = expected_choices(name, "continuation", "last")
    assert error(last, expected_choices(name, "continuation", "plain")) > 10 * TOLERANCE
    assert len({tuple(expected_texts(name, p)) for p in ("all", "prompt", "answer")}) > 1


@pytest.mark.parametrize("name", GROWING)
def test_a_long_text_beside_short_ones_changes_nothing(name: str) -> None:
    """RoPE that depends on the longest position; only beyond the config's limit is it refused."""
    case = opened(name)
    limit = case.reference.plain.config.max_position_embeddings
    refusal = ""
    try:
        errors = errors_beside_a_long_text(case)
    except InputError as too_long:
        refusal = str(too_long)
        errors = []
    assert max(errors, default=0) <= TOLERANCE
    assert bool(errors) or (limit <= ROPE_LENGTH and str(limit) in refusal), refusal


def errors_beside_a_long_text(case: Opened) -> list[float]:
    """Of plain and steered readouts and of residual streams, the long text's own among them."""
    scenarios = with_a_long_one(ROPE_LENGTH)
    added = {"plain": (), "steered": pushes_of(case.entry.name)["middle"]}
    edits = {run: edits_of(pushes) for run, pushes in added.items()}
    errors = []
    for readout in READOUTS:
        table = read_runs(case.loaded, scenarios, edits, readout=FORMS[readout])
        for run, pushes in added.items():
            expected = [float(case.reference.choice(readout, s, pushes)) for s in scenarios]
            errors.append(error(table[table.run == run].logit_diff, expected))
    found = read_activations(case.loaded, scenarios)
    ends = case.reference.ends(scenarios)
    return [*errors, error(found.positive, ends[:, 0]), error(found.negative, ends[:, 1])]


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "Gemma 3", "OPT"])
def test_a_checkpoint_that_uses_no_cache_writes_the_same(name: str) -> None:
    plain = copy.deepcopy(opened(name).reference.plain)
    plain.generation_config.use_cache = False
    plain.config.use_cache = False
    model = load_model(plain, tokenizer=byte_tokenizer(), device="cpu")
    for positions in ("all", "prompt", "answer"):
        edits = edits_of(writing_push(name, positions))
        written = generate(model, [Prompt(text) for text in ASKED], NEW_TOKENS, edits)
        assert written == expected_texts(name, positions)


def test_the_zoo_is_large_and_its_names_are_unique() -> None:
    names = [e.name for e in ZOO]
    assert len(set(names)) == len(names) >= 80
    assert entry("GPT-2").classes == ("GPT2LMHeadModel", "GPT2Config")


def test_the_page_of_models_is_the_one_that_the_zoo_gives() -> None:
    assert len(INSTALLED) == len(ZOO), "another transformers than that of constraints.txt"
    assert PAGE.read_text(encoding="utf-8") == page(), f"write it anew: {COMMAND}"
