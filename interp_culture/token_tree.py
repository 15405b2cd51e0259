"""Token sequences that share prefixes, laid out so that each shared token is computed once.

The two orders of the options, the two options of a continuation begin alike: a row of a `Batch` is a tree of
tokens. A token attends to its ancestors alone, and its position is its depth. What all rows begin with (a persona,
the chat template's opening) is the batch's stem: one row more, whose keys and values every row attends to. Every
token has exactly the context that it has in its own sequence, so logits and residual streams equal those of
separate forward passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

MIN_STEM = 8  # tokens: a shorter stem costs a pass over one row and saves less


@dataclass(frozen=True)
class TokenSequence:
    """A prompt, and the answer whose tokens are scored one by one (empty: only the next token is read)."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...] = ()

    @property
    def inputs(self) -> tuple[int, ...]:
        """What the model reads: all but the last answer token, which is predicted and never read from."""
        return self.prompt + self.answer[:-1]


@dataclass(frozen=True)
class Path:
    """Where one sequence lies in a batch: after the stem, `batch.tokens[row, positions]` are its input tokens.

    `reads` are the positions whose logits predict `targets`: the last prompt token and the answer before its
    last token. Without an answer it is the last prompt token alone, and there are no targets.
    """

    group: int
    member: int
    row: int
    positions: Int[np.ndarray, " token"]
    reads: Int[np.ndarray, " read"]
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Rows of token trees after a shared stem. `visible[r, i, j]`: token i of row r attends to token j.

    `is_final` marks the last prompt token of each sequence, from which its answer begins. Every token attends
    to all of the stem, itself a batch of one row; without a shared beginning there is none.
    """

    tokens: Int[Tensor, "row pos"]
    position_ids: Int[Tensor, "row pos"]
    visible: Bool[Tensor, "row pos pos"]
    is_answer: Bool[Tensor, "row pos"]
    is_final: Bool[Tensor, "row pos"]
    is_padding: Bool[Tensor, "row pos"]
    paths: tuple[Path, ...]
    stem: Batch | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on `device`; to a GPU they travel while it works on."""

        def move(tensor: Tensor) -> Tensor:
            if device.type != "cuda":
                return tensor.to(device)
            return tensor.pin_memory().to(device, non_blocking=True)

        moved: dict[str, Any] = {n: move(getattr(self, n)) for n in _TENSORS}
        return replace(self, **moved, stem=self.stem.to(device) if self.stem else None)

    def halves(self) -> tuple[Batch, Batch]:
        """The rows in two batches, for a device that cannot hold them at once."""
        middle = len(self.tokens) // 2
        return self._rows(0, middle), self._rows(middle, len(self.tokens))

    def _rows(self, start: int, stop: int) -> Batch:
        paths = tuple(replace(p, row=p.row - start) for p in self.paths if start <= p.row < stop)
        kept: dict[str, Any] = {n: getattr(self, n)[start:stop] for n in _TENSORS}
        return replace(self, **kept, paths=paths)


_TENSORS = ("tokens", "position_ids", "visible", "is_answer", "is_final", "is_padding")


class _Tree:
    """One row while it grows. Tokens are shared when everything before them and their role agree."""

    def __init__(self, stem: int) -> None:
        self.stem = stem
        self.nodes: dict[tuple[int, int, bool, bool], int] = {}
        self.parents: list[int] = []
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.answer: list[bool] = []
        self.final: list[bool] = []
        self.members: list[tuple[int, int, np.ndarray, TokenSequence]] = []

    def add(self, group: int, member: int, sequence: TokenSequence) -> None:
        node, path, start = -1, [], len(sequence.prompt)
        for depth, token in enumerate(sequence.inputs[self.stem :], self.stem):
            key = (node, token, depth >= start, depth == start - 1)
            node = self.nodes.setdefault(key, len(self.tokens))
            if node == len(self.tokens):
                self.parents.append(key[0])
                self.tokens.append(token)
                self.depths.append(depth)
                self.answer.append(key[2])
                self.final.append(key[3])
            path.append(node)
        self.members.append((group, member, np.array(path), sequence))

    def paths(self, row: int) -> Iterable[Path]:
        for group, member, path, sequence in self.members:
            reads = path[len(sequence.prompt) - 1 - self.stem :]
            yield Path(group, member, row, path, reads, sequence.answer)

    def visible(self) -> Bool[np.ndarray, "pos pos"]:
        n = len(self.tokens)
        seen = np.eye(n, dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen


def make_batches(
    groups: Sequence[Sequence[TokenSequence]], *, pad: int, batch_tokens: int, share_stem: bool = True
) -> list[Batch]:
    """Lay groups of sequences out in batches of trees, longest rows first.

    A group (the prompts of one scenario) is one row. `batch_tokens` bounds a batch, padding included (a longer row
    is a batch of its own). `Path.group` and `Path.member` are the places of a sequence in `groups`. With
    `share_stem=False` each row holds all of its tokens.
    """
    stem = _shared_stem(groups) if share_stem else ()
    rows = []
    for group, members in enumerate(groups):
        tree = _Tree(len(stem))
        for member, sequence in enumerate(members):
            tree.add(group, member, sequence)
        rows.append(tree)
    rows.sort(key=lambda tree: -len(tree.tokens))
    first = _stem_batch(stem) if stem else None
    return [_stack(chunk, pad, first) for chunk in _chunks(rows, batch_tokens)]


def _shared_stem(groups: Sequence[Sequence[TokenSequence]]) -> tuple[int, ...]:
    """The prompt tokens that all sequences begin with, but no prompt's last one, from which is read."""
    if len(groups) < 2:
        return ()
    prompts = [sequence.prompt for members in groups for sequence in members]
    low, high = min(prompts), max(prompts)  # what the first and the last in order share, all between them do
    length = min(map(len, prompts)) - 1
    shared = next((i for i in range(length) if low[i] != high[i]), length)
    return low[:shared] if shared >= MIN_STEM else ()


def _stem_batch(tokens: tuple[int, ...]) -> Batch:
    n = len(tokens)
    none = torch.zeros(1, n, dtype=torch.bool)
    visible = torch.ones(1, n, n, dtype=torch.bool).tril()
    return Batch(torch.tensor([tokens]), torch.arange(n)[None], visible, none, none, none, ())


def _chunks(rows: list[_Tree], batch_tokens: int) -> Iterable[list[_Tree]]:
    chunk: list[_Tree] = []
    for row in rows:
        if chunk and (len(chunk) + 1) * len(chunk[0].tokens) > batch_tokens:
            yield chunk
            chunk = []
        chunk.append(row)
    if chunk:
        yield chunk


def _stack(rows: list[_Tree], pad: int, stem: Batch | None) -> Batch:
    width = max(len(row.tokens) for row in rows)

    def padded(values: list, fill: int | bool) -> list:
        return values + [fill] * (width - len(values))

    visible = np.broadcast_to(np.eye(width, dtype=bool), (len(rows), width, width)).copy()
    for r, row in enumerate(rows):
        visible[r, : len(row.tokens), : len(row.tokens)] = row.visible()
    return Batch(
        tokens=torch.tensor([padded(row.tokens, pad) for row in rows]),
        position_ids=torch.tensor([padded(row.depths, 0) for row in rows]),
        visible=torch.from_numpy(visible),
        is_answer=torch.tensor([padded(row.answer, False) for row in rows]),
        is_final=torch.tensor([padded(row.final, False) for row in rows]),
        is_padding=torch.tensor([padded([False] * len(row.tokens), True) for row in rows]),
        paths=tuple(path for r, row in enumerate(rows) for path in row.paths(r)),
        stem=stem,
    )
