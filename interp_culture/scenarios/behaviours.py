"""Conversion of A/B behaviours, prompts with two responses and bare pairs of texts into scenarios.

The behaviour format is that of Contrastive Activation Addition and of the model-written
evaluations: a question, with or without lettered choices in its text, the answer that shows the
behaviour, and an answer that does not. A behaviour becomes an axis from "not NAME" to NAME, with
one item and one domain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from interp_culture.scenarios.catalogue import Axis, Catalogue, Item, Text
from interp_culture.scenarios.data_faults import DataFaults
from interp_culture.scenarios.lettered import (
    Choice,
    LetteredQuestion,
    is_label,
    named_choice,
    readings,
    without_cue,
)
from interp_culture.scenarios.records import validated
from interp_culture.scenarios.scenario import Scenario
from interp_culture.scenarios.wording import comparable, short

ANSWERS = ("answer_matching_behavior", "answer_not_matching_behavior")
# Names of the answers in the first release of the model-written evaluations.
FIRST_RELEASE_ANSWERS = ("corrects", "incorrects")
# These formats name no setting, so every record of a behaviour is in the same domain.
DOMAIN = "all"


def _first_answer(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


# The sycophancy files list every choice that does not match; the first one is used.
Answer = Annotated[Text, BeforeValidator(_first_answer)]


class _Record(BaseModel):
    """A record as it stands in the file. Unknown fields are ignored."""

    # Published evaluations have further fields, such as `statement` and `label_confidence`.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Behaviour(_Record):
    """A question and two answers, given as labels of choices in its text or in words.

    The first release of the model-written evaluations has other names for the same three fields.
    """

    question: Text = Field(validation_alias=AliasChoices("question", "prompt"))
    answer_matching_behavior: Answer = Field(
        validation_alias=AliasChoices(ANSWERS[0], FIRST_RELEASE_ANSWERS[0])
    )
    answer_not_matching_behavior: Answer = Field(
        validation_alias=AliasChoices(ANSWERS[1], FIRST_RELEASE_ANSWERS[1])
    )


class TextPair(_Record):
    """Two contrastive texts without a question."""

    positive: Text
    negative: Text


class Completion(_Record):
    """A prompt and a response to it."""

    prompt: Text
    response: Text


class CompletionPair(_Record):
    """One prompt with two responses, as in the files of steering-bench."""

    positive: Completion
    negative: Completion


FieldRecord = Behaviour | TextPair | CompletionPair


def record_type(record: Any) -> type[FieldRecord]:
    """The type of a record, inferred from its fields; `Behaviour` for anything unknown.

    >>> record_type({"positive": "I fold the map.", "negative": "I crumple it."}).__name__
    'TextPair'
    """
    if not isinstance(record, dict) or "positive" not in record:
        # The most usual format; validation then names the fields that it lacks.
        return Behaviour
    return CompletionPair if isinstance(record["positive"], dict) else TextPair


def is_open_ended(records: Sequence[Any]) -> bool:
    """Whether no record has a field with an answer, so that there are no options to compare."""
    answer_fields = {*ANSWERS, *FIRST_RELEASE_ANSWERS, "positive", "negative"}
    return bool(records) and all(
        isinstance(r, dict) and not r.keys() & answer_fields for r in records
    )


def behaviour_catalogue(name: str, behaviours: Iterable[str]) -> Catalogue:
    """The catalogue of a set of behaviours; each behaviour is an axis with one item."""
    names = list(behaviours)
    return Catalogue(
        name=name,
        axes={n: Axis(negative=f"not {n}", positive=n) for n in names},
        domains=[DOMAIN],
        items={n: Item(axis=n, label=n) for n in names},
    )


def behaviour_scenarios(
    name: str, records: Iterable[tuple[str, int, FieldRecord]], faults: DataFaults
) -> list[Scenario]:
    """The scenarios of one behaviour. `positive` is the answer that shows the behaviour.

    An exact repeat is read once. A question that occurs again with its choices in another order
    is kept; `ScenarioSet.split` puts both into the same half.

    Args:
        records: (place, number in the file, record) of each record.
        faults: faults and notes are added to it.
    """
    scenarios: list[Scenario] = []
    first_place: dict[tuple[str, ...], str] = {}
    first_answer: dict[tuple[str, frozenset[str]], tuple[str, str]] = {}
    for where, number, record in records:
        scenario = _scenario(name, number, record, where, faults)
        if scenario is None:
            continue
        # Of the record: a scenario of two choices no longer has the order of its choices.
        key = _repeat_key(record)
        if key in first_place:
            detail = f"the same record is at {first_place[key]}"
            faults.note(where, "read once, an exact repeat", detail)
            continue
        first_place[key] = where
        positive = comparable(scenario.positive)
        # A set is equal whichever of the two options is positive.
        options = frozenset((positive, comparable(scenario.negative)))
        question = (comparable(scenario.situation), options)
        earlier_positive, earlier_place = first_answer.setdefault(question, (positive, where))
        if earlier_positive != positive:
            faults.add(
                where,
                "an earlier record says the opposite",
                f"the answers to {short(scenario.situation)} are the other way round at "
                f"{earlier_place}; keep one of the two records",
            )
            continue
        scenarios.append(scenario)
    return scenarios


def _scenario(
    name: str, number: int, record: FieldRecord, where: str, faults: DataFaults
) -> Scenario | None:
    fields: dict[str, Any] | None
    if isinstance(record, TextPair):
        fields = {"situation": "", "positive": record.positive, "negative": record.negative}
    elif isinstance(record, CompletionPair):
        fields = _from_completions(record, where, faults)
    else:
        answers = (record.answer_matching_behavior, record.answer_not_matching_behavior)
        fields = _from_question(record.question, answers, where, faults)
    if fields is None:
        return None
    if comparable(fields["positive"]) == comparable(fields["negative"]):
        faults.add(
            where,
            "both options are the same text",
            f"{short(fields['positive'])} is the text of both poles; give two different texts",
        )
        return None
    # Numbers count all records: ids stay the same when another record is left out.
    names = {"id": f"{name}-{number:03d}", "axis": name, "item": name, "domain": DOMAIN}
    # A choice within the text of a question was not validated with its record.
    return validated(Scenario, names | fields, where, faults)


def _from_completions(
    record: CompletionPair, where: str, faults: DataFaults
) -> dict[str, Any] | None:
    prompt = record.positive.prompt
    if comparable(prompt) != comparable(record.negative.prompt):
        faults.add(
            where,
            "two different prompts",
            "fields 'positive.prompt' and 'negative.prompt' differ; "
            "give two responses to the same prompt",
        )
        return None
    responses = (record.positive.response, record.negative.response)
    return _from_question(prompt, responses, where, faults)


def _from_question(
    question: str, answers: tuple[str, str], where: str, faults: DataFaults
) -> dict[str, Any] | None:
    """The fields of a scenario, from the first reading that has both answers among its choices."""
    candidates = list(readings(question))
    for lettered in candidates:
        positive = named_choice(lettered, answers[0])
        negative = named_choice(lettered, answers[1])
        if positive and negative:
            return _from_choices(lettered, (positive, negative), where, faults)
    if not any(is_label(answer) for answer in answers):
        # Answers in words to a question without choices: a Yes/No behaviour.
        situation = without_cue(question).strip() or question
        return {"situation": situation, "positive": answers[0], "negative": answers[1]}
    kind, detail = _label_fault(candidates[0] if candidates else None, question, answers)
    faults.add(where, kind, detail)
    return None


def _from_choices(
    lettered: LetteredQuestion, poles: tuple[Choice, Choice], where: str, faults: DataFaults
) -> dict[str, Any] | None:
    fault = next(_choice_faults(lettered, poles), None)
    if fault:
        faults.add(where, *fault)
        return None
    positive, negative = poles
    texts = tuple(choice.text for choice in lettered.choices)
    return {
        "situation": lettered.situation,
        "positive": positive.text,
        "negative": negative.text,
        # Two choices are the two poles, whose order the readout decides.
        "choices": texts if len(texts) > 2 else (),
    }


def _choice_faults(
    lettered: LetteredQuestion, poles: tuple[Choice, Choice]
) -> Iterator[tuple[str, str]]:
    """(kind, detail) of each fault that makes the choices unusable."""
    labels = _brackets(lettered.labels)
    distinct_texts = {comparable(choice.text) for choice in lettered.choices}
    empty = [choice.label for choice in lettered.choices if not choice.text]
    if len(set(lettered.labels)) < len(lettered.labels):
        yield (
            "one label marks two choices",
            f"field 'question': {labels}; give each choice a different label",
        )
    if lettered.has_loose_text:
        yield (
            "text between the choices",
            f"field 'question': a blank line within {labels}; write each in one paragraph",
        )
    if empty:
        yield (
            "an empty choice",
            f"field 'question': choice {_brackets(empty)} is empty; write its text",
        )
    if not lettered.situation:
        yield (
            "no question",
            "field 'question': no text before the choices; write the question there",
        )
    if poles[0].label == poles[1].label:
        yield (
            "one answer for both poles",
            f"both answers are ({poles[0].label}); give two different labels",
        )
    if len(distinct_texts) < len(lettered.choices):
        yield (
            "two choices are the same text",
            f"field 'question': two of {labels} are the same text; write different texts",
        )


def _label_fault(
    lettered: LetteredQuestion | None, question: str, answers: tuple[str, str]
) -> tuple[str, str]:
    if lettered is None:
        return (
            "no lettered choices found",
            f"field 'question': no lettered choices in {short(question)}; "
            "begin a line with (A) and another with (B)",
        )
    labels = _brackets(lettered.labels)
    missing = [
        f"field '{field}': {short(answer)}"
        for field, answer in zip(ANSWERS, answers, strict=True)
        if named_choice(lettered, answer) is None
    ]
    return (
        "an answer names no choice",
        f"{' and '.join(missing)} not among the choices; give one of {labels}",
    )


def _repeat_key(record: FieldRecord) -> tuple[str, ...]:
    """The normalised texts of a record, equal for exact repeats."""
    texts: list[str] = []
    for value in record.model_dump().values():
        texts += value.values() if isinstance(value, dict) else [value]
    return tuple(comparable(text) for text in texts)


def _brackets(labels: Iterable[str]) -> str:
    return ", ".join(f"({label})" for label in labels)
