"""What every reader owes its user, whatever the file holds: a valid object or an InputError."""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from hypothesis import settings

from interp_culture.errors import InputError

TORTURE = os.environ.get("TORTURE") == "1"
# By reader: cases tried, refused with an InputError, and read.
CASES: dict[str, dict[str, int]] = {}
# A small file that takes longer (of this process' time) has found a slow pattern or a loop.
MAX_SECONDS = 10.0
# What a terminal would obey instead of showing it.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What a reader did with one file: what it read (None if it refused) and what it said."""

    value: T | None
    said: tuple[str, ...]

    @property
    def refused(self) -> bool:
        """Whether an InputError was raised."""
        return self.value is None


def cases(quick: int, torture: int) -> settings:
    """The number of cases of one test in the two profiles."""
    return settings(settings(), max_examples=torture if TORTURE else quick)


def read_or_refuse(
    reader: str, read: Callable[[], T], *places: object, max_seconds: float = MAX_SECONDS
) -> Outcome[T]:
    """Call a reader and hold it to the contract; any error but InputError fails the test.

    Args:
        reader: name under which the case is counted.
        read: must not return None.
        places: each must be named in the message of an InputError.
        max_seconds: of this process' time.
    """
    count = CASES.setdefault(reader, {"cases": 0, "refused": 0, "read": 0})
    count["cases"] += 1
    start = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome = Outcome(read(), tuple(str(warning.message) for warning in caught))
        except InputError as error:
            outcome = Outcome(None, (str(error),))
    if outcome.refused:
        (message,) = outcome.said
        unnamed = [place for place in map(str, places) if place not in message]
        assert not unnamed, f"the message does not name {unnamed}: {message}"
    count["refused" if outcome.refused else "read"] += 1
    assert time.process_time() - start < max_seconds
    for message in outcome.said:
        assert len(message) < 20_000, f"a message of {len(message)} characters"
        assert not CONTROL.search(message), f"control characters in {message!r}"
        # A lone surrogate cannot be printed.
        message.encode()
    return outcome
