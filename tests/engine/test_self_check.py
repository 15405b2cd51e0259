"""The check at loading detects each fault that is planted in a shortcut or in the hooked model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from conftest import byte_tokenizer, tiny_hf
from torch import Tensor

from interp_culture.engine import edit_hooks, forward, loading, whole_pass
from interp_culture.engine.interventions import Edit
from interp_culture.engine.loading import load_model
from interp_culture.engine.logprobs import answer_logprob, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.self_check import ShortcutWarning
from interp_culture.engine.shortcuts import Shortcuts
from interp_culture.engine.unembedding import Unembedding
from interp_culture.errors import InputError

ANSWERS = ("yes, of course", "no")


def load(hf_model: Any = None, **options: Any) -> LanguageModel:
    return load_model(
        hf_model or tiny_hf("llama"), tokenizer=byte_tokenizer(), device="cpu", **options
    )


def numbers(model: LanguageModel) -> Tensor:
    """Log-probabilities of answers, plain and steered."""
    edit = Edit(1, torch.linspace(-1, 1, model.d_model), 2.0)
    groups = [
        model.tokenise_all([Prompt(f"{text} shall we go?", answer=answer) for answer in ANSWERS])
        for text in ("To the sea", "Home")
    ]
    scores = score_runs(model, groups, {"plain": (), "steered": [edit]}, answer_logprob)
    return torch.stack([torch.from_numpy(values) for values in scores.values()])


# -- faults, each in one shortcut -----------------------------------------------------------------


def blind_to_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks of token trees let a token attend to all earlier tokens of its row."""
    right = whole_pass.attention_mask

    def wrong(model: LanguageModel, batch: Any) -> Tensor:
        return right(model, batch) * (batch.tokens.shape[1] < 0)

    monkeypatch.setattr(whole_pass, "attention_mask", wrong)


def forgetful_stem(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys and values of the stem are lost."""
    right = whole_pass.StemCache.update

    def wrong(
        self: Any, keys: Tensor, values: Tensor, layer: int, *args: Any, **kwargs: Any
    ) -> Any:
        if self.is_filled:
            self.held[layer] = tuple(torch.zeros_like(held) for held in self.held[layer])
        return right(self, keys, values, layer, *args, **kwargs)

    monkeypatch.setattr(whole_pass.StemCache, "update", wrong)


def inexact_resuming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks lose half of their input where a pass resumes from an earlier one."""
    right = forward.run_block
    monkeypatch.setattr(
        forward, "run_block", lambda block, hidden, *rest: right(block, hidden, *rest) - hidden / 2
    )


def fused_components_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Components without hooks compute something else."""

    @contextmanager
    def wrong(model: LanguageModel) -> Iterator[None]:
        mlp = model.bridge.blocks[0].mlp
        object.__setattr__(mlp, "forward", lambda hidden, *_, **__: 2 * hidden)
        yield
        del mlp.__dict__["forward"]

    monkeypatch.setattr(edit_hooks, "unhooked", wrong)


def unembedding_in_wrong_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The unembedding in pieces doubles the logits."""
    right = Unembedding._finish
    monkeypatch.setattr(Unembedding, "_finish", lambda self, scores: 2 * right(self, scores))


FAULTS = {
    "trees": blind_to_trees,
    "stem": forgetful_stem,
    "resume": inexact_resuming,
    "fused": fused_components_that_differ,
    "pieces": unembedding_in_wrong_pieces,
}


@pytest.mark.parametrize("shortcut", FAULTS)
def test_a_shortcut_that_does_not_hold_is_switched_off_with_a_warning(
    shortcut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = numbers(load())
    FAULTS[shortcut](monkeypatch)
    with pytest.warns(ShortcutWarning, match="right, but slower"):
        model = load()
    off = {"trees": ("trees", "stem", "resume")}.get(shortcut, (shortcut,))
    assert model.shortcuts.off == off
    assert model.describe()["shortcuts_off"] == list(off)
    torch.testing.assert_close(numbers(model), expected, rtol=1e-4, atol=1e-4)
    model.shortcuts = Shortcuts()
    model.__dict__.pop("unembedding", None)
    with pytest.raises(AssertionError):  # the fault does change the numbers
        torch.testing.assert_close(numbers(model), expected, rtol=1e-4, atol=1e-4)


# -- faults of the hooked model itself ------------------------------------------------------------


def other_weights(model: LanguageModel) -> None:
    model.bridge.original_model.model.layers[2].mlp.down_proj.weight.mul_(1.05)


def other_head(model: LanguageModel) -> None:
    model.bridge.original_model.lm_head.weight.mul_(1.05)


def a_block_that_fails(model: LanguageModel) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise IndexError("no such place")

    model.bridge.original_model.model.layers[3].forward = fail


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (other_weights, "is refused: hooked by TransformerLens it differs .*; relative error"),
        (other_head, "the logits of its own final residual stream differ"),
        (a_block_that_fails, "residual streams differ; IndexError: no such place"),
    ],
)
def test_a_model_that_hooking_has_changed_is_refused(
    fault: Callable[[LanguageModel], None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrap = LanguageModel.wrap

    def spoiled(*args: Any) -> LanguageModel:
        model = wrap(*args)
        fault(model)
        return model

    monkeypatch.setattr(LanguageModel, "wrap", spoiled)
    with pytest.raises(InputError, match=message):
        load()
    assert load(check="none").check == "none"


def test_a_model_that_passes_gives_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ShortcutWarning)
        model = load()
    assert (model.check, model.shortcuts.off) == ("passed", ())
    assert model.describe()["check"] == "passed"
    assert not model.is_hooked


def test_the_check_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = load()
    # An unchecked load fails if it calls the check.
    monkeypatch.setattr(loading, "check_model", None)
    torch.testing.assert_close(numbers(checked), numbers(load(check="none")), rtol=0, atol=0)


def test_nan_weights_are_reported_at_the_first_layer_that_shows_them() -> None:
    hf_model = tiny_hf("llama")
    with torch.no_grad():
        hf_model.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(
        InputError, match=r"NaN or infinite numbers before layer 2; load it with dtype"
    ):
        load(hf_model)
