"""Situational dilemmas with a positive and a negative option: load, validate, filter, split."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from interp_culture.errors import InputError

DATA = Path(__file__).parent / "data"
MAX_REPORTED = 20

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
    """A question that scenarios of one axis ask; `label` names it in tables and figures."""

    axis: Text
    label: Text


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

    @cached_property
    def digest(self) -> str:
        """Content hash over all scenarios: tables made from the same texts share it."""
        lines = "\n".join(s.model_dump_json() for s in self.scenarios)
        return hashlib.sha256(lines.encode()).hexdigest()[:16]

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

    def split(self, seed: int = 42, train_share: float = 0.5) -> tuple[ScenarioSet, ScenarioSet]:
        """(train, test): vectors and layers come from the one, evaluation from the other.

        Stratified by item x domain; the two halves share no scenario.
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
        return self._pick(train), self._pick(test)

    def sample(self, n: int, seed: int = 42, by: Literal["cell", "item"] = "cell") -> ScenarioSet:
        """At most `n` scenarios of every item x domain (or of every item), drawn with a seed."""
        if n < 1:
            raise InputError(f"cannot sample {n} scenarios of each {by}: it takes 1 or more")
        strata: dict[str, list[int]] = defaultdict(list)
        for index, scenario in enumerate(self.scenarios):
            strata[getattr(scenario, by)].append(index)
        rng = random.Random(seed)
        return self._pick(i for members in strata.values() for i in rng.sample(members, min(n, len(members))))

    def frame(self) -> pd.DataFrame:
        """One row a scenario: id, axis, item, domain."""
        return pd.DataFrame([s.model_dump(include={"id", "axis", "item", "domain"}) for s in self])

    def _pick(self, indices: Any) -> ScenarioSet:
        return self._with(self.scenarios[i] for i in sorted(indices))

    def _with(self, scenarios: Iterator[Scenario]) -> ScenarioSet:
        return ScenarioSet(tuple(scenarios), self.catalogue)


def load_scenarios(path: str | Path | None = None) -> ScenarioSet:
    """The shipped cultural scenarios, or your own: a `.jsonl` file or a folder of them.

    Axes, items and domains are declared in `axes.yaml` beside the files; without one, the shipped cultural
    axes hold. Raises InputError that lists every faulty line with file, line, field, value and fix.
    """
    root = DATA / "culture" if path is None else Path(path)
    files = _scenario_files(root)
    catalogue = _load_catalogue(files[0].parent)
    problems: list[str] = []
    scenarios: list[Scenario] = []
    seen: dict[str, str] = {}
    for file in files:
        for number, raw in enumerate(file.read_bytes().splitlines(), start=1):
            if not raw.strip():
                continue
            where = f"{file}:{number}"
            scenario = _parse_line(raw, where, catalogue, problems)
            if scenario is None:
                continue
            if scenario.id in seen:
                problems.append(
                    f"{where}: field 'id': {scenario.id!r} stands already at {seen[scenario.id]}; "
                    "give each scenario an id of its own"
                )
            seen.setdefault(scenario.id, where)
            scenarios.append(scenario)
    if not scenarios and not problems:
        problems.append(f"{root}: no scenario in it; write one JSON object a line")
    if problems:
        raise InputError(_listing(problems))
    return ScenarioSet(tuple(scenarios), catalogue)


def load_controls() -> ScenarioSet:
    """Items with a known right answer (the positive pole), for the validity of a readout."""
    return load_scenarios(DATA / "controls")


def _scenario_files(root: Path) -> list[Path]:
    if not root.exists():
        raise InputError(f"{root}: no such file or folder; give a .jsonl file or a folder of them")
    if root.is_dir():
        files = sorted(root.glob("*.jsonl"))
        if not files:
            raise InputError(f"{root}: no .jsonl file in this folder; one JSON object a line is read")
        return files
    if root.suffix != ".jsonl":
        raise InputError(f"{root}: scenarios are read from .jsonl files (one JSON object a line)")
    return [root]


def _load_catalogue(folder: Path) -> Catalogue:
    path = folder / "axes.yaml"
    if not path.exists():
        path = DATA / "culture" / "axes.yaml"
    try:
        catalogue = Catalogue.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not readable as UTF-8 YAML: {error}") from error
    except ValidationError as error:
        raise InputError(_listing([f"{path}: {_explain(e)}" for e in error.errors()])) from error
    stray = [f"{i} ({item.axis})" for i, item in catalogue.items.items() if item.axis not in catalogue.axes]
    if stray:
        raise InputError(
            f"{path}: field 'items': axis not declared under 'axes' for {', '.join(stray)}; "
            f"declared: {', '.join(catalogue.axes)}"
        )
    return catalogue


def _parse_line(raw: bytes, where: str, catalogue: Catalogue, problems: list[str]) -> Scenario | None:
    try:
        record = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        problems.append(f"{where}: byte {error.start + 1} is not UTF-8; save the file as UTF-8")
        return None
    except json.JSONDecodeError as error:
        problems.append(
            f"{where}: not a whole JSON object (column {error.colno}: {error.msg}); "
            "is the line truncated or a quote missing?"
        )
        return None
    try:
        scenario = Scenario.model_validate(record)
    except ValidationError as error:
        problems.extend(f"{where}: {_explain(e)}" for e in error.errors())
        return None
    found = _check_names(scenario, catalogue)
    problems.extend(f"{where}: {problem}" for problem in found)
    return None if found else scenario


def _check_names(scenario: Scenario, catalogue: Catalogue) -> list[str]:
    found = []
    for field, known in (
        ("axis", list(catalogue.axes)),
        ("item", list(catalogue.items)),
        ("domain", catalogue.domains),
    ):
        value = getattr(scenario, field)
        if value not in known:
            found.append(
                f"field '{field}': unknown {field} {value!r}; known: {', '.join(known)} "
                "(declare your own in an axes.yaml beside the file)"
            )
    item = catalogue.items.get(scenario.item)
    if item and not found and item.axis != scenario.axis:
        found.append(f"field 'axis': {scenario.axis!r}, but item {scenario.item} belongs to axis {item.axis!r}")
    if scenario.positive == scenario.negative:
        found.append("fields 'positive' and 'negative' are the same text; nothing can be chosen")
    return found


def _explain(error: Any) -> str:
    field = ".".join(str(part) for part in error["loc"]) or "record"
    value = error["input"]
    if error["type"] == "missing":
        return f"field '{field}': missing; add it"
    if error["type"] == "extra_forbidden":
        return f"field '{field}': not a field of this record; remove it or mend its name"
    if error["type"] == "string_too_short":
        return f"field '{field}': empty text; write one"
    return f"field '{field}': {error['msg']}, got {type(value).__name__} {str(value)[:60]!r}"


def _listing(problems: list[str]) -> str:
    shown = problems[:MAX_REPORTED]
    more = len(problems) - len(shown)
    head = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the data:"
    return "\n".join([head, *(f"  {p}" for p in shown)] + ([f"  ... and {more} more"] if more else []))
