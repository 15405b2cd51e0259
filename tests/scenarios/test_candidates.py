"""Answers are parsed and judged record by record, and a pool file survives interruptions."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from teacher_server import candidate

from interp_culture.errors import InputError
from interp_culture.scenarios.teacher.candidates import (
    Candidate,
    Entry,
    Pool,
    Rules,
    Tally,
    judge,
    open_pool,
    parse_answer,
    read_pool,
)

ORIGIN = {"catalogue": "culture", "item": "Y01", "domain": "family", "model": "m"}

A = candidate(1)
B = candidate(2)
GOOD = json.dumps({"scenarios": [A, B]})


@pytest.mark.parametrize(
    ("text", "records"),
    [
        (GOOD, [A, B]),
        (f"```json\n{GOOD}\n```", [A, B]),
        (f"Here you are, [as asked]:\n```\n{json.dumps([A, B])}\n```\nShall I go on?", [A, B]),
        (f'<think>Perhaps {{"situation": "none"}}?</think>{GOOD}', [A, B]),
        (json.dumps(A), [A]),
        (f"{json.dumps(A)}\n{json.dumps(B)}", [A, B]),
        (json.dumps({"notes": ["two of them"], "dilemmas": [A, B]}), [A, B]),
        (GOOD[:-30], [A]),  # cut off within the second
        (
            GOOD.replace("Decide", "Decide\n"),
            [c | {"situation": f"Decide\n{c['situation'][6:]}"} for c in (A, B)],
        ),
        ("I would rather not.", []),
        ('{"scenarios": [', []),
        ("[" * 100_000, []),
        ("", []),
    ],
)
def test_answers_are_parsed_whatever_surrounds_the_json(text: str, records: list[Any]) -> None:
    assert parse_answer(text) == records


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"positive": None}, "wrong fields"),
        ({"negative": 3}, "wrong fields"),
        ({"situation": "  \n "}, "wrong fields"),
        ({"situation": "half a \ud83d character"}, "wrong fields"),
        ({"positive": "Go home, now.", "negative": "go home now"}, "identical options"),
        ({"positive": "Sign the list.", "negative": "Do not sign the list."}, "bare negation"),
        (
            {"positive": "She goes.", "negative": "She waits for a much better day."},
            "unequal lengths",
        ),
        ({"situation": candidate(7)["situation"].upper()}, "near-duplicate"),
    ],
)
def test_faulty_candidates_are_named(change: dict[str, Any], reason: str) -> None:
    assert judge(candidate(1) | change, [candidate(7)["situation"]], Rules()) == reason


def test_white_space_is_normalised_and_rules_can_be_relaxed() -> None:
    verdict = judge(candidate(1) | {"situation": " Two\n  lines ", "title": "x"}, [], Rules())
    assert isinstance(verdict, Candidate)
    assert verdict.situation == "Two lines"
    unequal = candidate(1) | {"positive": "Go.", "negative": "She waits here for him."}
    assert judge(unequal, [], Rules()) == "unequal lengths"
    assert isinstance(judge(unequal, [], Rules(max_length_difference=4)), Candidate)
    assert isinstance(
        judge(candidate(7), [candidate(7)["situation"]], Rules(max_likeness=1.0)), Candidate
    )
    assert judge("text", [], Rules()) == "wrong fields"


def entry(**changes: Any) -> Entry:
    where = {
        "endpoint": "127.0.0.1:8000",
        "prompt": "p",
        "request": 1,
        "time": "2025-01-01T00:00:00+00:00",
    }
    return Entry.model_validate(ORIGIN | where | {"candidate": candidate(1)} | changes)


def write_pool(path: Path, *entries: Entry) -> None:
    pool = Pool(path)
    for one in entries:
        pool.append(one)


def test_appended_entries_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.pool.jsonl"
    accents = {"situation": "Zoë décide à \u2028 Łódź.", "positive": "Oui 🙂", "negative": "Non"}
    tally = Tally(answers=2, tokens_in=5, rejected={"near-duplicate": 1})
    entries = [entry(), entry(candidate=accents), entry(candidate=None, tally=tally, request=4)]
    write_pool(path, *entries)
    pool = read_pool(path, ORIGIN)
    assert pool.entries == entries
    assert [c.situation for c in pool.candidates] == [
        candidate(1)["situation"],
        "Zoë décide à Łódź.",
    ]
    assert pool.next_request == 5
    assert len(path.read_bytes().splitlines()) == 3


def test_tallies_add_up() -> None:
    one = Tally(answers=1, tokens_in=10, tokens_out=3, rejected={"near-duplicate": 2})
    two = Tally(
        answers=2, tokens_in=5, unmetered=1, rejected={"near-duplicate": 1, "wrong fields": 4}
    )
    pool = Pool(
        Path("x"), [entry(), entry(candidate=None, tally=one), entry(candidate=None, tally=two)]
    )
    assert pool.total() == Tally(
        answers=3,
        tokens_in=15,
        tokens_out=3,
        unmetered=1,
        rejected={"near-duplicate": 3, "wrong fields": 4},
    )
    assert Pool(Path("x")).total() == Tally()


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_an_incomplete_last_line_is_removed(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.pool.jsonl"
    write_pool(path, entry(), entry(candidate=candidate(2) | {"positive": "Łódź"}))
    whole = path.read_bytes()
    first = whole.splitlines(keepends=True)[0]
    path.write_bytes(whole[: len(first) + cut])
    assert len(read_pool(path, ORIGIN).candidates) == 1
    pool, dropped = open_pool(path, ORIGIN)
    assert dropped == cut
    assert path.read_bytes() == first
    pool.append(entry(candidate=candidate(3)))
    assert [c.positive for c in read_pool(path, ORIGIN).candidates] == [
        candidate(n)["positive"] for n in (1, 3)
    ]


def test_a_complete_last_line_without_a_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.pool.jsonl"
    write_pool(path, entry(), entry(candidate=candidate(2)))
    path.write_bytes(path.read_bytes()[:-1])
    pool, dropped = open_pool(path, ORIGIN)
    pool.append(entry(candidate=candidate(3)))
    assert dropped == 0
    assert len(read_pool(path, ORIGIN).candidates) == 3


def test_a_faulty_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pool.jsonl"
    write_pool(path, entry(), entry())
    path.write_bytes(b"\n" + path.read_bytes().replace(b'"request": 1', b'"request": "one"', 1))
    with pytest.raises(
        InputError, match=r"a\.pool\.jsonl:2: not an entry of a pool \(request: .*remove the line"
    ):
        read_pool(path, ORIGIN)
    path.write_bytes(b"{\n" + b"{}\n")
    with pytest.raises(InputError, match=r"a\.pool\.jsonl:1: not an entry"):
        open_pool(path, ORIGIN)
    assert path.read_bytes() == b"{\n{}\n"


@pytest.mark.parametrize("name", list(ORIGIN))
def test_a_pool_of_another_origin_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.pool.jsonl"
    write_pool(path, entry(), entry(**{name: "other"}))
    with pytest.raises(
        InputError,
        match=rf":2: the {name} of this pool is 'other', but this run has '{ORIGIN[name]}'; choose",
    ):
        read_pool(path, ORIGIN)


def test_a_path_that_cannot_be_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pool.jsonl").mkdir()
    with pytest.raises(InputError, match=r"cannot be read .*choose another --out"):
        open_pool(tmp_path / "a.pool.jsonl", ORIGIN)
    with pytest.raises(InputError, match=r"cannot write there .*choose another --out"):
        open_pool(tmp_path / "none" / "a.pool.jsonl", ORIGIN)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_pool_that_is_read_only_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pool.jsonl"
    write_pool(path, entry())
    path.chmod(0o400)
    with pytest.raises(InputError, match="cannot write there"):
        open_pool(path, ORIGIN)
