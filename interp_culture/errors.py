"""The one error that is the user's to fix."""

from collections.abc import Iterable


class InputError(ValueError):
    """Input that cannot be used: the message says where, what was found, and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def check_known(name: str, value: object, known: Iterable[str]) -> None:
    """Raise InputError where `value` is none of the `known` words; the message lists them.

    >>> check_known("order", "both", ("both", "random"))
    >>> check_known("order", "paper", ("both", "random"))
    Traceback (most recent call last):
    interp_culture.errors.InputError: unknown order 'paper'; known: both, random
    """
    words = list(known)
    if value not in words:
        raise InputError(f"unknown {name} {value!r}; known: {', '.join(words)}")
