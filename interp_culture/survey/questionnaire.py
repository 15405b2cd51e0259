"""The ten survey questions asked outright: the distribution over the allowed answers, and what the model writes.

The paper's baseline. An answer is read from token probabilities: the probability that the reply begins with the
number of an allowed answer and does not go on to that of another ("1" is not "10"), with and without a space before it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from interp_culture.artifacts import content_key, make_folder, read_table, write_table
from interp_culture.engine.generation import generate
from interp_culture.engine.logprobs import answer_logprob, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt, System, system_text
from interp_culture.engine.token_tree import TokenSequence
from interp_culture.survey import culture_map
from interp_culture.survey.personas import Persona
from interp_culture.survey.reply_parsing import read_reply, summarise_replies
from interp_culture.survey.wvs import Question, answer_shares, questions

log = logging.getLogger(__name__)

SPELLINGS = ("", " ")
TABLES = ("items", "shares", "replies", "places")

# (question, codes) -> (code -> probability, normalised over the codes; the probability that is on none of them).
Read = Callable[[str, Sequence[int]], tuple[dict[int, float], float]]


@dataclass(frozen=True)
class DirectAnswers:
    """What a model answers to the ten questions.

    Attributes:
        shares: item, value, probability: over the allowed answers, summing to 1 within an item.
        items: one row an item: item, axis, mean (on the survey's scale), p_positive (the mean rescaled to [0, 1],
            1 = positive pole), off_answers (probability that is on no allowed answer; of an index the mean over its
            parts).
        x, y: the coordinates of the ten means on the cultural map.
    """

    shares: pd.DataFrame
    items: pd.DataFrame
    x: float
    y: float


def ask_directly(model: LanguageModel, system: System = None) -> DirectAnswers:
    """Ask the ten questions and read the answers from token probabilities.

    Two items are indices, as in the survey. Y02 (Y003): each of four qualities is asked by itself, and the
    distribution of the sum takes them as independent. X01 (Y002): the first aim, then the second given each first.
    """
    read = _reader(model, system)
    shares, rows = [], []
    for item, question in questions().items():
        found, off = _answer(read, question)
        mean = sum(value * p for value, p in found.items())
        rows.append({"item": item, "axis": item[0], "mean": mean, "off_answers": off})
        shares += [
            {"item": item, "value": value, "probability": p} for value, p in sorted(found.items())
        ]
    items = pd.DataFrame(rows)
    means = items["mean"].to_numpy()
    items.insert(3, "p_positive", culture_map.scores(means))
    x, y = culture_map.project(means)
    return DirectAnswers(pd.DataFrame(shares), items, float(x), float(y))


def write_answers(
    model: LanguageModel, system: System = None, max_new_tokens: int = 32
) -> pd.DataFrame:
    """Let the model write its (greedy) answer to every question: item, part, reply, value, refused, neutral.

    An index has one row a part: Y02 a quality each, X01 the first aim.
    """
    asked = [
        (item, part, text, question)
        for item, question in questions().items()
        for part, text in _parts(question).items()
    ]
    replies = generate(
        model, [Prompt(text, system=system_text(system)) for _, _, text, _ in asked], max_new_tokens
    )
    rows = []
    for (item, part, _, question), reply in zip(asked, replies, strict=True):
        found = read_reply(reply, question)
        rows.append({"item": item, "part": part, "reply": reply.strip(), **vars(found)})
    return pd.DataFrame(rows).astype({"value": "Int64"})


def ask_persona(
    model: LanguageModel, persona: Persona | None, max_new_tokens: int = 32
) -> dict[str, pd.DataFrame]:
    """The ten questions under one persona; `None` asks without one.

    Returns:
        items and replies (see `DirectAnswers`, `write_answers`); shares, with what the persona's country answered
        (`country_share`, NaN where it is not known); places: one row with x, y, iso3, distance (to the country's
        published coordinates; NaN without one), off_answers (mean over items), refused, no_answer, neutral (of the
        written answers) and system (what the model was told; empty without a persona).
    """
    system, iso3 = (persona.text, persona.iso3) if persona else (None, None)
    read, written = ask_directly(model, system), write_answers(model, system, max_new_tokens)
    place = {
        "x": read.x,
        "y": read.y,
        "iso3": iso3,
        "distance": _distance(read, iso3),
        "off_answers": read.items.off_answers.mean(),
        **summarise_replies(written),
        "system": system or "",
    }
    shares = read.shares.merge(_country_shares(iso3), on=["item", "value"], how="left")
    return {
        "items": read.items,
        "shares": shares,
        "replies": written,
        "places": pd.DataFrame([place]),
    }


def ask_personas(
    model: LanguageModel,
    personas: Mapping[str, Persona | None],
    folder: str | Path,
    max_new_tokens: int = 32,
    on_step: Callable[[str], None] = log.info,
) -> dict[str, pd.DataFrame]:
    """Ask several personas; the tables of `ask_persona`, with the column persona, lie in `folder`.

    Each persona is stored as soon as it has answered. One that is stored already, with the same words and of the same
    model, is not asked again; others in the folder stay. Returns all that is stored.
    """
    folder = make_folder(folder)
    manifest = _manifest(model, max_new_tokens)
    stored = {name: read_table(folder, name, manifest) for name in TABLES}
    tables = {name: table for name, table in stored.items() if table is not None}
    told: dict[str, str] = {}
    if len(tables) == len(TABLES):
        told = dict(zip(tables["places"].persona, tables["places"].system, strict=True))
    for label, persona in personas.items():
        text = persona.text if persona else ""
        if told.get(label) == text:
            on_step(f"{label}: stored already")
            continue
        on_step(f"{label}: asking")
        for name, table in ask_persona(model, persona, max_new_tokens).items():
            before = [tables[name][tables[name].persona != label]] if told else []
            tables[name] = pd.concat([*before, table.assign(persona=label)], ignore_index=True)
        told[label] = text
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
    # What a model is decides, not its name, nor where it ran.
    nameless = {"model": None, "revision": None, "device": None}
    return {**content, "key": content_key({**content, **nameless})}


def _country_shares(iso3: str | None) -> pd.DataFrame:
    table = answer_shares()
    own = table[(table.iso3 == iso3) & (table.part == "")]
    return pd.DataFrame(
        {"item": own["item"], "value": own["value"], "country_share": own.percent / 100}
    )


def _distance(read: DirectAnswers, iso3: str | None) -> float:
    if iso3 is None:
        return float("nan")
    found = culture_map.distances(read.x, read.y).set_index("iso3")
    return float(found.distance[iso3])


def _reader(model: LanguageModel, system: System) -> Read:
    """Gives the probability of each code as the reply to a question; all are read at once, under one persona."""
    asked = {text: codes for question in questions().values() for text, codes in _asked(question)}
    spelled = [
        {(c, space): f"{space}{c}" for c in codes for space in SPELLINGS}
        for codes in asked.values()
    ]
    prompts = [Prompt(text, system=system_text(system)) for text in asked]
    found = dict(zip(asked, _exclusive(model, prompts, spelled), strict=True))

    def read(text: str, codes: Sequence[int]) -> tuple[dict[int, float], float]:
        mass = {code: sum(found[text][code, space] for space in SPELLINGS) for code in codes}
        total = sum(mass.values())
        return {code: p / total for code, p in mass.items()}, max(0.0, 1 - total)

    return read


def _asked(question: Question) -> Iterator[tuple[str, Sequence[int]]]:
    """What is asked of a question, with the allowed codes: its parts, and of aims the second after each first."""
    for text in _parts(question).values():
        yield text, question.codes
    if question.ask_second:
        for first in question.codes:
            yield _second_aim(question, first)


def _answer(read: Read, question: Question) -> tuple[dict[int, float], float]:
    if question.qualities:
        return _sum_of_qualities(read, question)
    if question.materialist:
        return _pair_of_aims(read, question)
    (text,) = _parts(question).values()
    return read(text, question.codes)


def _sum_of_qualities(read: Read, question: Question) -> tuple[dict[int, float], float]:
    """The distribution of the signed number of qualities that matter, taken as independent."""
    total, offs = {0: 1.0}, []
    for (_, text), sign in zip(_parts(question).items(), question.qualities.values(), strict=True):
        found, off = read(text, question.codes)
        yes = found[1]
        offs.append(off)
        grown: dict[int, float] = {}
        for value, p in total.items():
            grown[value + sign] = grown.get(value + sign, 0) + p * yes
            grown[value] = grown.get(value, 0) + p * (1 - yes)
        total = grown
    return total, float(np.mean(offs))


def _pair_of_aims(read: Read, question: Question) -> tuple[dict[int, float], float]:
    """1: both aims materialist, 3: neither, 2: one of them; the second is asked given each first."""
    (text,) = _parts(question).values()
    first, off = read(text, question.codes)
    offs, out = [off], {1: 0.0, 2: 0.0, 3: 0.0}
    for one, p_one in first.items():
        second, off = read(*_second_aim(question, one))
        offs.append(off)
        for other, p_other in second.items():
            materialist = (one in question.materialist) + (other in question.materialist)
            out[3 - materialist] += p_one * p_other
    return out, float(np.mean(offs))


def _second_aim(question: Question, first: int) -> tuple[str, list[int]]:
    """The question for the second aim, with the codes that are left."""
    assert question.ask_second
    left = {code: label for code, label in question.answers.items() if code != first}
    return _listed(question.ask_second.format(first=question.answers[first]), left), list(left)


def _parts(question: Question) -> dict[str, str]:
    """What is asked, by part: one part, or one for each quality."""
    if question.qualities:
        return {
            q: _listed(question.ask.format(quality=q), question.answers) for q in question.qualities
        }
    if question.answers:
        return {"": _listed(question.ask, question.answers)}
    low, high = question.scale.items()
    ends = f"from {low[0]} ({low[1]}) to {high[0]} ({high[1]})"
    return {"": f"{question.ask}\n\nAnswer with one number {ends}."}


def _listed(ask: str, answers: Mapping[int, str]) -> str:
    lines = "\n".join(f"{code}: {label}" for code, label in answers.items())
    return f"{ask}\n\n{lines}\n\nAnswer with one number."


def _exclusive(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    spelled: Sequence[Mapping[tuple[int, str], str]],
) -> list[dict[tuple[int, str], float]]:
    """Probability of each spelling as the beginning of a prompt's reply, less those of longer ones that begin alike."""
    answers = []
    for prompt, spellings in zip(prompts, spelled, strict=True):
        tokens = model.answers_after(prompt, list(spellings.values()))
        answers.append(dict(zip(spellings, tokens, strict=True)))
    unique = [{answer: key for key, answer in own.items()} for own in answers]
    starts = [sequence.prompt for sequence in model.tokenise_all(prompts)]
    most = max(map(len, unique))
    # Groups are of one size: what is there already costs nothing again.
    padded = [list(islice(cycle(own), most)) for own in unique]
    groups = [
        [TokenSequence(start, a) for a in own] for start, own in zip(starts, padded, strict=True)
    ]
    logprobs = score_runs(model, groups, {"": ()}, answer_logprob)[""][..., 0]
    found = []
    for own, keys, logs in zip(answers, unique, logprobs, strict=True):
        whole = dict(zip(keys, np.exp(logs), strict=False))
        alone = {a: p - sum(whole[b] for b in whole if b[:-1] == a) for a, p in whole.items()}
        # A spelling that is the same tokens as another counts once.
        found.append({key: float(alone[a]) if keys[a] == key else 0.0 for key, a in own.items()})
    return found
