"""Token sequences laid out as trees, so that the tokens of a shared prefix are computed once.

The two orders of the options begin alike, and so do the two options of a continuation. A row of a
`Batch` is therefore a tree of tokens: a token attends only to its ancestors, and its position is
its depth. The prefix of all rows (a persona, the opening of the chat template) is the batch's stem,
a row of its own whose keys and values every other row attends to. Every token has exactly the
context it has in its own sequence, so logits and residual streams equal those of separate passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from einops import repeat
from jaxtyping import Bool, Int
from torch import Tensor

MIN_STEM = 8  # tokens: a shorter stem costs a pass over one row and saves less


@dataclass(frozen=True)
class TokenSequence:
    """A prompt and the answer that is scored after it, as tokens.

    Attributes:
        prompt: the tokens of the prompt.
        answer: the tokens that are scored one by one; empty where only the next token is read.
        options: (start, stop) of the prompt's tokens that hold the words of each option; None where
            the prompt has options whose words could not be located. A scored answer counts as the
            words of an option too.
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...] = ()
    options: tuple[tuple[int, int], ...] | None = ()

    @property
    def inputs(self) -> tuple[int, ...]:
        """The tokens that the model reads: all but the last answer token, which is only scored."""
        return self.prompt + self.answer[:-1]


@dataclass(frozen=True)
class Path:
    """The place of one sequence in a batch.

    Attributes:
        group, member: the place of the sequence in the groups given to `make_batches`.
        row: its row in the batch.
        positions: `batch.tokens[row, positions]` are its input tokens after the stem.
        reads: the positions whose logits predict `targets`: the last prompt token, and the answer
            tokens but the last. Without an answer, the last prompt token alone.
        targets: the answer tokens; empty without an answer.
    """

    group: int
    member: int
    row: int
    positions: Int[np.ndarray, " token"]
    reads: Int[np.ndarray, " read"]
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Rows of token trees after a shared stem.

    Attributes:
        tokens: token ids.
        position_ids: the depth of each token in its own sequence, counted with the stem.
        visible: `visible[r, i, j]` is true where token i of row r attends to token j. Every token
            also attends to all of the stem.
        is_answer: the tokens of answers.
        is_final: the last prompt token of each sequence, after which its answer begins.
        is_option: the words of options.
        is_padding: padding.
        paths: the place of each sequence.
        stem: the shared prefix, a batch of one row; None where the rows share no prefix.
        options_found: false where the words of the options of some sequence were not located.
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
        """The same batch with its tensors on `device`; copies to a GPU are asynchronous."""

        def move(tensor: Tensor) -> Tensor:
            if device.type != "cuda" or tensor.is_cuda:
                return tensor.to(device)
            # A copy to a GPU is asynchronous only from pinned memory.
            return tensor.pin_memory().to(device, non_blocking=True)

        tensors: dict[str, Any] = {name: move(getattr(self, name)) for name in _TENSORS}
        stem = self.stem.to(device) if self.stem else None
        return replace(self, **tensors, stem=stem)

    @property
    def longest(self) -> int:
        """The number of tokens of the longest sequence."""
        stem = self.stem.tokens.shape[1] if self.stem else 0
        return stem + max(len(path.positions) for path in self.paths)

    def unrolled(self) -> Batch:
        """The same sequences, one per row from its first token on, without trees and stem."""
        members = [self._member(path) for path in self.paths]
        width = max(len(member["tokens"]) for member in members)
        tensors: dict[str, Any] = {}
        for name in members[0]:
            rows = [_padded(member[name], width, name == "is_padding") for member in members]
            tensors[name] = torch.stack(rows)
        causal = torch.ones(width, width, dtype=torch.bool, device=self.tokens.device).tril()
        paths = []
        for row, path in enumerate(self.paths):
            length = int(members[row]["tokens"].shape[0])
            reads = np.arange(length - len(path.reads), length)
            paths.append(replace(path, row=row, positions=np.arange(length), reads=reads))
        visible = causal.expand(len(paths), -1, -1)
        return replace(self, **tensors, visible=visible, paths=tuple(paths), stem=None)

    def _member(self, path: Path) -> dict[str, Tensor]:
        """The values of each token of one sequence, its stem included."""
        positions = torch.from_numpy(path.positions).to(self.tokens.device)
        names = [name for name in _TENSORS if name != "visible"]
        after_stem = {name: getattr(self, name)[path.row, positions] for name in names}
        if self.stem is None:
            return after_stem
        return {
            name: torch.cat([getattr(self.stem, name)[0], values])
            for name, values in after_stem.items()
        }

    def select(self, rows: Sequence[int], width: int) -> Batch:
        """The given rows, cut to `width` tokens."""
        new_row = {row: i for i, row in enumerate(rows)}
        tensors: dict[str, Any] = {n: getattr(self, n)[list(rows), :width] for n in _TENSORS}
        tensors["visible"] = tensors["visible"][:, :, :width]
        paths = tuple(replace(p, row=new_row[p.row]) for p in self.paths if p.row in new_row)
        return replace(self, **tensors, paths=paths)

    def singly(self) -> list[Batch]:
        """Each sequence in a batch of its own, without padding."""
        rows = self.unrolled()
        return [rows.select([p.row], len(p.positions)) for p in rows.paths]

    def halves(self) -> tuple[Batch, Batch]:
        """The rows in two batches, for a device that cannot hold them at once."""
        middle = len(self.tokens) // 2
        return self._rows(0, middle), self._rows(middle, len(self.tokens))

    def _rows(self, start: int, stop: int) -> Batch:
        paths = tuple(replace(p, row=p.row - start) for p in self.paths if start <= p.row < stop)
        tensors: dict[str, Any] = {name: getattr(self, name)[start:stop] for name in _TENSORS}
        return replace(self, **tensors, paths=paths)


_TENSORS = ("tokens", "position_ids", "visible", "is_answer", "is_final", "is_option", "is_padding")


def _padded(values: Tensor, width: int, is_padding: bool) -> Tensor:
    """The values of a row's tokens, padded to `width`; `is_padding` itself is padded with True.

    Padding repeats the row's last token, which is always one that the model has an embedding for.
    """
    missing = width - len(values)
    filler = values.new_full((missing,), True) if is_padding else values[-1:].expand(missing)
    return torch.cat([values, filler])


class _Tree:
    """A row under construction. Tokens are shared where they, their roles and prefixes agree."""

    def __init__(self, stem: int) -> None:
        self.stem = stem
        self.size = 0
        self.members: list[_Member] = []

    def add(self, group: int, member: int, sequence: TokenSequence) -> None:
        """Add a sequence; only the tokens that no earlier sequence shares make the row longer."""
        # Roles count: an edit of answers must not change a token that is another's prompt.
        kinds = _kinds(sequence, self.stem)
        length = kinds.shape[1]
        prefixes = [_shared(kinds, other) for other in self.members]
        shared = max(prefixes, key=len, default=np.arange(0))
        n_new = length - len(shared)
        path = np.concatenate([shared, np.arange(self.size, self.size + n_new)])
        self.size += n_new
        self.members.append(_Member(group, member, path, kinds, sequence))

    def paths(self, row: int) -> Iterable[Path]:
        for m in self.members:
            reads = m.path[len(m.sequence.prompt) - 1 - self.stem :]
            yield Path(m.group, m.member, row, m.path, reads, m.sequence.answer)


@dataclass(frozen=True)
class _Member:
    """A sequence in its row: the place of each of its tokens after the stem, and their `_kinds`."""

    group: int
    member: int
    path: Int[np.ndarray, " token"]
    kinds: Int[np.ndarray, "4 token"]
    sequence: TokenSequence


def _kinds(sequence: TokenSequence, stem: int) -> Int[np.ndarray, "4 token"]:
    """The tokens after the stem and their roles: token id, is_answer, is_final, is_option."""
    depth = np.arange(stem, len(sequence.inputs))
    answer_start = len(sequence.prompt)
    is_answer = depth >= answer_start
    is_final = depth == answer_start - 1
    is_option = is_answer.copy()
    for first, stop in sequence.options or ():
        is_option[first - stem : stop - stem] = True
    return np.stack([np.array(sequence.inputs[stem:]), is_answer, is_final, is_option])


def _shared(kinds: Int[np.ndarray, "4 token"], other: _Member) -> Int[np.ndarray, " shared"]:
    """The places of the tokens that a sequence shares with one already in the row."""
    length = min(kinds.shape[1], len(other.path))
    differs = (kinds[:, :length] != other.kinds[:, :length]).any(0)
    # `argmax` finds the first True; without any it would be 0.
    n_shared = int(differs.argmax()) if differs.any() else length
    return other.path[:n_shared]


def make_batches(
    groups: Sequence[Sequence[TokenSequence]],
    *,
    pad: int,
    batch_tokens: int,
    share_stem: bool = True,
) -> list[Batch]:
    """Lay groups of sequences out in batches of token trees, longest rows first.

    Args:
        groups: a group (the prompts of one scenario) is one row. `Path.group` and `Path.member` are
            the places of a sequence in it.
        pad: the token that fills rows up; it is never attended to.
        batch_tokens: the largest size of a batch, padding included. A longer row is a batch of its
            own.
        share_stem: whether the prefix of all rows is read once; otherwise each row holds all of its
            tokens.

    >>> one, other = TokenSequence((5, 6, 7), (8, 9)), TokenSequence((5, 6, 7), (4, 9))
    >>> (batch,) = make_batches([[one, other]], pad=0, batch_tokens=100)
    >>> batch.tokens.tolist()  # the last answer tokens are only scored
    [[5, 6, 7, 8, 4]]
    >>> [path.positions.tolist() for path in batch.paths]
    [[0, 1, 2, 3], [0, 1, 2, 4]]
    """
    stem = _shared_stem(groups) if share_stem else ()
    rows = []
    for group, members in enumerate(groups):
        tree = _Tree(len(stem))
        for member, sequence in enumerate(members):
            tree.add(group, member, sequence)
        rows.append(tree)
    # Rows of similar length end up in one batch, which keeps padding small.
    rows.sort(key=lambda tree: -tree.size)
    stem_batch = _stem_batch(stem) if stem else None
    return [_stack(chunk, pad, stem_batch) for chunk in _chunks(rows, batch_tokens)]


def _shared_stem(groups: Sequence[Sequence[TokenSequence]]) -> tuple[int, ...]:
    """The prefix of all prompts, ending before any option and before any prompt's last token.

    A prompt's last token is read, so it must be in the prompt's own row.
    """
    if len(groups) < 2:
        return ()
    sequences = [sequence for members in groups for sequence in members]
    prompts = [sequence.prompt for sequence in sequences]
    # The first and the last prompt in lexicographic order share what all prompts share.
    low = min(prompts)
    high = max(prompts)
    option_starts = [start for sequence in sequences for start, _ in sequence.options or ()]
    longest = min([min(map(len, prompts)) - 1, *option_starts])
    length = next((i for i in range(longest) if low[i] != high[i]), longest)
    return low[:length] if length >= MIN_STEM else ()


def _stem_batch(tokens: tuple[int, ...]) -> Batch:
    n = len(tokens)
    no = torch.zeros(1, n, dtype=torch.bool)
    causal = torch.ones(1, n, n, dtype=torch.bool).tril()
    return Batch(torch.tensor([tokens]), torch.arange(n)[None], causal, no, no, no, no, ())


def _chunks(rows: list[_Tree], batch_tokens: int) -> Iterable[list[_Tree]]:
    chunk: list[_Tree] = []
    for row in rows:
        # Rows come longest first, so that the first one is the width of its batch.
        if chunk and (len(chunk) + 1) * chunk[0].size > batch_tokens:
            yield chunk
            chunk = []
        chunk.append(row)
    if chunk:
        yield chunk


def _stack(rows: list[_Tree], pad: int, stem: Batch | None) -> Batch:
    """The trees as one batch. Padding attends to itself: a softmax over no key would be NaN."""
    width = max(row.size for row in rows)
    kinds = np.zeros((4, len(rows), width), dtype=int)
    kinds[0] = pad
    position_ids = np.zeros((len(rows), width), dtype=int)
    visible = repeat(np.eye(width, dtype=bool), "pos key -> row pos key", row=len(rows)).copy()
    for r, row in enumerate(rows):
        for member in row.members:
            path = member.path
            kinds[:, r, path] = member.kinds
            position_ids[r, path] = np.arange(row.stem, row.stem + len(path))
            visible[r][np.ix_(path, path)] = np.tri(len(path), dtype=bool)
    sizes = np.array([row.size for row in rows])
    is_padding = np.arange(width) >= sizes[:, None]
    tokens, is_answer, is_final, is_option = torch.from_numpy(kinds)
    members = [member for row in rows for member in row.members]
    return Batch(
        tokens=tokens,
        position_ids=torch.from_numpy(position_ids),
        visible=torch.from_numpy(visible),
        is_answer=is_answer.bool(),
        is_final=is_final.bool(),
        is_option=is_option.bool(),
        is_padding=torch.from_numpy(is_padding),
        paths=tuple(path for r, row in enumerate(rows) for path in row.paths(r)),
        stem=stem,
        options_found=all(member.sequence.options is not None for member in members),
    )
