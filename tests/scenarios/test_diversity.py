"""Varied selections are farther apart than random ones, and depend on the texts only."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import error_without_type_checks

from interp_culture.errors import InputError
from interp_culture.scenarios.diversity import likeness, random_spread, select_varied, spread
from interp_culture.scenarios.scenario import ScenarioSet

TEXTS = [
    "The baker sells bread at the market.",
    "A pilot lands on the frozen lake.",
    "Twins inherit a violin from their aunt.",
    "The council closes the swimming pool.",
    "Rain floods the vineyard before harvest.",
]


def angles(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane, with cosine distances that can be computed by hand."""
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_farthest_first_by_hand() -> None:
    vectors = angles(0, 10, 90, 170, 180)
    # The two ends have the lowest mean cosine, the middle has the highest.
    assert select_varied(vectors, 2)[0] in (0, 4)
    assert set(select_varied(vectors, 3)) == {0, 2, 4}
    assert select_varied(angles(0, 5, 40, 45), 2) == [0, 3]


def test_starts_from_the_most_distant_text() -> None:
    assert select_varied(angles(0, 5, 10, 80), 1) == [3]
    assert select_varied(["red green", "red blue", "green blue", "yellow"], 1) == [3]


def test_beats_random_selections(shipped: ScenarioSet) -> None:
    gains = []
    for item in shipped.catalogue.items:
        situations = [s.situation for s in shipped.filter(item=item)]
        varied = spread(situations, select_varied(situations, 15))
        random = random_spread(situations, 15, draws=50)
        gains.append((varied.minimum - random.minimum, varied.mean - random.mean))
    assert np.min(gains) > 0
    assert np.mean(gains, axis=0)[0] > 0.03


def test_duplicates_come_after_all_distinct_texts() -> None:
    texts = [text for text in TEXTS for _ in range(3)]
    chosen = select_varied(texts, len(texts))
    assert {texts[i] for i in chosen[: len(TEXTS)]} == set(TEXTS)
    assert sorted(chosen) == list(range(len(texts)))
    # Of equal texts, the first is selected.
    assert all(i % 3 == 0 for i in chosen[: len(TEXTS)])


def test_order_of_texts_only_breaks_ties() -> None:
    vectors = np.random.default_rng(3).normal(size=(40, 6))
    chosen = {tuple(vectors[i]) for i in select_varied(vectors, 12)}
    for seed in range(5):
        shuffled = vectors[np.random.default_rng(seed).permutation(len(vectors))]
        assert {tuple(shuffled[i]) for i in select_varied(shuffled, 12)} == chosen
    # Texts without a common word are selected in their order.
    assert select_varied(["a fox", "some hens", "these cows"], 2) == [0, 1]


def test_a_shorter_selection_is_the_beginning_of_a_longer_one(shipped: ScenarioSet) -> None:
    situations = [s.situation for s in shipped.filter(item="X05")]
    assert select_varied(situations, 20)[:7] == select_varied(situations, 7)


def test_scale_of_vectors_does_not_matter() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 4))
    scaled = vectors * np.arange(1, 21)[:, None]
    assert select_varied(vectors, 8) == select_varied(scaled, 8)
    assert spread(vectors, [1, 2, 3]) == spread(scaled, [1, 2, 3])


@pytest.mark.parametrize("k", [0, -1, 6])
def test_impossible_sizes_raise(k: int) -> None:
    with pytest.raises(
        InputError, match=rf"cannot select {k} of 5 texts: give a number from 1 to 5"
    ):
        select_varied(TEXTS, k)


def test_vectors_with_nan_raise() -> None:
    with pytest.raises(InputError, match="NaN or infinity"):
        select_varied(np.array([[1.0, np.nan], [0.0, 1.0]]), 1)
    code = "from interp_culture.scenarios.diversity import select_varied; select_varied([], 1)"
    assert "cannot select 1 of 0 texts" in error_without_type_checks(code)


def test_texts_without_a_word_are_alike_among_themselves() -> None:
    texts = ["the of", "and", TEXTS[0], TEXTS[1]]
    assert set(select_varied(texts, 3)) == {0, 2, 3}
    assert spread(texts, [0, 1]).minimum == 0
    assert sorted(select_varied(["the", "and"], 2)) == [0, 1]


def test_spread_by_hand() -> None:
    result = spread(angles(0, 60, 90), [0, 1, 2])
    assert result.minimum == pytest.approx(1 - np.cos(np.radians(30)))
    assert result.mean == pytest.approx((0.5 + 2 * (1 - np.cos(np.radians(30)))) / 3)
    assert np.isnan(spread(TEXTS, [2]).mean)
    assert spread(TEXTS, [0, 1]).minimum == pytest.approx(1)


def test_random_spread_averages_over_draws() -> None:
    vectors = angles(0, 60)
    assert random_spread(vectors, 2, draws=3).mean == pytest.approx(0.5)
    many = np.random.default_rng(1).normal(size=(12, 3))
    assert random_spread(many, 4, seed=1) == random_spread(many, 4, seed=1)
    assert random_spread(many, 4, seed=1) != random_spread(many, 4, seed=2)


def test_likeness() -> None:
    assert likeness([], TEXTS[0]) == 0
    assert likeness(TEXTS[1:], TEXTS[0]) == pytest.approx(0)
    assert likeness(TEXTS, TEXTS[0].upper()) == pytest.approx(1)
    near = likeness(TEXTS, "The baker sells cakes at the market.")
    assert 0.5 < near < 0.95
