"""The model's own thoughts between a prompt and its answer, for chat templates with think tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from interp_culture.engine.chat_template import THINK_END
from interp_culture.engine.generation import K, generate_tokens
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.token_tree import TokenSequence
from interp_culture.errors import InputError

# While thoughts are written, these act on other tokens than when they are read as a prompt.
MOVING_POSITIONS = ("prompt", "answer", "last")


def with_thoughts(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    runs: Mapping[K, Sequence[Edit]],
    max_tokens: int,
    names: Sequence[str] | None = None,
) -> dict[K, list[TokenSequence]]:
    """Prompts whose answer comes after the thoughts of the model under each run.

    Thoughts are greedy, at most `max_tokens` long, and closed by "</think>". A question is thought
    about once per run, whatever the answers and answer prefixes that follow it.

    Args:
        names: the name of each prompt in messages.

    Raises:
        InputError: a chat template without think tags, a tokenizer to which "</think>" is not one
            token, a prompt that leaves no room for the thoughts, or edits at positions that are
            others once the thoughts are written.
    """
    for edits in runs.values():
        model.check_edits(edits)
        _check_positions(edits)
    closed_prompts = [replace(prompt, thinking="closed") for prompt in prompts]
    closed = model.tokenise_all(closed_prompts, names, new_tokens=max_tokens)
    end = _end_token(model)
    questions = [replace(prompt, thinking="open", answer="", prefix="") for prompt in prompts]
    unique = list(dict.fromkeys(questions))
    begun = model.tokenise_all(unique, new_tokens=max_tokens)
    thoughts_of = generate_tokens(model, begun, runs, max_tokens, stop=end)
    sequences: dict[K, list[TokenSequence]] = {}
    for key, thoughts in thoughts_of.items():
        opened = {
            question: sequence.prompt + tokens
            for question, sequence, tokens in zip(unique, begun, thoughts, strict=True)
        }
        sequences[key] = [
            replace(sequence, prompt=opened[question] + _closing(sequence, end))
            for question, sequence in zip(questions, closed, strict=True)
        ]
    return sequences


def _closing(closed: TokenSequence, end: int) -> tuple[int, ...]:
    """The tokens from the end of the think block on.

    They can follow any thoughts: the end is a token of its own, with which no text merges.
    """
    from_the_end = closed.prompt[::-1].index(end)
    return closed.prompt[-1 - from_the_end :]


def _end_token(model: LanguageModel) -> int:
    tokens = model.tokenizer.encode(THINK_END, add_special_tokens=False)
    if len(tokens) != 1:
        raise InputError(
            f"think: {THINK_END} is {len(tokens)} tokens for {model.name}, so that the end of its "
            "thoughts is not found; give think=0 to read the answer after an empty think block"
        )
    return tokens[0]


def _check_positions(edits: Sequence[Edit]) -> None:
    for edit in edits:
        if edit.positions in MOVING_POSITIONS:
            raise InputError(
                f"positions={edit.positions!r}: thoughts are new tokens while they are written and "
                "part of the prompt once the answer is read; with think above 0 steer all "
                "positions, a range or the options"
            )
