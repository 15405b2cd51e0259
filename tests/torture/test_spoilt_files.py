"""Every stored file, spoilt in several ways: noticed, and set aside and computed again if it is read."""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

from interp_culture.study import verify_study
from torture.tally import Tally
from torture.tiny_study import check_same, run, tables

LEAST = 50


def flipped(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return (
        content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]
    )


def cut_off(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def half_replaced(content: bytes, rng: random.Random) -> bytes:
    middle = len(content) // 2
    return content[:middle] + rng.randbytes(len(content) - middle)


def foreign(content: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(len(content))


WAYS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flipped, cut_off, half_replaced, foreign,
)  # fmt: skip


def test_every_file_in_every_way(world: None, tmp_path: Path, tally: Tally) -> None:
    whole = tmp_path / "whole"
    run(whole)
    expected = tables(whole)
    stored = [
        path.relative_to(whole)
        for path in sorted(whole.rglob("*"))
        if path.suffix in (".parquet", ".safetensors", ".npy", ".csv", ".json")
        # Only written, never read.
        and path.name not in ("leak.safetensors", "summary.json")
    ]
    rng = random.Random(1)
    cases = 0
    for number, name in enumerate(stored):
        for way in (WAYS[number % len(WAYS)], WAYS[(number + 1) % len(WAYS)]):
            study = tmp_path / "spoilt"
            shutil.copytree(whole, study)
            content = (study / name).read_bytes()
            (study / name).write_bytes(way(content, rng))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run(study)
            found = tables(study)
            assert {n for n in found if ".damaged" not in n} == set(expected), (name, way)
            check_same({n: found[n] for n in expected}, expected)
            states = verify_study(study)
            wrong = states.file[states.state.isin(["damaged", "missing"])].tolist()
            # What no unfinished step reads is not read again; `verify` names it.
            is_input = len(name.parts) > 1 or name.suffix == ".safetensors"
            unread = {name.parts[0]} if is_input else set()
            assert set(wrong) <= unread, (name, way, states)
            shutil.rmtree(study)
            cases += 1
    assert cases >= LEAST
    tally.add("artifacts", "files that are torn, flipped, half replaced or foreign", cases)
