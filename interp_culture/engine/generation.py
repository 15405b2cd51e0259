"""Text generation: the model's answers to prompts, plain or under edits."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from interp_culture.engine.batching import check_memory_error, lay_out
from interp_culture.engine.blocks import reset_rope
from interp_culture.engine.edit_hooks import Hooks
from interp_culture.engine.interventions import Edit, as_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.non_finite import not_finite
from interp_culture.engine.prompt import Prompt, as_prompts
from interp_culture.engine.token_tree import Batch, TokenSequence
from interp_culture.errors import InputError

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

BATCH_PROMPTS = 16
STACKED_ROWS = 64  # rows of a batch: prompts times runs


def generate(
    model: LanguageModel,
    prompts: Sequence[Prompt | str],
    max_new_tokens: int = 32,
    edits: Edit | Sequence[Edit] = (),
    *,
    temperature: float = 0.0,
    seed: int = 42,
) -> list[str]:
    """The model's answers to prompts, greedy or sampled.

    The checkpoint's generation settings (a repetition penalty, top-k) are switched off. Prompts are
    padded on the left and masked, so that each answer is the one that its prompt gets alone. Hooks
    that are on the model act too.

    Args:
        model: a loaded model.
        prompts: prompts without answers; a plain text is a question.
        max_new_tokens: the largest number of tokens of an answer.
        edits: act on the prompt's tokens and on the new ones, by their positions: "answer" are the
            new tokens, "options" are in the prompt alone.
        temperature: 0 is greedy. Above 0 each token is drawn from the whole distribution
            `softmax(logits / temperature)`; the paper uses 0.7.
        seed: of the random numbers, which are the same for all edits. torch's own random state is
            not changed.

    Returns:
        One text for each prompt, in their order, without special tokens.

    Raises:
        InputError: a prompt with an answer, a prompt that leaves no room for the new tokens, an
            edit that does not fit the model, a negative temperature, or fewer than 1 new token.

    >>> edits = ic.steer(vectors["X"], layers=[1], alpha=2.0)
    >>> texts = generate(model, ["Is it late?", "Is it cold?"], max_new_tokens=4, edits=edits)
    >>> len(texts)
    2
    """
    texts = generate_runs(
        model, prompts, {"": edits}, max_new_tokens, temperature=temperature, seed=seed
    )
    return texts[""]


def generate_runs(
    model: LanguageModel,
    prompts: Sequence[Prompt | str],
    runs: Mapping[K, Edit | Sequence[Edit]],
    max_new_tokens: int = 32,
    *,
    temperature: float = 0.0,
    seed: int = 42,
) -> dict[K, list[str]]:
    """The answers under the edits of each run.

    The texts equal those of one `generate` per run, but runs share batches, which is faster.

    Args:
        model, prompts, max_new_tokens, temperature, seed: see `generate`.
        runs: edits by the name of the run.

    Returns:
        For each run one text for each prompt, in their order.

    Raises:
        InputError: see `generate`.

    >>> texts = generate_runs(model, ["Is it late?"], {"plain": (), "steered": edits}, 4)
    >>> list(texts), len(texts["steered"])
    (['plain', 'steered'], 1)
    """
    check_length(max_new_tokens)
    if not temperature >= 0:
        raise InputError(f"temperature is {temperature:g}: give 0 (greedy) or more")
    prompts = as_prompts(prompts)
    runs = as_runs(runs)
    if any(prompt.answer for prompt in prompts):
        raise InputError(
            "a prompt with an answer leaves nothing to write; give prompts without one"
        )
    for edits in runs.values():
        model.check_edits(edits)
    sequences = model.tokenise_all(prompts, new_tokens=max_new_tokens)
    texts = {key: list[str]() for key in runs}
    decode = model.tokenizer.batch_decode
    for keys, written in _written(model, sequences, runs, max_new_tokens, temperature, seed):
        for key, tokens in zip(keys, written, strict=True):
            texts[key] += decode(tokens, skip_special_tokens=True)
    return texts


def generate_tokens(
    model: LanguageModel,
    sequences: Sequence[TokenSequence],
    runs: Mapping[K, Sequence[Edit]],
    max_new_tokens: int,
    stop: int,
) -> dict[K, list[tuple[int, ...]]]:
    """The greedy tokens after each prompt under each run, without the token that ends them.

    Args:
        stop: a token that ends a text, as the model's own end tokens do.
    """
    settings = model.bridge.original_model.generation_config
    # After its end a text is padded.
    ends = {model.pad_token, *_end_tokens(settings, stop)}
    tokens_of = {key: list[tuple[int, ...]]() for key in runs}
    for keys, written in _written(model, sequences, runs, max_new_tokens, stop=stop):
        for key, rows in zip(keys, written, strict=True):
            for row in rows.tolist():
                tokens_of[key].append(tuple(takewhile(lambda token: token not in ends, row)))
    return tokens_of


def _written(
    model: LanguageModel,
    sequences: Sequence[TokenSequence],
    runs: Mapping[K, Sequence[Edit]],
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 42,
    stop: int | None = None,
) -> Iterator[tuple[list[K], list[Tensor]]]:
    """Some runs and their new tokens [prompt, token], for one batch of prompts after the other.

    When the device runs out of memory, fewer rows are written at once from then on.
    """
    batch_prompts = BATCH_PROMPTS if _may_pad(model, sequences, max_new_tokens) else 1
    limit = STACKED_ROWS
    for number, batch in enumerate(_chunks(sequences, batch_prompts)):
        waiting = deque([_Stack(list(runs), range(len(batch)))])
        while waiting:
            stack = waiting.popleft()
            if stack.n_rows > limit and stack.n_rows > 1:
                waiting.extendleft(reversed(stack.of_rows(limit)))
                continue
            # New noise for each stack, with the same seed: every run sees the same random numbers.
            seeds = f"{seed} {number}"
            noise = [_Noise(temperature, seeds, len(batch), stack.prompts)] if temperature else []
            edits = [runs[key] for key in stack.keys]
            prompts = [batch[place] for place in stack.prompts]
            try:
                tokens = write(model, prompts, max_new_tokens, edits, noise, stop)
            except RuntimeError as error:
                longest = max(len(prompt.prompt) for prompt in prompts) + max_new_tokens
                check_memory_error(error, stack.n_rows, longest)
            else:
                yield stack.keys, list(tokens.split(len(prompts)))
                continue
            # Outside the except clause, where the traceback would keep its tensors in memory.
            limit = stack.n_rows // 2
            waiting.appendleft(stack)
            if model.device.type == "cuda":
                torch.cuda.empty_cache()


@dataclass(frozen=True)
class _Stack(Generic[K]):
    """Runs of some prompts of a batch that are written at once: a row for each of both.

    Attributes:
        keys: of the runs.
        prompts: their places in the batch.
    """

    keys: list[K]
    prompts: range

    @property
    def n_rows(self) -> int:
        return len(self.keys) * len(self.prompts)

    def of_rows(self, limit: int) -> list[_Stack[K]]:
        """Stacks of at most `limit` rows: of fewer runs, or of one run and fewer prompts."""
        if limit >= len(self.prompts):
            n_runs = limit // len(self.prompts)
            return [_Stack(keys, self.prompts) for keys in _chunks(self.keys, n_runs)]
        parts = [self.prompts[i : i + limit] for i in range(0, len(self.prompts), limit)]
        return [_Stack([key], part) for key in self.keys for part in parts]


def check_length(max_new_tokens: int) -> None:
    """Raise InputError unless there is a token to write."""
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens}: give 1 or more")


def _chunks(values: Sequence[T], size: int) -> Iterator[list[T]]:
    return (list(values[start : start + size]) for start in range(0, len(values), size))


def _may_pad(model: LanguageModel, sequences: Sequence[TokenSequence], max_new_tokens: int) -> bool:
    """Whether prompts of unequal length may be in one batch."""
    shortcuts = model.usable_shortcuts
    longest = max((len(sequence.prompt) for sequence in sequences), default=0)
    return shortcuts.padded_generation and shortcuts.holds_for(longest + max_new_tokens)


class _Noise(LogitsProcessor):
    """Adds Gumbel noise to `logits / temperature`, the same for all runs.

    The largest of the sums is then a draw from `softmax(logits / temperature)`.
    """

    def __init__(self, temperature: float, seed: str, rows: int, prompts: range) -> None:
        self.temperature = temperature
        self.rows = rows
        self.prompts = prompts
        # Hashed, so that neighbouring seeds and batches share no random numbers.
        self.seed = random.Random(seed).getrandbits(32)
        self.generator: torch.Generator | None = None

    def __call__(
        self, input_ids: Tensor, scores: Float[Tensor, "run_row vocab"]
    ) -> Float[Tensor, "run_row vocab"]:
        if self.generator is None:
            self.generator = torch.Generator(scores.device).manual_seed(self.seed)
        # For a whole batch, so that a prompt's noise does not depend on who is written with it.
        noise = torch.empty(self.rows, scores.shape[1], device=scores.device)
        # Minus the log of an exponential variable is a Gumbel variable.
        noise.exponential_(generator=self.generator).log_().neg_()
        own = noise[self.prompts.start : self.prompts.stop]
        return scores.float() / self.temperature + own.repeat(len(scores) // len(own), 1)


class _NotFiniteError(Exception):
    """NaN in the logits of a row."""

    def __init__(self, row: int) -> None:
        self.row = row


class _Finite(LogitsProcessor):
    """Stops at NaN in the logits, of which the largest would be a token by chance."""

    def __call__(
        self, input_ids: Tensor, scores: Float[Tensor, "run_row vocab"]
    ) -> Float[Tensor, "run_row vocab"]:
        is_bad = scores.isnan().any(-1)
        if is_bad.any():
            raise _NotFiniteError(int(is_bad.int().argmax()))
        return scores


def write(
    model: LanguageModel,
    sequences: Sequence[TokenSequence],
    max_new_tokens: int,
    runs: Sequence[Sequence[Edit]],
    processors: Sequence[LogitsProcessor],
    stop: int | None = None,
) -> Int[Tensor, "run_row new"]:
    """The new tokens for one batch of prompts: of the first run, then of the second, and so on.

    `processors` act on the logits of each new token before it is chosen. `stop` ends a text too.

    Raises:
        InputError: NaN in the logits.
    """
    try:
        return _write(model, sequences, max_new_tokens, runs, processors, stop)
    except _NotFiniteError as error:
        run, prompt = divmod(error.row, len(sequences))
    # Outside the pass, whose hooks would act on the one that looks for the place too.
    (batch,) = lay_out(model, [[sequences[prompt]]])
    raise not_finite(model, batch, runs[run])


def _write(
    model: LanguageModel,
    sequences: Sequence[TokenSequence],
    max_new_tokens: int,
    runs: Sequence[Sequence[Edit]],
    processors: Sequence[LogitsProcessor],
    stop: int | None,
) -> Int[Tensor, "run_row new"]:
    # On the left, since `generate` writes new tokens at the right end of all rows.
    prompts = _left_padded(sequences, model.pad_token).to(model.device)
    hf_model = model.bridge.original_model
    with (
        torch.inference_mode(),
        _greedy_settings(hf_model, model.pad_token, stop),
        Hooks(model, runs) as hooks,
    ):
        reset_rope(hf_model)
        steps = _Steps(prompts, hooks)
        # It runs before the first block, so before any edit of the same pass.
        handle = model.bridge.blocks[0].register_forward_pre_hook(steps.advance)
        try:
            tokens = hf_model.generate(
                input_ids=prompts.tokens.repeat(len(runs), 1),
                attention_mask=(~prompts.is_padding).long().repeat(len(runs), 1),
                max_new_tokens=max_new_tokens,
                logits_processor=LogitsProcessorList([_Finite(), *processors]),
            )
        finally:
            handle.remove()
    return tokens[:, prompts.tokens.shape[1] :]


@contextmanager
def _greedy_settings(hf_model: Any, pad: int, stop: int | None) -> Iterator[None]:
    """Greedy generation with a cache, whatever the checkpoint's own settings.

    Only the tokens that begin and end a text are taken from those; `stop` ends a text too.
    """
    before = hf_model.generation_config
    hf_model.generation_config = GenerationConfig(
        bos_token_id=before.bos_token_id,
        eos_token_id=_end_tokens(before, stop) or None,
        pad_token_id=pad,
        do_sample=False,
        use_cache=True,
    )
    try:
        yield
    finally:
        hf_model.generation_config = before


def _end_tokens(settings: GenerationConfig, stop: int | None) -> list[int]:
    """The tokens that end a text: those of the checkpoint's settings, and `stop`."""
    own = settings.eos_token_id
    candidates = [*(own if isinstance(own, list) else [own]), stop]
    return [token for token in candidates if token is not None]


class _Steps:
    """Gives the hooks the tokens of each pass: the prompts first, then one new token of each."""

    def __init__(self, prompts: Batch, hooks: Hooks) -> None:
        self.prompts = prompts
        self.hooks = hooks
        self.n_new = -1

    def advance(self, *_: Any) -> None:
        self.n_new += 1
        self.hooks.batch = self.prompts if self.n_new == 0 else self._new_tokens()

    def _new_tokens(self) -> Batch:
        last = self.prompts.position_ids[:, -1:]
        no = torch.zeros_like(last, dtype=torch.bool)
        yes = torch.ones_like(last, dtype=torch.bool)
        return Batch(
            # The hooks ask for places and not for ids, which are not known here.
            tokens=last,
            position_ids=last + self.n_new,
            visible=yes[:, None],
            is_answer=yes,
            is_final=no,
            is_option=no,
            is_padding=no,
            paths=(),
        )


def _left_padded(sequences: Sequence[TokenSequence], pad: int) -> Batch:
    """The prompts as a batch of rows, padded on the left."""
    lengths = [len(sequence.prompt) for sequence in sequences]
    width = max(lengths)
    rows = []
    for sequence, length in zip(sequences, lengths, strict=True):
        rows.append([pad] * (width - length) + list(sequence.prompt))
    is_padding = torch.arange(width) < width - torch.tensor(lengths)[:, None]
    is_final = torch.zeros_like(is_padding)
    is_final[:, -1] = True
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    return Batch(
        tokens=torch.tensor(rows),
        # As `generate` computes them from the attention mask.
        position_ids=((~is_padding).long().cumsum(-1) - 1).clamp(min=0),
        visible=(~is_padding)[:, None] & causal,
        is_answer=torch.zeros_like(is_padding),
        is_final=is_final,
        is_option=_option_mask(sequences, width),
        is_padding=is_padding,
        paths=(),
        options_found=all(sequence.options is not None for sequence in sequences),
    )


def _option_mask(sequences: Sequence[TokenSequence], width: int) -> Bool[Tensor, "row pos"]:
    is_option = torch.zeros(len(sequences), width, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        padding = width - len(sequence.prompt)
        for start, stop in sequence.options or ():
            is_option[row, padding + start : padding + stop] = True
    return is_option
