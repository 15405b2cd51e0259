"""Edits: where they act, that they are pure, that strength 0 is nothing."""

from __future__ import annotations

import pytest
import torch
from conftest import error_without_type_checks

from interp_culture.interventions import Edit
from interp_culture.token_tree import Batch, TokenSequence, make_batches


@pytest.fixture
def batch() -> Batch:
    groups = [[TokenSequence((3, 4, 5), (6, 7, 8)), TokenSequence((3, 4, 5), (9, 9))], [TokenSequence((3,), (4, 5))]]
    (made,) = make_batches(groups, pad=0, batch_tokens=1000)
    return made


@pytest.mark.parametrize(
    ("positions", "first", "second"),
    [
        ("all", [1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]),
        ("prompt", [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]),
        ("answer", [0, 0, 0, 1, 1, 1], [0, 1, 0, 0, 0, 0]),
        ("last", [0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]),
        ((1, 4), [0, 1, 1, 1, 0, 1], [0, 1, 0, 0, 0, 0]),
    ],
)
def test_positions(batch: Batch, positions: object, first: list[int], second: list[int]) -> None:
    edit = Edit(0, torch.ones(2), 3.0, positions=positions)  # type: ignore[arg-type]
    before = torch.zeros(*batch.tokens.shape, 2)
    after = edit.apply(before, batch)
    assert (after[..., 0] / 3).int().tolist() == [first, second]
    assert torch.equal(before, torch.zeros_like(before))


def test_strength_zero_changes_no_bit_and_the_dtype_is_kept(batch: Batch) -> None:
    activation = torch.randn(*batch.tokens.shape, 8).bfloat16()
    after = Edit(0, torch.randn(8), 0.0).apply(activation, batch)
    assert after.dtype == torch.bfloat16
    assert torch.equal(after, activation)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("hook_point='hook_resid'", "unknown hook point 'hook_resid'; known: hook_resid_pre"),
        ("positions='every'", "unknown positions 'every'; known: all, prompt, answer, last"),
        ("operation='multiply'", "unknown operation 'multiply'; known: add"),
    ],
)
def test_unknown_names_raise(wrong: str, message: str) -> None:
    call = f"import torch; from interp_culture.interventions import Edit; Edit(0, torch.ones(2), 1.0, {wrong})"
    assert message in error_without_type_checks(call)
