"""What the model gives to tokens: logits of the next token, probabilities of answers; plain and under many edits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from interp_culture.engine.batching import over_batches
from interp_culture.engine.forward import Trace, first_stream, resume, stacks, trace
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import Batch, TokenSequence
from interp_culture.errors import InputError

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
    runs: Mapping[Any, Sequence[Edit]],
    score: Score,
    title: str | None = None,
) -> dict[Any, Float[np.ndarray, "group member value"]]:
    """Score every sequence under every run: see `score_stacks`."""

    def each(model: LanguageModel, kept: Trace, finals: Tensor) -> Float[Tensor, "run path value"]:
        return torch.stack([score(model, final, kept.batch) for final in finals])

    return score_stacks(
        model, groups, runs, each, title, final=any(not edits for edits in runs.values())
    )


def score_stacks(
    model: LanguageModel,
    groups: Sequence[Sequence[TokenSequence]],
    runs: Mapping[Any, Sequence[Edit]],
    score: StackScore,
    title: str | None = None,
    *,
    final: bool = True,
    share_stem: bool = True,
) -> dict[Any, Float[np.ndarray, "group member value"]]:
    """Score every sequence under every run. Groups have equally many members, which share what they begin with.

    `score` gets stacked runs and the plain trace that they go on from: with `final` its last residual stream too. For
    `share_stem` see `over_batches`. `title` names the progress bar; without one there is none.

    Each batch is traced once, and each run goes on from its first edited layer. Raises InputError for edits that do
    not fit the model and for NaN or infinite values.
    """
    for edits in runs.values():
        model.check_edits(edits)
    starts = sorted({first_stream(model, edits) for edits in runs.values() if edits})
    size = len(groups), len(groups[0])
    out: dict[Any, np.ndarray] = {}
    with tqdm(
        total=len(groups) * len(runs), desc=title, unit="read", delay=1, disable=title is None
    ) as bar:

        def read(batch: Batch) -> tuple[Batch, dict[Any, Float[Tensor, "path value"]]]:
            kept = trace(model, batch, layers=starts, final=final)
            values: dict[Any, Tensor] = {}
            for stack in stacks(model, runs, batch):
                finals = resume(model, kept, list(stack.values()))
                values |= zip(stack, score(model, kept, finals), strict=True)
                bar.update(len({path.group for path in batch.paths}) * len(stack))
            return batch, values

        for batch, by_run in over_batches(model, groups, read, share_stem=share_stem):
            where = [p.group for p in batch.paths], [p.member for p in batch.paths]
            for key, on_device in by_run.items():
                values = on_device.double().cpu().numpy()
                _check_finite(values, runs[key])
                out.setdefault(key, np.full((*size, values.shape[1]), np.nan))[where] = values
    return {key: out[key] for key in runs}


def next_token_logits(tokens: Sequence[int]) -> Score:
    """The logits of `tokens` after the prompt, then the log of the partition function over the vocabulary."""

    def score(model: LanguageModel, final: Tensor, batch: Batch) -> Float[Tensor, "path value"]:
        rows, positions = [p.row for p in batch.paths], [int(p.reads[0]) for p in batch.paths]
        read = final[rows, positions]
        wanted = torch.tensor([list(tokens)], device=final.device).expand(len(read), -1)
        return _in_pieces(model, read, wanted)

    return score


def answer_logprob(
    model: LanguageModel, final: Float[Tensor, "row pos d_model"], batch: Batch
) -> Float[Tensor, "path 2"]:
    """The log-probability of each sequence's answer after its prompt (nats, summed), and its number of tokens."""
    rows = np.concatenate([np.full(len(p.reads), p.row) for p in batch.paths])
    positions = np.concatenate([p.reads for p in batch.paths])
    targets = torch.tensor([[t] for p in batch.paths for t in p.targets], device=final.device)
    logits = _in_pieces(model, final[torch.from_numpy(rows), torch.from_numpy(positions)], targets)
    lengths = torch.tensor([len(p.targets) for p in batch.paths], device=final.device)
    of_path = torch.repeat_interleave(torch.arange(len(lengths), device=final.device), lengths)
    sums = torch.zeros(len(lengths), dtype=torch.float64, device=final.device)
    sums.index_add_(0, of_path, (logits[:, 0] - logits[:, 1]).double())
    return torch.stack([sums, lengths.double()], dim=-1)


def _in_pieces(
    model: LanguageModel, resid: Float[Tensor, "read d_model"], tokens: Tensor
) -> Float[Tensor, "read token_and_partition"]:
    pieces = zip(resid.split(LOGIT_ROWS), tokens.split(LOGIT_ROWS), strict=True)
    return torch.cat([model.answer_logits(r, t) for r, t in pieces])


def _check_finite(values: Float[np.ndarray, "path value"], edits: Sequence[Edit]) -> None:
    if np.isfinite(values).all():
        return
    if not edits:
        raise InputError(
            "the plain model gives NaN or infinite logits; load it in float32 or bfloat16"
        )
    steps = ", ".join(f"{e.strength:g} at layer {e.layer}" for e in edits)
    raise InputError(
        f"steering with strength {steps} makes the logits NaN or infinite; lower the strength"
    )
