"""Token trees keep each sequence's own context."""

from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np
import pytest

from interp_culture.engine import token_tree
from interp_culture.engine.token_tree import MIN_STEM, Batch, TokenSequence, make_batches

GROUPS = [
    [TokenSequence((5, 6, 7), (8, 9), ((1, 2),)), TokenSequence((5, 6, 7), (4, 9, 3), ((1, 2),))],
    [TokenSequence((5, 6)), TokenSequence((5, 2, 2, 2, 2), options=((1, 2), (3, 5)))],
]
OPTIONS = {(0, 0): [0, 1, 0, 1], (0, 1): [0, 1, 0, 1, 1], (1, 0): [0, 0], (1, 1): [0, 1, 0, 1, 1]}
STEM = tuple(range(20, 20 + MIN_STEM))


def with_stem(stem: tuple[int, ...]) -> list[list[TokenSequence]]:
    def after(s: TokenSequence) -> TokenSequence:
        options = tuple((start + len(stem), stop + len(stem)) for start, stop in s.options or ())
        return replace(s, prompt=stem + s.prompt, options=options)

    return [[after(s) for s in members] for members in GROUPS]


def stem_of(batch: Batch) -> tuple[int, ...]:
    return tuple(batch.stem.tokens[0].tolist()) if batch.stem is not None else ()


@pytest.mark.parametrize("batch_tokens", [1, 1000])
@pytest.mark.parametrize(
    ("stem", "share"), [((), True), (STEM, True), (STEM, False), (STEM[1:], True)]
)
def test_each_token_sees_exactly_its_own_sequence(
    stem: tuple[int, ...], share: bool, batch_tokens: int
) -> None:
    groups = with_stem(stem)
    seen = set()
    for batch in make_batches(groups, pad=0, batch_tokens=batch_tokens, share_stem=share):
        # GROUPS share their first token, so MIN_STEM - 1 more tokens make a stem.
        shared = stem_of(batch)
        assert len(shared) == (len(stem) + 1 if share and len(stem) + 1 >= MIN_STEM else 0)
        for path in batch.paths:
            sequence = groups[path.group][path.member]
            seen.add((path.group, path.member))
            assert (
                shared + tuple(batch.tokens[path.row, path.positions].tolist()) == sequence.inputs
            )
            for depth, position in enumerate(path.positions):
                visible = np.flatnonzero(batch.visible[path.row, position].numpy())
                assert sorted(visible) == sorted(path.positions[: depth + 1])
                assert batch.position_ids[path.row, position] == len(shared) + depth
            assert path.targets == sequence.answer
            assert len(path.reads) == max(1, len(sequence.answer))
            assert bool(batch.is_final[path.row, path.reads[0]])
            by_hand = [0] * len(stem) + OPTIONS[path.group, path.member]
            assert (
                batch.is_option[path.row, path.positions].int().tolist() == by_hand[len(shared) :]
            )
    assert len(seen) == 4


def test_the_stem_is_a_plain_causal_row_of_prompt_tokens() -> None:
    stem = make_batches(with_stem(STEM), pad=0, batch_tokens=1000)[0].stem
    assert stem is not None
    assert stem.tokens.tolist() == [[*STEM, 5]]
    assert stem.position_ids.tolist() == [list(range(MIN_STEM + 1))]
    assert stem.visible[0].tolist() == np.tri(MIN_STEM + 1, dtype=bool).tolist()
    for none in (stem.is_answer, stem.is_final, stem.is_option, stem.is_padding):
        assert not none.any()


def test_no_prompts_last_token_is_in_the_stem() -> None:
    groups = [[TokenSequence(STEM)], [TokenSequence((*STEM, 1, 2))]]
    (batch,) = make_batches(groups, pad=0, batch_tokens=1000)
    assert batch.stem is None  # one token less than STEM is shared
    groups = [[TokenSequence((*STEM, 1))], [TokenSequence((*STEM, 1, 2))]]
    (batch,) = make_batches(groups, pad=0, batch_tokens=1000)
    assert stem_of(batch) == STEM


def test_a_stem_ends_before_the_first_option() -> None:
    groups = [
        [TokenSequence((*STEM, 1, 2, n), options=((MIN_STEM + 1, MIN_STEM + 3),))] for n in range(2)
    ]
    (batch,) = make_batches(groups, pad=0, batch_tokens=1000)
    assert stem_of(batch) == (*STEM, 1)
    assert batch.is_option.all()


def test_the_same_token_is_not_shared_where_it_is_an_option_of_one_alone() -> None:
    (batch,) = make_batches(
        [[TokenSequence((1, 2, 3)), TokenSequence((1, 2, 3), options=((1, 2),))]],
        pad=0,
        batch_tokens=1000,
    )
    assert batch.tokens.tolist() == [[1, 2, 3, 2, 3]]
    assert batch.is_option.int().tolist() == [[0, 0, 0, 1, 0]]


def test_options_that_are_not_located_mark_only_their_batch() -> None:
    groups = [[TokenSequence((1, 2, 3), options=None)], [TokenSequence((1, 2))]]
    assert [b.options_found for b in make_batches(groups, pad=0, batch_tokens=1)] == [False, True]


def test_the_example_of_the_docstring() -> None:
    result = doctest.testmod(token_tree)
    assert result.failed == 0
    assert result.attempted > 0


def test_shared_prefixes_are_held_once() -> None:
    (batch,) = make_batches(GROUPS[:1], pad=0, batch_tokens=1000)
    # 5 6 7 are shared, then 8 | 4 9. The last answer tokens are only scored.
    assert int((~batch.is_padding).sum()) == 6


def test_a_prompts_last_token_is_not_shared_with_a_longer_prompt() -> None:
    (batch,) = make_batches(GROUPS[1:], pad=0, batch_tokens=1000)
    assert int(batch.is_final.sum()) == 2


def test_batches_respect_their_size() -> None:
    groups = [[TokenSequence(tuple(range(n)))] for n in range(3, 40)]
    batches = make_batches(groups, pad=0, batch_tokens=100)
    assert all(b.tokens.numel() <= 100 for b in batches)
    assert sum(len(b.paths) for b in batches) == len(groups)


def test_halves_hold_the_same_rows() -> None:
    (batch,) = make_batches(
        [*with_stem(STEM), [TokenSequence((*STEM, 5, 9, 9))]], pad=0, batch_tokens=1000
    )
    first, second = batch.halves()
    assert first.stem is second.stem is batch.stem
    assert (len(first.tokens), len(second.tokens)) == (1, 2)
    assert len(first.paths) + len(second.paths) == len(batch.paths)
    for half, offset in ((first, 0), (second, 1)):
        for path in half.paths:
            assert half.tokens[path.row].tolist() == batch.tokens[path.row + offset].tolist()
            assert half.visible[path.row].tolist() == batch.visible[path.row + offset].tolist()
            assert half.is_option[path.row].tolist() == batch.is_option[path.row + offset].tolist()
