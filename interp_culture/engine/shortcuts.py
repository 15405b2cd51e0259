"""Which ways of saving work hold for a model: each is right for it, or it is switched off."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

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

# What a config calls a window. Those named here are in our masks; trees are not taken where there is any other, since
# the check's sequences are too short to see it.
WINDOWS, KNOWN_WINDOWS = ("window", "chunk"), ("sliding_window",)
# RoPE of these kinds changes with the longest position of a batch, beyond the length that the model was trained on.
CHANGING_ROPE = ("dynamic", "longrope")


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


def shortcuts_by_config(config: Any) -> Shortcuts:
    """What cannot be seen on short sequences is taken from the config of a model's language part."""
    shortcuts = Shortcuts(longest=_changing_rope_length(config))
    unknown = [
        name
        for name, value in vars(config).items()
        if any(word in name for word in WINDOWS)
        and name not in KNOWN_WINDOWS
        and type(value) is int
        and value > 1
        and "layers" not in name
        and "pattern" not in name
    ]
    return shortcuts.without("trees") if unknown else shortcuts


def _changing_rope_length(config: Any) -> int | None:
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = (
        parameters.values()
        if all(isinstance(v, dict) for v in parameters.values())
        else [parameters]
    )
    lengths = [
        int(kind.get("original_max_position_embeddings") or config.max_position_embeddings)
        for kind in kinds
        if kind.get("rope_type") in CHANGING_ROPE
    ]
    return min(lengths, default=None)
