"""The neutral texts have enough words, vary, and contain no keyword of an item."""

from __future__ import annotations

from interp_culture.scenarios.neutral import load_neutral
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.scenarios.wording import words_of


def test_a_few_thousand_words_in_many_registers() -> None:
    texts = load_neutral()
    assert len(texts) == 16
    sizes = {register: len(words_of(text)) for register, text in texts.items()}
    assert min(sizes.values()) >= 200
    assert 3500 <= sum(sizes.values()) <= 6000
    assert len(set(texts.values())) == len(texts)


def test_no_text_contains_a_keyword_of_an_item(shipped: ScenarioSet) -> None:
    stems = {k for item in shipped.catalogue.items.values() for k in item.keywords}
    for register, text in load_neutral().items():
        keywords = [word for word in words_of(text) if word.startswith(tuple(stems))]
        assert keywords == [], register
