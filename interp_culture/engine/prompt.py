"""Prompts before tokenisation: a user's text, a system message, and an answer to be scored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from interp_culture.errors import InputError

Thinking = Literal["template", "closed", "open"]


@dataclass(frozen=True)
class Prompt:
    """A question to the model, before tokenisation.

    Attributes:
        user: the text of the question.
        answer: text whose probability is computed; empty where there is none.
        system: the system message; a Persona is replaced by its text.
        prefix: what the model's answer begins with. It is the beginning of the assistant's turn and
            a part of the prompt: the tokens after it are read.
        thinking: "closed" puts the answer after an empty think block, and "open" leaves the block
            open for the model's thoughts; both need a chat template with think tags. "template"
            begins the answer as the chat template does when thinking is switched off.
        options: (start, stop) of the options' words in `user`, in characters, if it contains them.

    Raises:
        InputError: `user` is not text, or `system` is neither text nor a Persona.

    >>> Prompt("Is it late?", system="Answer in one word.").system
    'Answer in one word.'
    """

    user: str
    answer: str = ""
    system: str | None = None
    options: tuple[tuple[int, int], ...] = ()
    prefix: str = ""
    thinking: Thinking = "template"

    def __post_init__(self) -> None:
        if not isinstance(self.user, str):
            raise InputError(
                f"a prompt's user is a {type(self.user).__name__}; give the question as text"
            )
        # The dataclass is frozen.
        object.__setattr__(self, "system", system_text(self.system))

    @property
    def words(self) -> tuple[str | None, ...]:
        """Its texts, none of which the chat template wrote."""
        return self.user, self.system, self.answer, self.prefix


# A protocol, since `survey`, where Persona is, imports the engine and not the reverse.
@runtime_checkable
class HasText(Protocol):
    """An object that can stand for a system message: a Persona."""

    @property
    def text(self) -> str: ...


System = str | HasText | None


def system_text(system: Any) -> str | None:
    """A system message as text; of a Persona its `text`.

    Raises InputError for anything else.

    >>> system_text("You live in India.")
    'You live in India.'
    """
    if system is None or isinstance(system, str):
        return system
    text = getattr(system, "text", None)
    if not isinstance(text, str):
        raise InputError(
            f"system is a {type(system).__name__}; give the message as text, or a Persona"
        )
    return text


def as_prompts(prompts: Iterable[Prompt | str]) -> list[Prompt]:
    """A list of prompts; a plain text becomes a Prompt with that question.

    Raises InputError for a single prompt, and for an element that is neither text nor a Prompt.

    >>> as_prompts(["Is it late?"])
    [Prompt(user='Is it late?', answer='', system=None, options=(), prefix='', thinking='template')]
    """
    if isinstance(prompts, str | Prompt):
        raise InputError("prompts is one prompt; give a list of them: prompts=[...]")
    return [prompt if isinstance(prompt, Prompt) else _question(prompt) for prompt in prompts]


def _question(text: Any) -> Prompt:
    if not isinstance(text, str):
        raise InputError(f"prompts holds a {type(text).__name__}; give texts, or Prompt(user=...)")
    return Prompt(text)
