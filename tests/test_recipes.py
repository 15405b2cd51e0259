"""The recipes of the paper's models are read, and say what the paper says."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp_culture.study.config import load_config

RECIPES = Path(__file__).parent.parent / "recipes"
PAPER = {
    "qwen3-4b": [16, 17, 18, 19],
    "llama-3.2-3b": [8, 9, 11, 12],
    "gemma-3-4b": [12, 13, 14, 15],
}


@pytest.mark.parametrize("name", PAPER)
def test_a_recipe_has_the_papers_layers_and_strengths(name: str) -> None:
    config = load_config(RECIPES / f"{name}.yaml", "paper")
    assert config.layers == {"X": PAPER[name], "Y": PAPER[name]}
    assert (config.alphas, config.order, config.analyses) == ([0.2, 0.4], "random", ["all"])
    assert config.sweep_per_item is None
    assert config.prefix == ""


def test_every_recipe_is_known_here() -> None:
    assert {path.stem for path in RECIPES.glob("*.yaml")} == set(PAPER)
