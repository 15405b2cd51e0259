"""Direct questions against plain Hugging Face passes, and the rules for written answers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Pair, make_pair
from reference import forward

from interp_culture.engine.generation import generate
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.errors import InputError
from interp_culture.survey import culture_map, questionnaire
from interp_culture.survey.answer_distributions import pair_of_aims, sum_of_qualities
from interp_culture.survey.personas import Persona, basic_persona, respondent_persona
from interp_culture.survey.questionnaire import ask_directly, ask_personas
from interp_culture.survey.wvs import answer_shares, questions, survey_items


def reply_probability(pair: Pair, text: str, reply: str) -> float:
    """The probability that the plain model replies to `text` with these tokens."""
    encode = pair.model.tokenizer.encode
    start = encode(text, add_special_tokens=False)
    tokens = encode(reply, add_special_tokens=False)
    logprobs = forward(pair.plain, start + tokens)[0].double().log_softmax(-1)
    return math.exp(float(sum(logprobs[len(start) - 1 + i, t] for i, t in enumerate(tokens))))


@pytest.fixture(scope="module")
def llama() -> Pair:
    return make_pair("llama")


@pytest.mark.parametrize("item", ["Y01", "X05"])
def test_single_questions_by_hand(pair: Pair, item: str) -> None:
    question = questions()[item]
    if question.scale:
        low = question.scale[1]
        high = question.scale[10]
        asked = f"{question.ask}\n\nAnswer with one number from 1 ({low}) to 10 ({high})."
        codes = range(1, 11)
    else:
        listed = "\n".join(f"{code}: {label}" for code, label in question.answers.items())
        asked = f"{question.ask}\n\n{listed}\n\nAnswer with one number."
        codes = question.answers
    text = f"<|system|>You are brief.\n<|user|>{asked}\n<|assistant|>"
    mass = {}
    for code in codes:
        mass[code] = sum(reply_probability(pair, text, f"{space}{code}") for space in ("", " "))
    if 10 in mass:
        mass[1] -= mass[10]
    total = sum(mass.values())
    answers = ask_directly(pair.model, "You are brief.")
    shares = answers.shares[answers.shares["item"] == item].set_index("value").probability
    assert answers.items.set_index("item").off_answers[item] == pytest.approx(1 - total, abs=1e-5)
    for code, p in mass.items():
        assert shares[code] == pytest.approx(p / total, abs=1e-4)


def test_indices_by_hand() -> None:
    """The indices of four qualities and of two aims, from the distributions of their parts."""
    question = questions()["Y02"]
    yes = dict(zip(question.qualities, (0.9, 0.4, 0.3, 0.8), strict=True))

    def fixed(text: str, codes: Sequence[int]) -> tuple[dict[int, float], float]:
        quality = next(q for q in yes if q in text)
        return {1: yes[quality], 2: 1 - yes[quality]}, 0.1

    expected = dict.fromkeys(range(-2, 3), 0.0)
    for chosen in itertools.product((0, 1), repeat=4):
        p = np.prod([y if c else 1 - y for c, y in zip(chosen, yes.values(), strict=True)])
        expected[chosen[0] + chosen[1] - chosen[2] - chosen[3]] += p
    distribution, off_answers = sum_of_qualities(fixed, question)
    assert off_answers == pytest.approx(0.1)
    assert distribution == pytest.approx(expected)

    def uniform(text: str, codes: Sequence[int]) -> tuple[dict[int, float], float]:
        return {c: 1 / len(codes) for c in codes}, 0.0

    def two_materialist(text: str, codes: Sequence[int]) -> tuple[dict[int, float], float]:
        chosen = 1 if 1 in codes else 3
        return {c: float(c == chosen) for c in codes}, 0.0

    # Order first, prices second: 1, the materialist end.
    aims, _ = pair_of_aims(two_materialist, questions()["X01"])
    assert aims == pytest.approx({1: 1, 2: 0, 3: 0})
    # Of the 12 ordered pairs of four aims, 2 are both materialist, 2 neither, 8 mixed.
    aims, _ = pair_of_aims(uniform, questions()["X01"])
    assert aims == pytest.approx({1: 2 / 12, 2: 8 / 12, 3: 2 / 12})


def test_distributions_are_distributions(llama: Pair) -> None:
    answers = ask_directly(llama.model)
    assert answers.shares.groupby("item").probability.sum().to_numpy() == pytest.approx(np.ones(10))
    assert answers.shares.probability.min() >= 0
    assert answers.items.off_answers.between(0, 1).all()
    items = survey_items()
    assert list(answers.items["item"]) == list(items.index)
    means = answers.items["mean"].to_numpy()
    assert ((means >= items.minimum) & (means <= items.maximum)).all()
    assert (answers.x, answers.y) == pytest.approx(tuple(culture_map.project(means)))
    # p_positive is the same answer on the scale of the scenarios.
    assert culture_map.answers(answers.items.p_positive.to_numpy()) == pytest.approx(means)


def test_a_persona_changes_the_answers_and_is_named(llama: Pair, tmp_path: Path) -> None:
    personas = {"none": None, "basic:India": basic_persona("India")}
    tables = ask_personas(llama.model, personas, tmp_path, max_new_tokens=4)
    assert list(tables) == ["items", "shares", "replies", "places"]
    means = tables["items"].pivot(index="item", columns="persona", values="mean")
    assert (means["none"] - means["basic:India"]).abs().max() > 1e-3
    places = tables["places"].set_index("persona")
    assert np.isnan(places.distance["none"])
    india = places.loc["basic:India"]
    assert india.distance == pytest.approx(np.hypot(india.x - -0.8615, india.y - -0.7095))
    shares = tables["shares"].set_index(["persona", "item", "value"]).country_share
    assert shares["basic:India", "Y01", 10] == pytest.approx(0.416)
    assert np.isnan(shares["none", "Y01", 10])
    assert np.isnan(shares["basic:India", "Y02", 0])  # an index has shares of its parts only
    assert (answer_shares().part != "").any()


def test_stored_personas_are_not_asked_again(
    llama: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interruption loses only the persona being asked. A changed text is asked again."""
    asked: list[str | None] = []
    plain = questionnaire.ask_persona

    def ask(model: LanguageModel, persona: Persona | None, max_new_tokens: int) -> dict:
        asked.append(persona.text if persona else None)
        if persona and persona.iso3 == "MEX" and len(asked) < 4:
            raise KeyboardInterrupt
        return plain(model, persona, max_new_tokens)

    monkeypatch.setattr(questionnaire, "ask_persona", ask)
    personas = {
        "none": None,
        "basic:India": basic_persona("India"),
        "basic:Mexico": basic_persona("Mexico"),
    }
    with pytest.raises(KeyboardInterrupt):
        ask_personas(llama.model, personas, tmp_path, max_new_tokens=2)
    tables = ask_personas(llama.model, personas, tmp_path, max_new_tokens=2)
    assert asked[3:] == [personas["basic:Mexico"].text]  # type: ignore[union-attr]
    assert list(tables["places"].persona) == list(personas)
    changed = {"basic:India": respondent_persona(1, "India")}
    tables = ask_personas(llama.model, changed, tmp_path, max_new_tokens=2)
    assert asked[4:] == [changed["basic:India"].text]
    assert len(tables["items"]) == 30
    assert len(ask_personas(llama.model, changed, tmp_path, max_new_tokens=3)["items"]) == 10


def test_base_models_are_read_right_after_the_cue() -> None:
    """Without a chat template the prompt ends in "Answer:", and both spellings follow it."""
    pair = make_pair("llama", chat_template=None, bos=True)
    question = questions()["X05"]
    listed = "\n".join(f"{code}: {label}" for code, label in question.answers.items())
    text = f"<bos>{question.ask}\n\n{listed}\n\nAnswer with one number.\nAnswer:"
    mass = {
        c: sum(reply_probability(pair, text, f"{space}{c}") for space in ("", " ")) for c in (1, 2)
    }
    shares = ask_directly(pair.model).shares
    probability = shares[shares["item"] == "X05"].set_index("value").probability
    assert probability[1] == pytest.approx(mass[1] / sum(mass.values()), abs=1e-5)


def test_written_text_is_plain_hugging_face_text(pair: Pair) -> None:
    """Greedy, batched and left-padded generation equals that of single prompts in a plain model."""
    settings = pair.model.bridge.original_model.generation_config
    settings.repetition_penalty = 5.0  # a checkpoint's setting that would make decoding non-greedy
    prompts = [
        Prompt("Hello."),
        Prompt("A much longer question than the other one, is it not?", system="Be brief."),
    ]
    texts = generate(pair.model, prompts, max_new_tokens=6)
    for prompt, text in zip(prompts, texts, strict=True):
        ids = list(pair.model.tokenise(prompt).prompt)
        start = len(ids)
        for _ in range(6):
            ids.append(int(forward(pair.plain, ids)[0][-1].argmax()))
            if ids[-1] == pair.model.tokenizer.eos_token_id:
                break
        assert text == pair.model.tokenizer.decode(ids[start:], skip_special_tokens=True)
    settings.repetition_penalty = 1.0


def test_prompts_with_an_answer_are_not_continued(llama: Pair) -> None:
    with pytest.raises(InputError, match="leaves nothing to write"):
        generate(llama.model, [Prompt("Hello.", answer="Hi.")])
    assert torch.is_grad_enabled()
