"""The check at the door: a model that was just loaded, beside plain passes of it that were taken before it was hooked.

A shortcut that does not hold is switched off for this model and said; where nothing holds, the model is refused. So an
architecture that nobody has thought of is right or refused too.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import LogitsProcessor

from interp_culture.blocks import stream_of
from interp_culture.errors import InputError, first_line
from interp_culture.generation import write
from interp_culture.interventions import Edit
from interp_culture.model import LanguageModel
from interp_culture.passes import resume, trace
from interp_culture.shortcuts import WORDS, Shortcuts
from interp_culture.token_tree import Batch, TokenSequence, make_batches

TEXT = "Every morning the baker opens the shop before six, sweeps the floor and waits for the first guests."
STEM = 10  # tokens that all sequences begin with; each goes on in another place of the text
TAILS = (((6, 3), (6, 5)), ((4, 4), (4, 2)))  # (prompt, answer) tokens after the stem, of two groups of two
NEW_TOKENS = 2
# The largest error, as a share of what is compared. What goes wrong changes a residual stream by a tenth and more.
# In 16 bits single tokens may take other experts, so that the median over tokens is looked at there.
TOLERANCES = {torch.float32: 1e-3, torch.float64: 1e-3, torch.float16: 3e-2, torch.bfloat16: 8e-2}
CAUSAL = {torch.float32: 1e-5, torch.float64: 1e-5}  # two plain passes differ by rounding alone
# What a config calls a window. Those named here are in our masks; trees are not taken where there is any other, since
# the check's sequences are too short to see it.
WINDOWS, KNOWN_WINDOWS = ("window", "chunk"), ("sliding_window",)
# RoPE of these kinds changes with the longest position of a batch, beyond the length that the model was trained on.
CHANGING_ROPE = ("dynamic", "longrope")


class ShortcutWarning(UserWarning):
    """A way of saving work does not hold for this model and is switched off: same numbers, more work."""


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


# -- before the model is hooked -----------------------------------------------------------------------------


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
            plain[key], steered[key], vector = _plain_and_steered(hf_model, layers, sequence, layer, vector)
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


def _members(groups: Sequence[Sequence[TokenSequence]]) -> Iterator[tuple[tuple[int, int], TokenSequence]]:
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
        bad = [stream for stream, resid in enumerate(found.resid) if not torch.isfinite(resid).all()]
        if bad or not torch.isfinite(found.logits).all():
            where = f"before layer {bad[0]}" if bad else "in the logits"
            raise InputError(
                f"{name} in {str(hf_model.dtype).removeprefix('torch.')} gives NaN or infinite numbers {where}; "
                "load it with dtype='float32' or 'bfloat16'"
            )
    # Both answers of a group follow the same prompt, whose stream must not depend on them.
    one, other = plain[0, 0].resid[-1], plain[0, 1].resid[-1]
    shared = STEM + TAILS[0][0][0]
    if _error(one[:shared], other[:shared]) > CAUSAL.get(hf_model.dtype, TOLERANCES[hf_model.dtype]):
        raise InputError(
            f"{name} is not causal: what it gives to a token changes with later tokens, as in masked models; "
            "load a decoder-only language model"
        )


def _step(resid: Float[Tensor, "pos d_model"]) -> Float[Tensor, " d_model"]:
    """A direction drawn at random, half as long as the stream at its median token."""
    drawn = torch.randn(resid.shape[-1], generator=torch.Generator().manual_seed(0)).to(resid.device)
    return drawn / drawn.norm() * resid.float().norm(dim=-1).median() / 2


# -- after it is hooked -------------------------------------------------------------------------------------


def check_model(model: LanguageModel, expected: PlainPasses) -> None:
    """Set `model.shortcuts` to those that hold. Raises InputError where the hooked model is not the plain one."""
    model.shortcuts = _by_config(model)
    checks = (
        (_head_error, (("pieces",),)),
        (_trace_error, (("fused",), ("stem",), ("fused", "stem"), ("trees",), ("fused", "trees"), *_PLAIN)),
        (_resumed_error, (("resume",), ("trees",), *_PLAIN)),
        (_written_error, (("padded_generation",), ("padded_generation", "fused"))),
    )
    for check, ways in checks:
        _settle(model, expected, check, ways)
    model.check = "passed"
    if model.shortcuts.off:
        words = "; ".join(WORDS[name] for name in model.shortcuts.off)
        warnings.warn(
            f"{model.name}: right, but slower than other models; switched off, since they do not hold for it: {words}",
            ShortcutWarning,
            stacklevel=4,
        )


_PLAIN = (("trees", "padding"), ("fused", "trees", "padding"))
Check = Callable[[LanguageModel, PlainPasses], float]


def _settle(model: LanguageModel, expected: PlainPasses, check: Check, ways: Sequence[tuple[str, ...]]) -> None:
    """Switch off what has to be off for a check to pass; the first of `ways` that does is taken."""
    before, limit, found = model.shortcuts, TOLERANCES[model.dtype], []
    for off in ((), *ways):
        _use(model, before.without(*off))
        try:
            error = check(model, expected)
        except Exception as trouble:  # whatever it is, this way is not to be taken
            found.append(f"{type(trouble).__name__}: {trouble}".splitlines()[0])
            continue
        if error <= limit:
            return
        found.append(f"off by {error:.2g} of its size")
    what = check.__name__.strip("_").removesuffix("_error")
    raise InputError(
        f"{model.name} ({type(model.bridge.original_model).__name__}) is refused: under TransformerLens it is not the "
        f"model that it was before ({WHAT[what]}; {found[-1]})"
    )


WHAT = {
    "head": "the logits of its own final residual stream differ",
    "trace": "residual streams differ",
    "resumed": "residual streams under steering differ",
    "written": "the logits of tokens that it writes differ",
}


def _use(model: LanguageModel, shortcuts: Shortcuts) -> None:
    if shortcuts.pieces != model.shortcuts.pieces:
        model.__dict__.pop("unembedding", None)
    model.shortcuts = shortcuts
    if shortcuts.pieces and not model.unembedding.in_pieces:
        model.shortcuts = shortcuts.without("pieces")


def _by_config(model: LanguageModel) -> Shortcuts:
    """What cannot be seen on short sequences is taken from the config."""
    config = model.text_config
    shortcuts = Shortcuts(longest=_changing_rope_length(config))
    unknown = [
        name
        for name, value in vars(config).items()
        if any(word in name for word in WINDOWS)
        and name not in KNOWN_WINDOWS
        and type(value) is int
        and value > 1
        and "layers" not in name
        and "pattern" not in name
    ]
    return shortcuts.without("trees") if unknown else shortcuts


def _changing_rope_length(config: Any) -> int | None:
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = parameters.values() if all(isinstance(v, dict) for v in parameters.values()) else [parameters]
    lengths = [
        int(kind.get("original_max_position_embeddings") or config.max_position_embeddings)
        for kind in kinds
        if kind.get("rope_type") in CHANGING_ROPE
    ]
    return min(lengths, default=None)


def _batch(model: LanguageModel, expected: PlainPasses) -> Batch:
    share = model.shortcuts.stem
    (batch,) = make_batches(expected.groups, pad=model.pad_token, batch_tokens=10**6, share_stem=share)
    return batch


def _head_error(model: LanguageModel, expected: PlainPasses) -> float:
    plain = expected.plain[0, 0]
    with torch.inference_mode():
        return _error(model.logits(plain.resid[-1]), plain.logits.float())


def _trace_error(model: LanguageModel, expected: PlainPasses) -> float:
    layers = range(model.n_layers)
    kept = trace(model, _batch(model, expected), layers=layers)
    found = torch.stack([kept.resid[stream] for stream in (*layers, model.n_layers)])
    return max(_path_errors(found, kept.batch, expected.plain))


def _resumed_error(model: LanguageModel, expected: PlainPasses) -> float:
    """Runs side by side: at strength 0 from the first layer on, and steered."""
    edits = (Edit(0, expected.vector, 0.0), Edit(expected.layer, expected.vector, 1.0))
    batch = _batch(model, expected)
    kept = trace(model, batch, layers=sorted({edit.stream for edit in edits} - {model.n_layers}))
    zero, steered = resume(model, kept, [[edit] for edit in edits])
    errors = _path_errors(zero[None], kept.batch, expected.plain)
    return max(errors + _path_errors(steered[None], kept.batch, expected.steered))


def _written_error(model: LanguageModel, expected: PlainPasses) -> float:
    """The logits of the first tokens of an answer, written side by side under steering."""
    keys = [(0, 0), (1, 0)]
    sequences = [replace(expected.groups[g][m], answer=()) for g, m in keys]
    answers = [expected.groups[g][m].answer for g, m in keys]
    edit = Edit(expected.layer, expected.vector, 1.0)
    batches = [[0, 1]] if model.shortcuts.padded_generation else [[0], [1]]
    errors = []
    for rows in batches:
        said = _Dictated(torch.tensor([answers[row][:NEW_TOKENS] for row in rows], device=model.device))
        write(model, [sequences[row] for row in rows], NEW_TOKENS, [[edit]], [said])
        for i, row in enumerate(rows):
            n = len(sequences[row].prompt)
            want = expected.steered[keys[row]].logits[n - 1 : n - 1 + NEW_TOKENS]
            errors.append(_error(torch.stack([step[i] for step in said.seen]), want.float()))
    return max(errors)


class _Dictated(LogitsProcessor):
    """Has the model write given tokens, and keeps the logits of each step."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens, self.seen = tokens, list[Tensor]()

    def __call__(self, input_ids: Tensor, scores: Float[Tensor, "row vocab"]) -> Float[Tensor, "row vocab"]:
        said = torch.full_like(scores, -torch.inf)
        said.scatter_(1, self.tokens[:, len(self.seen)][:, None], 0.0)
        self.seen.append(scores.float().clone())
        return said


def _path_errors(
    found: Float[Tensor, "stream row pos d_model"], batch: Batch, expected: Mapping[tuple[int, int], PlainPass]
) -> list[float]:
    """The error of each sequence; what is looked at are the last streams of the plain pass, and its last tokens."""
    errors = []
    for path in batch.paths:
        own = found[:, path.row, path.positions]
        want = expected[path.group, path.member].resid[-len(found) :, -own.shape[1] :]
        errors += [_error(one, other) for one, other in zip(own, want, strict=True)]
    return errors


def _error(found: Float[Tensor, "pos value"], want: Float[Tensor, "pos value"]) -> float:
    """How far tokens are off, as a share of the size of what is wanted; infinite where it is no number."""
    by_token = (found.float() - want.float()).norm(dim=-1) / want.float().norm(dim=-1).clamp_min(1e-6)
    is_16_bit = want.dtype in (torch.float16, torch.bfloat16)
    error = float(by_token.median() if is_16_bit else by_token.max())
    return error if math.isfinite(error) else math.inf
