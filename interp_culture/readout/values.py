"""The token sequences of a readout format, and the raw values that the model gives to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
from jaxtyping import Float

from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import Score, answer_logprob, next_token_logits, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.thoughts import with_thoughts
from interp_culture.engine.token_tree import TokenSequence
from interp_culture.errors import InputError
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.prompts import LABELS
from interp_culture.scenarios.scenario import ScenarioSet

Groups = list[list[TokenSequence]]


def token_groups(
    model: LanguageModel, scenarios: ScenarioSet, form: ReadoutFormat
) -> tuple[Groups, Score]:
    """The token sequences of each scenario, and the score that reads them.

    Raises InputError for no scenario, a prefix that is not chosen yet, labels that are not one
    token each, options without a token, options that are the same tokens, and thoughts, which
    differ between runs.
    """
    if form.think:
        raise InputError(
            f"think={form.think}: the thoughts depend on the edits, so that no gradient predicts "
            "the answer; steer every layer (method='exact'), or give think=0"
        )
    prompts = _prompts(scenarios, form)
    groups = _grouped(model.tokenise_all(_flat(prompts), _names(scenarios, prompts)), prompts)
    return groups, _score(model, scenarios, form, groups)


def raw_values(
    model: LanguageModel,
    scenarios: ScenarioSet,
    form: ReadoutFormat,
    runs: Mapping[Any, Sequence[Edit]],
) -> dict[Any, Float[np.ndarray, "scenario member value"]]:
    """The values of every prompt under every run; `choices` names their columns.

    With thoughts, each run reads the prompts with the thoughts that it wrote.
    """
    title = f"reading {form.readout}"
    if not form.think:
        groups, score = token_groups(model, scenarios, form)
        return score_runs(model, groups, runs, score, title)
    prompts = _prompts(scenarios, form)
    names = _names(scenarios, prompts)
    thought = with_thoughts(model, _flat(prompts), runs, form.think, names)
    values: dict[Any, Float[np.ndarray, "scenario member value"]] = {}
    for key, edits in runs.items():
        groups = _grouped(thought[key], prompts)
        score = _score(model, scenarios, form, groups)
        values |= score_runs(model, groups, {key: edits}, score, title)
    return values


def values_by_prefix(
    model: LanguageModel, scenarios: ScenarioSet, forms: Sequence[ReadoutFormat]
) -> list[Float[np.ndarray, "scenario member value"]]:
    """The plain model's `raw_values` in letter formats that differ in their prefix alone.

    One pass reads all of them, since their prompts, and thoughts, are the same up to the prefix.
    """
    by_form = [_prompts(scenarios, form) for form in forms]
    prompts = [list(chain.from_iterable(members)) for members in zip(*by_form, strict=True)]
    names = _names(scenarios, prompts)
    if think := forms[0].think:
        sequences = with_thoughts(model, _flat(prompts), {"": ()}, think, names)[""]
    else:
        sequences = model.tokenise_all(_flat(prompts), names)
    tokens = [_letter_tokens(model, scenarios, form) for form in forms]
    score = next_token_logits(list(chain.from_iterable(tokens)))
    groups = _grouped(sequences, prompts)
    values = score_runs(model, groups, {"": ()}, score, "reading answer prefixes")[""]
    n_members = len(by_form[0][0])
    n_tokens = len(tokens[0])
    of_forms = []
    for number in range(len(forms)):
        members = values[:, number * n_members : (number + 1) * n_members]
        logits = members[..., number * n_tokens : (number + 1) * n_tokens]
        of_forms.append(np.concatenate([logits, members[..., -1:]], axis=-1))
    return of_forms


def has_letters(model: LanguageModel, scenarios: ScenarioSet, form: ReadoutFormat) -> bool:
    """Whether the labels of a letter format are single, different tokens after its prefix."""
    return bool(_usable_spellings(model, scenarios, form))


def _prompts(scenarios: ScenarioSet, form: ReadoutFormat) -> list[list[Prompt]]:
    if not len(scenarios):
        raise InputError("no scenario to read")
    return [form.prompts(scenario) for scenario in scenarios]


def _flat(prompts: Sequence[Sequence[Prompt]]) -> list[Prompt]:
    return list(chain.from_iterable(prompts))


def _names(scenarios: ScenarioSet, prompts: Sequence[Sequence[Prompt]]) -> list[str]:
    """The name of each prompt in messages."""
    return [
        f"scenario {scenario.id}"
        for scenario, members in zip(scenarios, prompts, strict=True)
        for _ in members
    ]


def _grouped(sequences: Sequence[TokenSequence], prompts: Sequence[Sequence[Prompt]]) -> Groups:
    remaining = iter(sequences)
    return [list(islice(remaining, len(members))) for members in prompts]


def _score(
    model: LanguageModel, scenarios: ScenarioSet, form: ReadoutFormat, groups: Groups
) -> Score:
    if form.readout == "letters":
        return next_token_logits(_letter_tokens(model, scenarios, form))
    _check_distinct(model, scenarios, groups)
    return answer_logprob


def _letter_tokens(model: LanguageModel, scenarios: ScenarioSet, form: ReadoutFormat) -> list[int]:
    """Token ids of both labels without a space before them, then with one.

    A spelling in which a label is not one token is replaced by the other spelling.
    """
    usable = _usable_spellings(model, scenarios, form)
    if not usable:
        after = f" after the prefix {form.prefix!r}" if form.prefix else ""
        raise InputError(
            f"the labels {form.labels} are not single, different tokens of {model.name}'s "
            f"tokenizer{after}; use other labels{', another prefix' if after else ''} or "
            "readout='continuation'"
        )
    # Always four tokens, since the columns of `LetterValue` are fixed.
    bare = usable.get("", usable.get(" ", []))
    spaced = usable.get(" ", usable.get("", []))
    return bare + spaced


def _usable_spellings(
    model: LanguageModel, scenarios: ScenarioSet, form: ReadoutFormat
) -> dict[str, list[int]]:
    """The tokens of both labels by what is before them, "" or " ", where they are one token each.

    They are the tokens that the model would write after a prompt; all prompts of a format end
    alike.
    """
    prompt = form.prompts(scenarios.scenarios[0])[0]
    spellings = [space + label for space in ("", " ") for label in LABELS[form.labels]]
    tokens = dict(zip(spellings, model.answers_after(prompt, spellings), strict=True))
    # Many tokenizers have "(A" as one token. After a prefix that ends with "(", the token "A" is
    # then one that the text "(A" does not have, so that its logit says nothing: such a spelling is
    # left out. Without a prefix the end of the prompt is the template's, and always was read.
    follow_on = dict.fromkeys(spellings, True)
    if form.prefix:
        follow_on = dict(zip(spellings, model.follow_on(prompt, spellings), strict=True))
    usable: dict[str, list[int]] = {}
    for space in ("", " "):
        pair = [space + label for label in LABELS[form.labels]]
        first, second = (tokens[spelling] for spelling in pair)
        is_single = len(first) == len(second) == 1 and first != second
        if is_single and all(follow_on[spelling] for spelling in pair):
            usable[space] = [first[0], second[0]]
    return usable


def _check_distinct(model: LanguageModel, scenarios: ScenarioSet, groups: Groups) -> None:
    for scenario, (positive, negative) in zip(scenarios, groups, strict=True):
        for name, sequence in (("positive", positive), ("negative", negative)):
            if not sequence.answer:
                raise InputError(
                    f"scenario {scenario.id}: field '{name}' is no token for {model.name}"
                )
        if positive.answer == negative.answer:
            raise InputError(
                f"scenario {scenario.id}: both options are the same tokens "
                f"{list(positive.answer)} for {model.name}; word them differently"
            )
