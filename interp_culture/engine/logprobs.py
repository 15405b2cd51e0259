"""Scores of token sequences under many edits: next-token logits, log-probabilities of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from interp_culture.engine.batching import over_batches
from interp_culture.engine.forward import Trace, can_resume, first_stream, resume, stacks, trace
from interp_culture.engine.interventions import Edit
from interp_culture.engine.kept_batches import KeptBatches
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.non_finite import not_finite
from interp_culture.engine.patches import Patch
from interp_culture.engine.token_tree import Batch, TokenSequence

LOGIT_ROWS = 4096  # positions unembedded at a time

Score = Callable[
    [LanguageModel, Float[Tensor, "row pos d_model"], Batch], Float[Tensor, "path value"]
]
StackScore = Callable[
    [LanguageModel, Trace, Float[Tensor, "run row pos d_model"]], Float[Tensor, "run path value"]
]


def score_runs(
    model: LanguageModel,
    groups: Sequence[Sequence[TokenSequence]],
    runs: Mapping[Any, Sequence[Edit | Patch]],
    score: Score,
    title: str | None = None,
) -> dict[Any, Float[np.ndarray, "group member value"]]:
    """Score every sequence under every run, from its final residual stream.

    Args, Returns and Raises are those of `score_stacks`; `score` gets one run at a time.

    >>> group = [model.tokenise(ic.Prompt("Is it late?", answer)) for answer in ("Yes.", "No.")]
    >>> runs = {"plain": (), "steered": edits}
    >>> score_runs(model, [group], runs, answer_logprob)["steered"].shape
    (1, 2, 2)
    """

    def score_each(
        model: LanguageModel, kept: Trace, finals: Tensor
    ) -> Float[Tensor, "run path value"]:
        return torch.stack([score(model, final, kept.batch) for final in finals])

    # A run without edits reads the final stream of the plain pass.
    has_plain_run = any(not edits for edits in runs.values())
    return score_stacks(model, groups, runs, score_each, title, final=has_plain_run)


def score_stacks(
    model: LanguageModel,
    groups: Sequence[Sequence[TokenSequence]],
    runs: Mapping[Any, Sequence[Edit | Patch]],
    score: StackScore,
    title: str | None = None,
    *,
    final: bool = True,
    share_stem: bool = True,
) -> dict[Any, Float[np.ndarray, "group member value"]]:
    """Score every sequence under every run.

    Each batch is traced once, and each run goes on from its first edited layer.

    Args:
        groups: sequences that share a prefix, equally many in each group.
        runs: the edits of each run; none for the plain model. With patches no stem is shared, and a
            model that reads no trees reads single sequences.
        score: a function of the model, the plain trace and the final residual streams of stacked
            runs.
        title: the name of the progress bar; None for no bar.
        final: whether the plain trace records its final residual stream too.
        share_stem: see `over_batches`.

    Returns:
        For each run the values [group, member, value] that `score` gives, in float64.

    Raises:
        InputError: edits that do not fit the model; NaN or infinite values.
    """
    for edits in runs.values():
        model.check_edits(edits)
    starts = sorted({first_stream(model, edits) for edits in runs.values() if edits})
    points = sorted({p.hook_name for edits in runs.values() for p in edits if isinstance(p, Patch)})
    size = (len(groups), len(groups[0]))
    scores: dict[Any, np.ndarray] = {}
    kept_batches = KeptBatches.of(runs)
    with tqdm(
        total=len(groups) * len(runs), desc=title, unit="read", delay=1, disable=title is None
    ) as bar:

        def read(batch: Batch) -> list[tuple[Batch, dict[Any, Float[Tensor, "path value"]]]]:
            # A patch is in the layout of the pass that it comes from. Without trees, a pass lays
            # out its rows itself, so that only single sequences have one layout.
            is_whole = not points or can_resume(model, batch)
            return [(part, values_of(part)) for part in ([batch] if is_whole else batch.singly())]

        def values_of(batch: Batch) -> dict[Any, Float[Tensor, "path value"]]:
            name = kept_batches.name(batch)
            stored = kept_batches.get(name, model.device)
            if stored is not None:
                bar.update(len({path.group for path in batch.paths}) * len(runs))
                return stored
            values = computed(batch)
            kept_batches.put(name, values)
            return values

        def computed(batch: Batch) -> dict[Any, Float[Tensor, "path value"]]:
            # To its end with patches, whose blocks may come after the first edited one.
            whole = final or bool(points)
            kept = trace(model, batch, layers=starts, final=whole, points=points)
            bound = {key: _bound(edits, kept) for key, edits in runs.items()}
            values: dict[Any, Tensor] = {}
            for stack in stacks(model, bound, batch):
                finals = resume(model, kept, list(stack.values()))
                scored = score(model, kept, finals)
                if not torch.isfinite(scored).all():
                    is_finite = torch.isfinite(scored).flatten(1).all(1).tolist()
                    raise not_finite(model, batch, list(stack.values())[is_finite.index(False)])
                values |= zip(stack, scored, strict=True)
                bar.update(len({path.group for path in batch.paths}) * len(stack))
            return values

        results = over_batches(model, groups, read, share_stem=share_stem and not points)
        for batch, by_run in chain.from_iterable(results):
            where = ([p.group for p in batch.paths], [p.member for p in batch.paths])
            for key, on_device in by_run.items():
                values = on_device.double().cpu().numpy()
                scores.setdefault(key, np.full((*size, values.shape[1]), np.nan))[where] = values
    # In the order of `runs` again, since stacks are sorted by their first edited layer.
    return {key: scores[key] for key in runs}


def next_token_logits(tokens: Sequence[int]) -> Score:
    """A score: the logits of `tokens` after the prompt, then the log of the partition function.

    The partition function is the sum of exp(logit) over the vocabulary.
    """

    def score(model: LanguageModel, final: Tensor, batch: Batch) -> Float[Tensor, "path value"]:
        rows = [p.row for p in batch.paths]
        positions = [int(p.reads[0]) for p in batch.paths]
        read = final[rows, positions]
        wanted = torch.tensor([list(tokens)], device=final.device).expand(len(read), -1)
        return _answer_logits(model, read, wanted)

    return score


def answer_logprob(
    model: LanguageModel, final: Float[Tensor, "row pos d_model"], batch: Batch
) -> Float[Tensor, "path 2"]:
    """A score: each answer's log-probability (nats, summed over tokens) and number of tokens."""
    rows = np.concatenate([np.full(len(p.reads), p.row) for p in batch.paths])
    positions = np.concatenate([p.reads for p in batch.paths])
    targets = torch.tensor([[t] for p in batch.paths for t in p.targets], device=final.device)
    read = final[torch.from_numpy(rows), torch.from_numpy(positions)]
    logits = _answer_logits(model, read, targets)
    # The second column is the log of the partition function.
    logprobs = (logits[:, 0] - logits[:, 1]).double()
    lengths = torch.tensor([len(p.targets) for p in batch.paths], device=final.device)
    paths = torch.repeat_interleave(torch.arange(len(lengths), device=final.device), lengths)
    sums = torch.zeros(len(lengths), dtype=torch.float64, device=final.device)
    sums.index_add_(0, paths, logprobs)
    return torch.stack([sums, lengths.double()], dim=-1)


def _answer_logits(
    model: LanguageModel, resid: Float[Tensor, "read d_model"], tokens: Tensor
) -> Float[Tensor, "read token_and_partition"]:
    """`LanguageModel.answer_logits` for `LOGIT_ROWS` positions at a time."""
    pieces = zip(resid.split(LOGIT_ROWS), tokens.split(LOGIT_ROWS), strict=True)
    return torch.cat([model.answer_logits(r, t) for r, t in pieces])


def _bound(edits: Sequence[Edit | Patch], kept: Trace) -> list[Edit | Patch]:
    """The edits, with patches as they are for the tokens of one batch."""
    return [
        edit.bound(kept.rows.points[edit.hook_name]) if isinstance(edit, Patch) else edit
        for edit in edits
    ]
