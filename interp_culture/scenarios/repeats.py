"""Near-identical texts, and a split that never puts two of them into different halves."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

from interp_culture.scenarios.wording import word_sequence

# Shorter texts differ by one word in what they are about ("Case 1", "Take the bus?").
MIN_WORDS = 8


def near_identical(texts: Sequence[str]) -> list[int]:
    """A group number for each text: texts of the same words, or that differ by one word, share one.

    Case, punctuation, white space and Unicode form do not count. A text of fewer than eight words, or one that differs
    by a number, is near-identical to its exact repeats alone. Groups are closed: if A is near B and B near C, all
    three are one group. Numbers are given in the order of first appearance.

    >>> near_identical(["Go?", "go", "Stay?"])
    [0, 0, 2]
    """
    parent = list(range(len(texts)))
    first_with: dict[Hashable, int] = {}
    for index, text in enumerate(texts):
        for signature in _signatures(word_sequence(text) or (text,)):
            other = first_with.setdefault(signature, index)
            _join(parent, index, other)
    return [_root(parent, index) for index in range(len(texts))]


def grouped_halves(
    cells: Sequence[str], groups: Sequence[Hashable], train_share: float, seed: int
) -> tuple[list[int], list[int]]:
    """(train, test) indices: members of a group in one half, every cell divided as nearly as its groups allow.

    The largest groups are placed first, each where it is needed most; the order among equals is drawn with the seed.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    sizes = Counter(cells)
    missing = (
        {cell: n * train_share for cell, n in sizes.items()},
        {cell: n * (1 - train_share) for cell, n in sizes.items()},
    )
    halves: tuple[list[int], list[int]] = [], []
    order = list(members.values())
    random.Random(seed).shuffle(order)
    for indices in sorted(order, key=len, reverse=True):
        needs = [sum(half[cells[i]] for i in indices) for half in missing]
        chosen = 0 if needs[0] >= needs[1] else 1
        halves[chosen].extend(indices)
        for i in indices:
            missing[chosen][cells[i]] -= 1
    return sorted(halves[0]), sorted(halves[1])


def _signatures(words: tuple[str, ...]) -> Iterable[Hashable]:
    """The words, and the words with each one left out: two texts share one if they differ by at most one word."""
    yield hash(words)
    if len(words) < MIN_WORDS:
        return
    for i, word in enumerate(words):
        if not word.isnumeric():
            # Hashes keep a long file's million signatures small.
            yield hash(words[:i] + words[i + 1 :])


def _join(parent: list[int], one: int, other: int) -> None:
    a, b = sorted((_root(parent, one), _root(parent, other)))
    parent[b] = a


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
