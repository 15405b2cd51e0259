"""Several sets of scenarios as one, with the axes of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from interp_culture.errors import InputError
from interp_culture.scenarios.catalogue import Catalogue
from interp_culture.scenarios.scenario import Scenario, ScenarioSet
from interp_culture.scenarios.wording import name_form

Declared = TypeVar("Declared")


def join_sets(sets: Sequence[ScenarioSet]) -> ScenarioSet:
    """One set with all scenarios, so that axes of several sets can be read and steered together.

    The halves of the joined set (`split`) are not those of the single sets.

    Args:
        sets: one or more. An axis or item of the same name must be declared alike.

    Raises:
        InputError: no set, an id that two sets have, or a name that they declare differently.

    >>> whole = join_sets([ic.load_scenarios(name) for name in ("culture", "tone")])
    >>> len(whole), whole.axes
    (660, ['X', 'Y', 'F', 'C'])
    """
    if not sets:
        raise InputError("no set to join; give one or more")
    scenarios: dict[str, Scenario] = {}
    for each in sets:
        ids = {name_form(scenario.id): scenario for scenario in each}
        if shared := [ids[name].id for name in ids if name in scenarios]:
            raise InputError(
                f"two of the joined sets have scenarios with the same id: {', '.join(shared[:3])}; "
                "give each set once, and ids of their own"
            )
        scenarios |= ids
    catalogues = [each.catalogue for each in sets]
    names = dict.fromkeys(catalogue.name for catalogue in catalogues)
    domains = dict.fromkeys(domain for catalogue in catalogues for domain in catalogue.domains)
    catalogue = Catalogue(
        name=" + ".join(names),
        axes=_merged("axis", [catalogue.axes for catalogue in catalogues]),
        domains=list(domains),
        items=_merged("item", [catalogue.items for catalogue in catalogues]),
    )
    return ScenarioSet(tuple(scenarios.values()), catalogue)


def _merged(kind: str, parts: Iterable[Mapping[str, Declared]]) -> dict[str, Declared]:
    merged: dict[str, Declared] = {}
    spellings: dict[str, str] = {}
    for part in parts:
        for name, declared in part.items():
            if spellings.setdefault(name_form(name), name) != name:
                raise InputError(
                    f"two of the joined sets spell {kind} {name} with different characters that "
                    "look the same; copy the name from one to the other"
                )
            if merged.setdefault(name, declared) != declared:
                raise InputError(
                    f"two of the joined sets declare {kind} {name} differently; rename it in one"
                )
    return merged
