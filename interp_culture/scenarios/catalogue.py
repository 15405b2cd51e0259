"""The axes, items and domains that scenarios belong to, as an axes.yaml declares them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError

from interp_culture.scenarios.wording import is_invisible

# No text has them; a terminal obeys some of them. White space is not among them.
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


def without_control(text: str) -> str:
    """The text itself. Raises a validation error for one with control characters."""
    control = CONTROL.search(text)
    if control:
        raise PydanticCustomError(
            "control_character",
            "it holds the control character {code}; remove it",
            {"code": f"U+{ord(control[0]):04X}"},
        )
    return text


def _visible(text: str) -> str:
    if is_invisible(text):
        raise PydanticCustomError("invisible_text", "nothing of it is visible; write a text")
    return text


Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1),
    AfterValidator(without_control),
    AfterValidator(_visible),
]


class StrictRecord(BaseModel):
    """A record without unknown fields."""

    # An optional field with a misspelt name would otherwise keep its default unnoticed.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Systems(StrictRecord):
    """A system message for each pole of an axis, which makes a model lean to this pole."""

    negative: Text
    positive: Text


class Axis(StrictRecord):
    """The names of an axis' two poles.

    Attributes:
        systems: system messages of the poles, for vectors from `Site("persona")`.
    """

    negative: Text
    positive: Text
    systems: Systems | None = None

    @property
    def label(self) -> str:
        """Both poles, from negative to positive."""
        return f"{self.negative} → {self.positive}"


class Item(StrictRecord):
    """One question of an axis, asked by many scenarios.

    Attributes:
        label: its name in tables and figures.
        keywords: beginnings of words that give the item away. Quality checks count them in the
            item's texts and in those of other axes.
    """

    axis: Text
    label: Text
    keywords: list[Text] = []


class Catalogue(StrictRecord):
    """The axes, domains and items of a set of scenarios (`axes.yaml`).

    No code knows an axis by name.
    """

    name: Text
    axes: dict[str, Axis]
    domains: list[Text]
    items: dict[str, Item]
