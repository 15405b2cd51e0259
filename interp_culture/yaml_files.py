"""YAML files of a user, read strictly: what YAML allows and no user means is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from interp_culture.errors import InputError


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; None if it is empty.

    Raises:
        InputError: the file cannot be read, is not UTF-8 YAML, gives a field twice, holds an alias
            or is nested too deeply.
    """
    try:
        # The "sig" variant removes the byte order mark that some editors write.
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the path of a YAML file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not readable as UTF-8 YAML: {error}") from error
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not readable as UTF-8 YAML: {error}") from error
    except RecursionError:
        raise InputError(f"{path}: brackets are nested too deeply; write a flat file") from None


class _StrictLoader(yaml.SafeLoader):
    """`yaml.SafeLoader`, which makes plain values only, without three of YAML's traps."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases: a few lines of them can stand for gigabytes."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None,
                None,
                f"the alias *{event.anchor} is not read; write its value out",
                event.start_mark,
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Refuse a repeated field, whose last value would win unnoticed."""
        if isinstance(node, yaml.MappingNode):
            names = Counter(str(key.value) for key, _ in node.value)
            # From the end, so that the second of the two is named with its line.
            for key, _ in reversed(node.value):
                if names[str(key.value)] > 1:
                    message = f"field {key.value!r} occurs twice; remove one of the two"
                    raise yaml.constructor.ConstructorError(None, None, message, key.start_mark)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Name the place of a value that PyYAML cannot convert, such as the date 2024-13-45."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
            kind = node.tag.rpartition(":")[2]
            message = f"{str(node.value)[:60]!r} is not a valid {kind}; quote it if it is a text"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark) from error
