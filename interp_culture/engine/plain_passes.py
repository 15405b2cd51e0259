"""What a model gives before it is hooked: plain passes over a few short sequences, for the check at the door."""

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

TEXT = "Every morning the baker opens the shop before six, sweeps the floor and waits for the first guests."
STEM = 10  # tokens that all sequences begin with; each goes on in another place of the text
TAILS = (
    ((6, 3), (6, 5)),
    ((4, 4), (4, 2)),
)  # (prompt, answer) tokens after the stem, of two groups of two
# The largest error, as a share of what is compared. What goes wrong changes a residual stream by a tenth and more.
# In 16 bits single tokens may take other experts, so that the median over tokens is looked at there.
TOLERANCES = {torch.float32: 1e-3, torch.float64: 1e-3, torch.float16: 3e-2, torch.bfloat16: 8e-2}
CAUSAL = {torch.float32: 1e-5, torch.float64: 1e-5}  # two plain passes differ by rounding alone


@dataclass(frozen=True)
class PlainPass:
    """One unpadded pass of the plain model over a sequence: residual streams before and after each block, logits."""

    resid: Float[Tensor, "stream pos d_model"]
    logits: Float[Tensor, "pos d_vocab"]


@dataclass(frozen=True)
class PlainPasses:
    """The check's sequences, read by the plain model as it is and with `vector` added after the block `layer`."""

    groups: tuple[tuple[TokenSequence, ...], ...]
    layer: int
    vector: Float[Tensor, " d_model"]
    plain: dict[tuple[int, int], PlainPass]
    steered: dict[tuple[int, int], PlainPass]


def plain_passes(hf_model: Any, tokenizer: Any) -> PlainPasses:
    """Read the check's sequences with a model that is not hooked.

    Raises InputError for one that is not causal, whose layers are not found, or that gives NaN.
    """
    groups = _sequences(hf_model, tokenizer)
    layers = decoder_layers(hf_model)
    plain, steered = {}, {}
    layer, vector = (len(layers) - 1) // 2, None
    for key, sequence in _members(groups):
        try:
            plain[key], steered[key], vector = _plain_and_steered(
                hf_model, layers, sequence, layer, vector
            )
        except Exception as error:
            raise InputError(
                f"{type(hf_model).__name__} does not run on plain tokens: {type(error).__name__}: {first_line(error)}"
            ) from error
    assert vector is not None
    _check_plain(hf_model, plain)
    return PlainPasses(groups, layer, vector, plain, steered)


def decoder_layers(hf_model: Any) -> nn.ModuleList:
    """The decoder's layers: the largest list of as many modules as the config has layers."""
    n_layers = hf_model.config.get_text_config().num_hidden_layers
    lists = [m for m in hf_model.modules() if isinstance(m, nn.ModuleList) and len(m) == n_layers]
    if not lists:
        raise InputError(
            f"{type(hf_model).__name__}: no list of its {n_layers} layers is found in it; is it a decoder?"
        )
    return max(lists, key=lambda found: sum(p.numel() for p in found.parameters()))


def _sequences(hf_model: Any, tokenizer: Any) -> tuple[tuple[TokenSequence, ...], ...]:
    ids = list(tokenizer(TEXT, add_special_tokens=False).input_ids)
    vocabulary = hf_model.get_input_embeddings().weight.shape[0]
    ids = [i for i in ids if i < vocabulary] or [0]
    bos = tokenizer.bos_token_id
    first = [bos] if bos is not None and bos < vocabulary else []
    start = 0

    def take(n: int) -> tuple[int, ...]:
        nonlocal start
        start += n
        return tuple(ids[(start - n + i) % len(ids)] for i in range(n))

    stem = (*first, *take(STEM))
    groups = []
    for tails in TAILS:
        prompt = stem + take(tails[0][0])
        groups.append(tuple(TokenSequence(prompt, take(answer)) for _, answer in tails))
    return tuple(groups)


def _members(
    groups: Sequence[Sequence[TokenSequence]],
) -> Iterator[tuple[tuple[int, int], TokenSequence]]:
    for g, group in enumerate(groups):
        for m, sequence in enumerate(group):
            yield (g, m), sequence


@torch.inference_mode()
def _plain_and_steered(
    hf_model: Any, layers: nn.ModuleList, sequence: TokenSequence, layer: int, vector: Tensor | None
) -> tuple[PlainPass, PlainPass, Float[Tensor, " d_model"]]:
    """A sequence twice in one pass, the second time with `vector` added after a layer; by default a `_step`."""
    resid: list[Tensor] = []
    step = vector

    def keep_input(module: Any, args: tuple, kwargs: dict) -> None:
        resid.append((args[0] if args else kwargs["hidden_states"]).clone())

    def keep(number: int, module: Any, args: tuple, output: Any) -> Any:
        nonlocal step
        hidden = stream_of(output)
        if number == layer:
            step = _step(hidden[0]) if step is None else step
            hidden = torch.stack([hidden[0], hidden[1] + step.to(hidden)])
        resid.append(hidden.clone())
        return hidden if isinstance(output, Tensor) else type(output)((hidden, *output[1:]))

    with ExitStack() as stack:
        stack.callback(layers[0].register_forward_pre_hook(keep_input, with_kwargs=True).remove)
        for number, module in enumerate(layers):
            stack.callback(module.register_forward_hook(partial(keep, number)).remove)
        tokens = torch.tensor([sequence.inputs] * 2, device=hf_model.device)
        logits = hf_model(input_ids=tokens, use_cache=False).logits
    streams = torch.stack(resid)
    assert step is not None
    return PlainPass(streams[:, 0], logits[0]), PlainPass(streams[:, 1], logits[1]), step


def _check_plain(hf_model: Any, plain: Mapping[tuple[int, int], PlainPass]) -> None:
    name = type(hf_model).__name__
    for found in plain.values():
        bad = [
            stream for stream, resid in enumerate(found.resid) if not torch.isfinite(resid).all()
        ]
        if bad or not torch.isfinite(found.logits).all():
            where = f"before layer {bad[0]}" if bad else "in the logits"
            raise InputError(
                f"{name} in {str(hf_model.dtype).removeprefix('torch.')} gives NaN or infinite numbers {where}; "
                "load it with dtype='float32' or 'bfloat16'"
            )
    # Both answers of a group follow the same prompt, whose stream must not depend on them.
    one, other = plain[0, 0].resid[-1], plain[0, 1].resid[-1]
    shared = STEM + TAILS[0][0][0]
    if relative_error(one[:shared], other[:shared]) > CAUSAL.get(
        hf_model.dtype, TOLERANCES[hf_model.dtype]
    ):
        raise InputError(
            f"{name} is not causal: what it gives to a token changes with later tokens, as in masked models; "
            "load a decoder-only language model"
        )


def _step(resid: Float[Tensor, "pos d_model"]) -> Float[Tensor, " d_model"]:
    """A direction drawn at random, half as long as the stream at its median token."""
    drawn = torch.randn(resid.shape[-1], generator=torch.Generator().manual_seed(0)).to(
        resid.device
    )
    return drawn / drawn.norm() * resid.float().norm(dim=-1).median() / 2


def relative_error(found: Float[Tensor, "pos value"], want: Float[Tensor, "pos value"]) -> float:
    """How far tokens are off, as a share of the size of what is wanted; infinite where it is no number."""
    by_token = (found.float() - want.float()).norm(dim=-1) / want.float().norm(dim=-1).clamp_min(
        1e-6
    )
    is_16_bit = want.dtype in (torch.float16, torch.bfloat16)
    error = float(by_token.median() if is_16_bit else by_token.max())
    return error if math.isfinite(error) else math.inf
