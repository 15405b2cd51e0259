"""The prompt format of a readout, and the token sequences and raw values that it leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import Score, answer_logprob, next_token_logits, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt, System, system_text
from interp_culture.engine.token_tree import TokenSequence
from interp_culture.errors import InputError, check_known
from interp_culture.readout.prompts import (
    LABELS,
    LETTER_TEMPLATES,
    Labels,
    LetterPrompt,
    Order,
    Template,
    continuation_prompts,
    letter_prompts,
)
from interp_culture.scenarios.scenario import Scenario, ScenarioSet

Readout = Literal["letters", "continuation"]
READOUTS: tuple[Readout, ...] = ("letters", "continuation")


@dataclass(frozen=True)
class ReadoutFormat:
    """How a scenario is put to the model, and which tokens of the answer are read.

    Wherever a function takes `readout`, the name alone stands for the format with these defaults.

    Attributes:
        readout: "letters" compares the logits of the options' letters after the prompt of Eq. 1.
            "continuation" compares the mean log-probability per token of the two options' words,
            each given as the answer to a prompt without options.
        order: "both" shows the options in both orders and averages the logit difference, which
            cancels any preference for a letter. "random" is the paper's: one order a scenario,
            drawn with `seed`. Letters only.
        labels: the options' names. "1/2" and "X/Y" are controls for "A/B". Letters only.
        template: the wording of the prompt, one of `LETTER_TEMPLATES`. Letters only.
        prefix: what the assistant's answer begins with; the label is read after it. "" is the
            paper's. None lets `resolve_format` choose one of `PREFIXES` on control items, once per
            model. Letters only: a continuation is the whole answer.
        system: the system message before the situation: a text, or a Persona.
        seed: of the random order.

    Raises:
        InputError: an unknown readout, order, label pair or template, a prefix that is no text or
            that a continuation cannot have, or a system message that is neither a text nor a
            Persona.

    >>> ReadoutFormat("letters", order="random", seed=7).order
    'random'
    """

    readout: Readout
    order: Order = "both"
    labels: Labels = "A/B"
    template: Template = "paper"
    prefix: str | None = None
    system: System = None
    seed: int = 42

    def __post_init__(self) -> None:
        check_known("readout", self.readout, READOUTS)
        check_known("order", self.order, get_args(Order))
        check_known("labels", self.labels, LABELS)
        check_known("template", self.template, LETTER_TEMPLATES)
        _check_prefix(self.readout, self.prefix)
        if self.readout == "continuation":
            object.__setattr__(self, "prefix", "")
        object.__setattr__(self, "system", system_text(self.system))

    def prompts(self, scenario: Scenario) -> list[Prompt]:
        """The prompts of one scenario: one for each order, or one for each pole's words."""
        if self.readout == "letters":
            return [lettered.prompt for lettered in self.letter_prompts(scenario)]
        return list(continuation_prompts(scenario, system_text(self.system)))

    def letter_prompts(self, scenario: Scenario) -> list[LetterPrompt]:
        """The prompts of Eq. 1, each with the place of the positive pole.

        Raises InputError for a format whose prefix is not chosen yet.
        """
        if self.prefix is None:
            raise InputError(
                "the answer prefix of this format is not chosen yet; choose it with "
                "resolve_format(model, form), or give one: ReadoutFormat('letters', prefix='')"
            )
        return letter_prompts(
            scenario,
            self.order,
            self.seed,
            system_text(self.system),
            self.labels,
            self.template,
            self.prefix,
        )


def _check_prefix(readout: Readout, prefix: Any) -> None:
    if prefix is None or prefix == "":
        return
    if not isinstance(prefix, str):
        raise InputError(f"prefix is a {type(prefix).__name__}; give the answer's first words")
    if readout != "letters":
        raise InputError(
            f"prefix {prefix!r}: only the letters readout has one; a continuation scores the whole "
            "answer, so leave the prefix out"
        )
    if prefix.endswith(" "):
        # Tokenizers join a space to the word after it: nothing natural follows a lone space.
        raise InputError(
            f"prefix {prefix!r} ends with a space, which belongs to the letter's token; give "
            f"{prefix.rstrip(' ')!r}"
        )


def as_format(readout: Readout | ReadoutFormat) -> ReadoutFormat:
    """The format that a name stands for; a format is returned as it is.

    >>> as_format("continuation").order
    'both'
    """
    return readout if isinstance(readout, ReadoutFormat) else ReadoutFormat(readout)


def token_groups(
    model: LanguageModel, scenarios: ScenarioSet, form: ReadoutFormat
) -> tuple[list[list[TokenSequence]], Score]:
    """The token sequences of each scenario, and the score that reads them.

    Raises InputError for no scenario, a prefix that is not chosen yet, labels that are not one
    token each, options without a token and options that are the same tokens.
    """
    if not len(scenarios):
        raise InputError("no scenario to read")
    groups = _sequences(model, scenarios, form)
    if form.readout == "letters":
        return groups, next_token_logits(_letter_tokens(model, scenarios, form))
    _check_distinct(model, scenarios, groups)
    return groups, answer_logprob


def _sequences(
    model: LanguageModel, scenarios: ScenarioSet, form: ReadoutFormat
) -> list[list[TokenSequence]]:
    prompts = [form.prompts(scenario) for scenario in scenarios]
    names = [
        f"scenario {scenario.id}"
        for scenario, members in zip(scenarios, prompts, strict=True)
        for _ in members
    ]
    flat = [prompt for members in prompts for prompt in members]
    sequences = iter(model.tokenise_all(flat, names))
    return [list(islice(sequences, len(members))) for members in prompts]


def raw_values(
    model: LanguageModel,
    scenarios: ScenarioSet,
    form: ReadoutFormat,
    runs: Mapping[Any, Sequence[Edit]],
) -> dict[Any, Float[np.ndarray, "scenario member value"]]:
    """The values of every prompt under every run; `choices` names their columns."""
    groups, score = token_groups(model, scenarios, form)
    return score_runs(model, groups, runs, score, f"reading {form.readout}")


def values_by_prefix(
    model: LanguageModel, scenarios: ScenarioSet, forms: Sequence[ReadoutFormat]
) -> list[Float[np.ndarray, "scenario member value"]]:
    """The plain model's `raw_values` in letter formats that differ in their prefix alone.

    One pass reads all of them, since their prompts are the same up to the prefix.
    """
    by_form = [_sequences(model, scenarios, form) for form in forms]
    groups = [list(chain.from_iterable(members)) for members in zip(*by_form, strict=True)]
    tokens = [_letter_tokens(model, scenarios, form) for form in forms]
    score = next_token_logits(list(chain.from_iterable(tokens)))
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


def _check_distinct(
    model: LanguageModel, scenarios: ScenarioSet, groups: list[list[TokenSequence]]
) -> None:
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
