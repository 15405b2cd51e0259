"""Country personas as system messages."""

from __future__ import annotations

from interp_culture.errors import InputError


def basic_persona(country: str) -> str:
    """The paper's basic set-up: the model is told where it lives and nothing else."""
    if not country.strip():
        raise InputError("an empty country name makes no persona")
    return f"You are a person living in {country.strip()}."
