"""What a model is asked, before tokenisation: a user's words, a system message, an answer to be scored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from interp_culture.errors import InputError


@dataclass(frozen=True)
class Prompt:
    """What is asked, before tokenisation. `answer` is text whose probability is read, or empty.

    `options` are (start, stop) of the two poles' words in `user`, in characters, where they are part of it. `system`
    may be a Persona too, whose text it becomes.

    >>> Prompt("Is it late?", system="Answer in one word.").system
    'Answer in one word.'
    """

    user: str
    answer: str = ""
    system: str | None = None
    options: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.user, str):
            raise InputError(
                f"a prompt's user is a {type(self.user).__name__}; give the question as text"
            )
        object.__setattr__(self, "system", system_text(self.system))


@runtime_checkable
class HasText(Protocol):
    """What can stand for a system message: a Persona."""

    @property
    def text(self) -> str: ...


System = str | HasText | None


def system_text(system: Any) -> str | None:
    """A system message as text: a Persona's is its `text`. Raises InputError for anything else.

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
    """Prompts, of which some may be given as mere text: the question.

    >>> as_prompts(["Is it late?"])
    [Prompt(user='Is it late?', answer='', system=None, options=())]
    """
    if isinstance(prompts, str | Prompt):
        raise InputError("prompts is one prompt; give a list of them: prompts=[...]")
    return [prompt if isinstance(prompt, Prompt) else _question(prompt) for prompt in prompts]


def _question(text: Any) -> Prompt:
    if not isinstance(text, str):
        raise InputError(f"prompts holds a {type(text).__name__}; give texts, or Prompt(user=...)")
    return Prompt(text)
