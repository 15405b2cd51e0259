"""Situational dilemmas with a positive and a negative option, and sets of them."""

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
    AfterValidator,
    Field,
    StringConstraints,
    model_serializer,
    model_validator,
)

from interp_culture.errors import InputError, check_known
from interp_culture.scenarios.catalogue import Catalogue, StrictRecord, Text, without_control
from interp_culture.scenarios.repeats import grouped_halves, near_identical
from interp_culture.scenarios.wording import comparable, is_invisible, word_sequence


def _empty_if_invisible(text: str) -> str:
    return "" if is_invisible(text) else text


OptionalText = Annotated[
    str,
    StringConstraints(strip_whitespace=True),
    AfterValidator(without_control),
    AfterValidator(_empty_if_invisible),
]


class Scenario(StrictRecord):
    """One dilemma. `positive` and `negative` are its options, one for each pole of `axis`.

    Every score is positive minus negative.

    Attributes:
        situation: empty in a bare pair of texts, which has vectors but no readout.
        choices: all choices in their order, for a question with more than two; both poles are
            among them. Empty for a question with two choices.

    >>> names = {"id": "tea-1", "axis": "mint", "item": "mint", "domain": "all"}
    >>> tea = Scenario(**names, situation="Which tea?", positive="Mint", negative="Green")
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
    # Strict validation would refuse the list that JSON has in place of a tuple.
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
        has_poles = {self.positive, self.negative} <= set(self.choices)
        if len(distinct) < len(self.choices) or not has_poles:
            raise ValueError(
                "the choices must differ from each other, and both poles must be among them, "
                "word for word"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_empty_choices(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Leave out empty `choices`: digests of sets from before this field existed stay valid."""
        fields = handler(self)
        if not fields.get("choices", True):
            del fields["choices"]
        return fields


@dataclass(frozen=True)
class ScenarioSet:
    """Scenarios and the catalogue of their axes, domains and items."""

    scenarios: tuple[Scenario, ...]
    catalogue: Catalogue

    def __len__(self) -> int:
        return len(self.scenarios)

    def __iter__(self) -> Iterator[Scenario]:
        return iter(self.scenarios)

    @property
    def axes(self) -> list[str]:
        """Axes of the scenarios in this set, in the catalogue's order."""
        present = {s.axis for s in self.scenarios}
        return [a for a in self.catalogue.axes if a in present]

    @property
    def domains(self) -> list[str]:
        """Domains of the scenarios in this set, in the catalogue's order."""
        present = {s.domain for s in self.scenarios}
        return [d for d in self.catalogue.domains if d in present]

    @property
    def items(self) -> list[str]:
        """Items of the scenarios in this set, in the catalogue's order."""
        present = {s.item for s in self.scenarios}
        return [i for i in self.catalogue.items if i in present]

    @cached_property
    def digest(self) -> str:
        """Hash of all scenarios; tables made from the same scenarios carry the same digest."""
        lines = "\n".join(s.model_dump_json() for s in self.scenarios)
        return hashlib.sha256(lines.encode()).hexdigest()[:16]

    @property
    def fingerprints(self) -> list[str]:
        """A short hash of each scenario, equal for the same scenario in any set."""
        contents = [s.model_dump_json() for s in self.scenarios]
        return [hashlib.sha256(content.encode()).hexdigest()[:12] for content in contents]

    def filter(
        self, *, axis: str | None = None, item: str | None = None, domain: str | None = None
    ) -> ScenarioSet:
        """The scenarios of one axis, item and/or domain.

        Raises:
            InputError: the catalogue does not have the name.

        >>> scenarios.filter(item="X01").items
        ['X01']
        """
        known_names: dict[str, list[str]] = {
            "axis": list(self.catalogue.axes),
            "item": list(self.catalogue.items),
            "domain": self.catalogue.domains,
        }
        wanted = {"axis": axis, "item": item, "domain": domain}
        wanted = {field: value for field, value in wanted.items() if value is not None}
        for field, value in wanted.items():
            known = known_names[field]
            if value not in known:
                raise InputError(f"unknown {field} {value!r}: this set has {', '.join(known)}")
        return self._with(
            s for s in self.scenarios if all(getattr(s, f) == v for f, v in wanted.items())
        )

    def with_ids(self, ids: Iterable[str]) -> ScenarioSet:
        """The scenarios with these ids, in the order of the set.

        >>> len(scenarios.with_ids([scenarios.scenarios[0].id]))
        1
        """
        wanted = set(ids)
        return self._with(s for s in self.scenarios if s.id in wanted)

    def split(
        self, seed: int = 42, train_share: float = 0.5, per_cell: int | None = None
    ) -> tuple[ScenarioSet, ScenarioSet]:
        """(train, test): vectors and layers are chosen on the first, evaluation uses the second.

        The split is stratified by item x domain. Near-identical situations (the same words, or
        all but one) are always in the same half. A situation that more than half of an item x
        domain share is a set phrase ("Which do you agree with?"); there the options are compared.

        Args:
            per_cell: keep at most this many scenarios of every item x domain in each half; all
                by default. Halves are sampled after the split, so the half of a scenario does
                not depend on `per_cell`.

        Raises:
            InputError: an item x domain cannot be in both halves.

        >>> from interp_culture.scenarios.files import load_scenarios
        >>> train, test = load_scenarios("tone").split(seed=42)
        >>> len(train), len(test)
        (30, 30)
        """
        self._check_splittable(train_share)
        groups = self._repeat_groups
        cells = [s.cell for s in self.scenarios]
        if len(set(groups)) == len(self):
            # Imported here, since scikit-learn is slow to import and most commands never split.
            from sklearn.model_selection import train_test_split

            train, test = train_test_split(
                range(len(self)), train_size=train_share, stratify=cells, random_state=seed
            )
        else:
            # scikit-learn has no split that keeps groups whole and stratifies at the same time.
            train, test = grouped_halves(cells, groups, train_share, seed)
            _check_both_halves([cells[i] for i in train], [cells[i] for i in test])
        halves = (self._pick(train), self._pick(test))
        if per_cell is None:
            return halves
        return halves[0].sample(per_cell, seed), halves[1].sample(per_cell, seed)

    def sample(self, n: int, seed: int = 42, by: Literal["cell", "item"] = "cell") -> ScenarioSet:
        """At most `n` random scenarios of each stratum.

        Args:
            by: the stratum, "cell" (item x domain) or "item" (its domains as evenly as possible).

        Raises:
            InputError: `n` is below 1, or `by` is unknown.

        >>> len(scenarios.sample(1, by="item")) == len(scenarios.items)
        True
        """
        check_known("stratum", by, ("cell", "item"))
        if n < 1:
            raise InputError(f"cannot sample {n} scenarios of each {by}: give 1 or more")
        strata: dict[str, list[int]] = defaultdict(list)
        for index, scenario in enumerate(self.scenarios):
            strata[getattr(scenario, by)].append(index)
        rng = random.Random(seed)
        sampled: list[int] = []
        for members in strata.values():
            sampled += self._shuffled(rng, members)[:n]
        return self._pick(sampled)

    def frame(self) -> pd.DataFrame:
        """One row per scenario, with columns id, axis, item, domain.

        >>> scenarios.frame().columns.tolist()
        ['id', 'axis', 'item', 'domain']
        """
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
                f"cannot split {len(self)} scenarios by item x domain: "
                f"{_counted(single, 'item x domain')} with one scenario. "
                "Give every item x domain at least two scenarios, or split by hand."
            )
        # scikit-learn rounds the training half down, and needs one scenario per stratum in each.
        n_train = int(len(self) * train_share)
        if min(n_train, len(self) - n_train) < len(sizes):
            raise InputError(
                f"cannot split {len(self)} scenarios with train_share {train_share}: a half would "
                f"have fewer scenarios than there are item x domain ({len(sizes)}). "
                "Give a share nearer to 0.5."
            )

    @cached_property
    def _repeat_groups(self) -> list[Any]:
        """The group of each scenario; scenarios of one group must be in the same half."""
        # A bare pair has no situation, so its options are compared.
        groups: list[Any] = near_identical(
            [s.situation or f"{s.positive} {s.negative}" for s in self.scenarios]
        )
        cell_sizes = Counter(s.cell for s in self.scenarios)
        sizes = Counter((s.cell, group) for s, group in zip(self.scenarios, groups, strict=True))
        for index, s in enumerate(self.scenarios):
            # A set phrase: without this exception, the whole cell would be in one half.
            if sizes[s.cell, groups[index]] > max(1, cell_sizes[s.cell] / 2):
                options = sorted([comparable(s.positive), comparable(s.negative)])
                groups[index] = (word_sequence(s.situation), *options)
        return groups

    def _shuffled(self, rng: random.Random, members: list[int]) -> list[int]:
        """Members in random order, but every domain once before any domain twice."""
        seen: Counter[str] = Counter()
        turns = {}
        for index in rng.sample(members, len(members)):
            domain = self.scenarios[index].domain
            turns[index] = seen[domain]
            seen[domain] += 1
        return sorted(turns, key=turns.__getitem__)

    def _pick(self, indices: Iterable[int]) -> ScenarioSet:
        # Always in the order of the whole set: the digest of a sample depends on it.
        return self._with(self.scenarios[i] for i in sorted(indices))

    def _with(self, scenarios: Iterator[Scenario]) -> ScenarioSet:
        return ScenarioSet(tuple(scenarios), self.catalogue)


def _check_both_halves(train_cells: Iterable[str], test_cells: Iterable[str]) -> None:
    one_sided = set(train_cells) ^ set(test_cells)
    if one_sided:
        raise InputError(
            f"cannot split {_counted(one_sided, 'item x domain')}: its scenarios are repeats of "
            "each other, which must be in the same half. Add other scenarios, or split by hand."
        )


def _counted(names: Iterable[str], noun: str) -> str:
    """The number of names and the first three of them: "2 item x domain (A/x, B/x)"."""
    listed = sorted(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return f"{len(listed)} {noun} ({', '.join(listed[:3])}{more})"
