"""Faults of records in a data file, reported by kind with a count and the first three places."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from interp_culture.errors import InputError

# "skip" leaves unreadable records out with a warning; "refuse" rejects the whole set.
FaultPolicy = Literal["skip", "refuse"]
POLICIES: tuple[FaultPolicy, ...] = ("skip", "refuse")
# Enough to recognise a fault; all places of a broken file would fill the screen.
MAX_PLACES = 3


class DataWarning(UserWarning):
    """Some records of a data file were left out, or were not read as they stand."""


@dataclass(frozen=True)
class Fault:
    """One fault of one record.

    Attributes:
        where: its place, `file:line` or `file: record number`.
        kind: words shared by all faults of this kind, under which they are counted.
        detail: the field, what is wrong with it, and the fix.
    """

    where: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.where}: {self.detail}"


@dataclass
class DataFaults:
    """Faults and notes collected while a set is read.

    Attributes:
        faults: records that could not be used.
        notes: records that are correct but were not read as they stand (repeats).
    """

    faults: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)

    def add(self, where: str, kind: str, detail: str) -> None:
        """Record a fault."""
        self.faults.append(Fault(where, kind, detail))

    def note(self, where: str, kind: str, detail: str) -> None:
        """Record a note, which no policy refuses."""
        self.notes.append(Fault(where, kind, detail))

    def report(self, n_read: int, policy: FaultPolicy, root: str) -> None:
        """Warn once for each kind of fault or note.

        Args:
            n_read: number of records that could be used.
            root: the file or folder, for the message.

        Raises:
            InputError: nothing could be read, or there is a fault and the policy is "refuse".
        """
        if self.faults and (policy == "refuse" or not n_read):
            raise InputError(listing(self.faults))
        if not n_read:
            raise InputError(f"{root}: contains no scenario; write one JSON object per line")
        for line in self._lines():
            # Level 3 is the line of the user's program that called `load_scenarios`.
            warnings.warn(line, DataWarning, stacklevel=3)

    def _lines(self) -> Iterator[str]:
        for kind, members in _by_kind(self.faults).items():
            yield f"{_records(members)} left out, {kind}: {_places(members)} ({members[0].detail})"
        for kind, members in _by_kind(self.notes).items():
            yield f"{_records(members)} {kind}: {_places(members)} ({members[0].detail})"


def listing(faults: list[Fault]) -> str:
    """All faults in one message, grouped by kind, with the first three of each kind in full."""
    lines = [f"{len(faults)} problem{'s' if len(faults) > 1 else ''} in the data:"]
    for kind, members in _by_kind(faults).items():
        lines.append(f"  {kind} ({len(members)}):")
        lines += [f"    {fault}" for fault in members[:MAX_PLACES]]
        if len(members) > MAX_PLACES:
            lines.append(f"    ... and {len(members) - MAX_PLACES} more")
    return "\n".join(lines)


def _by_kind(faults: list[Fault]) -> dict[str, list[Fault]]:
    kinds: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        kinds[fault.kind].append(fault)
    return kinds


def _records(members: list[Fault]) -> str:
    # One record can have several faults of one kind; it is counted once.
    n = len({fault.where for fault in members})
    return f"{n} record{'s' if n > 1 else ''}"


def _places(members: list[Fault]) -> str:
    places = list(dict.fromkeys(fault.where for fault in members))
    listed = ", ".join(places[:MAX_PLACES])
    more = len(places) - MAX_PLACES
    return f"{listed} and {more} more" if more > 0 else listed
