"""The personas of the target countries."""

from __future__ import annotations

from interp_culture.survey.targets import target_personas
from interp_culture.survey.wvs import TARGETS


def test_no_persona_comes_first_then_every_kind_for_every_country() -> None:
    personas = target_personas()
    names = [f"{kind}:{country}" for kind in ("basic", "advanced") for country in TARGETS.values()]
    assert list(personas) == ["none", *names]
    assert personas["none"] is None
    for name in names:
        persona = personas[name]
        assert persona is not None
        kind, country = name.split(":")
        assert (persona.kind, TARGETS[persona.iso3]) == (kind, country)


def test_kinds_and_countries_can_be_chosen() -> None:
    assert list(target_personas(["basic"], ["IND"])) == ["none", "basic:IND"]
