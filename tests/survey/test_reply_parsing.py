"""The rules for written answers, on replies as models write them."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from interp_culture.survey.reply_parsing import read_reply, summarise_replies
from interp_culture.survey.wvs import questions

NO_ANSWER: tuple[int | None, bool, bool] = (None, False, False)
REFUSED = (None, True, False)


@pytest.mark.parametrize(
    ("item", "reply", "expected"),
    [
        ("Y01", "7", (7, False, False)),
        ("Y01", "I would say 10.", (10, False, False)),
        ("Y01", "5 out of 10", (5, False, True)),
        ("Y01", "6/10", (6, False, True)),
        ("Y01", "On a scale from 1 to 10, I would say 8.", (8, False, False)),
        ("Y01", "Between 1 (not at all important) and 10 (very important): 3", (3, False, False)),
        ("Y01", "7 or 8", NO_ANSWER),
        ("Y01", "11", NO_ANSWER),
        ("Y01", "6.5", NO_ANSWER),
        ("Y01", "God is love.", NO_ANSWER),
        ("Y01", "It is not at all important to me.", (1, False, False)),
        ("Y01", "God is not very important in my life.", NO_ANSWER),
        ("Y03", "Abortion isn't always justifiable.", NO_ANSWER),
        ("Y03", "It is never justifiable.", (1, False, False)),
        ("Y01", "As an AI language model, I do not have beliefs.", REFUSED),
        (
            "Y01",
            "As an AI, I don't have beliefs, so I cannot choose a number from 1 to 10.",
            REFUSED,
        ),
        ("Y01", "As an AI I have no view, but 8 is common.", (8, False, False)),
        ("Y01", "I\u2019m sorry, but I can\u2019t answer that.", REFUSED),
        ("Y01", "I can't choose.", REFUSED),
        ("Y01", "I don't really have a personal opinion on this.", REFUSED),
        ("Y04", "I do not have any pride in my nationality.", NO_ANSWER),
        ("Y02", "As an AI language model, I have no personal opinion.", REFUSED),
        ("Y02", "No, there are others.", (2, False, False)),
        ("Y02", "There is no doubt about it: yes.", NO_ANSWER),
        ("Y05", "2", (2, False, True)),
        ("Y05", "I don\u2019t mind.", (2, False, True)),
        ("Y05", "A good thing, I think.", (1, False, False)),
        ("Y05", "It would not be a good thing.", NO_ANSWER),
        ("X02", "I am not very happy.", (3, False, False)),
        ("X02", "Very happy!", (1, False, False)),
        ("X02", "1: very happy\n2: quite happy\n3: not very happy", NO_ANSWER),
        ("X04", "2", (2, False, False)),
        ("X04", "I have done it, and might do it again", NO_ANSWER),
    ],
)
def test_replies_by_the_rules(item: str, reply: str, expected: tuple) -> None:
    reading = read_reply(reply, questions()[item])
    assert (reading.value, reading.refused, reading.neutral) == expected


def test_the_summary_gives_items_equal_weight() -> None:
    """Y02 has four parts and counts once; only items with a neutral answer count for neutral."""
    rows = [("Y02", 1, False, False)] + [("Y02", None, True, False)] * 3
    rows += [("Y01", 5, False, True), ("Y03", 2, False, False), ("X02", None, False, False)]
    table = pd.DataFrame(rows, columns=["item", "value", "refused", "neutral"]).astype(
        {"value": "Int64"}
    )
    summary = summarise_replies(table)
    assert summary == pytest.approx({"refused": 0.75 / 4, "no_answer": 1 / 4, "neutral": 1 / 2})
    assert math.isnan(summarise_replies(table[table["item"] == "X02"])["neutral"])
