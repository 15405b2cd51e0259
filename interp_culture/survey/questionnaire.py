"""The ten survey questions asked directly (the paper's baseline).

The answers are read from token probabilities, and from the replies that the model writes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from interp_culture.artifacts.files import content_key
from interp_culture.artifacts.folders import make_folder
from interp_culture.artifacts.tables import read_table, write_table
from interp_culture.engine.generation import generate
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt, System, system_text
from interp_culture.survey import culture_map
from interp_culture.survey.answer_distributions import (
    answer_distribution,
    answer_reader,
    question_texts,
)
from interp_culture.survey.personas import Persona
from interp_culture.survey.projection import project, scores
from interp_culture.survey.reply_parsing import read_reply, summarise_replies
from interp_culture.survey.wvs import answer_shares, questions

log = logging.getLogger(__name__)

# Written in this order: `places` has the texts by which a persona counts as stored, so it is last.
TABLES = ("items", "shares", "replies", "places")


@dataclass(frozen=True)
class DirectAnswers:
    """A model's answers to the ten questions, from token probabilities.

    Attributes:
        shares: item, value, probability (over the allowed answers; sums to 1 within an item).
        items: one row per item: item, axis, mean (on the survey's scale), p_positive (the mean
            rescaled to [0, 1], 1 = positive pole), off_answers (probability on no allowed answer;
            for an index the mean over its parts).
        x, y: the map coordinates of the ten means.
    """

    shares: pd.DataFrame
    items: pd.DataFrame
    x: float
    y: float


def ask_directly(model: LanguageModel, system: System = None) -> DirectAnswers:
    """Ask the ten questions and read the answers from token probabilities.

    Two items are indices, as in the survey. For Y02 (Y003), each of four qualities is asked
    separately, and the distribution of their sum takes the answers as independent. For X01 (Y002),
    the first aim is asked, then the second given each possible first.

    Args:
        system: a system message, or a `Persona`'s text; none by default.

    Returns:
        Shares of the answers, item means and map coordinates: see `DirectAnswers`.

    >>> answers = ask_directly(model, "You are a person living in India.")
    >>> answers.items.columns.tolist()
    ['item', 'axis', 'mean', 'p_positive', 'off_answers']
    >>> answers.shares.groupby("item").probability.sum().round(3).unique().tolist()
    [1.0]
    """
    read = answer_reader(model, system)
    share_rows = []
    item_rows = []
    for item, question in questions().items():
        distribution, off_answers = answer_distribution(read, question)
        mean = sum(value * p for value, p in distribution.items())
        item_rows.append({"item": item, "axis": item[0], "mean": mean, "off_answers": off_answers})
        for value, p in sorted(distribution.items()):
            share_rows.append({"item": item, "value": value, "probability": p})
    items = pd.DataFrame(item_rows)
    means = items["mean"].to_numpy()
    items.insert(3, "p_positive", scores(means))
    x, y = project(means)
    return DirectAnswers(pd.DataFrame(share_rows), items, float(x), float(y))


def write_answers(
    model: LanguageModel, system: System = None, max_new_tokens: int = 32
) -> pd.DataFrame:
    """Let the model write a greedy reply to every question, and read the reply.

    Returns:
        item, part, reply, value, refused, neutral (see `read_reply`). An index has one row per
        part: each quality for Y02, and the first aim for X01.
    """
    asked = [
        (item, part, text)
        for item, question in questions().items()
        for part, text in question_texts(question).items()
    ]
    prompts = [Prompt(text, system=system_text(system)) for _, _, text in asked]
    replies = generate(model, prompts, max_new_tokens)
    rows = []
    for (item, part, _), reply in zip(asked, replies, strict=True):
        reading = read_reply(reply, questions()[item])
        rows.append({"item": item, "part": part, "reply": reply.strip(), **vars(reading)})
    # Int64 allows a missing value.
    return pd.DataFrame(rows).astype({"value": "Int64"})


def ask_persona(
    model: LanguageModel, persona: Persona | None, max_new_tokens: int = 32
) -> dict[str, pd.DataFrame]:
    """Ask the ten questions under one persona, or without one (`None`).

    Returns:
        items: see `DirectAnswers`.
        shares: see `DirectAnswers`, with country_share (the share of this answer in the persona's
            country; NaN if unknown).
        replies: see `write_answers`.
        places: one row with x, y, iso3, distance (to the country's published coordinates; NaN
            without a country), off_answers (mean over items), refused, no_answer, neutral (see
            `summarise_replies`) and system (the system message; empty without a persona).
    """
    system = persona.text if persona else None
    iso3 = persona.iso3 if persona else None
    answers = ask_directly(model, system)
    replies = write_answers(model, system, max_new_tokens)
    place = {
        "x": answers.x,
        "y": answers.y,
        "iso3": iso3,
        "distance": _distance(answers, iso3),
        "off_answers": answers.items.off_answers.mean(),
        **summarise_replies(replies),
        "system": system or "",
    }
    return {
        "items": answers.items,
        "shares": answers.shares.merge(_country_shares(iso3), on=["item", "value"], how="left"),
        "replies": replies,
        "places": pd.DataFrame([place]),
    }


def ask_personas(
    model: LanguageModel,
    personas: Mapping[str, Persona | None],
    folder: str | Path,
    max_new_tokens: int = 32,
    on_step: Callable[[str], None] = log.info,
) -> dict[str, pd.DataFrame]:
    """Ask several personas and store the tables of `ask_persona`, with the column persona.

    Each persona is stored as soon as it has answered. A stored persona is not asked again if its
    text and the model are the same. Other personas in the folder stay there.

    Args:
        personas: label -> persona, or None to ask without one.
        folder: where the tables are stored.
        on_step: is called with a line on every persona.

    Returns:
        All that the folder holds: items, shares, replies, places.

    >>> personas = {"India": ic.basic_persona("India")}
    >>> tables = ask_personas(model, personas, "answers", max_new_tokens=4)
    >>> {name: len(table) for name, table in tables.items()}
    {'items': 10, 'shares': 54, 'replies': 13, 'places': 1}
    """
    folder = make_folder(folder)
    manifest = _manifest(model, max_new_tokens)
    tables: dict[str, pd.DataFrame] = {}
    for name in TABLES:
        stored = read_table(folder, name, manifest)
        if stored is not None:
            tables[name] = stored
    stored_texts: dict[str, str] = {}
    if len(tables) == len(TABLES):
        places = tables["places"]
        stored_texts = dict(zip(places.persona, places.system, strict=True))
    for label, persona in personas.items():
        text = persona.text if persona else ""
        if stored_texts.get(label) == text:
            on_step(f"{label}: stored already")
            continue
        on_step(f"{label}: asking")
        answers = ask_persona(model, persona, max_new_tokens)
        for name, table in answers.items():
            # Tables of an incomplete folder are replaced.
            others = [tables[name][tables[name].persona != label]] if stored_texts else []
            tables[name] = pd.concat([*others, table.assign(persona=label)], ignore_index=True)
        stored_texts[label] = text
        for name in TABLES:
            write_table(folder, name, tables[name], manifest)
    return tables


def _manifest(model: LanguageModel, max_new_tokens: int) -> dict[str, Any]:
    asked = {item: question.model_dump() for item, question in questions().items()}
    content = {
        **model.describe(),
        "questions": content_key(asked),
        "max_new_tokens": max_new_tokens,
    }
    # The key identifies the model by its content, whatever its name and wherever it ran.
    nameless = {"model": None, "revision": None, "device": None}
    return {**content, "key": content_key({**content, **nameless})}


def _country_shares(iso3: str | None) -> pd.DataFrame:
    """Shares of the country's answers to the items that are not indices."""
    table = answer_shares()
    rows = table[(table.iso3 == iso3) & (table.part == "")]
    return pd.DataFrame(
        {"item": rows["item"], "value": rows["value"], "country_share": rows.percent / 100}
    )


def _distance(answers: DirectAnswers, iso3: str | None) -> float:
    if iso3 is None:
        return float("nan")
    distances = culture_map.distances(answers.x, answers.y).set_index("iso3")
    return float(distances.distance[iso3])
