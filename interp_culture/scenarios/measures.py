"""Measures of a set of scenarios: similarity, keywords, readability, tone, shared situations."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.scenarios.wording import word_sequence, words_of

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
# Words that a negation brings with it: "does not sign", "will not sign".
FILLERS = {"do", "did", "will", "to"}
# The default of `ScenarioSet.split` and of a study: the split that is checked is the one used.
SPLIT_SEED = 42


def length_differences(scenarios: ScenarioSet) -> np.ndarray:
    """Words of the positive minus words of the negative option, one value per scenario."""
    return np.array([len(words_of(s.positive)) - len(words_of(s.negative)) for s in scenarios])


def nearest_pairs(scenarios: ScenarioSet, n: int = 10) -> pd.DataFrame:
    """The n most similar pairs of situations; bare pairs are not counted, they have no situation.

    Returns:
        One row per pair, the most similar first: first, second (ids), similarity (TF-IDF cosine,
        0 to 1).
    """
    members = [s for s in scenarios if not s.is_bare_pair]
    # All pairs at once: 600 situations are 180,000 pairs, which fit in memory.
    vectors = tfidf([s.situation for s in members])
    rows, columns = np.triu_indices(len(members), k=1)
    similarity = (vectors @ vectors.T)[rows, columns]
    top = np.argsort(similarity)[::-1][:n]
    ids = np.array([s.id for s in members], dtype=object)
    return pd.DataFrame(
        {"first": ids[rows[top]], "second": ids[columns[top]], "similarity": similarity[top]}
    )


def tfidf(texts: Sequence[str]) -> Float[np.ndarray, "text word"]:
    """TF-IDF vectors with logarithmic counts and without English stop words.

    Rows have length 1, or 0 for a text without words other than stop words.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    # Sublinear (1 + log count): a word said three times does not weigh three times as much.
    vectorizer = TfidfVectorizer(stop_words="english", sublinear_tf=True)
    try:
        return vectorizer.fit_transform(list(texts)).toarray()
    except ValueError:
        # scikit-learn raises for an empty vocabulary: no text has a word that counts.
        return np.zeros((len(texts), 1))


def keyword_shares(scenarios: ScenarioSet) -> pd.DataFrame:
    """How often the texts of an item (situation and options) contain a keyword.

    Returns:
        One row per item: item, own (share of its scenarios with one of its keywords), other_axes
        (share with a keyword of another axis that is not also one of the item's own axis).
    """
    items = scenarios.catalogue.items
    by_axis: dict[str, set[str]] = defaultdict(set)
    for item in items.values():
        by_axis[item.axis].update(item.keywords)
    rows = []
    for s in scenarios:
        words = words_of(f"{s.situation} {s.positive} {s.negative}")
        foreign: set[str] = set()
        for axis, keywords in by_axis.items():
            if axis != s.axis:
                foreign |= keywords
        foreign -= by_axis[s.axis]
        has_own = _has_beginning(words, items[s.item].keywords)
        rows.append((s.item, has_own, _has_beginning(words, foreign)))
    frame = pd.DataFrame(rows, columns=["item", "own", "other_axes"])
    return frame.groupby("item", sort=True).mean().reset_index()


def reading_grade(scenarios: ScenarioSet) -> pd.Series:
    """Coleman-Liau grade of each scenario's text: years at school needed to read it.

    grade = 0.0588 L - 0.296 S - 15.8, with L letters and S sentences per 100 words (Coleman and
    Liau 1975, Journal of Applied Psychology 60(2)). It needs no dictionary of syllables.

    Returns:
        The grade by scenario id; NaN for a text without words.
    """
    grades = {}
    for s in scenarios:
        text = f"{s.situation} {s.positive} {s.negative}"
        words = len(words_of(text))
        # A text without a full stop is still one sentence.
        sentences = max(1, len(re.findall(r"[.!?]+(?=\W|$)", text)))
        letters = sum(c.isalpha() for c in text)
        if words:
            # L and S are counts per 100 words: 0.0588 L = 5.88 letters / words.
            grades[s.id] = 5.88 * letters / words - 29.6 * sentences / words - 15.8
        else:
            grades[s.id] = float("nan")
    return pd.Series(grades, dtype=float)


def tone_by_item(scenarios: ScenarioSet) -> pd.DataFrame:
    """Difference in sentiment between the two options of an item (vaderSentiment, English only).

    A model may prefer an option for its warm wording. If the same pole of two axes is worded more
    warmly, the two axes are coupled by wording alone. The lexicon also counts words that belong
    to the subject of an item. Source: Hutto and Gilbert 2014.

    Returns:
        One row per item: item, axis, difference (mean VADER compound score of the positive minus
        the negative option, -2 to 2).
    """
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    score = SentimentIntensityAnalyzer().polarity_scores
    frame = scenarios.frame()
    frame["difference"] = [
        score(s.positive)["compound"] - score(s.negative)["compound"] for s in scenarios
    ]
    return frame.groupby(["item", "axis"], sort=True).difference.mean().reset_index()


def common_opening(scenarios: ScenarioSet) -> float:
    """The largest share of situations that begin with the same two words, 0 to 1."""
    openings = Counter(tuple(words_of(s.situation)[:2]) for s in scenarios)
    return max(openings.values()) / len(scenarios)


def shared_by_halves(scenarios: ScenarioSet, seed: int = SPLIT_SEED) -> float:
    """Number of situations in both halves of `ScenarioSet.split`, apart from case and punctuation.

    NaN for a set that cannot be split.
    """
    try:
        train, test = scenarios.split(seed)
    except InputError:
        return float("nan")
    train_situations = {word_sequence(s.situation) for s in train}
    test_situations = {word_sequence(s.situation) for s in test}
    return float(len(train_situations & test_situations))


def is_bare_negation(one: str, other: str) -> bool:
    """Whether two options differ by a negation only.

    >>> is_bare_negation("She signs the list.", "She does not sign the list.")
    True
    """
    # NEGATIONS are spelt with straight apostrophes.
    stems = [
        {_stem(word) for word in words_of(text.replace("\u2019", "'"))} for text in (one, other)
    ]
    difference = (stems[0] ^ stems[1]) - FILLERS
    return bool(difference & NEGATIONS) and not difference - NEGATIONS


def _stem(word: str) -> str:
    """The word without a verb ending: "signs", "signed" and "sign" are the same."""
    for ending in ("ed", "es", "s"):
        # Words such as "is", "was" and "yes" have no ending to cut.
        if word.endswith(ending) and len(word) > 3:
            return word[: -len(ending)]
    return word


def _has_beginning(words: list[str], beginnings: Iterable[str]) -> bool:
    return any(word.startswith(tuple(beginnings)) for word in words)
