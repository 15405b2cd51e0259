"""Both readouts against values worked out by hand from plain Hugging Face logits."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from conftest import CHAT, Pair, byte_tokenizer, error_without_type_checks, make_pair
from reference import forward
from tokenizers import normalizers

from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel, ReadoutChecks
from interp_culture.errors import InputError
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.probing import probe, read_runs
from interp_culture.readout.prompts import LABELS, Labels, continuation_prompts, letter_prompts
from interp_culture.readout.validity import ReadoutWarning, check_readout
from interp_culture.scenarios.scenario import ScenarioSet

pytestmark = pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def encode(model: LanguageModel, text: str) -> list[int]:
    return model.tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize(("labels", "prefix"), [("A/B", ""), ("X/Y", "The answer is (")])
def test_letters_by_hand(pair: Pair, few: ScenarioSet, labels: Labels, prefix: str) -> None:
    few = ScenarioSet(few.scenarios[::6], few.catalogue)
    table = probe(pair.model, few, readout=ReadoutFormat("letters", labels=labels, prefix=prefix))
    x, y = labels.split("/")
    a, b = encode(pair.model, x)[0], encode(pair.model, y)[0]
    for scenario, row in zip(few, table.itertuples(), strict=True):
        differences, bias, mass = [], [], []
        for first in ("positive", "negative"):
            options = (scenario.positive, scenario.negative)
            one, two = options if first == "positive" else options[::-1]
            asked = f"{scenario.situation}\n\nOption {x}: {one}\nOption {y}: {two}\n\nAnswer with {x} or {y}."
            text = f"<|user|>{asked}\n<|assistant|>{prefix}"
            z = forward(pair.plain, encode(pair.model, text))[0][-1].double()
            differences.append(float(z[a] - z[b]) if first == "positive" else float(z[b] - z[a]))
            bias.append(float(z[a] - z[b]))
            mass.append(float(z.softmax(-1)[[a, b]].sum()))
        assert row.logit_diff == pytest.approx(np.mean(differences), abs=1e-4)
        assert row.p_positive == pytest.approx(sigmoid(np.mean(differences)), abs=1e-5)
        assert row.position_bias == pytest.approx(np.mean(bias), abs=1e-4)
        assert row.letter_mass == pytest.approx(np.mean(mass), abs=1e-5)
        assert row.consistent == (differences[0] * differences[1] > 0)


def test_continuation_by_hand(pair: Pair, few: ScenarioSet) -> None:
    few = ScenarioSet(few.scenarios[::6], few.catalogue)
    table = probe(pair.model, few, readout=ReadoutFormat("continuation", system="You are brief."))
    for scenario, row in zip(few, table.itertuples(), strict=True):
        user = f"{scenario.situation}\n\nWhat is the best choice here? Answer in one sentence."
        start = encode(pair.model, f"<|system|>You are brief.\n<|user|>{user}\n<|assistant|>")
        means = []
        for option in (scenario.positive, scenario.negative):
            tokens = encode(pair.model, option)
            logprobs = forward(pair.plain, start + tokens)[0].double().log_softmax(-1)
            means.append(
                np.mean([float(logprobs[len(start) - 1 + i, t]) for i, t in enumerate(tokens)])
            )
        assert row.logprob_positive == pytest.approx(means[0], abs=1e-4)
        assert row.logit_diff == pytest.approx(means[0] - means[1], abs=1e-4)


@pytest.mark.parametrize("readout", ["letters", "continuation"])
def test_swapping_the_poles_flips_the_sign(
    tiny: LanguageModel, few: ScenarioSet, readout: str
) -> None:
    swapped = ScenarioSet(
        tuple(s.model_copy(update={"positive": s.negative, "negative": s.positive}) for s in few),
        few.catalogue,
    )
    one, two = (probe(tiny, s, readout=readout) for s in (few, swapped))  # type: ignore[arg-type]
    np.testing.assert_allclose(one.logit_diff, -two.logit_diff, atol=1e-5)
    assert one.logit_diff.abs().min() > 1e-4


def test_random_order_is_one_of_the_two_and_stays_with_the_seed(
    tiny: LanguageModel, few: ScenarioSet
) -> None:
    orders = ["".join(str(p.positive) for p in letter_prompts(s, "random", seed=42)) for s in few]
    assert set(orders) == {"0", "1"}
    assert orders == [
        "".join(str(p.positive) for p in letter_prompts(s, "random", seed=42)) for s in few
    ]
    table = probe(tiny, few, readout=ReadoutFormat("letters", order="random"))
    both = probe(tiny, few)
    assert (table.logit_diff - both.logit_diff).abs().max() > 1e-3


@pytest.mark.parametrize("readout", ["letters", "continuation"])
def test_strength_zero_is_the_baseline_bit_for_bit(
    pair: Pair, few: ScenarioSet, readout: str
) -> None:
    torch.manual_seed(4)
    vector = torch.randn(pair.model.d_model)
    edits = [Edit(1, vector, 0.0), Edit(2, vector, 0.0)]
    runs = {"plain": [], "zero": edits, "steered": [Edit(1, vector, 2.0)]}
    table = read_runs(pair.model, few, runs, readout=readout)  # type: ignore[arg-type]
    by_run = {run: t.logit_diff.to_numpy() for run, t in table.groupby("run")}
    assert np.array_equal(by_run["plain"], by_run["zero"])
    assert np.abs(by_run["steered"] - by_run["plain"]).max() > 1e-3
    alone = probe(pair.model, few, edits=runs["steered"], readout=readout)  # type: ignore[arg-type]
    np.testing.assert_allclose(alone.logit_diff, by_run["steered"], atol=1e-5)


def test_the_set_around_a_scenario_changes_nothing(tiny: LanguageModel, few: ScenarioSet) -> None:
    together = probe(tiny, few, readout="continuation").set_index("id").logit_diff
    for scenario in few.scenarios[:3]:
        alone = probe(tiny, ScenarioSet((scenario,), few.catalogue), readout="continuation")
        assert alone.logit_diff[0] == pytest.approx(together[scenario.id], abs=1e-5)


def test_a_random_model_fails_the_check_and_says_so(tiny: LanguageModel, few: ScenarioSet) -> None:
    validity = check_readout(tiny, "letters")
    assert not validity.ok
    assert any("control items, no more than chance would" in f for f in validity.failures)
    assert any("of the probability is on the two letters" in f for f in validity.failures)
    with pytest.warns(
        ReadoutWarning,
        match="readout 'letters' fails on tiny-llama: .* Consider readout='continuation'",
    ):
        probe(tiny, few)


def test_letters_that_are_no_single_tokens_raise() -> None:
    model = make_pair("llama").model
    model.tokenizer = byte_tokenizer(CHAT)
    model.tokenizer.backend_tokenizer.normalizer = normalizers.Replace("A", "AA")
    with pytest.raises(InputError, match="labels A/B are not single, different tokens"):
        check_readout(model, "letters")


def test_options_that_are_the_same_tokens_raise(few: ScenarioSet) -> None:
    model = make_pair("llama").model
    model.tokenizer.backend_tokenizer.normalizer = normalizers.Replace("?", ".")
    s = few.scenarios[0].model_copy(update={"positive": "Go now.", "negative": "Go now?"})
    with pytest.raises(
        InputError, match=rf"scenario {s.id}: both options are the same tokens \[\d+"
    ):
        read_runs(model, ScenarioSet((s,), few.catalogue), {"": ()}, readout="continuation")


def test_a_strength_that_breaks_the_logits_is_named(tiny: LanguageModel) -> None:
    with pytest.raises(
        InputError, match=r"strength 10 at layer 2 is a step of .*, beyond what numbers hold; lower"
    ):
        Edit(2, torch.full((tiny.d_model,), 1e38), 10.0)


def test_unknown_labels_raise() -> None:
    call = "from interp_culture.readout.validity import check_readout; from interp_culture.readout.formats import ReadoutFormat; check_readout(None, ReadoutFormat('letters', labels='C/D'))"
    assert "unknown labels 'C/D'; known: A/B, 1/2, X/Y" in error_without_type_checks(call)


def test_unknown_readout_raises() -> None:
    call = "from interp_culture.readout.validity import check_readout; check_readout(None, 'words')"
    assert "unknown readout 'words'; known: letters, continuation" in error_without_type_checks(
        call
    )


def test_prompts_show_both_options_once(few: ScenarioSet) -> None:
    for scenario in few:
        for labels, names in LABELS.items():
            for p in letter_prompts(scenario, labels=labels):
                assert p.prompt.user.count(scenario.positive) == 1
                assert f"Option {names[p.positive]}: {scenario.positive}" in p.prompt.user
                assert f"Answer with {names[0]} or {names[1]}." in p.prompt.user
        assert [p.answer for p in continuation_prompts(scenario)] == [
            scenario.positive,
            scenario.negative,
        ]


@pytest.mark.slow
@pytest.mark.usefixtures("all_controls")
def test_embedded_model_reads_by_words_but_not_by_letters(
    smollm2: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests may have checked this model on a few control items.
    monkeypatch.setattr(smollm2.model, "readout_checks", ReadoutChecks())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paper = ReadoutFormat("letters", prefix="")
        letters, words = (check_readout(smollm2.model, r) for r in (paper, "continuation"))
    assert words.ok
    assert words.accuracy > 0.6
    assert not letters.ok
    assert letters.position_bias is not None
    assert abs(letters.position_bias) > 5 * letters.spread
