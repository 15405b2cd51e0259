"""Classifiers that guess the positive option without the situation; a fair set keeps them low."""

from __future__ import annotations

import numpy as np

from interp_culture.scenarios.measures import length_differences
from interp_culture.scenarios.scenario import ScenarioSet

CHANCE = 0.5
# As many as the cultural set has items, so that each fold leaves out one of them.
MAX_FOLDS = 10


def length_accuracy(scenarios: ScenarioSet, seed: int = 42) -> float:
    """Cross-validated accuracy in guessing the positive option from the lengths of both."""
    from sklearn.linear_model import LogisticRegression

    characters = np.array([len(s.positive) - len(s.negative) for s in scenarios])
    features = np.column_stack([length_differences(scenarios), characters])
    return _pair_accuracy(LogisticRegression(), features, scenarios, seed)


def wording_accuracy(scenarios: ScenarioSet, seed: int = 42) -> float:
    """Cross-validated accuracy in guessing the positive option from the words of both.

    NaN if no word occurs in two options, so that there is nothing to learn from.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    # A word that occurs once cannot help with an unseen item.
    counter = CountVectorizer(binary=True, min_df=2)
    try:
        counter.fit([text for s in scenarios for text in (s.positive, s.negative)])
    except ValueError:
        # scikit-learn raises for an empty vocabulary.
        return float("nan")
    positive = counter.transform([s.positive for s in scenarios]).toarray().astype(float)
    negative = counter.transform([s.negative for s in scenarios]).toarray()
    # Regularised: there are more words (1383 in the cultural set) than pairs of options (600).
    classifier = LogisticRegression(C=0.3, max_iter=1000)
    return _pair_accuracy(classifier, positive - negative, scenarios, seed)


def _pair_accuracy(
    classifier: object, differences: np.ndarray, scenarios: ScenarioSet, seed: int
) -> float:
    """Accuracy over folds of items: the words of an item do not help, so what is left is style.

    Args:
        differences: features of the positive minus features of the negative option. A random half
            of the pairs is shown the other way round, so that there are two classes to learn.
    """
    from sklearn.model_selection import GroupKFold, cross_val_predict

    groups = np.array([s.item for s in scenarios])
    if len(set(groups)) == 1:
        # A set with a single item has no other item to test on, so scenarios are the groups.
        groups = np.arange(len(groups))
    folds = GroupKFold(min(MAX_FOLDS, len(set(groups))))
    sign = np.where(np.random.default_rng(seed).random(len(groups)) < CHANCE, 1, -1)
    predicted = cross_val_predict(
        classifier, differences * sign[:, None], sign, groups=groups, cv=folds
    )
    return float((predicted == sign).mean())
