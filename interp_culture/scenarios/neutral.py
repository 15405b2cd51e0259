"""Neutral text in varied registers, for perplexity and for the divergence that an intervention causes."""

from __future__ import annotations

from interp_culture.resources import DATA


def load_neutral() -> dict[str, str]:
    """The shipped texts by register (recipe, weather report, ...): about 4,000 words of English on none of the axes."""
    return {
        path.stem: path.read_text(encoding="utf-8").strip()
        for path in sorted((DATA / "neutral").glob("*.txt"))
    }
