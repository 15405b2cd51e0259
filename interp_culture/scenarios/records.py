"""Records of JSON files, read one by one; every fault is collected with its place and its fix."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from interp_culture.scenarios.data_faults import DataFaults

Record = TypeVar("Record", bound=BaseModel)

# Kinds of faults by the type of pydantic's error.
KINDS = {
    "missing": "a field is missing",
    "extra_forbidden": "an unknown field",
    "string_too_short": "an empty text",
    # pydantic's type for a ValueError in a validator; only the validator of `choices` raises one.
    "value_error": "choices without their poles",
    "model_type": "not an object",
}
MAX_QUOTED = 60


def read_records(file: Path, faults: DataFaults) -> Iterator[tuple[str, Any]]:
    """(place, record) of every record in a file.

    The content decides the format, whatever the file's suffix: a JSON list, or one JSON object
    per line.
    """
    raw = file.read_bytes()
    if begins_a_list(raw):
        yield from _list_records(raw, file, faults)
        return
    if file.suffix == ".json" and _is_one_object(raw):
        faults.add(
            str(file),
            "not a list",
            "a .json file is a list of records; name it .jsonl if it has one object per line",
        )
        return
    # Bytes are split, not text: a text may contain U+2028, where `str.splitlines` would break it.
    for number, line in enumerate(raw.splitlines(), start=1):
        if line.strip():
            where = f"{file}:{number}"
            yield from ((where, record) for record in _decode(line, where, faults))


def begins_a_list(raw: bytes) -> bool:
    """Whether the bytes of a file begin a JSON list, with or without a byte order mark.

    >>> begins_a_list("\\ufeff [3]".encode())
    True
    """
    return raw.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def validated(model: type[Record], record: Any, where: str, faults: DataFaults) -> Record | None:
    """The record as a `model`; None, with its faults added to `faults`, if it is not one."""
    try:
        return model.model_validate(record)
    except ValidationError as error:
        for details in error.errors():
            faults.add(where, fault_kind(details), fault_detail(details))
        return None


def fault_kind(error: Any) -> str:
    """The kind of fault of one of pydantic's error details."""
    return KINDS.get(error["type"], "a field of another type")


def fault_detail(error: Any) -> str:
    """Field, fault and fix of one of pydantic's error details."""
    field = ".".join(str(part) for part in error["loc"]) or "record"
    quoted = f"{type(error['input']).__name__} {str(error['input'])[:MAX_QUOTED]!r}"
    match error["type"]:
        case "missing":
            return f"field '{field}': missing; add it"
        case "extra_forbidden":
            return f"field '{field}': not a field of this record; remove it or correct its name"
        case "string_too_short":
            return f"field '{field}': empty text; write one"
        case "model_type":
            return f"field '{field}': expected an object with fields, got {quoted}"
        case "value_error":
            return f"field 'choices': {error['ctx']['error']}"
        case _:
            return f"field '{field}': {error['msg']}, got {quoted}"


def _list_records(raw: bytes, file: Path, faults: DataFaults) -> Iterator[tuple[str, Any]]:
    """The records of a list one by one, so that those before a syntax error can be used."""
    text = _text(raw, str(file), faults)
    if text is None:
        return
    decoder = json.JSONDecoder()
    position = text.index("[") + 1
    number = 0
    while True:
        # A comma before the first record is a fault, so it is skipped between records only.
        position = _skip(text, position, ", \t\r\n" if number else " \t\r\n")
        if text[position : position + 1] == "]":
            return
        number += 1
        try:
            record, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            faults.add(f"{file}: record {number}", "invalid JSON", _explain_json(error))
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
        # The "sig" variant removes the byte order mark that some editors write.
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        faults.add(
            where, "not UTF-8", f"byte {error.start + 1} is not UTF-8; save the file as UTF-8"
        )
        return None


def _decode(raw: bytes, where: str, faults: DataFaults) -> list[Any]:
    """A list of the one value in `raw`; an empty list, and a fault, if it cannot be decoded."""
    text = _text(raw, where, faults)
    if text is None:
        return []
    try:
        return [json.loads(text)]
    except json.JSONDecodeError as error:
        faults.add(where, "invalid JSON", _explain_json(error))
        return []


def _explain_json(error: json.JSONDecodeError) -> str:
    place = f"column {error.colno}"
    if error.lineno > 1:
        place = f"line {error.lineno}, {place}"
    return (
        f"invalid JSON ({place}: {error.msg}); "
        "is the record cut off, or is a quote or a comma missing?"
    )
