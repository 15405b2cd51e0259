"""The one error that is the user's to fix."""


class InputError(ValueError):
    """Input that cannot be used: the message says where, what was found, and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
