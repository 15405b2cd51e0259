"""Checks whether a set of scenarios is a fair instrument, each with the range it should keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from interp_culture.errors import InputError
from interp_culture.scenarios.giveaways import CHANCE, length_accuracy, wording_accuracy
from interp_culture.scenarios.measures import (
    common_opening,
    is_bare_negation,
    keyword_shares,
    length_differences,
    nearest_pairs,
    reading_grade,
    shared_by_halves,
    tone_by_item,
)
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.scenarios.wording import words_of

# Below this number, the accuracy of a classifier is noise.
MIN_FOR_CLASSIFIERS = 20
# Accuracies that are tolerated on a set of any size; the sampling error is added to them.
# Words get more, since options of opposite meaning can share a length but not all words.
LENGTH_ACCURACY = 0.52
WORDING_ACCURACY = 0.6


@dataclass(frozen=True)
class Check:
    """One measured property of a set: its value, the range it should keep, and its meaning."""

    name: str
    value: float
    low: float
    high: float
    meaning: str

    @property
    def ok(self) -> bool:
        """Whether the value is within its range; both bounds belong to it."""
        return self.low <= self.value <= self.high


def check_quality(scenarios: ScenarioSet, seed: int = 42) -> list[Check]:
    """Measure near-duplicates, giveaways by length or wording, keywords, readability and tone.

    Two classifiers see the options of a scenario without its situation and guess which one is
    positive. They are cross-validated over items, so that the words of an item do not help and
    only style is left. Their upper bounds are 1.96 standard errors above the tolerated accuracy.

    Args:
        seed: for the folds of the classifiers.

    Returns:
        One check per property. A property that cannot be measured is left out: the shared
        situations of a set that cannot be split, the classifiers below 20 scenarios or without a
        word that two options share, and everything about situations in a set of bare pairs.

    Raises:
        InputError: the set is empty.

    >>> from interp_culture.scenarios.files import load_scenarios
    >>> [check.name for check in check_quality(load_scenarios("tone")) if not check.ok]
    []
    """
    if not len(scenarios):
        raise InputError("no scenario to check")
    checks = [
        *_balance_checks(scenarios),
        *_option_checks(scenarios),
        *_situation_checks(scenarios),
        *_text_checks(scenarios),
        *_nearest_pair_check(scenarios),
        *_giveaway_checks(scenarios, seed),
    ]
    return [check for check in checks if not np.isnan(check.value)]


def _balance_checks(scenarios: ScenarioSet) -> Iterator[Check]:
    counts = scenarios.frame().groupby(["item", "domain"]).size().unstack(fill_value=0).to_numpy()
    spread = float(counts.max() - counts.min())
    yield Check("cell sizes", spread, 0.0, 1.0, "largest minus smallest item x domain")


def _option_checks(scenarios: ScenarioSet) -> Iterator[Check]:
    difference = length_differences(scenarios)
    negated = [is_bare_negation(s.positive, s.negative) for s in scenarios]
    same_start = [words_of(s.positive)[:1] == words_of(s.negative)[:1] for s in scenarios]
    yield Check(
        "length difference, mean",
        float(difference.mean()),
        -0.3,
        0.3,
        "words, positive minus negative option",
    )
    yield Check(
        "length difference, largest",
        float(np.abs(difference).max()),
        0.0,
        3.0,
        "words, within one scenario",
    )
    yield Check(
        "bare negations",
        float(np.mean(negated)),
        0.0,
        0.2,
        "share of scenarios whose options differ by a negation only",
    )
    yield Check(
        "same first word",
        float(np.mean(same_start)),
        0.0,
        0.9,
        "share of scenarios whose options begin with the same word",
    )


def _situation_checks(scenarios: ScenarioSet) -> Iterator[Check]:
    if all(s.is_bare_pair for s in scenarios):
        return
    # In a small set, even one situation is a larger share than any fixed bound.
    high = max(0.05, 1 / len(scenarios))
    yield Check(
        "same opening",
        common_opening(scenarios),
        0.0,
        high,
        "largest share of situations that begin with the same two words",
    )
    yield Check(
        "shared by the halves",
        shared_by_halves(scenarios),
        0.0,
        0.0,
        "number of situations in both halves of the split",
    )


def _text_checks(scenarios: ScenarioSet) -> Iterator[Check]:
    keywords = keyword_shares(scenarios)
    tone_by_axis = tone_by_item(scenarios).groupby("axis").difference.mean().abs()
    yield Check(
        "reading grade",
        float(reading_grade(scenarios).mean()),
        3.0,
        12.0,
        "Coleman-Liau: years at school needed to read a scenario",
    )
    yield Check(
        "item keyword",
        float(keywords.own.max()),
        0.0,
        0.95,
        "largest share of an item's texts that contain one of its keywords",
    )
    # vaderSentiment itself calls a compound score within 0.05 of 0 neutral.
    yield Check(
        "tone",
        float(tone_by_axis.max()),
        0.0,
        0.05,
        "largest mean difference in VADER sentiment between the poles of an axis",
    )
    yield Check(
        "stray keyword",
        float(keywords.other_axes.max()),
        0.0,
        0.1,
        "largest share of an item's texts that contain a keyword of another axis",
    )


def _nearest_pair_check(scenarios: ScenarioSet) -> Iterator[Check]:
    pairs = nearest_pairs(scenarios, 1)
    if len(pairs):
        yield Check(
            "nearest pair",
            float(pairs.similarity.max()),
            0.0,
            0.5,
            "TF-IDF cosine of the two most similar situations",
        )


def _giveaway_checks(scenarios: ScenarioSet, seed: int) -> Iterator[Check]:
    if len(scenarios) < MIN_FOR_CLASSIFIERS:
        return
    # Standard error of a share at chance level, sqrt(p (1 - p) / n) with p = 0.5.
    error = float(1.96 * CHANCE / np.sqrt(len(scenarios)))
    yield Check(
        "guessed from length",
        length_accuracy(scenarios, seed),
        0.0,
        LENGTH_ACCURACY + error,
        "accuracy in finding the positive option from option lengths alone",
    )
    yield Check(
        "guessed from words",
        wording_accuracy(scenarios, seed),
        0.0,
        WORDING_ACCURACY + error,
        "accuracy in finding the positive option from option words alone",
    )
