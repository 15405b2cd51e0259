"""Situational dilemmas with a positive and a negative option: what they are, filtered, split and sampled."""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, StringConstraints

from interp_culture.errors import InputError, check_known

DATA = Path(__file__).parent / "data"

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Scenario(_Record):
    """One dilemma. `positive` and `negative` name the poles of `axis`; every score is positive minus negative."""

    id: Text
    axis: Text
    item: Text
    domain: Text
    situation: Text
    positive: Text
    negative: Text

    @property
    def cell(self) -> str:
        """Item and domain: the stratum in which scenarios are split and sampled."""
        return f"{self.item}/{self.domain}"


class Axis(_Record):
    """The names of an axis' two poles."""

    negative: Text
    positive: Text

    @property
    def label(self) -> str:
        return f"{self.negative} → {self.positive}"


class Item(_Record):
    """A question that scenarios of one axis ask; `label` names it in tables and figures.

    `keywords` are beginnings of words that give the item away: quality checks count them in its own texts and in
    those of other axes.
    """

    axis: Text
    label: Text
    keywords: list[Text] = []


class Catalogue(_Record):
    """What a set of scenarios may speak of (`axes.yaml`): nothing in the code knows any axis by name."""

    name: Text
    axes: dict[str, Axis]
    domains: list[Text]
    items: dict[str, Item]


@dataclass(frozen=True)
class ScenarioSet:
    """Scenarios with the catalogue that they were checked against."""

    scenarios: tuple[Scenario, ...]
    catalogue: Catalogue

    def __len__(self) -> int:
        return len(self.scenarios)

    def __iter__(self) -> Iterator[Scenario]:
        return iter(self.scenarios)

    @property
    def axes(self) -> list[str]:
        """Axes that have scenarios here, in the catalogue's order."""
        present = {s.axis for s in self.scenarios}
        return [a for a in self.catalogue.axes if a in present]

    @property
    def domains(self) -> list[str]:
        """Domains that have scenarios here, in the catalogue's order."""
        present = {s.domain for s in self.scenarios}
        return [d for d in self.catalogue.domains if d in present]

    @property
    def items(self) -> list[str]:
        """Items that have scenarios here, in the catalogue's order."""
        present = {s.item for s in self.scenarios}
        return [i for i in self.catalogue.items if i in present]

    @cached_property
    def digest(self) -> str:
        """Content hash over all scenarios: tables made from the same texts share it."""
        lines = "\n".join(s.model_dump_json() for s in self.scenarios)
        return hashlib.sha256(lines.encode()).hexdigest()[:16]

    @property
    def fingerprints(self) -> list[str]:
        """A short hash of each scenario's content: the same text has the same one in any set."""
        return [hashlib.sha256(s.model_dump_json().encode()).hexdigest()[:12] for s in self.scenarios]

    def filter(self, *, axis: str | None = None, item: str | None = None, domain: str | None = None) -> ScenarioSet:
        """The scenarios of one axis, item and/or domain; an unknown name raises InputError."""
        for field, value, known in (
            ("axis", axis, self.catalogue.axes),
            ("item", item, self.catalogue.items),
            ("domain", domain, self.catalogue.domains),
        ):
            if value is not None and value not in known:
                raise InputError(f"unknown {field} {value!r}: this set has {', '.join(known)}")
        wanted = {"axis": axis, "item": item, "domain": domain}
        return self._with(s for s in self.scenarios if all(v is None or getattr(s, k) == v for k, v in wanted.items()))

    def split(
        self, seed: int = 42, train_share: float = 0.5, per_cell: int | None = None
    ) -> tuple[ScenarioSet, ScenarioSet]:
        """(train, test): vectors and layers come from the one, evaluation from the other.

        Stratified by item x domain; the two halves share no scenario, whatever `per_cell` is: each half is sampled
        after the split, so that a scenario is in the same half of the whole set and of a sample.

        Args:
            per_cell: at most so many scenarios of every item x domain in each half; all by default.
        """
        from sklearn.model_selection import train_test_split

        cells = [s.cell for s in self.scenarios]
        try:
            train, test = train_test_split(range(len(self)), train_size=train_share, stratify=cells, random_state=seed)
        except ValueError as error:
            raise InputError(
                f"cannot split {len(self)} scenarios by item x domain: {error} "
                "Give every item x domain at least two scenarios, or split by hand."
            ) from error
        halves = self._pick(train), self._pick(test)
        if per_cell is None:
            return halves
        return halves[0].sample(per_cell, seed), halves[1].sample(per_cell, seed)

    def sample(self, n: int, seed: int = 42, by: Literal["cell", "item"] = "cell") -> ScenarioSet:
        """At most `n` scenarios of every item x domain, or of every item, its domains in turn; drawn with a seed."""
        check_known("stratum", by, ("cell", "item"))
        if n < 1:
            raise InputError(f"cannot sample {n} scenarios of each {by}: it takes 1 or more")
        strata: dict[str, list[int]] = defaultdict(list)
        for index, scenario in enumerate(self.scenarios):
            strata[getattr(scenario, by)].append(index)
        rng = random.Random(seed)
        return self._pick(i for members in strata.values() for i in self._in_turn(rng, members)[:n])

    def frame(self) -> pd.DataFrame:
        """One row a scenario: id, axis, item, domain."""
        return pd.DataFrame([s.model_dump(include={"id", "axis", "item", "domain"}) for s in self])

    def _in_turn(self, rng: random.Random, members: list[int]) -> list[int]:
        """Shuffled, so that no domain has two before each has one."""
        seen: Counter[str] = Counter()
        turns = {}
        for index in rng.sample(members, len(members)):
            domain = self.scenarios[index].domain
            turns[index] = seen[domain]
            seen[domain] += 1
        return sorted(turns, key=turns.__getitem__)

    def _pick(self, indices: Any) -> ScenarioSet:
        return self._with(self.scenarios[i] for i in sorted(indices))

    def _with(self, scenarios: Iterator[Scenario]) -> ScenarioSet:
        return ScenarioSet(tuple(scenarios), self.catalogue)
