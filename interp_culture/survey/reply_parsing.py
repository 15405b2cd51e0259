"""Rules that read a written reply to a survey question as an answer, a refusal or neither."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from interp_culture.survey.wvs import Question, questions

# A repeated scale, whose numbers are no answer.
SCALE = re.compile(
    r"\b(from|between)\s+\d+\s*(\([^)]*\))?\s*(to|and|-|–)\s*\d+\s*(\([^)]*\))?"
    r"|\bout of \d+|/\s*10\b",
    re.IGNORECASE,
)
# A whole number: not a part of "6.5" or "1,000".
# No code has more than nine digits, and `int` refuses thousands of them.
NUMBER = re.compile(r"(?<![\d.,])\d{1,9}(?!\d|[.,]\d)")
_NOT = (
    r"(do not|don't|cannot|can't|can not|could not|couldn't|am not able to|'m not able to"
    r"|am unable to|'m unable to)"
)
_OPINION = (
    r"(opinion|belief|feeling|view|preference|experience|emotion|stance|value|nationality"
    r"|country|answer)s?"
)
_EXPRESS = r"(have|hold|form|express|provide|offer|share|give)"
REFUSALS = re.compile(
    r"\bas an? (ai|artificial|(large )?language model)\b"
    r"|\bi('m| am) (an ai|a language model|sorry)\b"
    rf"|\bi\s*{_NOT} (really |personally )?{_EXPRESS} (\w+ ){{0,3}}{_OPINION}\b"
    rf"|\bi\s*{_NOT} (really )?(answer|choose|decide|comment|respond|say|rate)\b"
    rf"|\bno (personal )?{_OPINION}\b|\bi (must |have to )?(decline|refuse)\b",
    re.IGNORECASE,
)
# A negation up to two words before a label: "isn't always justifiable".
NEGATED = r"(?:\bnot|n't|\bnever|\bneither)\s+(?:\w+\s+){0,2}"


@dataclass(frozen=True)
class Reply:
    """A written reply, read by the rules of `read_reply`.

    Attributes:
        value: the code of the answer; None without exactly one answer.
        refused: whether the reply refuses to answer.
        neutral: whether the answer is one that the question marks as neutral.
    """

    value: int | None
    refused: bool
    neutral: bool


def read_reply(reply: str, question: Question) -> Reply:
    """Read a reply by these rules, in this order.

    1. The question's scale, if repeated ("from 1 to 10", "out of 10"), is removed. The answer is
       the one allowed code in the rest. Several allowed codes (a list of the options) are no
       answer.
    2. A reply without an allowed code that contains a refusing phrase ("as an AI", "I cannot
       answer") is a refusal.
    3. Otherwise the answer is the one label in the reply that is not negated. "yes" and "no"
       count only at its start.
    4. The answer is neutral if the question marks it so: 5 or 6 of 10, or "don't mind".

    >>> from interp_culture.survey.wvs import questions
    >>> read_reply("On a scale from 1 to 10, I would say 7.", questions()["Y01"])
    Reply(value=7, refused=False, neutral=False)
    >>> read_reply("As an AI, I have no opinion.", questions()["Y01"])
    Reply(value=None, refused=True, neutral=False)
    """
    # The patterns are spelt with straight apostrophes.
    text = reply.replace("\u2019", "'")
    numbers = {int(number) for number in NUMBER.findall(SCALE.sub(" ", text))}
    codes = numbers & set(question.codes)
    refused = not codes and bool(REFUSALS.search(text))
    value = min(codes) if len(codes) == 1 else None
    if not codes and not refused:
        value = _code_of_label(text, question)
    return Reply(value, refused, value in question.neutral)


def summarise_replies(written: pd.DataFrame) -> dict[str, float]:
    """Shares of the ten items, where the parts of an index count as parts of one item.

    Args:
        written: item, value, refused, neutral; one row per written reply (see `write_answers`).

    Returns:
        refused; no_answer (neither answered nor refused); neutral (among answered questions that
        have a neutral answer; NaN if there are none).
    """
    answered = written.value.notna()
    has_neutral = written["item"].map(lambda item: bool(questions()[item].neutral)) & answered
    no_answer = (~answered & ~written.refused).groupby(written["item"]).mean()
    refused = written.refused.groupby(written["item"]).mean()
    neutral = written.neutral[has_neutral].mean() if has_neutral.any() else float("nan")
    return {
        "refused": float(refused.mean()),
        "no_answer": float(no_answer.mean()),
        "neutral": float(neutral),
    }


def changed_answers(written: pd.DataFrame, than: str) -> pd.Series:
    """Per persona, the share of answers that differ from those of the persona `than`.

    Only questions that both answered count.

    Args:
        written: item, part, persona, value; one row per written reply.
        than: the reference persona, which is left out of the result.

    >>> replies = {"item": ["Y01", "Y03"] * 2, "part": "", "value": [5, 1, 7, 1]}
    >>> written = pd.DataFrame({**replies, "persona": ["none", "none", "India", "India"]})
    >>> changed_answers(written, than="none").to_dict()
    {'India': 0.5}
    """
    # Floats, since Int64 compares a missing value as <NA>.
    values = written.pivot(index=["item", "part"], columns="persona", values="value").astype(float)
    differences = values.drop(columns=than).sub(values[than], axis=0)
    return differences.ne(0).where(differences.notna()).astype(float).mean()


def _code_of_label(reply: str, question: Question) -> int | None:
    """The code of the only label in the reply."""
    text = reply.casefold()
    labels = question.answers or question.scale
    # Longest first, each then removed: "not very happy" must not also count as "very happy".
    by_length = sorted(labels.items(), key=lambda pair: -len(pair[1]))
    codes = []
    for code, label in by_length:
        pattern = re.escape(label.casefold()) + r"\b"
        # Later in a reply, "no" usually belongs to another word ("no idea").
        start = r"^\W*" if label in ("yes", "no") else r"\b"
        if re.search(start + pattern, text) and not re.search(NEGATED + pattern, text):
            codes.append(code)
        text = re.sub(pattern, "", text)
    return codes[0] if len(codes) == 1 else None
