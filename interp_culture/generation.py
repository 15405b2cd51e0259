"""Text that the model writes in answer to prompts, plain or under edits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp_culture.errors import InputError
from interp_culture.interventions import Edit
from interp_culture.model import LanguageModel
from interp_culture.passes import Hooks
from interp_culture.prompts import Prompt
from interp_culture.token_tree import Batch

BATCH_PROMPTS = 16


def generate(
    model: LanguageModel, prompts: Sequence[Prompt], max_new_tokens: int = 32, edits: Sequence[Edit] = ()
) -> list[str]:
    """The model's greedy answers, in the order of the prompts, without special tokens.

    What a checkpoint's own generation settings would add (a repetition penalty) is switched off.

    Prompts are padded on the left and masked, so that a batch writes what each prompt alone would. `edits` act on the
    prompt's tokens when it is read and on each new token when it is, by their positions: "answer" are the new
    ones. Hooks that are on the model act too. Raises InputError for a prompt that already carries an answer.
    """
    if any(prompt.answer for prompt in prompts):
        raise InputError("a prompt with an answer leaves nothing to write; give prompts without one")
    model.check_edits(edits)
    tokens = [sequence.prompt for sequence in model.tokenise_all(prompts)]
    texts: list[str] = []
    for start in range(0, len(tokens), BATCH_PROMPTS):
        texts += _write(model, tokens[start : start + BATCH_PROMPTS], max_new_tokens, edits)
    return texts


def _write(
    model: LanguageModel, tokens: Sequence[tuple[int, ...]], max_new_tokens: int, edits: Sequence[Edit]
) -> list[str]:
    prompts = _left_padded(tokens, model.pad_token).to(model.device)
    with torch.inference_mode(), Hooks(model, [edits]) as hooks:
        steps = _Steps(prompts, hooks)
        handle = model.bridge.blocks[0].register_forward_pre_hook(steps.advance)
        try:
            whole = model.bridge.original_model.generate(
                input_ids=prompts.tokens,
                attention_mask=(~prompts.is_padding).long(),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
                repetition_penalty=1.0,
                no_repeat_ngram_size=0,
                pad_token_id=model.pad_token,
            )
        finally:
            handle.remove()
    return model.tokenizer.batch_decode(whole[:, prompts.tokens.shape[1] :], skip_special_tokens=True)


class _Steps:
    """Tells the hooks what runs: first the prompts, then one new token of each at a time, after the cached ones."""

    def __init__(self, prompts: Batch, hooks: Hooks) -> None:
        self.prompts, self.hooks = prompts, hooks
        self.done = -1

    def advance(self, *_: Any) -> None:
        self.done += 1
        self.hooks.batch = self.prompts if self.done == 0 else self._new_tokens()

    def _new_tokens(self) -> Batch:
        last = self.prompts.position_ids[:, -1:]
        no, yes = torch.zeros_like(last, dtype=torch.bool), torch.ones_like(last, dtype=torch.bool)
        return Batch(last, last + self.done, yes[:, None], yes, no, no, ())


def _left_padded(tokens: Sequence[tuple[int, ...]], pad: int) -> Batch:
    width = max(map(len, tokens))
    ids = torch.tensor([[pad] * (width - len(t)) + list(t) for t in tokens])
    is_padding = torch.tensor([[True] * (width - len(t)) + [False] * len(t) for t in tokens])
    positions: Int[Tensor, "row pos"] = ((~is_padding).long().cumsum(-1) - 1).clamp(min=0)
    no = torch.zeros_like(is_padding)
    is_final = no.clone()
    is_final[:, -1] = True
    visible = (~is_padding)[:, None] & torch.ones(width, width, dtype=torch.bool).tril()
    return Batch(ids, positions, visible, no, is_final, is_padding, ())
