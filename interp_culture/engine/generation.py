"""Text that the model writes in answer to prompts, plain or under edits."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from interp_culture.engine.blocks import reset_rope
from interp_culture.engine.edit_hooks import Hooks
from interp_culture.engine.interventions import Edit, as_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt, as_prompts
from interp_culture.engine.token_tree import Batch, TokenSequence
from interp_culture.errors import InputError

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

BATCH_PROMPTS = 16
STACKED_ROWS = 64  # prompts times runs


def generate(
    model: LanguageModel,
    prompts: Sequence[Prompt | str],
    max_new_tokens: int = 32,
    edits: Edit | Sequence[Edit] = (),
    *,
    temperature: float = 0.0,
    seed: int = 42,
) -> list[str]:
    """The model's answers, in the order of the prompts, without special tokens: greedy, or sampled (the paper: 0.7).

    A prompt may be mere text, the question.

    With a temperature above 0 every token is drawn from the whole distribution `softmax(logits / temperature)`; the
    same seed gives the same random numbers whatever the edits, and torch's own random state stays as it is. What a
    checkpoint's own generation settings would add (a repetition penalty, top-k) is switched off.

    Prompts are padded on the left and masked, so that a batch writes what each prompt alone would. `edits` act on the
    prompt's tokens when it is read and on each new token when it is, by their positions: "answer" are the new
    ones, "options" those of the prompt alone. Hooks that are on the model act too. Raises InputError for a prompt
    that already carries an answer, for one that leaves no room for new tokens, and for a negative temperature.
    """
    return generate_runs(
        model, prompts, {"": edits}, max_new_tokens, temperature=temperature, seed=seed
    )[""]


def generate_runs(
    model: LanguageModel,
    prompts: Sequence[Prompt | str],
    runs: Mapping[K, Edit | Sequence[Edit]],
    max_new_tokens: int = 32,
    *,
    temperature: float = 0.0,
    seed: int = 42,
) -> dict[K, list[str]]:
    """The answers under every run's edits, as `generate` gives them; runs are written side by side, which is faster."""
    if not temperature >= 0:
        raise InputError(f"temperature is {temperature:g}: give 0 (greedy) or more")
    prompts, runs = as_prompts(prompts), as_runs(runs)
    if any(prompt.answer for prompt in prompts):
        raise InputError(
            "a prompt with an answer leaves nothing to write; give prompts without one"
        )
    for edits in runs.values():
        model.check_edits(edits)
    sequences = model.tokenise_all(prompts, new_tokens=max_new_tokens)
    texts = {key: list[str]() for key in runs}
    size = BATCH_PROMPTS if _may_pad(model, sequences, max_new_tokens) else 1
    for number, batch in enumerate(_chunks(sequences, size)):
        for keys in _chunks(list(runs), max(1, STACKED_ROWS // len(batch))):
            noise = [_Noise(temperature, f"{seed} {number}", len(batch))] if temperature else []
            written = write(model, batch, max_new_tokens, [runs[key] for key in keys], noise)
            for key, own in zip(keys, _chunks(written, len(batch)), strict=True):
                texts[key] += own
    return texts


def _chunks(values: list[T], size: int) -> Iterator[list[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _may_pad(model: LanguageModel, sequences: Sequence[TokenSequence], max_new_tokens: int) -> bool:
    """Whether prompts of unequal length may be written side by side."""
    shortcuts = model.usable_shortcuts
    longest = max((len(sequence.prompt) for sequence in sequences), default=0)
    return shortcuts.padded_generation and shortcuts.holds_for(longest + max_new_tokens)


class _Noise(LogitsProcessor):
    """Gumbel noise, with which the largest is a draw from softmax(logits / temperature); the same for all runs."""

    def __init__(self, temperature: float, seed: str, rows: int) -> None:
        self.temperature, self.rows = temperature, rows
        self.seed = random.Random(seed).getrandbits(
            32
        )  # batches and seeds that are neighbours share no numbers
        self.generator: torch.Generator | None = None

    def __call__(
        self, input_ids: Tensor, scores: Float[Tensor, "run_row vocab"]
    ) -> Float[Tensor, "run_row vocab"]:
        if self.generator is None:
            self.generator = torch.Generator(scores.device).manual_seed(self.seed)
        noise = torch.empty(self.rows, scores.shape[1], device=scores.device)
        noise.exponential_(generator=self.generator).log_().neg_()
        return scores.float() / self.temperature + noise.repeat(len(scores) // self.rows, 1)


def write(
    model: LanguageModel,
    sequences: Sequence[TokenSequence],
    max_new_tokens: int,
    runs: Sequence[Sequence[Edit]],
    noise: Sequence[LogitsProcessor],
) -> list[str]:
    """The texts of the first run, then those of the second, and so on, each prompt's with its processors applied."""
    prompts = _left_padded(sequences, model.pad_token).to(model.device)
    hf_model = model.bridge.original_model
    with (
        torch.inference_mode(),
        _own_settings(hf_model, model.pad_token),
        Hooks(model, runs) as hooks,
    ):
        reset_rope(hf_model)
        steps = _Steps(prompts, hooks)
        handle = model.bridge.blocks[0].register_forward_pre_hook(steps.advance)
        try:
            whole = hf_model.generate(
                input_ids=prompts.tokens.repeat(len(runs), 1),
                attention_mask=(~prompts.is_padding).long().repeat(len(runs), 1),
                max_new_tokens=max_new_tokens,
                logits_processor=LogitsProcessorList([*noise]),
            )
        finally:
            handle.remove()
    return model.tokenizer.batch_decode(
        whole[:, prompts.tokens.shape[1] :], skip_special_tokens=True
    )


@contextmanager
def _own_settings(hf_model: Any, pad: int) -> Iterator[None]:
    """Greedy, one token a step after cached ones; of a checkpoint's own settings only the tokens that end a text."""
    before = hf_model.generation_config
    hf_model.generation_config = GenerationConfig(
        bos_token_id=before.bos_token_id,
        eos_token_id=before.eos_token_id,
        pad_token_id=pad,
        do_sample=False,
        use_cache=True,
    )
    try:
        yield
    finally:
        hf_model.generation_config = before


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
        return Batch(last, last + self.done, yes[:, None], yes, no, no, no, ())


def _left_padded(sequences: Sequence[TokenSequence], pad: int) -> Batch:
    tokens = [sequence.prompt for sequence in sequences]
    width = max(map(len, tokens))
    ids = torch.tensor([[pad] * (width - len(t)) + list(t) for t in tokens])
    is_padding = torch.tensor([[True] * (width - len(t)) + [False] * len(t) for t in tokens])
    positions: Int[Tensor, "row pos"] = ((~is_padding).long().cumsum(-1) - 1).clamp(min=0)
    no = torch.zeros_like(is_padding)
    is_final = no.clone()
    is_final[:, -1] = True
    is_option = no.clone()
    for row, sequence in enumerate(sequences):
        padding = width - len(sequence.prompt)
        for start, stop in sequence.options or ():
            is_option[row, padding + start : padding + stop] = True
    visible = (~is_padding)[:, None] & torch.ones(width, width, dtype=torch.bool).tril()
    found = all(sequence.options is not None for sequence in sequences)
    return Batch(
        ids, positions, visible, no, is_final, is_option, is_padding, (), options_found=found
    )
