"""Passes of a model over a few short sequences before it is hooked, for `self_check`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interp_culture.engine.blocks import stream_of
from interp_culture.engine.token_tree import TokenSequence
from interp_culture.errors import InputError, first_line

TEXT = (
    "Every morning the baker opens the shop before six, sweeps the floor and waits for the first "
    "guests."
)
# Tokens that all sequences begin with; each sequence continues at another place of the text.
STEM_LENGTH = 10
# Of two groups of two sequences each: (prompt, answer) tokens after the stem.
LENGTHS = (((6, 3), (6, 5)), ((4, 4), (4, 2)))
# The largest accepted error, relative to the norm of the compared vector. A real fault changes a
# residual stream by a tenth or more.
TOLERANCES = {torch.float32: 1e-3, torch.float64: 1e-3, torch.float16: 3e-2, torch.bfloat16: 8e-2}
# Two plain passes of a causal model differ by rounding alone.
CAUSAL_TOLERANCES = {**TOLERANCES, torch.float32: 1e-5, torch.float64: 1e-5}


@dataclass(frozen=True)
class PlainPass:
    """One unpadded pass of the plain model over a sequence.

    Attributes:
        resid: the residual stream before the first block and after each block.
        logits: of every token.
    """

    resid: Float[Tensor, "stream pos d_model"]
    logits: Float[Tensor, "pos d_vocab"]


@dataclass(frozen=True)
class PlainPasses:
    """The sequences of `self_check`, and what the plain model computes for them.

    Attributes:
        groups: the sequences; those of one group share their prompt.
        layer: the block after which `vector` is added in the steered passes.
        vector: the steering vector.
        plain: passes without the vector, by (group, member).
        steered: passes with the vector, by (group, member).
    """

    groups: tuple[tuple[TokenSequence, ...], ...]
    layer: int
    vector: Float[Tensor, " d_model"]
    plain: dict[tuple[int, int], PlainPass]
    steered: dict[tuple[int, int], PlainPass]


def plain_passes(hf_model: Any, tokenizer: Any) -> PlainPasses:
    """Run a model that is not hooked over the sequences of `self_check`.

    Raises InputError for a model that fails on them, is not causal, has no list of decoder layers,
    or computes NaN.
    """
    groups = _sequences(hf_model, tokenizer)
    layers = decoder_layers(hf_model)
    # In the middle, so that a resumed pass skips some blocks and runs some.
    layer = (len(layers) - 1) // 2
    vector: Tensor | None = None
    plain = {}
    steered = {}
    for key, sequence in _members(groups):
        try:
            plain[key], steered[key], vector = _plain_and_steered(
                hf_model, layers, sequence, layer, vector
            )
        except Exception as error:  # code of anybody's making fails in any way
            raise InputError(
                f"{type(hf_model).__name__} does not run on plain tokens: "
                f"{type(error).__name__}: {first_line(error)}"
            ) from error
    assert vector is not None
    for passed in plain.values():
        _check_finite(hf_model, passed)
    _check_causal(hf_model, plain)
    return PlainPasses(groups, layer, vector, plain, steered)


def decoder_layers(hf_model: Any) -> nn.ModuleList:
    """The decoder's layers: the largest module list with as many modules as the config has layers.

    Raises InputError where there is none.
    """
    n_layers = hf_model.config.get_text_config().num_hidden_layers
    lists = [m for m in hf_model.modules() if isinstance(m, nn.ModuleList) and len(m) == n_layers]
    if not lists:
        raise InputError(
            f"{type(hf_model).__name__} has no module list with its {n_layers} layers; is it a "
            "decoder?"
        )
    return max(lists, key=_n_parameters)


def _n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _sequences(hf_model: Any, tokenizer: Any) -> tuple[tuple[TokenSequence, ...], ...]:
    """The groups of sequences: a stem, and consecutive pieces of the text, cyclically."""
    n_rows = hf_model.get_input_embeddings().weight.shape[0]
    text_ids = list(tokenizer(TEXT, add_special_tokens=False).input_ids)
    # A small test model may have fewer rows than its tokenizer has tokens.
    ids = [token for token in text_ids if token < n_rows] or [0]
    bos = tokenizer.bos_token_id
    first = (bos,) if bos is not None and bos < n_rows else ()
    start = 0

    def take(n: int) -> tuple[int, ...]:
        nonlocal start
        start += n
        return tuple(ids[(start - n + i) % len(ids)] for i in range(n))

    stem = (*first, *take(STEM_LENGTH))
    groups = []
    for lengths in LENGTHS:
        prompt = stem + take(lengths[0][0])
        groups.append(tuple(TokenSequence(prompt, take(answer)) for _, answer in lengths))
    return tuple(groups)


def _members(
    groups: Sequence[Sequence[TokenSequence]],
) -> Iterator[tuple[tuple[int, int], TokenSequence]]:
    for group, members in enumerate(groups):
        for member, sequence in enumerate(members):
            yield (group, member), sequence


@torch.inference_mode()
def _plain_and_steered(
    hf_model: Any, layers: nn.ModuleList, sequence: TokenSequence, layer: int, vector: Tensor | None
) -> tuple[PlainPass, PlainPass, Float[Tensor, " d_model"]]:
    """A plain and a steered pass over a sequence, in one batch of two rows.

    Returns both and the vector that was added after `layer`; without a given one it is drawn.
    """
    resid: list[Tensor] = []
    added = vector

    def record_input(module: Any, args: tuple, kwargs: dict) -> None:
        resid.append((args[0] if args else kwargs["hidden_states"]).clone())

    def record_output(number: int, module: Any, args: tuple, output: Any) -> Any:
        nonlocal added
        hidden = stream_of(output)
        if number == layer:
            added = _random_vector(hidden[0]) if added is None else added
            hidden = torch.stack([hidden[0], hidden[1] + added.to(hidden)])
        resid.append(hidden.clone())
        return hidden if isinstance(output, Tensor) else type(output)((hidden, *output[1:]))

    with ExitStack() as stack:
        stack.callback(layers[0].register_forward_pre_hook(record_input, with_kwargs=True).remove)
        for number, module in enumerate(layers):
            stack.callback(module.register_forward_hook(partial(record_output, number)).remove)
        tokens = torch.tensor([sequence.inputs] * 2, device=hf_model.device)
        logits = hf_model(input_ids=tokens, use_cache=False).logits
    streams = torch.stack(resid)
    assert added is not None
    plain = PlainPass(streams[:, 0], logits[0])
    steered = PlainPass(streams[:, 1], logits[1])
    return plain, steered, added


def _check_finite(hf_model: Any, passed: PlainPass) -> None:
    """Raise InputError for NaN or infinity, with the first place where it appears."""
    is_finite = [bool(torch.isfinite(stream).all()) for stream in passed.resid]
    if all(is_finite) and torch.isfinite(passed.logits).all():
        return
    where = "in the logits" if all(is_finite) else f"before layer {is_finite.index(False)}"
    raise InputError(
        f"{type(hf_model).__name__} in {str(hf_model.dtype).removeprefix('torch.')} gives NaN or "
        f"infinite numbers {where}; load it with dtype='float32' or 'bfloat16'"
    )


def _check_causal(hf_model: Any, plain: Mapping[tuple[int, int], PlainPass]) -> None:
    """Raise InputError where a prompt's residual stream depends on the answer after it."""
    n_prompt = STEM_LENGTH + LENGTHS[0][0][0]
    one = plain[0, 0].resid[-1][:n_prompt]
    other = plain[0, 1].resid[-1][:n_prompt]
    if relative_error(one, other) > CAUSAL_TOLERANCES[hf_model.dtype]:
        raise InputError(
            f"{type(hf_model).__name__} is not causal: its numbers for a token change with later "
            "tokens, as in masked models; load a decoder-only language model"
        )


def _random_vector(resid: Float[Tensor, "pos d_model"]) -> Float[Tensor, " d_model"]:
    """A random direction, half as long as the residual stream at its median token."""
    # The CPU's generator gives the same numbers whatever the model's device.
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(resid.shape[-1], generator=generator).to(resid.device)
    return drawn / drawn.norm() * resid.float().norm(dim=-1).median() / 2


def relative_error(
    actual: Float[Tensor, "pos value"], expected: Float[Tensor, "pos value"]
) -> float:
    """The norm of the difference over the norm of the expected vector; infinite where it is NaN.

    It is the largest over tokens; in 16 bits the median, because single tokens may be routed to
    other experts there.
    """
    difference = (actual.float() - expected.float()).norm(dim=-1)
    size = expected.float().norm(dim=-1).clamp_min(1e-6)
    by_token = difference / size
    is_16_bit = expected.dtype in (torch.float16, torch.bfloat16)
    error = float(by_token.median() if is_16_bit else by_token.max())
    return error if math.isfinite(error) else math.inf
