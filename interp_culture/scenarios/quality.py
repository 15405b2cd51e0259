"""Is a set of scenarios fit to measure with? Near-duplicates, giveaways by length or wording, stray keywords."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.scenarios.wording import word_sequence

NEGATIONS = {
    "not",
    "no",
    "never",
    "nothing",
    "nobody",
    "without",
    "don't",
    "doesn't",
    "won't",
    "cannot",
}
FILLERS = {"do", "did", "will", "to"}
CHANCE = 0.5
MIN_FOR_CLASSIFIERS = 20
SPLIT_SEED = 42


@dataclass(frozen=True)
class Check:
    """One measured property of a set: its value, the range it should keep, and what it means."""

    name: str
    value: float
    low: float
    high: float
    meaning: str

    @property
    def ok(self) -> bool:
        return self.low <= self.value <= self.high


def check_quality(scenarios: ScenarioSet, seed: int = 42) -> list[Check]:
    """Measure a set against the ranges that a fair instrument should keep.

    The two classifiers see the options of a scenario without its situation and must tell which is the positive
    one. They are cross-validated over items: an item's own words do not help, what is left is style. Their
    upper bounds lie 1.96 standard errors above what is tolerated.

    What cannot be measured is left out: situations in both halves of a set that cannot be split, the classifiers
    below 20 scenarios or without a word that two options share, anything about situations of bare pairs.
    """
    if not len(scenarios):
        raise InputError("no scenario to check")
    difference = _length_differences(scenarios)
    error = float(1.96 * CHANCE / np.sqrt(len(scenarios)))
    cells = scenarios.frame().groupby(["item", "domain"]).size().unstack(fill_value=0).to_numpy()
    same_start = [words_of(s.positive)[:1] == words_of(s.negative)[:1] for s in scenarios]
    negated = [is_bare_negation(s.positive, s.negative) for s in scenarios]
    pairs = nearest_pairs(scenarios, 1)
    stray = keyword_shares(scenarios)
    grade = reading_grade(scenarios)
    by_axis = tone_by_item(scenarios).groupby("axis").difference.mean().abs()
    checks = [
        Check(
            "cell sizes",
            float(cells.max() - cells.min()),
            0.0,
            1.0,
            "largest minus smallest item x domain",
        ),
        Check(
            "length difference, mean",
            float(difference.mean()),
            -0.3,
            0.3,
            "words, positive minus negative option",
        ),
        Check(
            "length difference, largest",
            float(np.abs(difference).max()),
            0.0,
            3.0,
            "words, within one scenario",
        ),
        Check(
            "bare negations",
            float(np.mean(negated)),
            0.0,
            0.2,
            "share of scenarios whose options differ by one only",
        ),
        Check(
            "same first word",
            float(np.mean(same_start)),
            0.0,
            0.9,
            "share of scenarios whose options begin alike",
        ),
        *_situation_checks(scenarios),
        Check(
            "reading grade",
            float(grade.mean()),
            3.0,
            12.0,
            "Coleman-Liau: years at school to read a scenario",
        ),
        Check(
            "own keyword",
            float(stray.own.max()),
            0.0,
            0.95,
            "largest share of an item's texts with a keyword of it",
        ),
        Check(
            "tone",
            float(by_axis.max()),
            0.0,
            0.05,
            "largest mean difference of an axis' poles in VADER sentiment",
        ),
        Check(
            "stray keyword",
            float(stray.other_axes.max()),
            0.0,
            0.1,
            "the same with a keyword of another axis",
        ),
    ]
    if len(pairs):
        likeness = float(pairs.similarity.max())
        checks.append(
            Check(
                "nearest pair",
                likeness,
                0.0,
                0.5,
                "TF-IDF cosine of the two most similar situations",
            )
        )
    if len(scenarios) >= MIN_FOR_CLASSIFIERS:
        by_length, by_words = length_accuracy(scenarios, seed), wording_accuracy(scenarios, seed)
        checks.append(
            Check(
                "told by length", by_length, 0.0, 0.52 + error, "accuracy from option lengths alone"
            )
        )
        checks.append(
            Check("told by words", by_words, 0.0, 0.6 + error, "accuracy from option words alone")
        )
    return [check for check in checks if not np.isnan(check.value)]


def _situation_checks(scenarios: ScenarioSet) -> list[Check]:
    if all(s.is_bare_pair for s in scenarios):
        return []
    # One of few situations is a share above any fixed bound.
    high = max(0.05, 1 / len(scenarios))
    return [
        Check(
            "same opening",
            common_opening(scenarios),
            0.0,
            high,
            "largest share of situations that begin alike",
        ),
        Check(
            "shared by the halves",
            shared_by_halves(scenarios),
            0.0,
            0.0,
            "situations in both halves",
        ),
    ]


def nearest_pairs(scenarios: ScenarioSet, n: int = 10) -> pd.DataFrame:
    """The n pairs of situations that are most alike: first, second, similarity (TF-IDF cosine, 0 to 1).

    Bare pairs have no situation and are not among them.
    """
    members = [s for s in scenarios if not s.is_bare_pair]
    vectors = tfidf([s.situation for s in members])
    rows, columns = np.triu_indices(len(members), k=1)
    similarity = (vectors @ vectors.T)[rows, columns]
    top = np.argsort(similarity)[::-1][:n]
    ids = np.array([s.id for s in members], dtype=object)
    return pd.DataFrame(
        {"first": ids[rows[top]], "second": ids[columns[top]], "similarity": similarity[top]}
    )


def tfidf(texts: Sequence[str]) -> Float[np.ndarray, "text word"]:
    """TF-IDF vectors: English stop words left out, counts on a log scale, rows of length 1 (or 0, without a word)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(stop_words="english", sublinear_tf=True)
    try:
        return vectorizer.fit_transform(list(texts)).toarray()
    except ValueError:  # no text has a word that is not a stop word
        return np.zeros((len(texts), 1))


def keyword_shares(scenarios: ScenarioSet) -> pd.DataFrame:
    """How often texts (situation and options) hold a keyword: one row an item, shares of its scenarios.

    Columns: item, own (a keyword of its own), other_axes (one of an item of another axis, none of its own axis).
    """
    items = scenarios.catalogue.items
    by_axis: dict[str, set[str]] = {}
    for item in items.values():
        by_axis.setdefault(item.axis, set()).update(item.keywords)
    rows = []
    for s in scenarios:
        words = words_of(f"{s.situation} {s.positive} {s.negative}")
        others = (
            set().union(*(k for axis, k in by_axis.items() if axis != s.axis)) - by_axis[s.axis]
        )
        rows.append((s.item, _holds(words, items[s.item].keywords), _holds(words, others)))
    frame = pd.DataFrame(rows, columns=["item", "own", "other_axes"])
    return frame.groupby("item", sort=True).mean().reset_index()


def reading_grade(scenarios: ScenarioSet) -> pd.Series:
    """Coleman-Liau grade of each scenario's text by id: 0.0588 L - 0.296 S - 15.8 (letters, sentences per 100 words).

    Source: Coleman and Liau 1975, Journal of Applied Psychology 60(2). It needs no dictionary of syllables. A text
    without a word has no grade (NaN).
    """
    grades = {}
    for s in scenarios:
        text = f"{s.situation} {s.positive} {s.negative}"
        words, sentences = len(words_of(text)), max(1, len(re.findall(r"[.!?]+(?=\W|$)", text)))
        letters = sum(c.isalpha() for c in text)
        grades[s.id] = (
            5.88 * letters / words - 29.6 * sentences / words - 15.8 if words else float("nan")
        )
    return pd.Series(grades, dtype=float)


def tone_by_item(scenarios: ScenarioSet) -> pd.DataFrame:
    """Whether one pole is worded more warmly: item, axis, difference (VADER compound, -2 to 2, positive - negative).

    What is said warmly is preferred for its warmth, and couples every axis that is so worded. English only; the
    lexicon also counts words that an item cannot do without. Source: vaderSentiment (Hutto and Gilbert 2014).
    """
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    score = SentimentIntensityAnalyzer().polarity_scores
    frame = scenarios.frame()
    frame["difference"] = [
        score(s.positive)["compound"] - score(s.negative)["compound"] for s in scenarios
    ]
    return frame.groupby(["item", "axis"], sort=True).difference.mean().reset_index()


def common_opening(scenarios: ScenarioSet) -> float:
    """The largest share of situations that begin with the same two words."""
    openings = Counter(tuple(words_of(s.situation)[:2]) for s in scenarios)
    return max(openings.values()) / len(scenarios)


def shared_by_halves(scenarios: ScenarioSet, seed: int = SPLIT_SEED) -> float:
    """How many situations (case and punctuation aside) are in both halves of `ScenarioSet.split`.

    NaN for a set that cannot be split.
    """
    try:
        train, test = scenarios.split(seed)
    except InputError:
        return float("nan")
    shared = {word_sequence(s.situation) for s in train} & {
        word_sequence(s.situation) for s in test
    }
    return float(len(shared))


def length_accuracy(scenarios: ScenarioSet, seed: int = 42) -> float:
    """How often a classifier of unseen items finds the positive option by the lengths of the two alone."""
    from sklearn.linear_model import LogisticRegression

    features = np.array(
        [
            [
                len(words_of(s.positive)) - len(words_of(s.negative)),
                len(s.positive) - len(s.negative),
            ]
            for s in scenarios
        ]
    )
    return _pair_accuracy(LogisticRegression(), features, scenarios, seed)


def wording_accuracy(scenarios: ScenarioSet, seed: int = 42) -> float:
    """How often a classifier of unseen items finds the positive option by the words of the two alone.

    NaN where no word stands in two options: there is nothing to learn from.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    counter = CountVectorizer(binary=True, min_df=2)
    try:
        counter.fit([text for s in scenarios for text in (s.positive, s.negative)])
    except ValueError:  # no word is left
        return float("nan")
    positive = counter.transform([s.positive for s in scenarios]).toarray().astype(float)
    negative = counter.transform([s.negative for s in scenarios]).toarray()
    return _pair_accuracy(
        LogisticRegression(C=0.3, max_iter=1000), positive - negative, scenarios, seed
    )


def is_bare_negation(one: str, other: str) -> bool:
    """Whether the two options are the same words but for a negation."""
    first, second = (
        {_stem(w) for w in words_of(text.replace("\u2019", "'"))} for text in (one, other)
    )
    rest = (first ^ second) - FILLERS
    return bool(rest & NEGATIONS) and not rest - NEGATIONS


def _pair_accuracy(
    model: object, differences: np.ndarray, scenarios: ScenarioSet, seed: int
) -> float:
    """Cross-validated over items. A random half of the pairs is shown in reverse, so that there is a sign to learn."""
    from sklearn.model_selection import GroupKFold, cross_val_predict

    # A set of one item has no other items to be tested on: then its scenarios are the groups.
    items = np.array([s.item for s in scenarios])
    items = items if len(set(items)) > 1 else np.arange(len(items))
    folds = min(10, len(set(items)))
    sign = np.where(np.random.default_rng(seed).random(len(items)) < CHANCE, 1, -1)
    found = cross_val_predict(
        model, differences * sign[:, None], sign, groups=items, cv=GroupKFold(folds)
    )
    return float((found == sign).mean())


def _stem(word: str) -> str:
    """Crude, for comparing a verb with itself: "signs", "signed" and "sign" are one."""
    return next(
        (word[: -len(end)] for end in ("ed", "es", "s") if word.endswith(end) and len(word) > 3),
        word,
    )


def _holds(words: list[str], beginnings: Iterable[str]) -> bool:
    return any(word.startswith(tuple(beginnings)) for word in words)


def _length_differences(scenarios: ScenarioSet) -> np.ndarray:
    return np.array([len(words_of(s.positive)) - len(words_of(s.negative)) for s in scenarios])


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return re.findall(r"[\w'’-]+", text.lower())
