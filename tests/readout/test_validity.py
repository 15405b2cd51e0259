"""What a letters answer begins with, how it is chosen, and what counts as a failure or a caution."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CHAT, byte_tokenizer, make_pair
from reference import forward
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from interp_culture.cli import app
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel, ReadoutChecks
from interp_culture.errors import InputError
from interp_culture.readout import validity as readout_module
from interp_culture.readout.choices import Values, choice_table
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.probing import read_runs
from interp_culture.readout.prompts import PREFIXES, letter_prompts
from interp_culture.readout.validity import (
    ReadoutWarning,
    _choose,
    check_readout,
    compare_prefixes,
    resolve_format,
    warn_of,
)
from interp_culture.readout.values import raw_values, token_groups, values_by_prefix
from interp_culture.readout.verdict import MAX_BIAS, Validity, judge
from interp_culture.scenarios.files import load_controls
from interp_culture.scenarios.scenario import ScenarioSet

pytestmark = pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
FORMS = {prefix: ReadoutFormat("letters", prefix=prefix) for prefix in PREFIXES}


def planted(right: Any, bias: float = 0.0, mass: float = 0.9, signal: float = 1.0) -> Values:
    """Control items whose averaged logit difference is `signal` where `right`, else its opposite."""
    content = signal * np.where(np.broadcast_to(right, 52), 1.0, -1.0)
    values = np.full((52, 2, 5), -30.0)
    for member, sign in enumerate((1, -1)):
        first_minus_second = bias + sign * content
        values[:, member, 0] = first_minus_second / 2
        values[:, member, 1] = -first_minus_second / 2
        both = np.logaddexp(values[:, member, 0], values[:, member, 1])
        values[:, member, 4] = both - np.log(mass)
    return values


def verdict(values: Values) -> Validity:
    table = choice_table(load_controls(), values, FORMS[""], "A")
    return judge(table, FORMS[""], "A")


def chosen(**by_prefix: Values) -> Validity:
    forms = dict(zip(by_prefix, FORMS.values(), strict=False))
    return _choose(load_controls(), {forms[name]: values for name, values in by_prefix.items()})


@pytest.fixture
def four_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    """For models that no other test uses, since a model keeps its checks."""
    four = ScenarioSet(load_controls().scenarios[18:22], load_controls().catalogue)
    monkeypatch.setattr(readout_module, "load_controls", lambda: four)


EVERY_FIFTH_WRONG = np.arange(52) % 5 > 0
ODD = np.arange(52) % 2 == 0  # items 1, 3, 5, ..., which choose


# -- the verdict ----------------------------------------------------------------------------------


def test_a_bias_that_both_orders_cancel_is_a_caution_with_its_size() -> None:
    found = verdict(planted(True, bias=3.0))
    assert found.ok
    assert (found.accuracy, found.consistency) == (1.0, 0.0)
    assert found.bias_ratio == pytest.approx(3.0)
    (caution,) = found.cautions
    assert caution == (
        "the two orders of the options agree on 0% of the control items (position bias +3.00 "
        "logits, 3.0 times the mean |logit difference|)"
    )
    alone = found.in_one_order()
    assert not alone.ok
    assert alone.failures == (f"{caution}, and one order alone does not cancel it",)
    assert not alone.cautions


def test_a_readout_without_signal_a_letter_or_a_choice_fails() -> None:
    assert verdict(planted(EVERY_FIFTH_WRONG)).failures == ()
    assert verdict(planted(EVERY_FIFTH_WRONG)).cautions == ()
    assert "26 of 52 control items" in verdict(planted(ODD)).failures[0]
    assert verdict(planted(True, mass=0.4)).failures == (
        "only 0.40 of the probability is on the two letters",
    )
    (saturated,) = verdict(planted(True, bias=MAX_BIAS + 1)).failures
    assert "position bias saturates the letters (10.2 logits" in saturated


def test_a_stored_verdict_comes_back() -> None:
    for values in (planted(True, bias=3.0), planted(ODD, mass=0.2)):
        found = verdict(values)
        assert Validity.from_row(found.row) == found
    words = Validity("continuation", 52, 0.8, 0.7, 0.9, 1.0)
    assert Validity.from_row({**words.row, "mass": float("nan"), "prefix": None}) == words


# -- the choice of a prefix -----------------------------------------------------------------------


def test_the_prefix_with_accuracy_and_consistency_is_chosen() -> None:
    biased = planted(True, bias=3.0)
    bound = planted(EVERY_FIFTH_WRONG)
    found = chosen(none=biased, answer=bound)
    assert found.prefix == "Answer:"
    assert (found.n, found.n_choice) == (26, 26)
    assert found.accuracy == pytest.approx(EVERY_FIFTH_WRONG[1::2].mean())
    assert chosen(none=biased, answer=planted(True, mass=0.4)).prefix == ""
    assert chosen(none=bound, answer=bound).prefix == ""  # the first of equals
    assert chosen(none=planted(True, mass=0.1), answer=planted(ODD, mass=0.3)).prefix == "Answer:"


def test_a_lucky_half_is_not_enough() -> None:
    lucky = np.arange(52) % 4 != 0  # half of the items that choose, all of the others
    assert chosen(none=planted(lucky)).failures == ()
    unlucky = np.where(ODD, np.arange(52) < 26, np.arange(52) < 40)  # 13 and 20 of 26
    (failure,) = chosen(none=planted(unlucky)).failures
    assert "right answer on 33 of all 52 control items, no more than chance" in failure


def test_the_items_that_choose_do_not_judge() -> None:
    found = chosen(none=planted(~ODD), answer=planted(ODD))
    assert found.prefix == "Answer:"  # right on all items that choose, and on no other
    assert found.accuracy == 0.0
    assert "right answer on 0 of 26 control items" in found.failures[0]
    kinds = [{"facts": 0, "common_sense": 0}, {"facts": 0, "common_sense": 0}]
    for number, scenario in enumerate(load_controls()):
        kinds[number % 2][scenario.item] += 1
    assert kinds[0] == kinds[1]


@pytest.mark.usefixtures("four_controls")
def test_the_choice_is_made_once_and_shared_by_all_runs(
    few: ScenarioSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_pair("llama").model
    form = resolve_format(model, "letters")
    assert form.prefix == check_readout(model, "letters").prefix
    monkeypatch.setattr(readout_module, "values_by_prefix", None)
    (scenario,) = few.scenarios[:1]
    one = ScenarioSet((scenario,), few.catalogue)
    vector = Edit(1, torch.ones(model.d_model), 3.0)
    named, given = (
        read_runs(model, one, {"": (), "steered": [vector]}, readout=readout)
        for readout in ("letters", form)
    )
    assert named.equals(given)
    assert check_readout(model, "letters").n == 2
    assert check_readout(model, form).n == 4  # a given prefix needs no items that choose
    with pytest.raises(InputError, match=r"not chosen yet; choose it with resolve_format"):
        token_groups(model, one, ReadoutFormat("letters"))


@pytest.mark.usefixtures("four_controls")
def test_all_prefixes_in_one_pass_are_each_alone(few: ScenarioSet) -> None:
    tiny = make_pair("qwen3").model
    few = ScenarioSet(few.scenarios[:4], few.catalogue)
    forms = list(FORMS.values())
    together = values_by_prefix(tiny, few, forms)
    for form, values in zip(forms, together, strict=True):
        alone = raw_values(tiny, few, form, {"": ()})[""]
        np.testing.assert_allclose(values, alone, atol=1e-4)
    assert np.abs(together[0] - together[1]).max() > 1e-2
    table = compare_prefixes(tiny)
    assert list(table.prefix) == list(PREFIXES)
    assert table[table.chosen].prefix.tolist() == [check_readout(tiny, "letters").prefix]


# -- the tokens after a prefix --------------------------------------------------------------------


@pytest.mark.usefixtures("four_controls")
def test_a_base_model_reads_the_letter_after_the_prefix(few: ScenarioSet) -> None:
    pair = make_pair("llama", chat_template=None)
    one = ScenarioSet(few.scenarios[:1], few.catalogue)
    form = ReadoutFormat("letters", order="random", prefix="My answer is option")
    row = read_runs(pair.model, one, {"": ()}, readout=form).iloc[0]
    (asked,) = letter_prompts(few.scenarios[0], "random")
    text = f"{asked.prompt.user}\nAnswer: My answer is option"
    encode = pair.model.tokenizer.encode
    logits = forward(pair.plain, encode(text))[0][-1].double()
    a, b = encode("A")[0], encode("B")[0]
    sign = 1 if asked.positive == 0 else -1
    assert row.logit_diff == pytest.approx(sign * float(logits[a] - logits[b]), abs=1e-4)


def merging_tokenizer(*merges: tuple[str, str]) -> PreTrainedTokenizerFast:
    """The byte tokenizer with some pairs of bytes as tokens."""
    fast = byte_tokenizer(CHAT)
    vocab = fast.get_vocab()
    for pair in merges:
        vocab["".join(pair)] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    merged = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )
    merged.chat_template = CHAT
    return merged


@pytest.mark.usefixtures("four_controls")
def test_a_letter_that_merges_with_the_prefix_is_not_read(few: ScenarioSet) -> None:
    model = make_pair("llama").model
    bracketed = [("(", "A"), ("(", "B")]
    form = ReadoutFormat("letters", prefix="The answer is (")
    model.tokenizer = merging_tokenizer(*bracketed)
    with pytest.raises(
        InputError, match=r"single, different tokens .* after the prefix 'The answer"
    ):
        token_groups(model, few, form)
    assert form.prefix not in set(compare_prefixes(model).prefix)
    # With a space the letters are whole tokens, which the text "( A" has too.
    model.tokenizer = merging_tokenizer(*bracketed, ("Ġ", "A"), ("Ġ", "B"))
    model.readout_checks = ReadoutChecks()
    assert check_readout(model, form).letters in ("A", " A")
    (first, *_), *_ = raw_values(model, few, form, {"": ()})[""]
    assert first[0] == first[2]  # both columns hold " A", the only spelling that can be read
    assert list(token_groups(model, few, form)[0][0][0].prompt[-1:]) == (
        model.tokenizer.encode("(", add_special_tokens=False)
    )


# -- words ----------------------------------------------------------------------------------------


def test_prefixes_that_cannot_be_are_refused_in_words(tiny: LanguageModel) -> None:
    with pytest.raises(InputError, match="only the letters readout has one; a continuation"):
        ReadoutFormat("continuation", prefix="I would")
    with pytest.raises(InputError, match=r"ends with a space.*give 'The answer is'"):
        ReadoutFormat("letters", prefix="The answer is ")
    assert ReadoutFormat("continuation").prefix == ""
    with pytest.raises(InputError, match="no answer prefix to compare"):
        compare_prefixes(tiny, "continuation")
    result = CliRunner().invoke(app, ["probe", "--readout", "continuation", "--prefix", "So"])
    assert "--prefix is for lettered options" in str(result.exception)


@pytest.mark.usefixtures("four_controls")
def test_the_verb_shows_both_readouts_and_each_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_pair("llama").model
    monkeypatch.setattr("interp_culture.engine.loading.load_model", lambda *a, **k: model)
    monkeypatch.setattr("interp_culture.engine.hardware.choose_threads", lambda: 1)
    result = CliRunner().invoke(app, ["validity", "--all-prefixes"])
    assert result.exit_code == 0, result.exception
    assert f"letters fails: {'; '.join(check_readout(model, 'letters').failures)}." in result.stdout
    assert "\ncontinuation fails: " in result.stdout
    for prefix in PREFIXES:
        assert f" {prefix!r} " in result.stdout


def test_a_caution_is_said_once_and_a_single_order_fails() -> None:
    model = make_pair("llama").model
    form = ReadoutFormat("letters", prefix="")
    model.readout_checks.validity[form] = verdict(planted(True, bias=3.0))
    with pytest.warns(ReadoutWarning, match=r"'letters' passes on tiny-llama with a caution: .*0%"):
        warn_of(model, form, again=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of(model, form, again=True)
    one_order = ReadoutFormat("letters", order="random", prefix="")
    assert not check_readout(model, one_order).ok
    with pytest.warns(ReadoutWarning, match="one order alone does not cancel it"):
        warn_of(model, one_order)
