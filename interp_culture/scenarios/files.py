"""Scenarios from files: the shipped sets by name, or the user's own files and folders."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from interp_culture.errors import InputError
from interp_culture.resources import DATA
from interp_culture.scenarios.behaviours import (
    ANSWERS,
    FieldRecord,
    behaviour_catalogue,
    behaviour_scenarios,
    is_open_ended,
    record_type,
)
from interp_culture.scenarios.catalogue import Catalogue, Text
from interp_culture.scenarios.data_faults import POLICIES, DataFaults, Fault, FaultPolicy, listing
from interp_culture.scenarios.joining import join_sets
from interp_culture.scenarios.records import (
    begins_a_list,
    fault_detail,
    fault_kind,
    read_records,
    validated,
)
from interp_culture.scenarios.scenario import Scenario, ScenarioSet
from interp_culture.scenarios.wording import comparable, name_form, short
from interp_culture.yaml_files import read_yaml

SUFFIXES = (".jsonl", ".json")
POOL_SUFFIX = ".pool.jsonl"
MAX_SHOWN = 300


def load_scenarios(path: str | Path | None = None, faults: FaultPolicy = "skip") -> ScenarioSet:
    """The shipped cultural scenarios, another shipped set, or your own file or folder.

    Args:
        path: the shipped cultural set by default. Otherwise the name of a shipped set
            (`shipped_sets`), or a file or folder in one of two formats (docs/data_files.md):
            `.jsonl` files of scenarios, with their axes, items and domains declared in an
            `axes.yaml` in the same folder (without one, those of the cultural set apply); or
            `.json` or `.jsonl` files of A/B or Yes/No behaviours, prompts with two responses, or
            bare pairs of texts, where each file is an axis. Names or paths with "+" between them
            are read as one set (`join_sets`).
        faults: "skip" leaves out unreadable records and warns (`DataWarning`) once for each kind
            of fault, with the count and the first three places. "refuse" raises on any fault.

    Raises:
        InputError: nothing can be read, or there is a fault and `faults` is "refuse".

    >>> scenarios = load_scenarios("tone")
    >>> len(scenarios), scenarios.axes
    (60, ['F', 'C'])
    """
    if faults not in POLICIES:
        raise InputError(f"unknown faults {faults!r}; known: {', '.join(POLICIES)}")
    if path is not None and "+" in str(path) and not _exists(Path(path)):
        return join_sets([load_scenarios(part, faults) for part in str(path).split("+")])
    root = DATA / "culture" if path is None else find_set(Path(path))
    files = _scenario_files(root)
    collected = DataFaults()
    if all(_has_behaviours(file) for file in files):
        scenarios = _read_behaviours(root, files, collected)
    else:
        scenarios = _read_scenarios(files, collected)
    collected.report(len(scenarios), faults, str(root))
    return scenarios


def load_controls() -> ScenarioSet:
    """Items with a known right answer (the positive pole), to test the validity of a readout.

    >>> len(load_controls())
    52
    """
    return load_scenarios(DATA / "controls")


def shipped_sets() -> list[str]:
    """The names of the shipped sets, which `load_scenarios` accepts.

    >>> shipped_sets()
    ['controls', 'culture', 'selfhood', 'tone']
    """
    # The other folders, of survey figures and neutral texts, have no axes.yaml.
    return sorted(axes.parent.name for axes in DATA.glob("*/axes.yaml"))


def find_set(path: Path) -> Path:
    """The path itself if it exists, else the folder of the shipped set of that name.

    Raises:
        InputError: it is neither.
    """
    if _exists(path):
        return path
    if str(path) in shipped_sets():
        return DATA / path
    raise InputError(
        f"{str(path)[:MAX_SHOWN]}: no such file or folder; give a .jsonl or .json file, a folder "
        f"of them, or the name of a shipped set: {', '.join(shipped_sets())}"
    )


def load_catalogue(folder: Path) -> Catalogue:
    """The `axes.yaml` of a folder, or that of the cultural set if the folder has none.

    Raises:
        InputError: the file is not valid, or an item names an axis that is not declared.
    """
    path = folder / "axes.yaml"
    if not path.exists():
        path = DATA / "culture" / "axes.yaml"
    try:
        catalogue = Catalogue.model_validate(read_yaml(path))
    except ValidationError as error:
        faults = [Fault(str(path), fault_kind(e), _explain_yaml(e)) for e in error.errors()]
        raise InputError(listing(faults)) from error
    for field in ("axes", "items", "domains"):
        _check_names(path, field, getattr(catalogue, field))
    undeclared = [
        f"{name} ({item.axis})"
        for name, item in catalogue.items.items()
        if item.axis not in catalogue.axes
    ]
    if undeclared:
        raise InputError(
            f"{path}: field 'items': axis not declared under 'axes' for {', '.join(undeclared)}; "
            f"declared: {', '.join(catalogue.axes)}"
        )
    return catalogue


def _check_names(path: Path, field: str, names: Iterable[str]) -> None:
    """Refuse two names that look the same, or one that no scenario could give."""
    spellings: dict[str, str] = {}
    for name in names:
        try:
            usable = TypeAdapter(Text).validate_python(name) == name
        except ValidationError:
            usable = False
        if not usable:
            raise InputError(
                f"{path}: field '{field}': {short(name)} is not a name; write visible characters "
                "without white space around them"
            )
        if spellings.setdefault(name_form(name), name) != name:
            raise InputError(
                f"{path}: field '{field}': two names look the same but have different characters: "
                f"{spellings[name_form(name)]!a} and {name!a}; rename one of them"
            )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        # Names with "+" between them can be longer than a name of a file.
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _explain_yaml(error: Any) -> str:
    value = error["input"]
    if error["type"] == "string_type" and not isinstance(value, dict | list):
        # YAML 1.1 has more literals than users expect: a pole named no is read as False.
        return (
            f"{fault_detail(error)}; YAML reads no, yes, on, off, null, numbers and dates as "
            'values: quote it, "no"'
        )
    return fault_detail(error)


def _scenario_files(root: Path) -> list[Path]:
    if not root.is_dir():
        if root.suffix not in SUFFIXES:
            raise InputError(
                f"{root}: scenarios are read from .jsonl files (one JSON object per line) "
                "or .json lists"
            )
        return [root]
    # `generate` writes its pool of candidates into the same folder as the selected set.
    files = sorted(f for f in root.glob("*.jsonl") if not f.name.endswith(POOL_SUFFIX))
    # A .json file next to scenarios is a manifest; next to behaviours it is a behaviour.
    if not (root / "axes.yaml").exists() and all(_has_behaviours(f) for f in files):
        files = sorted([*files, *root.glob("*.json")])
    if not files:
        raise InputError(
            f"{root}: no .jsonl file in this folder (nor, without an axes.yaml, a .json list)"
        )
    return files


def _has_behaviours(file: Path) -> bool:
    """Whether the first readable record is of a behaviour format, not a scenario."""
    records = (record for _, record in read_records(file, DataFaults()))
    first = next((record for record in records if isinstance(record, dict)), None)
    if first is None:
        # Without a readable record the form decides: a list is the usual form of behaviours.
        return file.suffix == ".json" or begins_a_list(file)
    if "question" in first:
        # A scenario with a surplus "question" is a faulty scenario, not a behaviour.
        return "axis" not in first
    # Both formats have positive and negative, so another field of a scenario decides.
    is_scenario = first.keys() & Scenario.model_fields.keys() - {"positive", "negative"}
    return not is_scenario


def _read_scenarios(files: list[Path], faults: DataFaults) -> ScenarioSet:
    catalogue = load_catalogue(files[0].parent)
    scenarios: list[Scenario] = []
    id_places: dict[str, str] = {}
    text_places: dict[tuple[str, ...], str] = {}
    for where, record in (pair for file in files for pair in read_records(file, faults)):
        scenario = validated(Scenario, record, where, faults)
        if scenario is None or not _fits(scenario, catalogue, where, faults):
            continue
        # Before ids: a scenario that occurs twice under one id is a repeat, not a fault.
        texts = _comparable_texts(scenario)
        if texts in text_places:
            detail = f"the same texts are at {text_places[texts]}"
            faults.note(where, "read once, an exact repeat", detail)
            continue
        name = name_form(scenario.id)
        if name in id_places:
            faults.add(
                where,
                "an id that is already used",
                f"field 'id': {short(scenario.id)} is already at {id_places[name]}; "
                "give each scenario a different id",
            )
            continue
        id_places[name] = where
        text_places[texts] = where
        scenarios.append(scenario)
    return ScenarioSet(tuple(scenarios), catalogue)


def _comparable_texts(scenario: Scenario) -> tuple[str, ...]:
    """Normalised content without the id, equal for the same scenario under two ids."""
    texts = (scenario.situation, scenario.positive, scenario.negative, *scenario.choices)
    return (scenario.item, scenario.domain, *(comparable(text) for text in texts))


def _fits(scenario: Scenario, catalogue: Catalogue, where: str, faults: DataFaults) -> bool:
    """Whether the names are in the catalogue, and the texts are a question and two options."""
    scenario_faults = [*_name_faults(scenario, catalogue), *_text_faults(scenario)]
    for kind, detail in scenario_faults:
        faults.add(where, kind, detail)
    return not scenario_faults


def _name_faults(scenario: Scenario, catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    known_names = {
        "axis": list(catalogue.axes),
        "item": list(catalogue.items),
        "domain": catalogue.domains,
    }
    are_known = True
    for field, known in known_names.items():
        value = getattr(scenario, field)
        if value not in known:
            are_known = False
            yield (
                f"an unknown {field}",
                f"field '{field}': unknown {field} {short(value)}; known: {', '.join(known)} "
                "(declare your own in an axes.yaml in the same folder)",
            )
    item = catalogue.items.get(scenario.item)
    if item and are_known and item.axis != scenario.axis:
        yield (
            "an item of another axis",
            f"field 'axis': {scenario.axis!r}, but item {scenario.item} belongs to axis "
            f"{item.axis!r}; correct one of the two",
        )


def _text_faults(scenario: Scenario) -> Iterator[tuple[str, str]]:
    if comparable(scenario.positive) == comparable(scenario.negative):
        yield (
            "both options are the same text",
            "fields 'positive' and 'negative' are the same text; write two different options",
        )
    if scenario.is_bare_pair:
        yield "an empty text", "field 'situation': empty text; write one"


def _read_behaviours(root: Path, files: list[Path], faults: DataFaults) -> ScenarioSet:
    scenarios: list[Scenario] = []
    names: dict[str, Path] = {}
    forms: dict[str, str] = {}
    for file in files:
        name = _behaviour_name(file)
        form = name_form(name)
        if form in forms:
            raise InputError(
                f"{file}: behaviour {name!r} is also in {names[forms[form]]}; "
                "give each file a different name"
            )
        forms[form] = name
        names[name] = file
        scenarios += behaviour_scenarios(name, _behaviour_records(file, faults), faults)
    # `Path(".").name` is empty; `resolve` finds the name of the folder.
    title = root.stem if root.is_file() else root.resolve().name
    return ScenarioSet(tuple(scenarios), behaviour_catalogue(title or "behaviours", names))


def _behaviour_name(file: Path) -> str:
    """The name of a behaviour, which is that of its file."""
    try:
        return TypeAdapter(Text).validate_python(file.stem)
    except ValidationError as error:
        raise InputError(
            f"{str(file)!a}: the name of the file is the name of its axis; rename it to visible "
            "characters"
        ) from error


def _behaviour_records(file: Path, faults: DataFaults) -> Iterator[tuple[str, int, FieldRecord]]:
    n_faults = len(faults.faults)
    records = list(read_records(file, faults))
    # Without a new fault the file is empty; with one it is unreadable, which is already reported.
    if not records and len(faults.faults) == n_faults:
        faults.add(
            str(file),
            "an empty file",
            "contains no record; write a list of questions with their answers",
        )
    if is_open_ended([record for _, record in records]):
        faults.add(
            str(file),
            "open-ended questions",
            f"no record has the fields {' and '.join(ANSWERS)} (or positive and negative): "
            "open-ended questions have no two options to compare; give the A/B file of this "
            "behaviour",
        )
        return
    for number, (where, record) in enumerate(records, start=1):
        behaviour = validated(record_type(record), record, where, faults)
        if behaviour is not None:
            yield where, number, behaviour
