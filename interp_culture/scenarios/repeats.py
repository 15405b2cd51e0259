"""Groups of near-identical texts, and a split that keeps every group in one half."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

from interp_culture.scenarios.wording import word_sequence

# In a shorter text, one word can be the whole subject ("Take the bus?", "Take the tram?").
MIN_WORDS = 8


def near_identical(texts: Sequence[str]) -> list[int]:
    """The group number of each text; texts whose words are the same but for one share a group.

    Case, punctuation, white space and Unicode form are ignored. A text of fewer than eight words
    is grouped only with texts of exactly the same words. Texts that differ by a number are not
    near-identical. Groups are transitive: if A is near B and B is near C, all three share one.

    Returns:
        For each text, the index of the first text of its group.

    >>> near_identical(["Go?", "go", "Stay?"])
    [0, 0, 2]
    """
    parent = list(range(len(texts)))
    first_with: dict[Hashable, int] = {}
    for index, text in enumerate(texts):
        # A text of symbols alone has no words and is compared as it stands.
        for signature in _signatures(word_sequence(text) or (text,)):
            other = first_with.setdefault(signature, index)
            _join(parent, index, other)
    return [_root(parent, index) for index in range(len(texts))]


def grouped_halves(
    cells: Sequence[str], groups: Sequence[Hashable], train_share: float, seed: int
) -> tuple[list[int], list[int]]:
    """(train, test) indices of a stratified split that never divides a group.

    The largest groups are placed first, each in the half that needs it most. The seed decides
    the order of groups of equal size.

    Args:
        cells: the stratum of each member; every stratum is divided as evenly as its groups allow.
        groups: the group of each member.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    sizes = Counter(cells)
    missing = (
        {cell: n * train_share for cell, n in sizes.items()},
        {cell: n * (1 - train_share) for cell, n in sizes.items()},
    )
    halves: tuple[list[int], list[int]] = ([], [])
    order = list(members.values())
    random.Random(seed).shuffle(order)
    # A large group that came last could not be balanced by others any more.
    # `sorted` is stable, so groups of one size stay in the shuffled order.
    for indices in sorted(order, key=len, reverse=True):
        needs = [sum(half[cells[i]] for i in indices) for half in missing]
        chosen = 0 if needs[0] >= needs[1] else 1
        halves[chosen].extend(indices)
        for i in indices:
            missing[chosen][cells[i]] -= 1
    return sorted(halves[0]), sorted(halves[1])


def _signatures(words: tuple[str, ...]) -> Iterable[Hashable]:
    """Hashes of the words, and of the words without each one in turn.

    Two texts share a signature if they differ by at most one word.
    """
    yield hash(words)
    if len(words) < MIN_WORDS:
        return
    for i, word in enumerate(words):
        # Without their numbers, "Take 5 pills." and "Take 50 pills." would be the same.
        if not word.isnumeric():
            # Hashes keep the signatures of a long file small: there can be a million of them.
            yield hash(words[:i] + words[i + 1 :])


def _join(parent: list[int], one: int, other: int) -> None:
    """Merge two groups; the lower root wins, so that a group's number is its first text."""
    lower, higher = sorted((_root(parent, one), _root(parent, other)))
    parent[higher] = lower


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        # Path halving keeps the chains short.
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
