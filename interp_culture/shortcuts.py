"""Which ways of saving work hold for a model: each is right for it, or it is switched off."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

# What each shortcut is, in the words of messages and of the docs.
WORDS = {
    "trees": "token trees (prompts that begin alike share a row)",
    "stem": "shared stems (what all prompts begin with is read once)",
    "resume": "resuming (a steered pass starts at its first edited layer)",
    "fused": "fused components (parts that no hook looks at run without hook points)",
    "pieces": "the unembedding in pieces",
    "padding": "padded batches (prompts of unequal length side by side)",
    "padded_generation": "padded generation (prompts of unequal length written side by side)",
}


@dataclass(frozen=True)
class Shortcuts:
    """The shortcuts that a model's passes may take; without any of them a pass is one plain call a length.

    Attributes:
        trees, stem, resume, fused, pieces, padding, padded_generation: see `WORDS`.
        longest: rows of more tokens take no tree, no stem, no resuming and no padding, since what the model does to
            a token then depends on what else is in the batch (RoPE that changes with the longest position); None
            where there is no such length.
    """

    trees: bool = True
    stem: bool = True
    resume: bool = True
    fused: bool = True
    pieces: bool = True
    padding: bool = True
    padded_generation: bool = True
    longest: int | None = None

    @property
    def off(self) -> tuple[str, ...]:
        """The names of those that are switched off."""
        return tuple(name for name in WORDS if not getattr(self, name))

    def without(self, *names: str) -> Shortcuts:
        """The same with some switched off, and with those that need them: stems and resuming need trees."""
        gone = {*names, *(("stem", "resume") if "trees" in names else ())}
        return replace(self, **dict.fromkeys(gone, False))

    def holds_for(self, tokens: int) -> bool:
        """Whether rows of this many tokens are within `longest`."""
        return self.longest is None or tokens <= self.longest


NONE = Shortcuts(**{f.name: False for f in fields(Shortcuts) if f.type == "bool"})
