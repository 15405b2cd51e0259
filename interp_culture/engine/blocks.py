"""A model's blocks: their arguments and outputs, running one, and skipping some."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn
from transformers import Cache

Resid = Float[Tensor, "row pos d_model"]
Form = Callable[[Tensor], Any]  # wraps a residual stream as this model's blocks return it


LONGEST_TEXT = "max_seq_len_cached"  # in a rotary embedding of transformers


class _Marker:
    """Takes the place of the model's cache of keys and values in a stored call."""


# A resumed pass puts in a cache of its own, since edits change the stem's keys and values.
CACHE = _Marker()


@dataclass(frozen=True)
class BlockCall:
    """A block's arguments besides the residual stream.

    Positional ones stay positional, since GPT-2 passes its mask by position.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def map(self, change: Callable[[Any], Any]) -> BlockCall:
        """The same call with `change` applied to every value, also within tuples and lists."""
        args = tuple(_map_nested(value, change) for value in self.args)
        kwargs = {name: _map_nested(value, change) for name, value in self.kwargs.items()}
        return BlockCall(args, kwargs)

    def stacked(self, runs: int, rows: int) -> BlockCall:
        """The call for `runs` runs of a batch of `rows` rows: run by run along the row axis."""
        if runs == 1:
            return self
        return self.map(lambda value: _repeated(value, runs, rows))


class Finished(Exception):
    """Raised by a hook that has all it needs, so that the rest of the model does not run."""


def take_call(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Resid, BlockCall]:
    """Split a block's arguments into the residual stream and the rest, without the cache."""
    rest = dict(kwargs)
    hidden = args[0] if args else rest.pop("hidden_states")
    call = BlockCall(tuple(args[1:]), rest)
    return hidden, call.map(lambda value: CACHE if isinstance(value, Cache) else value)


def with_stream(
    hidden: Resid, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict]:
    """A block's arguments with `hidden` as the residual stream."""
    if args:
        return (hidden, *args[1:]), dict(kwargs)
    return (), {**kwargs, "hidden_states": hidden}


def run_block(block: Any, hidden: Resid, call: BlockCall, cache: Cache | None = None) -> Resid:
    """The residual stream after a block that is called with `call`, and with `cache` for CACHE."""
    filled = call.map(lambda value: cache if value is CACHE else value)
    return stream_of(block(hidden, *filled.args, **filled.kwargs))


def stream_of(output: Any) -> Resid:
    """The residual stream in a block's output: the output itself, or its first element."""
    return output if isinstance(output, Tensor) else output[0]


def output_form(bridge: Any) -> Form:
    """How this model's blocks return the residual stream. Runs the first block on one token."""
    outputs: list[Any] = []

    def look(module: Any, args: Any, output: Any) -> None:
        outputs.append(output)
        raise Finished

    handle = bridge.blocks[0].register_forward_hook(look)
    try:
        _run_one_token(bridge)
    finally:
        handle.remove()
    forms: dict[type, Form] = {tuple: _in_tuple, list: _in_list}
    return forms.get(type(outputs[0]), _alone)


def width_at(bridge: Any, name: str) -> int:
    """How many values a token has at a hook point, by its full name, in a pass over one token."""
    widths: list[int] = []

    def look(activation: Tensor, hook: Any = None) -> None:
        widths.append(activation.flatten(2).shape[-1])
        raise Finished

    with bridge.hooks(fwd_hooks=[(name, look)]):
        _run_one_token(bridge)
    return widths[0]


def _run_one_token(bridge: Any) -> None:
    """A pass over one token, until a hook is finished."""
    token = torch.zeros(1, 1, dtype=torch.long, device=bridge.original_model.device)
    with torch.inference_mode(), suppress(Finished):
        bridge.original_model(input_ids=token)


def reset_rope(hf_model: Any) -> None:
    """Reset dynamic RoPE, which otherwise keeps the frequencies of the longest text so far."""
    for module in hf_model.modules():
        original = getattr(module, "original_max_seq_len", math.inf)
        # Models with several kinds of attention keep a set of frequencies for each, by a prefix.
        lengths = [name for name in vars(module) if name.endswith(LONGEST_TEXT)]
        for name in lengths:
            # transformers resets them itself only for a text shorter than the original length.
            if getattr(module, name) > original:
                prefix = name.removesuffix(LONGEST_TEXT)
                frequencies = getattr(module, f"{prefix}original_inv_freq")
                # `Module.to` moves buffers; the original may be an attribute on the old device.
                device = getattr(module, f"{prefix}inv_freq").device
                setattr(module, f"{prefix}inv_freq", frequencies.to(device))
                setattr(module, name, original)


@contextmanager
def skipped(blocks: nn.ModuleList, form: Form, final: Resid | None = None) -> Iterator[None]:
    """These blocks return their input unchanged; the last one returns `final` where it is given."""

    def skip(*args: Any, **kwargs: Any) -> Any:
        return form(args[0] if args else kwargs["hidden_states"])

    def last(*args: Any, **kwargs: Any) -> Any:
        return skip(*args, **kwargs) if final is None else form(final)

    try:
        for block in blocks:
            # A plain assignment would be forwarded by the bridge to the module that it wraps.
            object.__setattr__(block, "forward", last if block is blocks[-1] else skip)
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


def _map_nested(value: Any, change: Callable[[Any], Any]) -> Any:
    # Position embeddings are a tuple (cos, sin).
    if isinstance(value, tuple | list):
        return type(value)(_map_nested(v, change) for v in value)
    return change(value)


def _repeated(value: Any, runs: int, rows: int) -> Any:
    """A tensor with a row axis, once per run; what all rows share stays as it is."""
    # A vector of positions may be as long as the batch by chance, but it has no row axis.
    if isinstance(value, Tensor) and value.ndim > 1 and len(value) == rows:
        return repeat(value, "row ... -> (run row) ...", run=runs)
    return value
