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
