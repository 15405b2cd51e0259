"""Candidate dilemmas of a teacher model: judged one by one, kept line by line, so that no interruption loses any."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from interp_culture.errors import InputError
from interp_culture.scenarios.diversity import likeness
from interp_culture.scenarios.quality import is_bare_negation, words_of
from interp_culture.scenarios.scenario import Text

OPENING = re.compile(r"[\[{]")
# A model that repeats a bracket thousands of times must not keep the parser busy for minutes.
MAX_FALSE_STARTS = 100

OneLine = Annotated[
    Text, BeforeValidator(lambda text: " ".join(text.split()) if isinstance(text, str) else text)
]


class Candidate(BaseModel):
    """A dilemma as a teacher writes it; further fields of an answer are left out."""

    model_config = ConfigDict(frozen=True, strict=True)

    situation: OneLine
    positive: OneLine
    negative: OneLine


@dataclass(frozen=True)
class Rules:
    """What a candidate must keep; the defaults are those of the shipped scenarios.

    max_length_difference: words by which the two options may differ.
    max_likeness: TF-IDF cosine of its situation with that of any other candidate.
    """

    max_length_difference: int = 3
    max_likeness: float = 0.5


class Tally(BaseModel):
    """What answers cost and why candidates in them were refused. `unmetered` answers came without token counts."""

    model_config = ConfigDict(extra="forbid")

    answers: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    unmetered: int = 0
    rejected: dict[str, int] = {}

    def add(self, tokens_in: int | None, tokens_out: int | None) -> None:
        self.answers += 1
        self.tokens_in += tokens_in or 0
        self.tokens_out += tokens_out or 0
        self.unmetered += tokens_in is None or tokens_out is None

    def reject(self, reason: str) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1


class Entry(BaseModel):
    """One line of a pool: a candidate, or the tally of a request (its last line), and where it came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    catalogue: str
    item: str
    domain: str
    model: str
    endpoint: str
    prompt: str
    request: int
    time: str
    candidate: Candidate | None = None
    tally: Tally | None = None


def parse_answer(text: str) -> list[Any]:
    """The records in an answer, none if it holds no readable JSON.

    Thoughts, fences and talk around the JSON do no harm; of an answer that breaks off, the whole records count.
    """
    text = re.sub(r"<think>.*?</think>", "", text, flags=re.DOTALL)
    decoder, found, place, failed = json.JSONDecoder(strict=False), [], 0, 0
    while failed < MAX_FALSE_STARTS and (start := OPENING.search(text, place)):
        try:
            value, place = decoder.raw_decode(text, start.start())
            found += _records(value)
        except (ValueError, RecursionError):
            place, failed = start.end(), failed + 1
    return found


def _records(value: Any) -> list[Any]:
    """The list in {"scenarios": [...]}, whatever its name; a bare list of objects; or the one object."""
    lists = [
        v for v in ([value] if isinstance(value, list) else value.values()) if isinstance(v, list)
    ]
    records = next((v for v in lists if any(isinstance(r, dict) for r in v)), [])
    return records or ([value] if isinstance(value, dict) else [])


def judge(record: Any, situations: Sequence[str], rules: Rules) -> Candidate | str:
    """The candidate, or the reason why it is refused."""
    try:
        candidate = Candidate.model_validate(record)
    except ValidationError:
        return "wrong fields"
    positive, negative = words_of(candidate.positive), words_of(candidate.negative)
    if positive == negative:
        return "identical options"
    if is_bare_negation(candidate.positive, candidate.negative):
        return "bare negation"
    if abs(len(positive) - len(negative)) > rules.max_length_difference:
        return "unequal lengths"
    if likeness(situations, candidate.situation) > rules.max_likeness:
        return "near-duplicate"
    return candidate


@dataclass
class Pool:
    """The entries of a pool file. Only `append` changes it: the line stands on disk when it returns."""

    path: Path
    entries: list[Entry] = field(default_factory=list)

    @property
    def candidates(self) -> list[Candidate]:
        return [e.candidate for e in self.entries if e.candidate]

    @property
    def situations(self) -> list[str]:
        return [c.situation for c in self.candidates]

    @property
    def next_request(self) -> int:
        return 1 + max((e.request for e in self.entries), default=0)

    def total(self) -> Tally:
        """The tally over all requests, those of earlier runs included."""
        tallies = [e.tally for e in self.entries if e.tally]
        counts = {
            f: sum(getattr(t, f) for t in tallies)
            for f in ("answers", "tokens_in", "tokens_out", "unmetered")
        }
        return Tally(
            **counts, rejected=dict(sum((Counter(t.rejected) for t in tallies), Counter()))
        )

    def append(self, entry: Entry) -> None:
        line = json.dumps(entry.model_dump(exclude_none=True), ensure_ascii=False)
        with self.path.open("ab") as file:
            file.write(line.encode() + b"\n")
        self.entries.append(entry)


def read_pool(path: Path, origin: dict[str, str]) -> Pool:
    """The pool on disk, empty where there is none; InputError if any line has another origin.

    Such a pool is refused, not filtered: the lines to come would mix with somebody else's.
    """
    try:
        raw = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); choose another --out"
        ) from error
    whole = raw[: len(raw) - _torn(raw)]
    lines = [
        (f"{path}:{number}", line)
        for number, line in enumerate(whole.split(b"\n"), start=1)
        if line.strip()
    ]
    return Pool(path, [_parse(line, where, origin) for where, line in lines])


def open_pool(path: Path, origin: dict[str, str]) -> tuple[Pool, int]:
    """The pool, ready to be written to, and the number of bytes cut from its end: a line that was torn."""
    pool = read_pool(path, origin)
    try:
        with path.open("a+b") as file:
            file.seek(0)
            raw = file.read()
            torn = _torn(raw)
            file.truncate(len(raw) - torn)
            if raw and not torn and not raw.endswith(b"\n"):
                file.write(b"\n")
    except OSError as error:
        raise InputError(
            f"{path}: cannot write there ({error.strerror}); choose another --out"
        ) from error
    return pool, torn


def _torn(raw: bytes) -> int:
    """Length of a last line that breaks off, as a process leaves it that is killed while writing."""
    last = raw[raw.rfind(b"\n") + 1 :]
    try:
        Entry.model_validate_json(last)
    except ValidationError:
        return len(last)
    return 0


def _parse(line: bytes, where: str, origin: dict[str, str]) -> Entry:
    try:
        entry = Entry.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "line"
        raise InputError(
            f"{where}: not an entry of a pool ({place}: {first['msg']}); remove the line, or choose another --out"
        ) from error
    for name, asked in origin.items():
        if (found := getattr(entry, name)) != asked:
            raise InputError(
                f"{where}: its {name} is {found!r}, but {asked!r} is asked for; "
                "choose another --out, or move this pool away"
            )
    return entry
