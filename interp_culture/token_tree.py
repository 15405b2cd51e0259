"""Token sequences that share prefixes, laid out so that each shared token is computed once.

The two orders of the options, the two options of a continuation and all prompts under one system message begin
alike. A row of a `Batch` is a tree of tokens: a token attends to its ancestors alone, and its position is its
depth. Every token then has exactly the context that it has in its own sequence, so logits and residual
streams equal those of separate forward passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor


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
    """Where one sequence lies in a batch: `batch.tokens[row, positions]` are its input tokens.

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
    """Rows of token trees. `visible[r, i, j]`: token i of row r attends to token j.

    `is_final` marks the last prompt token of each sequence, from which its answer begins.
    """

    tokens: Int[Tensor, "row pos"]
    position_ids: Int[Tensor, "row pos"]
    visible: Bool[Tensor, "row pos pos"]
    is_answer: Bool[Tensor, "row pos"]
    is_final: Bool[Tensor, "row pos"]
    is_padding: Bool[Tensor, "row pos"]
    paths: tuple[Path, ...]

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on `device`."""
        moved = {
            name: getattr(self, name).to(device)
            for name in ("tokens", "position_ids", "visible", "is_answer", "is_final", "is_padding")
        }
        return Batch(**moved, paths=self.paths)


class _Tree:
    """One row while it grows. Tokens are shared when everything before them and their role agree."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[int, int, bool, bool], int] = {}
        self.parents: list[int] = []
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.answer: list[bool] = []
        self.final: list[bool] = []
        self.members: list[tuple[int, int, np.ndarray, TokenSequence]] = []

    def shared(self, sequence: TokenSequence) -> int:
        """How many of the sequence's first tokens are here already."""
        node = -1
        for depth, token in enumerate(sequence.inputs):
            found = self.nodes.get(self._key(node, depth, token, sequence))
            if found is None:
                return depth
            node = found
        return len(sequence.inputs)

    def add(self, group: int, member: int, sequence: TokenSequence) -> None:
        node, path = -1, []
        for depth, token in enumerate(sequence.inputs):
            key = self._key(node, depth, token, sequence)
            node = self.nodes.setdefault(key, len(self.tokens))
            if node == len(self.tokens):
                self.parents.append(key[0])
                self.tokens.append(token)
                self.depths.append(depth)
                self.answer.append(key[2])
                self.final.append(key[3])
            path.append(node)
        self.members.append((group, member, np.array(path), sequence))

    @staticmethod
    def _key(parent: int, depth: int, token: int, sequence: TokenSequence) -> tuple[int, int, bool, bool]:
        start = len(sequence.prompt)
        return parent, token, depth >= start, depth == start - 1

    def paths(self, row: int) -> Iterable[Path]:
        for group, member, path, sequence in self.members:
            reads = path[len(sequence.prompt) - 1 :]
            yield Path(group, member, row, path, reads, sequence.answer)

    def visible(self) -> Bool[np.ndarray, "pos pos"]:
        n = len(self.tokens)
        seen = np.eye(n, dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen


def make_batches(
    groups: Sequence[Sequence[TokenSequence]],
    *,
    pad: int,
    row_tokens: int,
    batch_tokens: int,
) -> list[Batch]:
    """Lay groups of sequences out in batches of trees, longest rows first.

    A group (the prompts of one scenario) stays within one row. `row_tokens` bounds a row (a longer group has a
    row of its own): longer rows share more and attend over more. `batch_tokens` bounds a batch, padding
    included. `Path.group` and `Path.member` are the places of a sequence in `groups`.
    """
    order = sorted(range(len(groups)), key=lambda g: -max(len(s.inputs) for s in groups[g]))
    rows: list[_Tree] = []
    for group in order:
        alone = _Tree()
        for sequence in groups[group]:
            alone.add(group, 0, sequence)
        shared = rows[-1].shared(groups[group][0]) if rows else 0
        if not rows or len(rows[-1].tokens) + len(alone.tokens) - shared > row_tokens:
            rows.append(_Tree())
        for member, sequence in enumerate(groups[group]):
            rows[-1].add(group, member, sequence)
    rows.sort(key=lambda tree: -len(tree.tokens))
    return [_stack(chunk, pad) for chunk in _chunks(rows, batch_tokens)]


def _chunks(rows: list[_Tree], batch_tokens: int) -> Iterable[list[_Tree]]:
    chunk: list[_Tree] = []
    for row in rows:
        if chunk and (len(chunk) + 1) * len(chunk[0].tokens) > batch_tokens:
            yield chunk
            chunk = []
        chunk.append(row)
    if chunk:
        yield chunk


def _stack(rows: list[_Tree], pad: int) -> Batch:
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
    )
