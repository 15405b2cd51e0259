"""The axes, items and domains that scenarios belong to, as an axes.yaml declares them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


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
