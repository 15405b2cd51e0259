"""Scenarios from files: the shipped sets by name, or your own; every fault is named with place, field and fix."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

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
from interp_culture.scenarios.data_faults import POLICIES, DataFaults, Fault, FaultPolicy, listing
from interp_culture.scenarios.scenario import Catalogue, Scenario, ScenarioSet
from interp_culture.scenarios.wording import comparable

SUFFIXES = (".jsonl", ".json")

Record = TypeVar("Record", bound=BaseModel)


def load_scenarios(path: str | Path | None = None, faults: FaultPolicy = "skip") -> ScenarioSet:
    """The shipped cultural scenarios, another shipped set by its name, or your own file or folder.

    Your own is a `.jsonl` file of scenarios or a folder of them, with axes, items and domains declared in an
    `axes.yaml` beside it (without one, the shipped cultural axes hold). Or it is a file of the field, or a folder of
    them, each file an axis: A/B and Yes/No behaviours, prompts with two responses, bare pairs of texts
    (docs/data_files.md).

    Args:
        faults: "skip" leaves out the records that cannot be read and warns (`DataWarning`) once for each kind of
            fault, with the count and the first three places. "refuse" raises InputError for any fault.

    Raises InputError where nothing can be read.

    >>> len(load_scenarios("tone"))
    60
    """
    if faults not in POLICIES:
        raise InputError(f"unknown faults {faults!r}; known: {', '.join(POLICIES)}")
    root = DATA / "culture" if path is None else find_set(Path(path))
    files = _scenario_files(root)
    found_faults = DataFaults()
    read = _read_behaviours if all(_holds_field_records(f) for f in files) else _read_scenarios
    found = read(root, files, found_faults)
    found_faults.report(len(found), faults, str(root))
    return found


def load_controls() -> ScenarioSet:
    """Items with a known right answer (the positive pole), for the validity of a readout."""
    return load_scenarios(DATA / "controls")


def shipped_sets() -> list[str]:
    """The names that `load_scenarios` knows."""
    return sorted(axes.parent.name for axes in DATA.glob("*/axes.yaml"))


def find_set(path: Path) -> Path:
    """A file or folder of scenarios as it stands, or the folder of the shipped set of that name."""
    if path.exists():
        return path
    if str(path) in shipped_sets():
        return DATA / path
    raise InputError(
        f"{path}: no such file or folder; give a .jsonl or .json file, a folder of them, "
        f"or the name of a shipped set: {', '.join(shipped_sets())}"
    )


def _scenario_files(root: Path) -> list[Path]:
    if not root.is_dir():
        if root.suffix not in SUFFIXES:
            raise InputError(
                f"{root}: scenarios are read from .jsonl files (one JSON object a line) or .json lists"
            )
        return [root]
    # A pool of candidates (`generate`) may stand beside the set that was selected from it.
    files = sorted(f for f in root.glob("*.jsonl") if not f.name.endswith(".pool.jsonl"))
    # Beside scenarios a .json may be anything, a manifest for one; beside behaviours it is another behaviour.
    if not (root / "axes.yaml").exists() and all(_holds_field_records(f) for f in files):
        files = sorted([*files, *root.glob("*.json")])
    if not files:
        raise InputError(
            f"{root}: no .jsonl file in this folder (nor, without an axes.yaml, a .json list)"
        )
    return files


def _holds_field_records(file: Path) -> bool:
    """Whether the first whole record is of a format of the field rather than a scenario of our own."""
    records = (record for _, record in _records(file, DataFaults()) if isinstance(record, dict))
    first = next(records, None)
    if first is None:
        return file.suffix == ".json" or file.read_bytes().lstrip().startswith(b"[")
    if "question" in first:
        return "axis" not in first
    is_scenario = first.keys() & Scenario.model_fields.keys() - {"positive", "negative"}
    return not is_scenario


def _read_scenarios(root: Path, files: list[Path], faults: DataFaults) -> ScenarioSet:
    catalogue = load_catalogue(files[0].parent)
    scenarios: list[Scenario] = []
    ids: dict[str, str] = {}
    texts: dict[tuple[str, ...], str] = {}
    for where, record in (found for file in files for found in _records(file, faults)):
        scenario = _validated(Scenario, record, where, faults)
        if scenario is None or not _fits(scenario, catalogue, where, faults):
            continue
        text = _comparable_texts(scenario)
        if text in texts:
            faults.note(where, "read once, an exact repeat", f"the same texts are at {texts[text]}")
            continue
        if scenario.id in ids:
            detail = f"field 'id': {scenario.id!r} is already at {ids[scenario.id]}; give each scenario its own id"
            faults.add(where, "an id that is taken", detail)
            continue
        ids[scenario.id] = texts[text] = where
        scenarios.append(scenario)
    return ScenarioSet(tuple(scenarios), catalogue)


def _comparable_texts(scenario: Scenario) -> tuple[str, ...]:
    """What is equal where the same scenario has been given a second id."""
    texts = (scenario.situation, scenario.positive, scenario.negative, *scenario.choices)
    return scenario.item, scenario.domain, *map(comparable, texts)


def _read_behaviours(root: Path, files: list[Path], faults: DataFaults) -> ScenarioSet:
    scenarios: list[Scenario] = []
    names: dict[str, Path] = {}
    for file in files:
        name = file.stem.strip()
        if name in names:
            raise InputError(
                f"{file}: behaviour {name!r} is also {names[name]}; give each file a name of its own"
            )
        names[name] = file
        scenarios += behaviour_scenarios(name, _field_records(file, faults), faults)
    title = root.stem if root.is_file() else root.resolve().name
    return ScenarioSet(tuple(scenarios), behaviour_catalogue(title or "behaviours", names))


def _field_records(file: Path, faults: DataFaults) -> Iterator[tuple[str, int, FieldRecord]]:
    before = len(faults.faults)
    records = list(_records(file, faults))
    if not records and len(faults.faults) == before:
        faults.add(
            str(file),
            "an empty file",
            "no record in it; write a list of questions with their answers",
        )
    if is_open_ended([record for _, record in records]):
        faults.add(
            str(file),
            "open-ended questions",
            f"no record has the fields {' and '.join(ANSWERS)} (or positive and negative): open-ended "
            "questions have no two options to compare; give the A/B file of this behaviour",
        )
        return
    for number, (where, record) in enumerate(records, start=1):
        found = _validated(record_type(record), record, where, faults)
        if found is not None:
            yield where, number, found


def _records(file: Path, faults: DataFaults) -> Iterator[tuple[str, Any]]:
    """(place, record) of every record: one JSON list, or one JSON object a line, whatever the file's ending says."""
    raw = file.read_bytes()
    start = raw.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"["):
        yield from _list_records(raw, file, faults)
        return
    if file.suffix == ".json" and _is_one_object(raw):
        faults.add(
            str(file),
            "no list",
            "a .json file is a list of records; name it .jsonl if it has one object a line",
        )
        return
    for number, line in enumerate(raw.splitlines(), start=1):
        if line.strip():
            where = f"{file}:{number}"
            yield from ((where, record) for record in _decode(line, where, faults))


def _list_records(raw: bytes, file: Path, faults: DataFaults) -> Iterator[tuple[str, Any]]:
    """The records of a list one by one, so that what comes before a break is read."""
    text = _text(raw, str(file), faults)
    if text is None:
        return
    decoder = json.JSONDecoder()
    position, number = text.index("[") + 1, 0
    while True:
        position = _skip(text, position, ", \t\r\n" if number else " \t\r\n")
        if text[position : position + 1] == "]":
            return
        number += 1
        try:
            record, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            faults.add(f"{file}: record {number}", "not whole JSON", _explain_json(error))
            return
        yield f"{file}: record {number}", record


def _skip(text: str, position: int, characters: str) -> int:
    while position < len(text) and text[position] in characters:
        position += 1
    return position


def _is_one_object(raw: bytes) -> bool:
    try:
        return isinstance(json.loads(raw), dict)
    except ValueError:
        return False


def _text(raw: bytes, where: str, faults: DataFaults) -> str | None:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        faults.add(
            where, "not UTF-8", f"byte {error.start + 1} is not UTF-8; save the file as UTF-8"
        )
        return None


def _decode(raw: bytes, where: str, faults: DataFaults) -> list[Any]:
    """The one value in `raw`, or none and a fault more."""
    text = _text(raw, where, faults)
    if text is None:
        return []
    try:
        return [json.loads(text)]
    except json.JSONDecodeError as error:
        faults.add(where, "not whole JSON", _explain_json(error))
        return []


def _explain_json(error: json.JSONDecodeError) -> str:
    place = (
        f"column {error.colno}"
        if error.lineno == 1
        else f"line {error.lineno}, column {error.colno}"
    )
    return f"not a whole JSON object or list ({place}: {error.msg}); is it truncated or a quote missing?"


def _validated(model: type[Record], record: Any, where: str, faults: DataFaults) -> Record | None:
    try:
        return model.model_validate(record)
    except ValidationError as error:
        for e in error.errors():
            faults.add(where, _kind(e), _explain(e))
        return None


def load_catalogue(folder: Path) -> Catalogue:
    """The `axes.yaml` of a folder; without one, that of the shipped cultural axes."""
    path = folder / "axes.yaml"
    if not path.exists():
        path = DATA / "culture" / "axes.yaml"
    try:
        catalogue = Catalogue.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not readable as UTF-8 YAML: {error}") from error
    except ValidationError as error:
        raise InputError(
            listing([Fault(str(path), _kind(e), _explain_yaml(e)) for e in error.errors()])
        ) from error
    stray = [
        f"{i} ({item.axis})"
        for i, item in catalogue.items.items()
        if item.axis not in catalogue.axes
    ]
    if stray:
        raise InputError(
            f"{path}: field 'items': axis not declared under 'axes' for {', '.join(stray)}; "
            f"declared: {', '.join(catalogue.axes)}"
        )
    return catalogue


def _fits(scenario: Scenario, catalogue: Catalogue, where: str, faults: DataFaults) -> bool:
    """Whether a scenario speaks of what the catalogue declares, and has two options and a situation."""
    found = list(_name_faults(scenario, catalogue))
    if comparable(scenario.positive) == comparable(scenario.negative):
        found.append(
            (
                "both options are the same text",
                "fields 'positive' and 'negative' are the same text; nothing can be chosen",
            )
        )
    if scenario.is_bare_pair:
        found.append(("an empty text", "field 'situation': empty text; write one"))
    for kind, detail in found:
        faults.add(where, kind, detail)
    return not found


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
                f"field '{field}': unknown {field} {value!r}; known: {', '.join(known)} "
                "(declare your own in an axes.yaml beside the file)",
            )
    item = catalogue.items.get(scenario.item)
    if item and are_known and item.axis != scenario.axis:
        yield (
            "an item of another axis",
            f"field 'axis': {scenario.axis!r}, but item {scenario.item} belongs to axis {item.axis!r}",
        )


KINDS = {
    "missing": "a field is missing",
    "extra_forbidden": "an unknown field",
    "string_too_short": "an empty text",
    "value_error": "choices without their poles",
    "model_type": "no record",
}


def _kind(error: Any) -> str:
    return KINDS.get(error["type"], "a field of another type")


def _explain(error: Any) -> str:
    field = ".".join(str(part) for part in error["loc"]) or "record"
    value = error["input"]
    if error["type"] == "missing":
        return f"field '{field}': missing; add it"
    if error["type"] == "extra_forbidden":
        return f"field '{field}': not a field of this record; remove it or mend its name"
    if error["type"] == "string_too_short":
        return f"field '{field}': empty text; write one"
    if error["type"] == "model_type":
        return f"field '{field}': an object with fields is expected, got {type(value).__name__} {str(value)[:60]!r}"
    if error["type"] == "value_error":
        return f"field 'choices': {error['ctx']['error']}"
    return f"field '{field}': {error['msg']}, got {type(value).__name__} {str(value)[:60]!r}"


def _explain_yaml(error: Any) -> str:
    """As `_explain`; a word that YAML takes for a truth value, a number or a date has to be quoted."""
    value = error["input"]
    if error["type"] == "string_type" and not isinstance(value, dict | list):
        return f'{_explain(error)}; YAML takes no, yes, on, off, null, numbers and dates for values: quote it, "no"'
    return _explain(error)
