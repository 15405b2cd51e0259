"""When two texts are the same to a reader, whatever their bytes."""

from __future__ import annotations

import re
import unicodedata

# Characters of the category "format": zero-width spaces and joiners, byte order marks, direction marks.
INVISIBLE = "Cf"


def comparable(text: str) -> str:
    """A text with its invisible differences removed: Unicode form, zero-width characters, case and white space.

    It is for comparison only. The data itself is kept as it was written.

    >>> comparable("Café \\u200b au lait") == comparable("CAFE\\u0301 au  lait")
    True
    """
    if text.isascii():
        return " ".join(text.casefold().split())
    visible = "".join(c for c in text if unicodedata.category(c) != INVISIBLE)
    folded = unicodedata.normalize("NFC", visible).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())


def word_sequence(text: str) -> tuple[str, ...]:
    """The words of a text in order: as `comparable`, without punctuation.

    >>> word_sequence("Go, or stay?") == word_sequence("go or STAY")
    True
    """
    return tuple(re.findall(r"[^\W_]+(?:['’][^\W_]+)*", comparable(text)))


def short(text: str, length: int = 60) -> str:
    """A text for a message: quoted, its end left out where it is long."""
    return repr(text if len(text) <= length else f"{text[: length - 3]}...")
