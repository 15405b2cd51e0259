"""How many tokens a model can read, and a check that sequences fit into its context."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from interp_culture.engine.token_tree import TokenSequence
from interp_culture.errors import InputError

# The names that transformers' configs use for the length of the context.
CONTEXT_FIELDS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "n_ctx",
)


def max_length(config: Any) -> int | None:
    """The number of tokens that a model accepts by its config; None where the config has no limit.

    A sliding window is not a limit. Dynamic RoPE scaling lengthens the context by its factor.
    """
    lengths = [getattr(config, field, None) for field in CONTEXT_FIELDS]
    length = next((n for n in lengths if isinstance(n, int) and n > 0), None)
    if length is None:
        return None
    # `rope_scaling` is the older name.
    parameters = getattr(config, "rope_parameters", None)
    scaling = parameters or getattr(config, "rope_scaling", None) or {}
    if scaling.get("rope_type", scaling.get("type")) == "dynamic":
        return int(length * scaling.get("factor", 1))
    return length


def check_fit(
    sequences: Iterable[TokenSequence],
    names: Iterable[str],
    model: str,
    max_length: int | None,
    n_rows: int | None,
    new_tokens: int = 0,
) -> None:
    """Raise InputError, with the sequence's name, for a sequence that the model cannot read.

    Args:
        sequences: prompts with their answers.
        names: what each sequence is called in messages.
        model: the model's name, for messages.
        max_length: the length of the model's context; None without a limit.
        n_rows: the number of rows of its embedding; None where it is not known.
        new_tokens: how many tokens will be written after each prompt.
    """
    too_long = []
    for name, sequence in zip(names, sequences, strict=True):
        length = len(sequence.prompt) + len(sequence.answer) + new_tokens
        if max_length is not None and length > max_length:
            too_long.append((name, length))
        if n_rows is not None:
            _check_rows(sequence, name, model, n_rows)
    if too_long and max_length is not None:
        raise InputError(_too_long_message(too_long, model, max_length, new_tokens))


def _check_rows(sequence: TokenSequence, name: str, model: str, n_rows: int) -> None:
    unknown = [token for token in (*sequence.prompt, *sequence.answer) if token >= n_rows]
    if unknown:
        raise InputError(
            f"{name}: token {unknown[0]} has no row in {model}'s embedding of {n_rows} rows; check "
            "that the tokenizer belongs to this model. Added tokens need "
            "model.resize_token_embeddings(len(tokenizer))"
        )


def _too_long_message(
    too_long: list[tuple[str, int]], model: str, max_length: int, new_tokens: int
) -> str:
    name, length = too_long[0]
    written = f", {new_tokens} of them new," if new_tokens else ""
    n_others = len(too_long) - 1
    others = f", and {n_others} more" if n_others else ""
    return (
        f"{name}: {length} tokens{written} do not fit {model}'s context of {max_length}{others}; "
        "shorten the text, the system message or the answer, or use a model with a longer context"
    )
