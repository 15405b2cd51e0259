"""Token trees keep each sequence's own context."""

from __future__ import annotations

import numpy as np

from interp_culture.token_tree import TokenSequence, make_batches

GROUPS = [
    [TokenSequence((5, 6, 7), (8, 9)), TokenSequence((5, 6, 7), (4, 9, 3))],
    [TokenSequence((5, 6)), TokenSequence((5, 2, 2, 2, 2))],
]


def test_each_token_sees_exactly_its_own_sequence() -> None:
    for row_tokens in (1, 100):
        seen = set()
        for batch in make_batches(GROUPS, pad=0, row_tokens=row_tokens, batch_tokens=1000):
            for path in batch.paths:
                sequence = GROUPS[path.group][path.member]
                seen.add((path.group, path.member))
                assert tuple(batch.tokens[path.row, path.positions].tolist()) == sequence.inputs
                for depth, position in enumerate(path.positions):
                    visible = np.flatnonzero(batch.visible[path.row, position].numpy())
                    assert sorted(visible) == sorted(path.positions[: depth + 1])
                    assert batch.position_ids[path.row, position] == depth
                assert path.targets == sequence.answer
                assert len(path.reads) == max(1, len(sequence.answer))
                assert bool(batch.is_final[path.row, path.reads[0]])
        assert len(seen) == 4


def test_shared_prefixes_are_held_once() -> None:
    (batch,) = make_batches(GROUPS[:1], pad=0, row_tokens=100, batch_tokens=1000)
    # 5 6 7 shared, then 8 | 4 9; the last answer tokens are never read from.
    assert int((~batch.is_padding).sum()) == 6


def test_a_prompts_last_token_is_not_shared_with_a_longer_prompt() -> None:
    (batch,) = make_batches(GROUPS[1:], pad=0, row_tokens=100, batch_tokens=1000)
    assert int(batch.is_final.sum()) == 2


def test_batches_respect_their_size() -> None:
    groups = [[TokenSequence(tuple(range(n)))] for n in range(3, 40)]
    batches = make_batches(groups, pad=0, row_tokens=1, batch_tokens=100)
    assert all(b.tokens.numel() <= 100 for b in batches)
    assert sum(len(b.paths) for b in batches) == len(groups)
