"""The check at the door: a model that was just loaded, beside plain passes of it that were taken before it was hooked.

A shortcut that does not hold is switched off for this model and said; where nothing holds, the model is refused. So an
architecture that nobody has thought of is right or refused too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
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

NEW_TOKENS = 2


class ShortcutWarning(UserWarning):
    """A way of saving work does not hold for this model and is switched off: same numbers, more work."""


def check_model(model: LanguageModel, expected: PlainPasses) -> None:
    """Set `model.shortcuts` to those that hold. Raises InputError where the hooked model is not the plain one."""
    checks = (
        (_head_error, (("pieces",),)),
        (
            _trace_error,
            (("fused",), ("stem",), ("fused", "stem"), ("trees",), ("fused", "trees"), *_PLAIN),
        ),
        (_resumed_error, (("resume",), ("trees",), *_PLAIN)),
        (_written_error, (("padded_generation",), ("padded_generation", "fused"))),
    )
    case = _Case(model, expected)
    for check, ways in checks:
        _settle(case, check, ways)
    model.check = "passed"
    if model.shortcuts.off:
        words = "; ".join(DESCRIPTIONS[name] for name in model.shortcuts.off)
        warnings.warn(
            f"{model.name}: right, but slower than other models; switched off, since they do not hold for it: {words}",
            ShortcutWarning,
            stacklevel=4,
        )


_PLAIN = (("trees", "padding"), ("fused", "trees", "padding"))


@dataclass
class _Case:
    """The hooked model, what it should give, and a pass over the check's sequences under its shortcuts of now."""

    model: LanguageModel
    expected: PlainPasses
    kept: Trace | None = None
    kept_under: Shortcuts | None = None

    @property
    def trace(self) -> Trace:
        """The residual streams at every layer; read again only where the shortcuts have changed."""
        shortcuts = self.model.shortcuts
        if self.kept is None or self.kept_under != shortcuts:
            (batch,) = make_batches(
                self.expected.groups,
                pad=self.model.pad_token,
                batch_tokens=10**6,
                share_stem=shortcuts.stem,
            )
            self.kept = trace(self.model, batch, layers=range(self.model.n_layers))
            self.kept_under = shortcuts
        return self.kept


Check = Callable[[_Case], float]


def _settle(case: _Case, check: Check, ways: Sequence[tuple[str, ...]]) -> None:
    """Switch off what has to be off for a check to pass; the first of `ways` that does is taken."""
    model = case.model
    before, limit, found = model.shortcuts, TOLERANCES[model.dtype], []
    for off in ((), *ways):
        _use(model, before.without(*off))
        try:
            error = check(case)
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


def _head_error(case: _Case) -> float:
    plain = case.expected.plain[0, 0]
    with torch.inference_mode():
        return relative_error(case.model.logits(plain.resid[-1]), plain.logits.float())


def _trace_error(case: _Case) -> float:
    kept = case.trace
    found = torch.stack([kept.resid[stream] for stream in range(case.model.n_layers + 1)])
    return max(_path_errors(found, kept.batch, case.expected.plain))


def _resumed_error(case: _Case) -> float:
    """Runs side by side: at strength 0 from the first layer on, and steered."""
    expected, kept = case.expected, case.trace
    edits = (Edit(0, expected.vector, 0.0), Edit(expected.layer, expected.vector, 1.0))
    zero, steered = resume(case.model, kept, [[edit] for edit in edits])
    errors = _path_errors(zero[None], kept.batch, expected.plain)
    return max(errors + _path_errors(steered[None], kept.batch, expected.steered))


def _written_error(case: _Case) -> float:
    """The logits of the first tokens of an answer, written side by side under steering."""
    model, expected = case.model, case.expected
    keys = [(0, 0), (1, 0)]
    sequences = [replace(expected.groups[g][m], answer=()) for g, m in keys]
    answers = [expected.groups[g][m].answer for g, m in keys]
    edit = Edit(expected.layer, expected.vector, 1.0)
    batches = [[0, 1]] if model.shortcuts.padded_generation else [[0], [1]]
    errors = []
    for rows in batches:
        said = _Dictated(
            torch.tensor([answers[row][:NEW_TOKENS] for row in rows], device=model.device)
        )
        write(model, [sequences[row] for row in rows], NEW_TOKENS, [[edit]], [said])
        for i, row in enumerate(rows):
            n = len(sequences[row].prompt)
            want = expected.steered[keys[row]].logits[n - 1 : n - 1 + NEW_TOKENS]
            errors.append(
                relative_error(torch.stack([step[i] for step in said.seen]), want.float())
            )
    return max(errors)


class _Dictated(LogitsProcessor):
    """Has the model write given tokens, and keeps the logits of each step."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens, self.seen = tokens, list[Tensor]()

    def __call__(
        self, input_ids: Tensor, scores: Float[Tensor, "row vocab"]
    ) -> Float[Tensor, "row vocab"]:
        said = torch.full_like(scores, -torch.inf)
        said.scatter_(1, self.tokens[:, len(self.seen)][:, None], 0.0)
        self.seen.append(scores.float().clone())
        return said


def _path_errors(
    found: Float[Tensor, "stream row pos d_model"],
    batch: Batch,
    expected: Mapping[tuple[int, int], PlainPass],
) -> list[float]:
    """The error of each sequence; what is looked at are the last streams of the plain pass, and its last tokens."""
    errors = []
    for path in batch.paths:
        own = found[:, path.row, path.positions]
        want = expected[path.group, path.member].resid[-len(found) :, -own.shape[1] :]
        errors += [relative_error(one, other) for one, other in zip(own, want, strict=True)]
    return errors
