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
    """A prompt, and the answer whose tokens are scored one by one (empty: only the next token is read).

    `options` are (start, stop) of the prompt's tokens that hold the words of an option; None where it has some that
    could not be found. An answer that is scored is an option's words too.
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...] = ()
    options: tuple[tuple[int, int], ...] | None = ()

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

    `is_final` marks the last prompt token of each sequence, from which its answer begins; `is_option` the words of
    options, unless `options_found` says that those of a sequence are not known. Every token attends to all of the
    stem, itself a batch of one row; without a shared beginning there is none.
    """

    tokens: Int[Tensor, "row pos"]
    position_ids: Int[Tensor, "row pos"]
    visible: Bool[Tensor, "row pos pos"]
    is_answer: Bool[Tensor, "row pos"]
    is_final: Bool[Tensor, "row pos"]
    is_option: Bool[Tensor, "row pos"]
    is_padding: Bool[Tensor, "row pos"]
    paths: tuple[Path, ...]
    stem: Batch | None = None
    options_found: bool = True

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on `device`; to a GPU they travel while it works on."""

        def move(tensor: Tensor) -> Tensor:
            if device.type != "cuda" or tensor.is_cuda:
                return tensor.to(device)
            return tensor.pin_memory().to(device, non_blocking=True)

        moved: dict[str, Any] = {n: move(getattr(self, n)) for n in _TENSORS}
        return replace(self, **moved, stem=self.stem.to(device) if self.stem else None)

    @property
    def longest(self) -> int:
        """The tokens of the longest sequence."""
        stem = self.stem.tokens.shape[1] if self.stem else 0
        return stem + max(len(path.positions) for path in self.paths)

    def unrolled(self) -> Batch:
        """The same sequences one a row, each by itself from its first token on: no tree and no stem."""
        members = [self._member(path) for path in self.paths]
        width = max(len(m["tokens"]) for m in members)
        stacked: dict[str, Any] = {
            name: torch.stack([_filled(m[name], width, name == "is_padding") for m in members])
            for name in members[0]
        }
        visible = torch.ones(width, width, dtype=torch.bool, device=self.tokens.device).tril()
        paths = []
        for row, path in enumerate(self.paths):
            n = int(members[row]["tokens"].shape[0])
            reads = np.arange(n - len(path.reads), n)
            paths.append(replace(path, row=row, positions=np.arange(n), reads=reads))
        return replace(
            self,
            **stacked,
            visible=visible.expand(len(paths), -1, -1),
            paths=tuple(paths),
            stem=None,
        )

    def _member(self, path: Path) -> dict[str, Tensor]:
        """What is known of each token of one sequence, those of the stem too."""
        at = torch.from_numpy(path.positions).to(self.tokens.device)
        own = {name: getattr(self, name)[path.row, at] for name in _TENSORS if name != "visible"}
        if self.stem is None:
            return own
        return {
            name: torch.cat([getattr(self.stem, name)[0], values]) for name, values in own.items()
        }

    def select(self, rows: Sequence[int], width: int) -> Batch:
        """Some of the rows, cut to `width` tokens."""
        place = {row: i for i, row in enumerate(rows)}
        kept: dict[str, Any] = {n: getattr(self, n)[list(rows), :width] for n in _TENSORS}
        kept["visible"] = kept["visible"][:, :, :width]
        paths = tuple(replace(p, row=place[p.row]) for p in self.paths if p.row in place)
        return replace(self, **kept, paths=paths)

    def halves(self) -> tuple[Batch, Batch]:
        """The rows in two batches, for a device that cannot hold them at once."""
        middle = len(self.tokens) // 2
        return self._rows(0, middle), self._rows(middle, len(self.tokens))

    def _rows(self, start: int, stop: int) -> Batch:
        paths = tuple(replace(p, row=p.row - start) for p in self.paths if start <= p.row < stop)
        kept: dict[str, Any] = {n: getattr(self, n)[start:stop] for n in _TENSORS}
        return replace(self, **kept, paths=paths)


_TENSORS = ("tokens", "position_ids", "visible", "is_answer", "is_final", "is_option", "is_padding")


def _filled(values: Tensor, width: int, last: bool) -> Tensor:
    """A row's values up to `width`: padding is the row's last token once more, always one that the model knows."""
    filler = (
        values.new_full((width - len(values),), True)
        if last
        else values[-1:].expand(width - len(values))
    )
    return torch.cat([values, filler])


class _Tree:
    """One row while it grows. Tokens are shared when everything before them and their role agree."""

    def __init__(self, stem: int) -> None:
        self.stem = stem
        self.size = 0
        self.members: list[_Member] = []

    def add(self, group: int, member: int, sequence: TokenSequence) -> None:
        depth, start = np.arange(self.stem, len(sequence.inputs)), len(sequence.prompt)
        is_option = depth >= start
        for first, stop in sequence.options or ():
            is_option[first - self.stem : stop - self.stem] = True
        kinds = np.stack(
            [np.array(sequence.inputs[self.stem :]), depth >= start, depth == start - 1, is_option]
        )
        shared = max((_shared(kinds, other) for other in self.members), key=len, default=depth[:0])
        path = np.concatenate([shared, np.arange(self.size, self.size + len(depth) - len(shared))])
        self.size += len(depth) - len(shared)
        self.members.append(_Member(group, member, path, kinds, sequence))

    def paths(self, row: int) -> Iterable[Path]:
        for m in self.members:
            reads = m.path[len(m.sequence.prompt) - 1 - self.stem :]
            yield Path(m.group, m.member, row, m.path, reads, m.sequence.answer)


@dataclass(frozen=True)
class _Member:
    """A sequence in its row: where its tokens lie; which they are, which of the answer, read first, of options."""

    group: int
    member: int
    path: Int[np.ndarray, " token"]
    kinds: Int[np.ndarray, "4 token"]
    sequence: TokenSequence


def _shared(kinds: Int[np.ndarray, "4 token"], other: _Member) -> Int[np.ndarray, " shared"]:
    """Where the tokens lie that a sequence begins with like another one that is in the row already."""
    n = min(kinds.shape[1], len(other.path))
    differ = (kinds[:, :n] != other.kinds[:, :n]).any(0)
    return other.path[: int(differ.argmax()) if differ.any() else n]


def make_batches(
    groups: Sequence[Sequence[TokenSequence]],
    *,
    pad: int,
    batch_tokens: int,
    share_stem: bool = True,
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
    rows.sort(key=lambda tree: -tree.size)
    first = _stem_batch(stem) if stem else None
    return [_stack(chunk, pad, first) for chunk in _chunks(rows, batch_tokens)]


def _shared_stem(groups: Sequence[Sequence[TokenSequence]]) -> tuple[int, ...]:
    """The prompt tokens that all sequences begin with, before any option and any prompt's last one, which is read."""
    if len(groups) < 2:
        return ()
    sequences = [sequence for members in groups for sequence in members]
    prompts = [sequence.prompt for sequence in sequences]
    low, high = (
        min(prompts),
        max(prompts),
    )  # what the first and the last in order share, all between them do
    first_options = [first for sequence in sequences for first, _ in sequence.options or ()]
    length = min([min(map(len, prompts)) - 1, *first_options])
    shared = next((i for i in range(length) if low[i] != high[i]), length)
    return low[:shared] if shared >= MIN_STEM else ()


def _stem_batch(tokens: tuple[int, ...]) -> Batch:
    n = len(tokens)
    none = torch.zeros(1, n, dtype=torch.bool)
    visible = torch.ones(1, n, n, dtype=torch.bool).tril()
    return Batch(torch.tensor([tokens]), torch.arange(n)[None], visible, none, none, none, none, ())


def _chunks(rows: list[_Tree], batch_tokens: int) -> Iterable[list[_Tree]]:
    chunk: list[_Tree] = []
    for row in rows:
        if chunk and (len(chunk) + 1) * chunk[0].size > batch_tokens:
            yield chunk
            chunk = []
        chunk.append(row)
    if chunk:
        yield chunk


def _stack(rows: list[_Tree], pad: int, stem: Batch | None) -> Batch:
    width = max(row.size for row in rows)
    shape = len(rows), width
    tokens, position_ids = np.full(shape, pad), np.zeros(shape, dtype=int)
    is_answer, is_final, is_option = np.zeros((3, *shape), dtype=bool)
    visible = np.broadcast_to(np.eye(width, dtype=bool), (len(rows), width, width)).copy()
    for r, row in enumerate(rows):
        for member in row.members:
            path = member.path
            tokens[r, path], is_answer[r, path], is_final[r, path], is_option[r, path] = (
                member.kinds
            )
            position_ids[r, path] = np.arange(row.stem, row.stem + len(path))
            visible[r][np.ix_(path, path)] = np.tri(len(path), dtype=bool)
    is_padding = np.arange(width) >= np.array([[row.size] for row in rows])
    return Batch(
        tokens=torch.from_numpy(tokens),
        position_ids=torch.from_numpy(position_ids),
        visible=torch.from_numpy(visible),
        is_answer=torch.from_numpy(is_answer),
        is_final=torch.from_numpy(is_final),
        is_option=torch.from_numpy(is_option),
        is_padding=torch.from_numpy(is_padding),
        paths=tuple(path for r, row in enumerate(rows) for path in row.paths(r)),
        stem=stem,
        options_found=all(
            member.sequence.options is not None for row in rows for member in row.members
        ),
    )
