"""Written answers to the survey's questions, read by stated rules: answers, refusals, neutral ones."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from interp_culture.survey.wvs import Question, questions

SCALE = re.compile(
    r"\b(from|between)\s+\d+\s*(\([^)]*\))?\s*(to|and|-|–)\s*\d+\s*(\([^)]*\))?|\bout of \d+|/\s*10\b",
    re.IGNORECASE,
)
NUMBER = re.compile(r"(?<![\d.,])\d+(?!\d|[.,]\d)")
_NOT = r"(do not|don't|cannot|can't|can not|could not|couldn't|am not able to|'m not able to|am unable to|'m unable to)"
_OPINION = r"(opinion|belief|feeling|view|preference|experience|emotion|stance|value|nationality|country|answer)s?"
REFUSALS = re.compile(
    r"\bas an? (ai|artificial|(large )?language model)\b|\bi('m| am) (an ai|a language model|sorry)\b"
    rf"|\bi\s*{_NOT} (really |personally )?(have|hold|form|express|provide|offer|share|give) (\w+ ){{0,3}}{_OPINION}\b"
    rf"|\bi\s*{_NOT} (really )?(answer|choose|decide|comment|respond|say|rate)\b"
    rf"|\bno (personal )?{_OPINION}\b|\bi (must |have to )?(decline|refuse)\b",
    re.IGNORECASE,
)
NEGATED = r"(?:\bnot|n't|\bnever|\bneither)\s+(?:\w+\s+){0,2}"


@dataclass(frozen=True)
class Reply:
    """A written answer by the rules of `read_reply`."""

    value: int | None
    refused: bool
    neutral: bool


def read_reply(reply: str, question: Question) -> Reply:
    """Rules, in this order.

    1. The question's scale, repeated ("from 1 to 10", "out of 10"), is left out. An answer is the number in the rest
       that is an allowed code, if there is one only: a list of the options is none.
    2. Without a number, a phrase of refusing (an AI has no opinions, cannot answer) is a refusal.
    3. Else an answer is the one label that stands in the reply and is not negated; "yes" and "no" only at its start.
    4. Neutral is an answer that the question marks as such: 5 or 6 of 10; "don't mind".
    """
    text = reply.replace("\u2019", "'")
    numbers = {int(n) for n in NUMBER.findall(SCALE.sub(" ", text))} & set(question.codes)
    refused = not numbers and bool(REFUSALS.search(text))
    value = min(numbers) if len(numbers) == 1 else None
    if not numbers and not refused:
        value = _by_label(text, question)
    return Reply(value, refused, value in question.neutral)


def summarise_replies(written: pd.DataFrame) -> dict[str, float]:
    """Shares of the ten items: refused, no_answer (neither answered nor refused), and neutral.

    Parts of an index count as parts of one item. `neutral` is a share of the answered items that have a neutral
    answer; NaN where none of these was answered.
    """
    answered = written.value.notna()
    can_be = written["item"].map(lambda item: bool(questions()[item].neutral)) & answered
    lost = (~answered & ~written.refused).groupby(written["item"]).mean()
    return {
        "refused": float(written.refused.groupby(written["item"]).mean().mean()),
        "no_answer": float(lost.mean()),
        "neutral": float(written.neutral[can_be].mean()) if can_be.any() else float("nan"),
    }


def changed_answers(written: pd.DataFrame, than: str) -> pd.Series:
    """By persona, the share of its answers other than those of the persona `than`, of what both answered.

    Args:
        written: item, part, persona, value: one row a written answer. `than` itself is left out.
    """
    values = written.pivot(index=["item", "part"], columns="persona", values="value").astype(float)
    apart = values.drop(columns=than).sub(values[than], axis=0)
    return apart.ne(0).where(apart.notna()).astype(float).mean()


def _by_label(reply: str, question: Question) -> int | None:
    """The code of the one label in the reply; of labels within labels the longest counts."""
    text, found = reply.casefold(), []
    for code, label in sorted(
        (question.answers or question.scale).items(), key=lambda pair: -len(pair[1])
    ):
        pattern = re.escape(label.casefold()) + r"\b"
        start = r"^\W*" if label in ("yes", "no") else r"\b"
        if re.search(start + pattern, text) and not re.search(NEGATED + pattern, text):
            found.append(code)
        text = re.sub(pattern, "", text)
    return found[0] if len(found) == 1 else None
