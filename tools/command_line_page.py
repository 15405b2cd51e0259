"""The reference page of the command line, from the typer application itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from interp_culture.cli import app

INTRODUCTION = """# Command line

Every verb of `interp-culture` with its options. `interp-culture VERB --help` prints the same.

`interp-culture --json VERB` prints the tables of a verb as one JSON object, and all else on
standard error. `interp-culture tables NAME` says what the columns of a table mean. `interp-culture
--install-completion` completes verbs and options in your shell.

Exit codes: 0 success; 2 bad input, with one message that names file, line, field and fix; 1 any
other error. A study is resumable: a step that is finished in `--out` is not computed again.
"""


def command_line_page() -> str:
    """The page as Markdown: a section for each verb, in the order of the help."""
    sections = [verb_section(name, verb) for name, verb in verbs_of(get_command(app))]
    return "\n\n".join([INTRODUCTION, *sections])


def verbs_of(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb of the application and its name; a verb comes before the verbs within it."""
    for name, verb in group.commands.items():
        yield prefix + name, verb
        if hasattr(verb, "commands"):
            yield from verbs_of(verb, f"{prefix}{name} ")


def verb_section(name: str, verb: Any) -> str:
    """One verb: what it does, an example, and a table of its arguments and options."""
    summary = " ".join((verb.help or "").split())
    example = (verb.epilog or "").removeprefix("Example: ")
    lines = [f"## {name}", "", summary, "", "```sh", example, "```", ""]
    table = list(rows(verb))
    if table:
        lines += ["| option | default | meaning |", "|---|---|---|", *table]
    return "\n".join(lines)


def rows(verb: Any) -> Iterator[str]:
    """One row of the table for each parameter but --help."""
    for parameter in verb.params:
        if parameter.name == "help":
            continue
        meaning = " ".join((getattr(parameter, "help", None) or "").split())
        yield f"| {spelling(parameter)} | {default(parameter)} | {escaped(meaning)} |"


def spelling(parameter: Any) -> str:
    """An argument in capitals, an option with its dashes."""
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    names = "`, `".join([*parameter.opts, *parameter.secondary_opts])
    return f"`{names}`"


def default(parameter: Any) -> str:
    """The default as it would be written; a dash where there is none."""
    value = parameter.default
    if parameter.required:
        return "required"
    if getattr(parameter, "is_flag", False):
        return "on" if value else "off"
    if value is None or callable(value):
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(f"`{entry}`" for entry in value) or "–"
    return f"`{value}`"


def escaped(text: str) -> str:
    """Text that may stand in a cell of a table."""
    return text.replace("|", "\\|")
