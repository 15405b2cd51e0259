"""The personas of the paper's four target countries."""

from __future__ import annotations

from collections.abc import Sequence

from interp_culture.survey.personas import Persona, advanced_persona, basic_persona
from interp_culture.survey.wvs import TARGETS

MAKERS = {"basic": basic_persona, "advanced": advanced_persona}


def target_personas(
    kinds: Sequence[str] = ("basic", "advanced"),
    countries: Sequence[str] = tuple(TARGETS.values()),
) -> dict[str, Persona | None]:
    """No persona, then one of each kind for each country.

    Args:
        kinds: basic (the country alone) or advanced (the country's answers too).
        countries: names or iso3 codes.

    Returns:
        Personas by name ("basic:India"), with None under "none".

    >>> list(target_personas(kinds=["basic"], countries=["India", "Denmark"]))
    ['none', 'basic:India', 'basic:Denmark']
    """
    personas: dict[str, Persona | None] = {"none": None}
    for kind in kinds:
        for country in countries:
            personas[f"{kind}:{country}"] = MAKERS[kind](country)
    return personas
