"""Groups of prompts that share beginnings, as scenarios do."""

from __future__ import annotations

from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.token_tree import TokenSequence


def groups_of(model: LanguageModel) -> list[list[TokenSequence]]:
    """Prompts of both readouts: a shared persona, unequal lengths, answers of several tokens."""
    groups = []
    for situation in ("A guest is late.", "You find a purse on the street.", "It rains"):
        at = len(situation) + 4
        options = (at, at + 1), (at + 5, at + 6)
        orders = [
            Prompt(f"{situation} A. {x} B. {y}", "", "Be kind.", options) for x, y in ("yn", "ny")
        ]
        answers = [
            Prompt(situation, answer, system="Be kind.")
            for answer in ("Wait for him", "Wait no more", "go")
        ]
        groups.append([model.tokenise(p) for p in (*orders, *answers)])
    return groups
