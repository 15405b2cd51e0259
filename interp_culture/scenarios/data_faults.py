"""What is wrong with records of a data file, and how it is said: by kind, with a count and the first three places."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from interp_culture.errors import InputError

# What is done with records that cannot be read: left out with a warning, or the whole set refused.
FaultPolicy = Literal["skip", "refuse"]
POLICIES: tuple[FaultPolicy, ...] = ("skip", "refuse")
MAX_PLACES = 3


class DataWarning(UserWarning):
    """Some records of a data file were left out or read in a way that the user should know."""


@dataclass(frozen=True)
class Fault:
    """One fault: the place (`file:line`), its kind, and what was found and what to do."""

    where: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.where}: {self.detail}"


@dataclass
class DataFaults:
    """The faults of one reading. A note is no fault: its record is read, but not as it stands."""

    faults: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)

    def add(self, where: str, kind: str, detail: str) -> None:
        self.faults.append(Fault(where, kind, detail))

    def note(self, where: str, kind: str, detail: str) -> None:
        self.notes.append(Fault(where, kind, detail))

    def report(self, n_read: int, policy: FaultPolicy, root: str) -> None:
        """Warn once a kind; raise InputError if nothing was read, or if the policy is to refuse any fault."""
        if self.faults and (policy == "refuse" or not n_read):
            raise InputError(listing(self.faults))
        if not n_read:
            raise InputError(f"{root}: no scenario in it; write one JSON object a line")
        for line in self._lines():
            warnings.warn(line, DataWarning, stacklevel=3)

    def _lines(self) -> Iterator[str]:
        for kind, members in _by_kind(self.faults).items():
            yield f"{_records(members)} left out, {kind}: {_places(members)} ({members[0].detail})"
        for kind, members in _by_kind(self.notes).items():
            yield f"{_records(members)} {kind}: {_places(members)} ({members[0].detail})"


def listing(faults: list[Fault]) -> str:
    """All faults in one message, grouped by kind, the first three of each in words."""
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
    n = len({fault.where for fault in members})
    return f"{n} record{'s' if n > 1 else ''}"


def _places(members: list[Fault]) -> str:
    places = list(dict.fromkeys(fault.where for fault in members))
    more = len(places) - MAX_PLACES
    return ", ".join(places[:MAX_PLACES]) + (f" and {more} more" if more > 0 else "")
