"""Normalised forms of a text, in which texts that look the same to a reader are equal."""

from __future__ import annotations

import re
import unicodedata

# Unicode category "format": zero-width spaces and joiners, byte order marks, direction marks.
INVISIBLE = "Cf"


def comparable(text: str) -> str:
    """The text without differences in Unicode form, zero-width characters, case or white space.

    Use it for comparison only. Scenarios keep their texts as they were written.

    >>> comparable("Café \\u200b au lait") == comparable("CAFE\\u0301 au  lait")
    True
    """
    # ASCII has no invisible format characters and one Unicode form, so this is only faster.
    if text.isascii():
        return " ".join(text.casefold().split())
    visible = "".join(c for c in text if unicodedata.category(c) != INVISIBLE)
    folded = unicodedata.normalize("NFC", visible).casefold()
    # Case folding can leave composed characters apart, so the text is composed a second time.
    return " ".join(unicodedata.normalize("NFC", folded).split())


def name_form(name: str) -> str:
    """A name or id in the form in which two that look the same are equal. Case counts.

    >>> name_form("Cafe\\u0301-\\uff11\\u200b") == name_form("Café-1")
    True
    """
    if name.isascii():
        return name.strip()
    visible = "".join(c for c in name if unicodedata.category(c) != INVISIBLE)
    return unicodedata.normalize("NFKC", visible).strip()


def is_invisible(text: str) -> bool:
    """Whether a text has no character that a reader sees.

    >>> is_invisible(" \\u200b"), is_invisible("x")
    (True, False)
    """
    return all(c.isspace() or unicodedata.category(c) == INVISIBLE for c in text)


def word_sequence(text: str) -> tuple[str, ...]:
    """The words of a text in order, normalised as in `comparable`, without punctuation.

    >>> word_sequence("Go, or stay?") == word_sequence("go or STAY")
    True
    """
    return tuple(re.findall(r"[^\W_]+(?:['’][^\W_]+)*", comparable(text)))


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; the unit of all length counts.

    >>> words_of("Don't go, Zoë!")
    ["don't", 'go', 'zoë']
    """
    return re.findall(r"[\w'’-]+", text.lower())


def short(text: str, length: int = 60) -> str:
    """The text in quotes for a message, cut to `length` characters.

    >>> short("A long question about tea", length=12)
    "'A long qu...'"
    """
    return repr(text if len(text) <= length else f"{text[: length - 3]}...")
