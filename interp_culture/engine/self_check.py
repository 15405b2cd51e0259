"""The check at loading: the hooked model against plain passes from before it was hooked.

A shortcut that changes the model's numbers is switched off, with a warning. A model that differs
even without shortcuts is refused. So the results for an unknown architecture are right as well, or
there are none.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessor

from interp_culture.engine.forward import Trace, resume, trace
from interp_culture.engine.generation import write
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.plain_passes import TOLERANCES, PlainPass, PlainPasses, relative_error
from interp_culture.engine.shortcuts import DESCRIPTIONS, Shortcuts
from interp_culture.engine.token_tree import Batch, make_batches
from interp_culture.errors import InputError

# Tokens that generation writes in the check.
# The second is the first one that is computed from the cache of keys and values.
NEW_TOKENS = 2
# More than the check's sequences have, so that all are in one batch.
ALL_TOKENS = 10**6


class ShortcutWarning(UserWarning):
    """A shortcut would change a model's numbers and is switched off, which costs speed."""


def check_model(model: LanguageModel, expected: PlainPasses) -> None:
    """Switch off the shortcuts that change the model's numbers (`model.shortcuts`).

    Raises InputError where the hooked model differs from the plain one even without shortcuts.
    """
    comparison = _Comparison(model, expected)
    model.check_errors = {check.what: _settle(comparison, check) for check in CHECKS}
    model.check = "passed"
    if model.shortcuts.off:
        descriptions = "; ".join(DESCRIPTIONS[name] for name in model.shortcuts.off)
        warnings.warn(
            f"{model.name}: results are right, but slower than with other models; these shortcuts "
            f"would change its numbers and are switched off: {descriptions}",
            ShortcutWarning,
            stacklevel=4,
        )


@dataclass
class _Comparison:
    """The hooked model, the plain model's passes, and a trace of the hooked model."""

    model: LanguageModel
    expected: PlainPasses
    cached_trace: Trace | None = None
    cached_under: Shortcuts | None = None

    @property
    def trace(self) -> Trace:
        """A pass over the sequences that keeps every layer, under the present shortcuts.

        It is computed again only where the shortcuts have changed.
        """
        shortcuts = self.model.shortcuts
        if self.cached_trace is None or self.cached_under != shortcuts:
            (batch,) = make_batches(
                self.expected.groups,
                pad=self.model.pad_token,
                batch_tokens=ALL_TOKENS,
                share_stem=shortcuts.stem,
            )
            self.cached_trace = trace(self.model, batch, layers=range(self.model.n_layers))
            self.cached_under = shortcuts
        return self.cached_trace


@dataclass(frozen=True)
class _Check:
    """One comparison with the plain model.

    Attributes:
        error: computes the error relative to the size of the expected numbers.
        what: what is compared.
        difference: what differs where the error is too large, for the message.
        alternatives: sets of shortcuts to switch off where it fails, in the order to try them.
    """

    error: Callable[[_Comparison], float]
    what: str
    difference: str
    alternatives: tuple[tuple[str, ...], ...]


def _settle(comparison: _Comparison, check: _Check) -> float:
    """Switch off the first set of shortcuts without which the check passes, or none.

    Returns the relative error that is left.

    Raises:
        InputError: it fails under all alternatives.
    """
    model = comparison.model
    before = model.shortcuts
    failure = ""
    for off in ((), *check.alternatives):
        _use(model, before.without(*off))
        try:
            error = check.error(comparison)
        except Exception as trouble:  # a shortcut may fail in any way
            failure = f"{type(trouble).__name__}: {trouble}".splitlines()[0]
            continue
        if error <= TOLERANCES[model.dtype]:
            return error
        failure = f"relative error {error:.2g}"
    raise InputError(
        f"{model.name} ({type(model.bridge.original_model).__name__}) is refused: hooked by "
        f"TransformerLens it differs from the plain model ({check.difference}; {failure})"
    )


def _use(model: LanguageModel, shortcuts: Shortcuts) -> None:
    """Set the model's shortcuts; its unembedding is built again where "pieces" changes."""
    if shortcuts.pieces != model.shortcuts.pieces:
        model.__dict__.pop("unembedding", None)
    model.shortcuts = shortcuts
    if shortcuts.pieces and not model.unembedding.in_pieces:
        model.shortcuts = shortcuts.without("pieces")


def _head_error(comparison: _Comparison) -> float:
    plain = comparison.expected.plain[0, 0]
    with torch.inference_mode():
        logits = comparison.model.logits(plain.resid[-1])
    return relative_error(logits, plain.logits.float())


def _trace_error(comparison: _Comparison) -> float:
    kept = comparison.trace
    n_streams = comparison.model.n_layers + 1
    streams = torch.stack([kept.resid[layer] for layer in range(n_streams)])
    return max(_path_errors(streams, kept.batch, comparison.expected.plain))


def _resumed_error(comparison: _Comparison) -> float:
    """Of two runs in one batch: strength 0 from the first layer on, and steered."""
    expected = comparison.expected
    kept = comparison.trace
    # From three layers on, the runs enter at different ones, which tests how the stack grows.
    unchanged = Edit(0, expected.vector, 0.0)
    steering = Edit(expected.layer, expected.vector, 1.0)
    plain, steered = resume(comparison.model, kept, [[unchanged], [steering]])
    errors = _path_errors(plain[None], kept.batch, expected.plain)
    return max(errors + _path_errors(steered[None], kept.batch, expected.steered))


def _written_error(comparison: _Comparison) -> float:
    """Of the logits from which the first tokens of two answers are chosen, under steering."""
    model = comparison.model
    keys = [(0, 0), (1, 0)]  # the first sequence of each group, since these differ in length
    if model.shortcuts.padded_generation:
        return max(_batch_errors(comparison, keys))
    return max(error for key in keys for error in _batch_errors(comparison, [key]))


def _batch_errors(comparison: _Comparison, keys: Sequence[tuple[int, int]]) -> list[float]:
    """The error for each of these sequences, written in one batch."""
    model = comparison.model
    expected = comparison.expected
    sequences = [expected.groups[group][member] for group, member in keys]
    answers = [sequence.answer[:NEW_TOKENS] for sequence in sequences]
    dictation = _Dictation(torch.tensor(answers, device=model.device))
    prompts = [replace(sequence, answer=()) for sequence in sequences]
    edit = Edit(expected.layer, expected.vector, 1.0)
    write(model, prompts, NEW_TOKENS, [[edit]], [dictation])
    errors = []
    for row, key in enumerate(keys):
        first = len(prompts[row].prompt) - 1
        expected_logits = expected.steered[key].logits[first : first + NEW_TOKENS]
        logits = torch.stack([step[row] for step in dictation.logits])
        errors.append(relative_error(logits, expected_logits.float()))
    return errors


class _Dictation(LogitsProcessor):
    """Makes the model write given tokens, and records the logits of each step."""

    def __init__(self, tokens: Int[Tensor, "row token"]) -> None:
        self.tokens = tokens
        self.logits: list[Tensor] = []

    def __call__(
        self, input_ids: Tensor, scores: Float[Tensor, "row vocab"]
    ) -> Float[Tensor, "row vocab"]:
        forced = torch.full_like(scores, -torch.inf)
        forced.scatter_(1, self.tokens[:, len(self.logits)][:, None], 0.0)
        self.logits.append(scores.float().clone())
        return forced


def _path_errors(
    streams: Float[Tensor, "stream row pos d_model"],
    batch: Batch,
    expected: Mapping[tuple[int, int], PlainPass],
) -> list[float]:
    """The error of each sequence at each stream.

    `streams` are the last ones of the plain pass. A path holds the tokens after the stem, which are
    the last ones of the plain pass too.
    """
    errors = []
    for path in batch.paths:
        actual = streams[:, path.row, path.positions]
        plain = expected[path.group, path.member].resid[-len(streams) :, -actual.shape[1] :]
        errors += [relative_error(one, other) for one, other in zip(actual, plain, strict=True)]
    return errors


# Without trees and padding, and at last without fused components, a pass is a plain one.
_PLAIN = (("trees", "padding"), ("fused", "trees", "padding"))

# In this order, since each check runs with the shortcuts that the ones before it left on.
# Alternatives that give up few shortcuts come before those that give up many.
CHECKS = (
    _Check(
        _head_error,
        what="logits",
        difference="the logits of its own final residual stream differ",
        alternatives=(("pieces",),),
    ),
    _Check(
        _trace_error,
        what="residual streams at all layers",
        difference="residual streams differ",
        alternatives=(
            ("fused",),
            ("stem",),
            ("fused", "stem"),
            ("trees",),
            ("fused", "trees"),
            *_PLAIN,
        ),
    ),
    _Check(
        _resumed_error,
        what="residual streams under steering",
        difference="residual streams under steering differ",
        alternatives=(("resume",), ("trees",), *_PLAIN),
    ),
    _Check(
        _written_error,
        what="logits of written tokens under steering",
        difference="the logits of tokens that it writes differ",
        alternatives=(("padded_generation",), ("padded_generation", "fused")),
    ),
)
