"""Sites: of which texts, at which tokens and at which hook point activations are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from interp_culture.engine.interventions import Positions, as_positions, check_hook_point
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.token_tree import TokenSequence
from interp_culture.errors import InputError, check_known
from interp_culture.readout.formats import Readout, ReadoutFormat
from interp_culture.readout.prompts import LABELS, contrastive_texts
from interp_culture.scenarios.scenario import Scenario, ScenarioSet

Texts = Literal["plain", "answer", "letter", "persona"]
# "end" is for reading alone: a token that ends one text may stand within another one.
SitePositions = Positions | Literal["end"]

READOUT_OF: dict[str, Readout] = {"answer": "continuation", "letter": "letters"}
# Up to there both poles have the same tokens.
BEFORE_ANSWER = ("last", "prompt")


@dataclass(frozen=True)
class Site:
    """Where activations are read.

    The activations of a pole are the mean over the tokens at `positions`, and over the pole's texts
    where a scenario has several.

    Attributes:
        texts: the contrastive texts of a scenario. "plain": the situation followed by the positive
            or the negative option, without chat format (paper, equation 4). "answer": the
            sequences of the continuation readout, in which the option is the assistant's answer.
            "letter": the prompt of the letters readout, answered with the letter of the positive or
            of the negative option. "persona": the question without options, after a system message
            that describes the positive or the negative pole.
        positions: the tokens that are read, named as in `Edit`; "end" is the last token of the
            text. The answer is read to its end.
        hook_point: name within the block, one of `interventions.HOOK_POINTS`.
        readout: the format of the texts "answer" (a continuation) and "letter" (letters), with its
            labels, order, template and system message. By default that of the readout's name.
        systems: of the texts "persona": for each axis the system messages of the positive and of
            the negative pole. By default those of the scenarios' `axes.yaml`.

    Raises:
        InputError: unknown texts, positions or hook point; a readout or systems that do not belong
            to the texts; positions at which both poles have the same tokens.

    >>> Site("answer", "answer", hook_point="hook_mlp_out").name
    'answer_mean, hook_mlp_out'
    """

    texts: Texts = "plain"
    positions: SitePositions = "last"
    hook_point: str = "hook_resid_post"
    readout: ReadoutFormat | None = None
    systems: Mapping[str, tuple[str, str]] | None = None

    def __post_init__(self) -> None:
        check_known("texts", self.texts, get_args(Texts))
        check_hook_point(self.hook_point)
        if self.positions != "end":
            object.__setattr__(self, "positions", as_positions(self.positions))
        if self.texts in READOUT_OF and self.positions in BEFORE_ANSWER:
            raise InputError(
                f"positions {self.positions!r} of the texts {self.texts!r}: both poles have the "
                "same tokens up to the answer; use 'answer', 'options' or 'end'"
            )
        expected = READOUT_OF.get(self.texts)
        if self.readout is not None and self.readout.readout != expected:
            raise InputError(
                f"the texts {self.texts!r} take "
                + (f"a readout {expected!r}" if expected else "no readout")
                + f", not {self.readout.readout!r}"
            )
        if self.systems is not None and self.texts != "persona":
            raise InputError(f"the texts {self.texts!r} take no systems; use texts='persona'")

    @property
    def name(self) -> str:
        """Its name in `SITES`, or a description; equal names mean equal sites."""
        parts = [_name_of(self.texts, self.positions)]
        if self.hook_point != "hook_resid_post":
            parts.append(self.hook_point)
        if self.readout is not None:
            default = asdict(ReadoutFormat(self.readout.readout))
            given = asdict(self.readout)
            parts += [
                f"{field} {given[field]}" for field in given if given[field] != default[field]
            ]
        if self.systems is not None:
            parts.append(f"systems {_hash(sorted(self.systems.items()))}")
        return ", ".join(parts)

    @property
    def form(self) -> ReadoutFormat:
        """The format of the texts "answer" and "letter"; of "persona" that of the question."""
        form = self.readout or ReadoutFormat(READOUT_OF.get(self.texts, "continuation"))
        # The answer is the letter alone, as it is given here, unless a prefix is named.
        return replace(form, prefix=form.prefix or "")

    @property
    def shares_stem(self) -> bool:
        """Whether no token of the prefix that all texts share is read."""
        return self.positions in ("last", "answer", "options", "end")


# The residual stream after each block, at the places of other work and of ours.
SITES: dict[str, Site] = {
    "last": Site("plain", "last"),
    "answer_mean": Site("answer", "answer"),
    "answer_last": Site("answer", "end"),
    "letter": Site("letter", "end"),
    "prompt_persona": Site("persona", "last"),
}


def as_site(site: str | Site) -> Site:
    """The site that a name stands for; a site is returned as it is.

    The names:

        last: the last token of the situation followed by an option, as plain text (paper,
            equation 4).
        answer_mean: the mean over the option's tokens, as the assistant's answer in the chat
            format: the sequences of the continuation readout.
        answer_last: the last token of that answer.
        letter: the token of the answer's letter after the lettered prompt. A pole's activations
            are the mean over both orders of the options. Each letter stands for each pole once, so
            that the letter itself cancels in positive minus negative (Rimsky et al. 2024 append
            the letter too, with one order per question).
        prompt_persona: the last token of the prompt, from which the answer is generated, of the
            question without options. The system message describes the positive or the negative
            pole (as persona vectors do, Chen et al. 2025, who average over generated answers).

    Raises InputError for an unknown name.

    >>> as_site("answer_mean").positions
    'answer'
    """
    if isinstance(site, Site):
        return site
    check_known("site", site, SITES)
    return SITES[site]


def contrasts(scenarios: ScenarioSet, site: Site) -> list[list[str | Prompt]]:
    """The texts of each scenario: those of the positive pole, then as many of the negative one.

    Raises InputError for a bare pair of texts, unless the texts are plain, and for an axis without
    system messages.

    >>> [positive, negative] = contrasts(test, as_site("answer_mean"))[0]
    >>> positive.user == negative.user, positive.answer == negative.answer
    (True, False)
    """
    return [_contrast(scenarios, scenario, site) for scenario in scenarios]


def _contrast(scenarios: ScenarioSet, scenario: Scenario, site: Site) -> list[str | Prompt]:
    if site.texts == "plain":
        return list(contrastive_texts(scenario))
    if site.texts == "letter":
        return _lettered(scenario, site.form)
    positive, negative = site.form.prompts(scenario)
    if site.texts == "answer":
        return [positive, negative]
    return [
        replace(positive, answer="", system=system)
        for system in _systems(scenarios, scenario.axis, site)
    ]


def _lettered(scenario: Scenario, form: ReadoutFormat) -> list[str | Prompt]:
    """Every order's prompt, answered with the positive pole's letter, then with the other's."""
    labels = LABELS[form.labels]
    prompts = form.letter_prompts(scenario)
    positive = [replace(p.prompt, answer=labels[p.positive]) for p in prompts]
    negative = [replace(p.prompt, answer=labels[1 - p.positive]) for p in prompts]
    return [*positive, *negative]


def _systems(scenarios: ScenarioSet, axis: str, site: Site) -> tuple[str, str]:
    """The system messages of an axis' positive and negative pole."""
    if site.systems is not None and axis in site.systems:
        return site.systems[axis]
    described = scenarios.catalogue.axes[axis].systems
    if site.systems is not None or described is None:
        raise InputError(
            f"axis {axis}: no system messages of its poles; give Site('persona', systems="
            f"{{{axis!r}: (positive, negative)}}), or `systems` in axes.yaml"
        )
    return described.positive, described.negative


def text_groups(
    model: LanguageModel, scenarios: ScenarioSet, site: Site
) -> list[list[TokenSequence]]:
    """The tokens of each scenario's `contrasts`."""
    by_scenario = contrasts(scenarios, site)
    texts = [text for members in by_scenario for text in members]
    names = [
        f"scenario {scenario.id}"
        for scenario, members in zip(scenarios, by_scenario, strict=True)
        for _ in members
    ]
    sequences = iter(_tokenised(model, texts, names))
    return [[next(sequences) for _ in members] for members in by_scenario]


def _tokenised(
    model: LanguageModel, texts: Sequence[str | Prompt], names: Sequence[str]
) -> list[TokenSequence]:
    prompts = [text for text in texts if isinstance(text, Prompt)]
    if not prompts:
        return model.tokenise_texts([str(text) for text in texts], names)
    return [_to_the_end(model, sequence) for sequence in model.tokenise_all(prompts, names)]


def _to_the_end(model: LanguageModel, sequence: TokenSequence) -> TokenSequence:
    """The sequence with one more answer token, which makes the model read the answer's last one."""
    if not sequence.answer:
        return sequence
    return replace(sequence, answer=(*sequence.answer, model.pad_token))


def texts_hash(scenarios: ScenarioSet, site: Site) -> str:
    """A hash of the words that are read at a site, which changes with the wording of prompts."""
    return _hash(contrasts(scenarios, site))


def _name_of(texts: str, positions: SitePositions) -> str:
    for name, site in SITES.items():
        if (site.texts, site.positions) == (texts, positions):
            return name
    return f"{texts}, positions {positions}"


def _hash(content: Any) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:12]
