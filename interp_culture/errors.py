"""The one error that is the user's to fix."""


class InputError(ValueError):
    """Input that cannot be used: the message says where, what was found, and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """
