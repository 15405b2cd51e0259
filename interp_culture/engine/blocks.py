"""A model's blocks: what each is called with, what it gives back, and how to pass over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import Cache

Resid = Float[Tensor, "row pos d_model"]
Form = Callable[[Tensor], Any]  # the residual stream as a block of this model gives it back


class _Marker:
    """Stands in a kept call where the model had put its cache of keys and values."""


CACHE = _Marker()


@dataclass(frozen=True)
class BlockCall:
    """What a block was called with besides the residual stream, in its own order: GPT-2 passes its mask by place."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def map(self, change: Callable[[Any], Any]) -> BlockCall:
        """The same call with every value changed, those within tuples and lists too."""
        kwargs = {name: _each(value, change) for name, value in self.kwargs.items()}
        return BlockCall(tuple(_each(value, change) for value in self.args), kwargs)

    def stacked(self, runs: int, rows: int) -> BlockCall:
        """The call for several runs of a batch of `rows` rows, one after another."""
        return self if runs == 1 else self.map(lambda value: _repeated(value, runs, rows))


class Finished(Exception):
    """Raised by a hook once all that is asked for is there: what the model does after it is left out."""


def take_call(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Resid, BlockCall]:
    """The residual stream that a block is called with, and the rest of the call without the model's cache."""
    rest = dict(kwargs)
    hidden = args[0] if args else rest.pop("hidden_states")
    call = BlockCall(tuple(args[1:]), rest)
    return hidden, call.map(lambda value: CACHE if isinstance(value, Cache) else value)


def with_stream(
    hidden: Resid, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict]:
    """A block's arguments with this residual stream in them."""
    if args:
        return (hidden, *args[1:]), dict(kwargs)
    return (), {**kwargs, "hidden_states": hidden}


def run_block(block: Any, hidden: Resid, call: BlockCall, cache: Cache | None = None) -> Resid:
    """The residual stream after a block that is called as it was before, with `cache` in place of the model's."""
    filled = call.map(lambda value: cache if value is CACHE else value)
    return stream_of(block(hidden, *filled.args, **filled.kwargs))


def stream_of(output: Any) -> Resid:
    """The residual stream in what a block gives back: alone, or first in a tuple or list."""
    return output if isinstance(output, Tensor) else output[0]


def output_form(bridge: Any) -> Form:
    """How this model's blocks give the residual stream back. One token is read, by the first block alone."""
    seen: list[Any] = []

    def look(module: Any, args: Any, output: Any) -> None:
        seen.append(output)
        raise Finished

    handle = bridge.blocks[0].register_forward_hook(look)
    try:
        token = torch.zeros(1, 1, dtype=torch.long, device=bridge.original_model.device)
        with torch.inference_mode():
            bridge.original_model(input_ids=token)
    except Finished:
        pass
    finally:
        handle.remove()
    forms: dict[type, Form] = {tuple: _in_tuple, list: _in_list}
    return forms.get(type(seen[0]), _alone)


def reset_rope(hf_model: Any) -> None:
    """Dynamic RoPE keeps the frequencies of the longest text so far: start as if there had been none."""
    for module in hf_model.modules():
        if getattr(module, "max_seq_len_cached", 0) > getattr(
            module, "original_max_seq_len", math.inf
        ):
            module.max_seq_len_cached = module.original_max_seq_len
            module.inv_freq = module.original_inv_freq.to(module.inv_freq.device)


@contextmanager
def passed_over(blocks: nn.ModuleList, form: Form, final: Resid | None = None) -> Iterator[None]:
    """For the time of the block these blocks compute nothing: each gives back its input, the last one `final`."""

    def passed(*args: Any, **kwargs: Any) -> Any:
        return form(args[0] if args else kwargs["hidden_states"])

    def last(*args: Any, **kwargs: Any) -> Any:
        return passed(*args, **kwargs) if final is None else form(final)

    try:
        for block in blocks:
            object.__setattr__(block, "forward", last if block is blocks[-1] else passed)
        yield
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)


def _alone(hidden: Tensor) -> Tensor:
    return hidden


def _in_tuple(hidden: Tensor) -> tuple[Tensor]:
    return (hidden,)


def _in_list(hidden: Tensor) -> list[Tensor]:
    return [hidden]


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_each(v, change) for v in value)
    return change(value)


def _repeated(value: Any, runs: int, rows: int) -> Any:
    if isinstance(value, Tensor) and value.ndim > 1 and len(value) == rows:
        return value.repeat(runs, *[1] * (value.ndim - 1))
    return value
