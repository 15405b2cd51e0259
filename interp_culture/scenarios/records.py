"""Records of JSON files, read one by one; every fault is collected with its place and its fix."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from reprlib import Repr
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from interp_culture.errors import InputError
from interp_culture.scenarios.catalogue import CONTROL
from interp_culture.scenarios.data_faults import DataFaults

Record = TypeVar("Record", bound=BaseModel)

# Kinds of faults by the type of pydantic's error.
KINDS = {
    "missing": "a field is missing",
    "extra_forbidden": "an unknown field",
    "string_too_short": "an empty text",
    "invisible_text": "an empty text",
    "control_character": "a control character",
    # pydantic's type for a ValueError in a validator; only the validator of `choices` raises one.
    "value_error": "choices without their poles",
    "model_type": "not an object",
}
MAX_QUOTED = 60
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# The whole text of a deeply nested value could neither be made nor read.
SHORT = Repr()
SHORT.maxlevel = 2
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = MAX_QUOTED


class RepeatedFieldError(ValueError):
    """An object that gives a field twice; JSON would take the last value unnoticed."""


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise RepeatedFieldError(name)
    return fields


DECODER = json.JSONDecoder(object_pairs_hook=_unique_fields)


def read_records(file: Path, faults: DataFaults) -> Iterator[tuple[str, Any]]:
    """(place, record) of every record in a file.

    The content decides the format, whatever the file's suffix: a JSON list, or one JSON object
    per line. Lines are read one by one, so that a long file needs little memory.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        if begins_a_list(file):
            yield from _list_records(file.read_bytes(), file, faults)
        elif file.suffix == ".json" and _is_one_object(file.read_bytes()):
            faults.add(
                str(file),
                "not a list",
                "a .json file is a list of records; name it .jsonl if it has one object per line",
            )
        else:
            yield from _line_records(file, faults)
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({error.strerror}); give a file that you may read"
        ) from error


def begins_a_list(file: Path) -> bool:
    """Whether a file begins a JSON list, with or without a byte order mark."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines):
            text = line if number else line.removeprefix(BYTE_ORDER_MARK)
            if text.strip():
                return text.lstrip().startswith(b"[")
    return False


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
    field = _shown(".".join(str(part) for part in error["loc"])) or "record"
    quoted = _quoted(error["input"])
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


def _quoted(value: Any) -> str:
    """The type of a value, and its text up to a length."""
    text = value if isinstance(value, str) else SHORT.repr(value)
    return f"{type(value).__name__} {text[:MAX_QUOTED]!r}"


def _shown(name: str) -> str:
    """A name of the file, of which a terminal shows all and obeys nothing."""
    if CONTROL.search(name) or not name.isprintable():
        name = repr(name)[1:-1]
    return name[:MAX_QUOTED]


def _line_records(file: Path, faults: DataFaults) -> Iterator[tuple[str, Any]]:
    with file.open("rb") as file_lines:
        # Bytes are split, not text: a text may contain U+2028, where `str.splitlines` would break
        # it. A binary file is split at \n alone, hence the second split, at \r.
        lines = chain.from_iterable(line.splitlines() for line in file_lines)
        for number, line in enumerate(lines, start=1):
            if line.removeprefix(BYTE_ORDER_MARK).strip():
                where = f"{file}:{number}"
                yield from ((where, record) for record in _decode(line, where, faults))


def _list_records(raw: bytes, file: Path, faults: DataFaults) -> Iterator[tuple[str, Any]]:
    """The records of a list one by one, so that those before a syntax error can be used."""
    text = _text(raw, str(file), faults)
    if text is None:
        return
    position = text.index("[") + 1
    number = 0
    while True:
        # A comma before the first record is a fault, so it is skipped between records only.
        position = _skip(text, position, ", \t\r\n" if number else " \t\r\n")
        if text[position : position + 1] == "]":
            return
        number += 1
        where = f"{file}: record {number}"
        try:
            record, position = DECODER.raw_decode(text, position)
        except RepeatedFieldError as error:
            faults.add(where, *_explain(error))
            position = _end_of_record(text, position)
        except (ValueError, RecursionError) as error:
            kind, detail = _explain(error)
            faults.add(where, kind, f"{detail}; every record after it is left out too")
            return
        else:
            yield where, record


def _end_of_record(text: str, position: int) -> int:
    """Where a record with a repeated field ends; the end of the text if that is unclear."""
    try:
        return json.JSONDecoder().raw_decode(text, position)[1]
    except (ValueError, RecursionError):
        return len(text)


def _skip(text: str, position: int, characters: str) -> int:
    while position < len(text) and text[position] in characters:
        position += 1
    return position


def _is_one_object(raw: bytes) -> bool:
    try:
        return isinstance(json.loads(raw), dict)
    except (ValueError, RecursionError):
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
        return [DECODER.decode(text)]
    except (ValueError, RecursionError) as error:
        faults.add(where, *_explain(error))
        return []


def _explain(error: Exception) -> tuple[str, str]:
    """Kind and detail of what a decoder raised."""
    if isinstance(error, RepeatedFieldError):
        name = _shown(str(error))
        return "a field occurs twice", f"field '{name}': occurs twice; remove one of the two"
    if isinstance(error, RecursionError):
        return "invalid JSON", "brackets are nested too deeply; write a flat record"
    if not isinstance(error, json.JSONDecodeError):
        # Python refuses to convert a number of more than 4300 digits.
        return "invalid JSON", "a number has too many digits; shorten it"
    return "invalid JSON", _explain_json(error)


def _explain_json(error: json.JSONDecodeError) -> str:
    place = f"column {error.colno}"
    if error.lineno > 1:
        place = f"line {error.lineno}, {place}"
    return (
        f"invalid JSON ({place}: {error.msg}); "
        "is the record cut off, or is a quote or a comma missing?"
    )
