"""Candidate dilemmas of a teacher model: parsing, rules, and the pool file that keeps them."""

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
from interp_culture.scenarios.measures import is_bare_negation
from interp_culture.scenarios.scenario import Text
from interp_culture.scenarios.wording import words_of

# Reasoning models send their thoughts first, which may hold drafts of the JSON.
THOUGHTS_END = "</think>"
THOUGHTS = re.compile(rf"<think>.*?{THOUGHTS_END}", re.DOTALL)
OPENING = re.compile(r"[\[{]")
# An answer that repeats a bracket thousands of times would keep the parser busy for minutes.
MAX_FALSE_STARTS = 100


def _on_one_line(text: Any) -> Any:
    return " ".join(text.split()) if isinstance(text, str) else text


OneLine = Annotated[Text, BeforeValidator(_on_one_line)]


class Candidate(BaseModel):
    """A dilemma as a teacher writes it. Other fields of an answer are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)

    situation: OneLine
    positive: OneLine
    negative: OneLine


@dataclass(frozen=True)
class Rules:
    """Limits for a candidate. The defaults are those of the shipped scenarios.

    Attributes:
        max_length_difference: words by which the two options may differ.
        max_likeness: TF-IDF cosine of its situation with that of any other candidate, 0 to 1.
    """

    # The bounds of "length difference, largest" and "nearest pair" in `check_quality`.
    max_length_difference: int = 3
    max_likeness: float = 0.5


class Tally(BaseModel):
    """The cost of answers, and the reasons why candidates in them were rejected.

    Attributes:
        unmetered: answers for which the endpoint reported no token counts.
        rejected: number of rejected candidates or answers by reason.
    """

    model_config = ConfigDict(extra="forbid")

    answers: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    unmetered: int = 0
    rejected: dict[str, int] = {}

    def add(self, tokens_in: int | None, tokens_out: int | None) -> None:
        """Count one answer."""
        self.answers += 1
        self.tokens_in += tokens_in or 0
        self.tokens_out += tokens_out or 0
        self.unmetered += tokens_in is None or tokens_out is None

    def reject(self, reason: str) -> None:
        """Count one rejected candidate or answer."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1


class Entry(BaseModel):
    """One line of a pool: where it came from, and a candidate or the tally of a request.

    The tally is the last line of a request.
    """

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
    """The records in an answer; an empty list if it contains no readable JSON.

    Thoughts, code fences and text around the JSON are ignored. An answer that was cut off gives
    its complete records.

    >>> parse_answer('Here you are: {"scenarios": [{"situation": "Tea?"}]}')
    [{'situation': 'Tea?'}]
    """
    # Only up to the last end of a thought: a teacher that repeats "<think>" without an end would
    # otherwise keep the search busy for minutes.
    thoughts, end, answer = text.rpartition(THOUGHTS_END)
    text = THOUGHTS.sub("", thoughts + end) + answer
    # Teachers write line breaks within strings, which strict JSON forbids.
    decoder = json.JSONDecoder(strict=False)
    records: list[Any] = []
    position = 0
    false_starts = 0
    while false_starts < MAX_FALSE_STARTS and (opening := OPENING.search(text, position)):
        try:
            value, position = decoder.raw_decode(text, opening.start())
            records += _records(value)
        except (ValueError, RecursionError):
            position = opening.end()
            false_starts += 1
    return records


def _records(value: Any) -> list[Any]:
    """The list in {"scenarios": [...]}, whatever its name; a list of objects; or one object."""
    values = [value] if isinstance(value, list) else value.values()
    for records in values:
        if isinstance(records, list) and any(isinstance(record, dict) for record in records):
            return records
    return [value] if isinstance(value, dict) else []


def judge(record: Any, situations: Sequence[str], rules: Rules) -> Candidate | str:
    """The candidate, or the reason why it is rejected.

    Args:
        record: one record of an answer.
        situations: the situations of all candidates so far.
    """
    try:
        candidate = Candidate.model_validate(record)
    except ValidationError:
        return "wrong fields"
    positive = words_of(candidate.positive)
    negative = words_of(candidate.negative)
    if positive == negative:
        return "identical options"
    if is_bare_negation(candidate.positive, candidate.negative):
        return "bare negation"
    if abs(len(positive) - len(negative)) > rules.max_length_difference:
        return "unequal lengths"
    # Last, because TF-IDF over all situations is the slowest check.
    if likeness(situations, candidate.situation) > rules.max_likeness:
        return "near-duplicate"
    return candidate


@dataclass
class Pool:
    """The entries of a pool file. Only `append` changes them."""

    path: Path
    entries: list[Entry] = field(default_factory=list)

    @property
    def candidates(self) -> list[Candidate]:
        """All candidates, in the order of the file."""
        return [e.candidate for e in self.entries if e.candidate]

    @property
    def situations(self) -> list[str]:
        """The situation of each candidate."""
        return [c.situation for c in self.candidates]

    @property
    def next_request(self) -> int:
        """Number of the next request, from 1."""
        return 1 + max((e.request for e in self.entries), default=0)

    def total(self) -> Tally:
        """The tally over all requests, including those of earlier runs."""
        total = Tally()
        rejected: Counter[str] = Counter()
        for tally in (e.tally for e in self.entries if e.tally):
            total.answers += tally.answers
            total.tokens_in += tally.tokens_in
            total.tokens_out += tally.tokens_out
            total.unmetered += tally.unmetered
            rejected.update(tally.rejected)
        total.rejected = dict(rejected)
        return total

    def append(self, entry: Entry) -> None:
        """Add an entry; it is in the file when this returns, so that no interruption loses it."""
        line = json.dumps(entry.model_dump(exclude_none=True), ensure_ascii=False)
        # As bytes, since text mode writes \r\n on Windows.
        with self.path.open("ab") as file:
            file.write(line.encode() + b"\n")
        self.entries.append(entry)


def read_pool(path: Path, origin: dict[str, str]) -> Pool:
    """The pool in a file; an empty pool if there is no file.

    Args:
        origin: fields that every entry must have (catalogue, item, domain, model).

    Raises:
        InputError: the file cannot be read, or a line is not an entry or has another origin.
            Such a pool is refused as a whole, since new lines would mix with others.
    """
    try:
        raw = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); choose another --out"
        ) from error
    complete = raw[: len(raw) - _torn(raw)]
    entries = []
    # Only \n ends a line: a text may contain U+2028 and other line separators.
    for number, line in enumerate(complete.split(b"\n"), start=1):
        if line.strip():
            entries.append(_parse(line, f"{path}:{number}", origin))
    return Pool(path, entries)


def open_pool(path: Path, origin: dict[str, str]) -> tuple[Pool, int]:
    """The pool, ready to be written to, and the number of bytes removed from its end.

    An incomplete last line, left by a process that was killed while writing, is removed.

    Raises:
        InputError: as in `read_pool`, or the file cannot be written.
    """
    pool = read_pool(path, origin)
    try:
        with path.open("a+b") as file:
            file.seek(0)
            raw = file.read()
            torn = _torn(raw)
            file.truncate(len(raw) - torn)
            # The last entry is complete but has no line end; the next one would continue it.
            if raw and not torn and not raw.endswith(b"\n"):
                file.write(b"\n")
    except OSError as error:
        raise InputError(
            f"{path}: cannot write there ({error.strerror}); choose another --out"
        ) from error
    return pool, torn


def _torn(raw: bytes) -> int:
    """Length in bytes of an incomplete last line, 0 if the last line is complete."""
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
            f"{where}: not an entry of a pool ({place}: {first['msg']}); "
            "remove the line, or choose another --out"
        ) from error
    for name, requested in origin.items():
        value = getattr(entry, name)
        if value != requested:
            raise InputError(
                f"{where}: the {name} of this pool is {value!r}, but this run has {requested!r}; "
                "choose another --out, or move this pool away"
            )
    return entry
