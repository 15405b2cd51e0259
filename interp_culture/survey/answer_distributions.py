"""Distributions over the allowed answers of a survey question, from token probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice

import numpy as np

from interp_culture.engine.logprobs import answer_logprob, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt, System, system_text
from interp_culture.engine.token_tree import TokenSequence
from interp_culture.survey.wvs import Question, questions

# A reply may begin with the number itself or with a space before it.
SPELLINGS = ("", " ")
# A code and what is before it in the reply.
Spelling = tuple[int, str]

# Maps a question text and its codes to: code -> probability, normalised over the codes; and the
# probability that is on none of them.
AnswerReader = Callable[[str, Sequence[int]], tuple[dict[int, float], float]]


def question_texts(question: Question) -> dict[str, str]:
    """The texts that ask one question, by part: one part "", or one per quality of an index.

    >>> print(question_texts(questions()["X04"])[""])
    Have you ever signed a petition, might you do it, or would you never do it?
    <BLANKLINE>
    1: have done it
    2: might do it
    3: would never do it
    <BLANKLINE>
    Answer with one number.
    """
    if question.qualities:
        return {
            quality: _with_options(question.ask.format(quality=quality), question.answers)
            for quality in question.qualities
        }
    if question.answers:
        return {"": _with_options(question.ask, question.answers)}
    (low, low_label), (high, high_label) = question.scale.items()
    ends = f"from {low} ({low_label}) to {high} ({high_label})"
    return {"": f"{question.ask}\n\nAnswer with one number {ends}."}


def answer_reader(model: LanguageModel, system: System) -> AnswerReader:
    """A function that gives the distribution over the codes of any of the survey's question texts.

    The probability of a code is that of a reply that begins with its number and does not continue
    to the number of another code ("1" is not "10"), with and without a space before it. All
    questions are read in one batch here, under one system message.
    """
    codes_of_text = {
        text: codes
        for question in questions().values()
        for text, codes in _texts_and_codes(question)
    }
    prompts = [Prompt(text, system=system_text(system)) for text in codes_of_text]
    spellings = [
        {(code, space): f"{space}{code}" for code in codes for space in SPELLINGS}
        for codes in codes_of_text.values()
    ]
    by_prompt = _spelling_probabilities(model, prompts, spellings)
    probability_of = dict(zip(codes_of_text, by_prompt, strict=True))

    def read(text: str, codes: Sequence[int]) -> tuple[dict[int, float], float]:
        mass = {
            code: sum(probability_of[text][code, space] for space in SPELLINGS) for code in codes
        }
        total = sum(mass.values())
        # Rounding can make the total slightly larger than 1.
        return {code: p / total for code, p in mass.items()}, max(0.0, 1 - total)

    return read


def answer_distribution(read: AnswerReader, question: Question) -> tuple[dict[int, float], float]:
    """The distribution over the values of an item, and the probability on no allowed answer."""
    if question.qualities:
        return sum_of_qualities(read, question)
    if question.materialist:
        return pair_of_aims(read, question)
    (text,) = question_texts(question).values()
    return read(text, question.codes)


def sum_of_qualities(read: AnswerReader, question: Question) -> tuple[dict[int, float], float]:
    """The distribution of an index: the sum of the signs of the qualities that are affirmed.

    The answers to the qualities are taken as independent. The probability on no allowed answer is
    the mean over the qualities.
    """
    distribution = {0: 1.0}
    off_answers = []
    texts = question_texts(question).values()
    for text, sign in zip(texts, question.qualities.values(), strict=True):
        answers, off = read(text, question.codes)
        off_answers.append(off)
        # A quality is answered by 1 (yes) or 2 (no), see questions.yaml.
        yes = answers[1]
        updated: dict[int, float] = {}
        for value, p in distribution.items():
            updated[value + sign] = updated.get(value + sign, 0) + p * yes
            updated[value] = updated.get(value, 0) + p * (1 - yes)
        distribution = updated
    return distribution, float(np.mean(off_answers))


def pair_of_aims(read: AnswerReader, question: Question) -> tuple[dict[int, float], float]:
    """The distribution of an index of two aims: 1 both materialist, 2 one of them, 3 neither.

    The second aim is asked once for each possible first aim.
    """
    (text,) = question_texts(question).values()
    first_aims, off = read(text, question.codes)
    off_answers = [off]
    distribution = {1: 0.0, 2: 0.0, 3: 0.0}
    for first, p_first in first_aims.items():
        second_aims, off = read(*_second_aim(question, first))
        off_answers.append(off)
        for second, p_second in second_aims.items():
            n_materialist = (first in question.materialist) + (second in question.materialist)
            distribution[3 - n_materialist] += p_first * p_second
    return distribution, float(np.mean(off_answers))


def _texts_and_codes(question: Question) -> Iterator[tuple[str, Sequence[int]]]:
    """All texts that ask a question, with the allowed codes: its parts, and every second aim."""
    for text in question_texts(question).values():
        yield text, question.codes
    if question.ask_second:
        for first in question.codes:
            yield _second_aim(question, first)


def _second_aim(question: Question, first: int) -> tuple[str, list[int]]:
    """The question for the second aim, with the codes that remain."""
    assert question.ask_second
    remaining = {code: label for code, label in question.answers.items() if code != first}
    ask = question.ask_second.format(first=question.answers[first])
    return _with_options(ask, remaining), list(remaining)


def _with_options(ask: str, answers: Mapping[int, str]) -> str:
    options = "\n".join(f"{code}: {label}" for code, label in answers.items())
    return f"{ask}\n\n{options}\n\nAnswer with one number."


def _spelling_probabilities(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    spellings: Sequence[Mapping[Spelling, str]],
) -> list[dict[Spelling, float]]:
    """The probability that the reply to a prompt begins with each spelling and with no longer one.

    Args:
        spellings: for each prompt, the texts by spelling.
    """
    tokens_of = []
    for prompt, texts in zip(prompts, spellings, strict=True):
        tokens = model.answers_after(prompt, list(texts.values()))
        tokens_of.append(dict(zip(texts, tokens, strict=True)))
    # Two spellings may be the same tokens; they are scored and counted once.
    spelling_of = [{tokens: key for key, tokens in by_key.items()} for by_key in tokens_of]
    starts = [sequence.prompt for sequence in model.tokenise_all(prompts)]
    # Groups must have one size. Repeated sequences cost nothing, since the token tree shares them.
    size = max(map(len, spelling_of))
    groups = []
    for start, answers in zip(starts, spelling_of, strict=True):
        padded = islice(cycle(answers), size)
        groups.append([TokenSequence(start, tokens) for tokens in padded])
    logprobs = score_runs(model, groups, {"": ()}, answer_logprob)[""][..., 0]
    probabilities = []
    for by_key, keys, logs in zip(tokens_of, spelling_of, logprobs, strict=True):
        # Not strict: the repeats that filled the group up come last, and are left out here.
        exclusive = _without_continuations(dict(zip(keys, np.exp(logs), strict=False)))
        probabilities.append(
            {
                key: float(exclusive[tokens]) if keys[tokens] == key else 0.0
                for key, tokens in by_key.items()
            }
        )
    return probabilities


def _without_continuations(
    probability: Mapping[tuple[int, ...], float],
) -> dict[tuple[int, ...], float]:
    """Each token sequence's probability minus that of the sequences one token longer."""
    exclusive = {}
    for tokens, p in probability.items():
        # The probability of "1" includes all replies that go on to "10".
        continued = sum(probability[longer] for longer in probability if longer[:-1] == tokens)
        exclusive[tokens] = p - continued
    return exclusive
