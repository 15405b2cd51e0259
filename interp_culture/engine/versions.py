"""The versions of other libraries with which the numbers were tested."""

from __future__ import annotations

import warnings
from importlib.metadata import version

from packaging.version import Version

# From the first, up to and without the second.
TESTED = {
    "torch": ("2.8", "2.14"),
    "transformers": ("5.0", "6"),
    "transformer-lens": ("4.3", "5"),
}


class VersionWarning(UserWarning):
    """A library has a version with which the numbers were not tested."""


def untested() -> list[str]:
    """A sentence on each library outside the tested versions.

    >>> untested()
    []
    """
    return [
        f"{name} {version(name)} was not tested with this toolkit (tested: {low} up to, and "
        f"without, {high})"
        for name, (low, high) in TESTED.items()
        if not Version(low) <= Version(version(name)) < Version(high)
    ]


def warn_of_versions() -> None:
    """Warn once in a process of libraries outside the tested versions.

    Warns:
        VersionWarning: with the tested range, and how to test a model.
    """
    for sentence in untested():
        warnings.warn(
            f"{sentence}; run `interp-culture doctor --model NAME` to compare a model with plain "
            "Hugging Face",
            VersionWarning,
            stacklevel=3,
        )
