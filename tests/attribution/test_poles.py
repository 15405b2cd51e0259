"""Patching between poles: equal to plain passes with hooks, and a planted attention is named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Pair, byte_tokenizer
from planted import planted_model, planted_scenarios
from zoo import entry

import interp_culture as ic
from interp_culture.attribution import patched_poles
from interp_culture.attribution.poles import SEPARATOR, _drawn
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.readout.prompts import contrastive_texts

READ = {"axis": "X", "read": "Y", "readout": "continuation"}
CARRIER = 2


def at(table: pd.DataFrame, component: str) -> Any:
    return table.set_index("component").loc[component]


@pytest.mark.parametrize("readout", ["continuation", "letters"])
def test_the_last_stream_restores_the_whole_effect(pair: Pair, readout: str) -> None:
    table = patched_poles(
        pair.model, planted_scenarios(), **{**READ, "readout": readout}, kinds=["resid"], n=6
    )
    last = at(table, "L3.resid")
    assert last.change == pytest.approx(last.effect, abs=1e-6)
    assert abs(last.effect) > 1e-4
    # The stream after the first block is not all: later blocks read the context again.
    assert abs(at(table, "L0.resid").change - last.effect) > 1e-5
    assert set(table.skipped) == {0}
    assert not pair.model.is_hooked


@pytest.mark.parametrize("readout", ["continuation", "letters"])
@pytest.mark.parametrize("method", ["exact", "gradient"])
def test_shortcuts_change_nothing(method: Any, readout: Any, tiny: LanguageModel) -> None:
    run = {**READ, "readout": ic.ReadoutFormat(readout, prefix=""), "method": method, "n": 2}
    table = patched_poles(tiny, planted_scenarios(), **run)
    assert table.equals(patched_poles(tiny, planted_scenarios(), **run))
    plain = replace(tiny, shortcuts=tiny.shortcuts.without("trees", "padding", "resume"))
    other = patched_poles(plain, planted_scenarios(), **run)
    np.testing.assert_allclose(other.change, table.change, atol=1e-5)


def module_of(plain: Any, kind: str, layer: int) -> Any:
    block = plain.model.layers[layer]
    modules = {"resid": block, "attn": block.self_attn, "mlp": block.mlp}
    return modules[kind] if kind != "head" else block.self_attn.o_proj


class Swap:
    """A PyTorch hook that keeps the values of a module, or puts others at the last tokens."""

    def __init__(self, plain: Any, kind: str, layer: int, head: int) -> None:
        self.given: torch.Tensor | None = None
        self.n_last = 0
        width = plain.config.head_dim
        self.part = slice(head * width, (head + 1) * width) if kind == "head" else slice(None)
        module = module_of(plain, kind, layer)
        if kind == "head":
            self.handle = module.register_forward_pre_hook(lambda _, args: (self.swap(args[0]),))
        else:
            self.handle = module.register_forward_hook(lambda _, __, output: self.output(output))

    def output(self, output: Any) -> Any:
        if isinstance(output, tuple):
            return (self.swap(output[0]), *output[1:])
        return self.swap(output)

    def swap(self, values: torch.Tensor) -> torch.Tensor:
        if self.given is None:
            self.kept = values.clone()
            return values
        changed = values.clone()
        changed[:, -self.n_last :, self.part] = self.given[:, -self.n_last :, self.part]
        return changed


def choice(plain: Any, prompt: tuple, answers: list[tuple], around: Callable) -> float:
    """P+ of a continuation: per-token log-probabilities of both options, one pass each."""
    means = []
    for number, answer in enumerate(answers):
        around(number, len(answer) - 1)
        logits = plain(torch.tensor([[*prompt, *answer[:-1]]]), use_cache=False).logits[0]
        logprobs = logits.double().log_softmax(-1)[len(prompt) - 1 :]
        means.append(float(np.mean([logprobs[i, token] for i, token in enumerate(answer)])))
    return float(1 / (1 + np.exp(means[1] - means[0])))


@pytest.mark.parametrize("kind", ["resid", "attn", "mlp", "head"])
def test_patches_are_those_of_plain_passes_with_hooks(kind: Any) -> None:
    plain = entry("Llama").build()
    model = LanguageModel.wrap(copy.deepcopy(plain), byte_tokenizer(), "llama")
    scenarios = planted_scenarios(2)
    table = patched_poles(model, scenarios, **READ, kinds=[kind], n=2)
    pairs = _drawn(scenarios, "X", "Y", 2, 42)
    expected = dict.fromkeys(table.component, 0.0)
    effect = 0.0
    for dilemma, context in zip(pairs.dilemmas, pairs.contexts, strict=True):
        question = f"{dilemma.situation}\n\nWhat is the best choice here? Answer in one sentence."
        ending = model.render(ic.Prompt(question)).removeprefix("<|user|>")
        # A token for each byte.
        answers = [tuple(byte_tokenizer().encode(text)) for text in poles_of(dilemma)]
        prompts = [
            tuple(byte_tokenizer().encode(f"<|user|>{text}{SEPARATOR}{ending}"))
            for text in contrastive_texts(context)
        ]
        for row in table.itertuples():
            with torch.no_grad():
                donor, receiver, patched = swapped(
                    plain, kind, row.layer, row.head, prompts, answers, len(ending.encode())
                )
            expected[row.component] += (patched - receiver) / 2
        effect += (donor - receiver) / 2
    np.testing.assert_allclose(table.effect, effect, atol=1e-6)
    np.testing.assert_allclose(
        table.change, [expected[name] for name in table.component], atol=1e-6
    )
    assert table.change.abs().max() > 1e-4


def poles_of(dilemma: Any) -> list[str]:
    return [dilemma.positive, dilemma.negative]


def swapped(
    plain: Any, kind: str, layer: int, head: int, prompts: list, answers: list, n_ending: int
) -> tuple[float, float, float]:
    """P+ after the positive context, after the negative one, and with the patch."""
    swap = Swap(plain, kind, layer, head)
    kept: dict[int, torch.Tensor] = {}
    lengths = [len(answer) - 1 for answer in answers]

    def restoring(number: int, n_answer: int) -> None:
        swap.given, swap.n_last = kept[number], n_ending + n_answer

    donor = 0.0
    try:
        for number in range(2):
            plain(torch.tensor([[*prompts[0], *answers[number][:-1]]]), use_cache=False)
            kept[number] = swap.kept
        assert [values.shape[1] - len(prompts[0]) for values in kept.values()] == lengths
        donor = choice(plain, prompts[0], answers, lambda *_: None)
        receiver = choice(plain, prompts[1], answers, lambda *_: None)
        patched = choice(plain, prompts[1], answers, restoring)
    finally:
        swap.handle.remove()
    return donor, receiver, patched


def model_with_a_context(written: float = 20.0) -> LanguageModel:
    """One head of one block writes Y's direction where an earlier token has X's direction.

    No other component writes anything.
    """
    model = planted_model()
    attention = model.bridge.original_model.model.layers[CARRIER].self_attn
    parts = (attention.q_proj, attention.v_proj, attention.o_proj)
    query, value, output = (getattr(part, "original_component", part).weight for part in parts)
    with torch.no_grad():
        for weight in (query, value, output):
            weight.zero_()  # every token attends to all before it alike
        # Heads 0 and 1 share the first key and value; head 1 writes.
        value[0, 0], output[1, 8] = 1.0, written
    return model


@pytest.mark.parametrize(("method", "written"), [("exact", 20.0), ("gradient", 0.5)])
def test_the_attention_that_carries_a_context_is_named(method: Any, written: float) -> None:
    model = model_with_a_context(written)
    table = patched_poles(model, planted_scenarios(), **READ, method=method, n=12)
    effect = table.effect.iloc[0]
    assert table.effect_low.iloc[0] > 0
    close = {"exact": 1e-4, "gradient": 0.05}[method]
    named = [f"L{CARRIER}.H1", f"L{CARRIER}.attn", f"L{CARRIER}.resid", "L3.resid"]
    for name in named:
        assert at(table, name).restored == pytest.approx(1, abs=close), name
        assert at(table, name).low > 0
    others = table[~table.component.isin(named)]
    np.testing.assert_allclose(others.change, 0, atol=1e-4 * effect)


def test_gradients_are_near_the_patches(tiny: LanguageModel) -> None:
    """Of a random model, whose contexts change little."""
    run = {**READ, "kinds": ["attn", "mlp", "head"], "n": 6}
    exact = patched_poles(tiny, planted_scenarios(), **run)
    first_order = patched_poles(tiny, planted_scenarios(), **run, method="gradient")
    assert exact.component.tolist() == first_order.component.tolist()
    np.testing.assert_allclose(first_order.effect, exact.effect, atol=1e-7)
    assert np.corrcoef(exact.change, first_order.change)[0, 1] > 0.9


def test_there_is_no_share_of_an_effect_that_may_be_zero() -> None:
    """The planted model without an attention that writes: contexts do nothing."""
    table = patched_poles(planted_model(), planted_scenarios(), **READ, n=6)
    np.testing.assert_allclose(table[["change", "effect"]], 0, atol=1e-7)
    assert table.restored.isna().all()
    few = patched_poles(model_with_a_context(), planted_scenarios(), **READ, n=3)
    assert set(few.n) == {3}
    assert few[["low", "restored"]].isna().all().all()


def test_a_scenario_is_not_its_own_context() -> None:
    pairs = _drawn(planted_scenarios(), "Y", "Y", 18, 0)
    ids = [scenario.id for scenario in pairs.dilemmas]
    assert all(a != b.id for a, b in zip(ids, pairs.contexts, strict=True))
    assert len(set(ids)) == 18
    assert {context.axis for context in pairs.contexts} == {"Y"}


def test_dilemmas_whose_tokens_change_are_left_out(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from interp_culture.attribution import poles

    original = poles._contextual

    def changed(model: Any, pairs: Any, pole: int, form: Any) -> Any:
        made = original(model, pairs, pole, form)
        if pole:
            first = made.endings[0]
            made.endings[0] = replace(first, start=first.start + 1)
        return made

    monkeypatch.setattr(poles, "_contextual", changed)
    table = patched_poles(tiny, planted_scenarios(), **READ, kinds=["mlp"], n=3)
    assert (table.n.iloc[0], table.skipped.iloc[0]) == (2, 1)
    with pytest.raises(InputError, match="change the tokens of all 1 dilemmas of Y"):
        patched_poles(tiny, planted_scenarios(), **READ, kinds=["mlp"], n=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"read": "Z"}, "unknown axis 'Z'"),
        ({"kinds": []}, "no kind of component"),
        ({"n": 0}, "cannot draw 0 pairs"),
    ],
)
def test_what_does_not_fit_is_said(changes: dict, message: str, tiny: LanguageModel) -> None:
    with pytest.raises(InputError, match=message):
        patched_poles(tiny, planted_scenarios(), **{**READ, **changes})


def test_missing_hook_points_are_named(tiny: LanguageModel, monkeypatch: Any) -> None:
    monkeypatch.setattr(tiny.text_config, "num_attention_heads", 5)
    with pytest.raises(InputError, match="no hook points of the kind head"):
        patched_poles(tiny, planted_scenarios(), **READ, kinds=["mlp", "head"])
