"""Ways of saving work in forward passes, each of which can be switched off for a model."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

# What each shortcut is, for messages and docs.
DESCRIPTIONS = {
    "trees": "token trees (prompts with the same beginning share a row)",
    "stem": "shared stems (the beginning that all prompts share is read once)",
    "resume": "resuming (a steered pass starts at its first edited layer)",
    "fused": "fused components (components without a user's hook run without hook points)",
    "pieces": "the unembedding in pieces",
    "padding": "padded batches (prompts of unequal length in one batch)",
    "padded_generation": "padded generation (texts for prompts of unequal length in one batch)",
}

# Names of a config's attention windows contain one of these words.
WINDOW_WORDS = ("window", "chunk")
# Our attention masks know these windows. The sequences of `self_check` are too short to show what
# any other window does, so that trees are off for a model that has one.
KNOWN_WINDOWS = ("sliding_window",)
# With these kinds of RoPE, the longest position in a batch changes the embedding of all, as soon as
# it is beyond the length that the model was trained on.
CHANGING_ROPE = ("dynamic", "longrope")


@dataclass(frozen=True)
class Shortcuts:
    """The shortcuts that are on for a model; without any, each length of prompt is a plain pass.

    Attributes:
        trees: prompts with the same beginning share a row.
        stem: the beginning that all prompts share is read once.
        resume: a steered pass starts at its first edited layer.
        fused: components without a user's hook run without hook points.
        pieces: the unembedding runs over pieces of the vocabulary.
        padding: prompts of unequal length are read in one batch.
        padded_generation: texts for prompts of unequal length are written in one batch.
        longest: a longer row (in tokens) uses neither trees, stem, resuming nor padding, because
            the model's numbers for a token then depend on the rest of the batch (RoPE that changes
            with the longest position); None without such a limit.

    >>> Shortcuts().without("trees").off
    ('trees', 'stem', 'resume')
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
        """The names of the shortcuts that are switched off."""
        return tuple(name for name in DESCRIPTIONS if not getattr(self, name))

    def without(self, *names: str) -> Shortcuts:
        """A copy with these switched off, and with "trees" also "stem" and "resume"."""
        dependent = ("stem", "resume") if "trees" in names else ()
        return replace(self, **dict.fromkeys((*names, *dependent), False))

    def holds_for(self, tokens: int) -> bool:
        """Whether a row of this many tokens is within `longest`."""
        return self.longest is None or tokens <= self.longest


NONE = Shortcuts(**{field.name: False for field in fields(Shortcuts) if field.type == "bool"})


def shortcuts_by_config(config: Any) -> Shortcuts:
    """The shortcuts that the config of a model's language part allows.

    The config decides what short sequences cannot show; `self_check` tests the rest.
    """
    shortcuts = Shortcuts(longest=_changing_rope_length(config))
    has_unknown_window = any(
        _is_unknown_window(name, value) for name, value in vars(config).items()
    )
    return shortcuts.without("trees") if has_unknown_window else shortcuts


def _is_unknown_window(name: str, value: Any) -> bool:
    if name in KNOWN_WINDOWS or not any(word in name for word in WINDOW_WORDS):
        return False
    # "max_window_layers" and "sliding_window_pattern" count layers, not tokens.
    counts_layers = "layers" in name or "pattern" in name
    # A bool is an int too, so that `isinstance` would take use_sliding_window=True for a width.
    return type(value) is int and value > 1 and not counts_layers


def _changing_rope_length(config: Any) -> int | None:
    """The length beyond which the RoPE of some layer changes; None where it never does."""
    parameters = getattr(config, "rope_parameters", None) or {}
    # One dictionary for all layers, or one for each type of layer.
    by_layer_type = all(isinstance(value, dict) for value in parameters.values())
    kinds = parameters.values() if by_layer_type else [parameters]
    lengths = [
        int(kind.get("original_max_position_embeddings") or config.max_position_embeddings)
        for kind in kinds
        if kind.get("rope_type") in CHANGING_ROPE
    ]
    return min(lengths, default=None)
