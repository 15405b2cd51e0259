"""InputError, the one error that a user can fix, and helpers for its messages."""

from collections.abc import Iterable

# Of a user's text within a message, in characters.
LONGEST_TEXT = 200


class InputError(ValueError):
    """Input that cannot be used: the message says where, what is wrong with it, and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's message that is not blank, or the name of the error's class.

    >>> first_line(ValueError("  no such file  "))
    'no such file'
    >>> first_line(KeyboardInterrupt())
    'KeyboardInterrupt'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def printable(text: str) -> str:
    r"""A user's text for a message: escapes for what a terminal would obey, and not too long.

    >>> printable("a\x1fb")
    'a\\x1fb'
    >>> len(printable("x" * 1000))
    203
    """
    shown = text if text.isprintable() else text.encode("unicode_escape").decode()
    return shown if len(shown) <= LONGEST_TEXT else f"{shown[:LONGEST_TEXT]}..."


def check_known(name: str, value: object, known: Iterable[str]) -> None:
    """Raise InputError for a `value` that is not among the `known` words; the message lists them.

    >>> check_known("order", "both", ("both", "random"))
    >>> check_known("order", "paper", ("both", "random"))
    Traceback (most recent call last):
    interp_culture.errors.InputError: unknown order 'paper'; known: both, random
    """
    words = list(known)
    if value not in words:
        raise InputError(f"unknown {name} {value!r}; known: {', '.join(words)}")
