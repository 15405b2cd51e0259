"""Neutral English texts, used to measure perplexity and the KL divergence of an intervention."""

from __future__ import annotations

from interp_culture.resources import DATA


def load_neutral() -> dict[str, str]:
    """The shipped neutral texts: sixteen, about 4,500 words in all, on none of the axes.

    Returns:
        The texts by register ("recipe", "weather_report", ...), in alphabetical order.

    >>> texts = load_neutral()
    >>> len(texts)
    16
    """
    return {
        path.stem: path.read_text(encoding="utf-8").strip()
        for path in sorted((DATA / "neutral").glob("*.txt"))
    }


def neutral_beginnings(n: int | None = None, characters: int = 300) -> list[str]:
    """The beginnings of the first `n` shipped texts, cut at a space: for costs that are compared.

    Of all texts if `n` is None.

    >>> [len(text) <= 300 for text in neutral_beginnings(2)]
    [True, True]
    """
    texts = list(load_neutral().values())[:n]
    return [text[:characters].rsplit(maxsplit=1)[0] for text in texts]
