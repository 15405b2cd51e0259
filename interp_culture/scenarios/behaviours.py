"""Records of the field's data files -> scenarios: A/B behaviours, prompts with two responses, bare pairs of texts.

The behaviour format is that of Contrastive Activation Addition and of the model-written evaluations: a question, with
or without lettered choices in its text, the answer that shows the behaviour and one that does not. A behaviour is an
axis from "not NAME" to NAME, with one item and one domain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from interp_culture.scenarios.data_faults import DataFaults
from interp_culture.scenarios.lettered import (
    Choice,
    LetteredQuestion,
    is_label,
    named_choice,
    readings,
    without_cue,
)
from interp_culture.scenarios.scenario import Axis, Catalogue, Item, Scenario, Text
from interp_culture.scenarios.wording import comparable, short

ANSWERS = ("answer_matching_behavior", "answer_not_matching_behavior")
DOMAIN = "all"


def _first_answer(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


# A list of answers names the first one: the sycophancy files list every choice that does not match.
Answer = Annotated[Text, BeforeValidator(_first_answer)]


class _Record(BaseModel):
    """A record as it stands in the file. Further fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Behaviour(_Record):
    """A question and two answers: labels of choices in its text, or the answers' own words.

    The first release of the model-written evaluations has other names for the same three fields.
    """

    question: Text = Field(validation_alias=AliasChoices("question", "prompt"))
    answer_matching_behavior: Answer = Field(validation_alias=AliasChoices(ANSWERS[0], "corrects"))
    answer_not_matching_behavior: Answer = Field(
        validation_alias=AliasChoices(ANSWERS[1], "incorrects")
    )


class TextPair(_Record):
    """Two texts that differ in what is to be steered, without a question."""

    positive: Text
    negative: Text


class Completion(_Record):
    prompt: Text
    response: Text


class CompletionPair(_Record):
    """A prompt with two responses, as in the files of steering-bench."""

    positive: Completion
    negative: Completion


FieldRecord = Behaviour | TextPair | CompletionPair


def record_type(record: Any) -> type[FieldRecord]:
    """What a record of an unknown file is meant to be, by its fields."""
    if not isinstance(record, dict) or "positive" not in record:
        return Behaviour
    return CompletionPair if isinstance(record["positive"], dict) else TextPair


def is_open_ended(records: Sequence[Any]) -> bool:
    """Whether no record says which answer shows the behaviour: then there are no two options to compare."""
    fields = {*ANSWERS, "corrects", "incorrects", "positive", "negative"}
    return bool(records) and all(isinstance(r, dict) and not r.keys() & fields for r in records)


def behaviour_catalogue(name: str, behaviours: Iterable[str]) -> Catalogue:
    """The names of a set of behaviours: each is an axis and its only item."""
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
    """The scenarios of one behaviour from (place, number in the file, record); faults are added to `faults`.

    `positive` is the answer that shows the behaviour. An exact repeat is read once. A question that returns with
    its choices in another order is kept: `ScenarioSet.split` puts both into the same half.
    """
    scenarios: list[Scenario] = []
    seen: dict[tuple[str, ...], str] = {}
    labels: dict[tuple[str, frozenset[str]], tuple[str, str]] = {}
    for where, number, record in records:
        scenario = _scenario(name, number, record, where, faults)
        if scenario is None:
            continue
        key = _repeat_key(record)
        if key in seen:
            faults.note(where, "read once, an exact repeat", f"the same record is at {seen[key]}")
            continue
        seen[key] = where
        positive, negative = comparable(scenario.positive), comparable(scenario.negative)
        question = comparable(scenario.situation), frozenset((positive, negative))
        first_positive, first_where = labels.setdefault(question, (positive, where))
        if first_positive != positive:
            faults.add(
                where,
                "an earlier record says the opposite",
                f"the answers of {short(scenario.situation)} are the other way round at {first_where}; keep one",
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
        answers = record.answer_matching_behavior, record.answer_not_matching_behavior
        fields = _from_question(record.question, answers, where, faults)
    if fields is None:
        return None
    if comparable(fields["positive"]) == comparable(fields["negative"]):
        faults.add(
            where,
            "both options are the same text",
            f"{short(fields['positive'])} stands for both poles; nothing can be chosen",
        )
        return None
    return Scenario(id=f"{name}-{number:03d}", axis=name, item=name, domain=DOMAIN, **fields)


def _from_completions(
    record: CompletionPair, where: str, faults: DataFaults
) -> dict[str, Any] | None:
    prompts = record.positive.prompt, record.negative.prompt
    if comparable(prompts[0]) != comparable(prompts[1]):
        faults.add(
            where,
            "two different prompts",
            "fields 'positive.prompt' and 'negative.prompt' differ; give both responses to one prompt",
        )
        return None
    responses = record.positive.response, record.negative.response
    return _from_question(prompts[0], responses, where, faults)


def _from_question(
    question: str, answers: tuple[str, str], where: str, faults: DataFaults
) -> dict[str, Any] | None:
    """The fields of a scenario: of the first reading of the text that has both answers among its choices."""
    found = list(readings(question))
    for lettered in found:
        named = named_choice(lettered, answers[0]), named_choice(lettered, answers[1])
        if named[0] and named[1]:
            return _from_choices(lettered, (named[0], named[1]), where, faults)
    if not any(map(is_label, answers)):
        situation = without_cue(question).strip() or question
        return {"situation": situation, "positive": answers[0], "negative": answers[1]}
    kind, detail = _label_fault(found[0] if found else None, question, answers)
    faults.add(where, kind, detail)
    return None


def _from_choices(
    lettered: LetteredQuestion, named: tuple[Choice, Choice], where: str, faults: DataFaults
) -> dict[str, Any] | None:
    fault = next(_choice_faults(lettered, named), None)
    if fault:
        faults.add(where, *fault)
        return None
    positive, negative = named
    texts = tuple(choice.text for choice in lettered.choices)
    return {
        "situation": lettered.situation,
        "positive": positive.text,
        "negative": negative.text,
        "choices": texts if len(texts) > 2 else (),
    }


def _choice_faults(
    lettered: LetteredQuestion, named: tuple[Choice, Choice]
) -> Iterator[tuple[str, str]]:
    """(kind, detail) of everything that makes the choices unusable."""
    labels = _brackets(lettered.labels)
    field = "field 'question'"
    empty = [choice.label for choice in lettered.choices if not choice.text]
    if len(set(lettered.labels)) < len(lettered.labels):
        yield (
            "one label marks two choices",
            f"{field}: {labels}; give each choice a label of its own",
        )
    if lettered.has_loose_text:
        yield (
            "text between the choices",
            f"{field}: a blank line within {labels}; write each in one paragraph",
        )
    if empty:
        yield "an empty choice", f"{field}: choice {_brackets(empty)} is empty; write its text"
    if not lettered.situation:
        yield "no question", f"{field}: no text before the choices; write the question there"
    if named[0].label == named[1].label:
        yield (
            "one answer for both poles",
            f"both answers are ({named[0].label}); give another label for one",
        )
    if len({comparable(choice.text) for choice in lettered.choices}) < len(lettered.choices):
        yield (
            "two choices are the same text",
            f"{field}: two of {labels} are the same text; nothing can be chosen",
        )


def _label_fault(
    lettered: LetteredQuestion | None, question: str, answers: tuple[str, str]
) -> tuple[str, str]:
    if lettered is None:
        return (
            "no lettered choices found",
            f"field 'question': no lettered choices in {short(question)}; begin a line with (A) and another with (B)",
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
    """What is equal in exact repeats of a record."""
    values = record.model_dump()
    flat = [
        v
        for value in values.values()
        for v in (value.values() if isinstance(value, dict) else (value,))
    ]
    return tuple(comparable(text) for text in flat)


def _brackets(labels: Iterable[str]) -> str:
    return ", ".join(f"({label})" for label in labels)
