"""Situational dilemmas with a positive and a negative option: what they are, filtered, split and sampled."""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_serializer,
    model_validator,
)

from interp_culture.errors import InputError, check_known
from interp_culture.scenarios.repeats import grouped_halves, near_identical
from interp_culture.scenarios.wording import comparable, word_sequence

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
OptionalText = Annotated[str, StringConstraints(strip_whitespace=True)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Scenario(_Record):
    """One dilemma. `positive` and `negative` name the poles of `axis`; every score is positive minus negative.

    Attributes:
        situation: empty in a bare pair of texts, which has vectors but no readout.
        choices: where a question has more than two choices, all of them in their places, the two poles among them;
            empty where it has the two poles alone.

    >>> named = {"id": "tea-1", "axis": "mint", "item": "mint", "domain": "all"}
    >>> tea = Scenario(**named, situation="Which tea?", positive="Mint", negative="Green")
    >>> tea.cell
    'mint/all'
    """

    id: Text
    axis: Text
    item: Text
    domain: Text
    situation: OptionalText
    positive: Text
    negative: Text
    choices: Annotated[tuple[Text, ...], Field(strict=False)] = ()

    @property
    def cell(self) -> str:
        """Item and domain: the stratum in which scenarios are split and sampled."""
        return f"{self.item}/{self.domain}"

    @property
    def is_bare_pair(self) -> bool:
        """Whether this is a pair of texts without a question."""
        return not self.situation

    @model_validator(mode="after")
    def _poles_among_choices(self) -> Scenario:
        if not self.choices:
            return self
        distinct = {comparable(choice) for choice in self.choices}
        if len(distinct) < len(self.choices) or not {self.positive, self.negative} <= set(
            self.choices
        ):
            raise ValueError(
                "they must differ from each other, and both poles must be among them, word for word"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_empty_choices(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """A scenario without further choices is written, and hashed, as it was before there were any."""
        fields = handler(self)
        if not fields.get("choices", True):
            del fields["choices"]
        return fields


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
        return [
            hashlib.sha256(s.model_dump_json().encode()).hexdigest()[:12] for s in self.scenarios
        ]

    def filter(
        self, *, axis: str | None = None, item: str | None = None, domain: str | None = None
    ) -> ScenarioSet:
        """The scenarios of one axis, item and/or domain; an unknown name raises InputError."""
        for field, value, known in (
            ("axis", axis, self.catalogue.axes),
            ("item", item, self.catalogue.items),
            ("domain", domain, self.catalogue.domains),
        ):
            if value is not None and value not in known:
                raise InputError(f"unknown {field} {value!r}: this set has {', '.join(known)}")
        wanted = {"axis": axis, "item": item, "domain": domain}
        return self._with(
            s
            for s in self.scenarios
            if all(v is None or getattr(s, k) == v for k, v in wanted.items())
        )

    def split(
        self, seed: int = 42, train_share: float = 0.5, per_cell: int | None = None
    ) -> tuple[ScenarioSet, ScenarioSet]:
        """(train, test): vectors and layers come from the one, evaluation from the other.

        Stratified by item x domain; the two halves share no scenario, whatever `per_cell` is: each half is sampled
        after the split, so that a scenario is in the same half of the whole set and of a sample. Near-identical
        situations (the same words, or all but one) are in the same half. A situation that more than half of an item
        x domain share is taken for a form of words: there the options decide.

        Args:
            per_cell: at most so many scenarios of every item x domain in each half; all by default.

        Raises:
            InputError: some item x domain cannot be in both halves.
        """
        self._check_splittable(train_share)
        groups = self._repeats()
        cells = [s.cell for s in self.scenarios]
        if len(set(groups)) == len(self):
            from sklearn.model_selection import train_test_split

            train, test = train_test_split(
                range(len(self)), train_size=train_share, stratify=cells, random_state=seed
            )
        else:
            train, test = grouped_halves(cells, groups, train_share, seed)
            _check_both_halves([cells[i] for i in train], [cells[i] for i in test])
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

    def _check_splittable(self, train_share: float) -> None:
        if not 0 < train_share < 1:
            raise InputError(
                f"cannot split with train_share {train_share}: give a share between 0 and 1"
            )
        sizes = Counter(s.cell for s in self.scenarios)
        if not sizes:
            raise InputError("no scenario to split")
        single = [cell for cell, n in sizes.items() if n < 2]
        if single:
            raise InputError(
                f"cannot split {len(self)} scenarios by item x domain: {_counted(single, 'item x domain')} with one "
                "scenario. Give every item x domain at least two, or split by hand."
            )
        n_train = int(len(self) * train_share)
        if min(n_train, len(self) - n_train) < len(sizes):
            raise InputError(
                f"cannot split {len(self)} scenarios with train_share {train_share}: a half would have fewer "
                f"scenarios than there are item x domain ({len(sizes)}). Give a share nearer to 0.5."
            )

    def _repeats(self) -> list[Any]:
        """A group for each scenario, shared with those that must be in the same half."""
        groups: list[Any] = near_identical(
            [s.situation or f"{s.positive} {s.negative}" for s in self.scenarios]
        )
        cells = Counter(s.cell for s in self.scenarios)
        sizes = Counter((s.cell, group) for s, group in zip(self.scenarios, groups, strict=True))
        for index, s in enumerate(self.scenarios):
            if sizes[s.cell, groups[index]] > max(1, cells[s.cell] / 2):
                groups[index] = (
                    word_sequence(s.situation),
                    *sorted(map(comparable, (s.positive, s.negative))),
                )
        return groups

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


def _check_both_halves(train_cells: Iterable[str], test_cells: Iterable[str]) -> None:
    one_sided = set(train_cells) ^ set(test_cells)
    if one_sided:
        raise InputError(
            f"cannot split {_counted(one_sided, 'item x domain')}: its scenarios are repeats of each other, which "
            "belong to the same half. Add others, or split by hand."
        )


def _counted(names: Iterable[str], noun: str) -> str:
    """The first three names and the number of all: "2 item x domain (A/x, B/x)"."""
    listed = sorted(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return f"{len(listed)} {noun} ({', '.join(listed[:3])}{more})"
