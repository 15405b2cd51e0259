"""Run components without hooks as Hugging Face wrote them; all hooks fire as usual."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor

from interp_culture.engine.model import LanguageModel


@contextmanager
def unhooked(model: LanguageModel) -> Iterator[None]:
    """Run components without hooks at their Hugging Face speed, attention by the fused kernel.

    Hooks must be on the model before. See `components` for which components can be replaced.
    """
    config = model.text_config
    before = config._attn_implementation
    attentions = [a for a in model.components.attentions if not a.is_hooked]
    candidates = [*model.components.others, *(part for a in attentions for part in a.parts)]
    plain = [component for component in candidates if not component.is_hooked]
    try:
        if attentions:
            # TransformerLens sets "eager". transformers' attentions read the name at every call.
            config._attn_implementation = "sdpa"
        for component in plain:
            _set_forward(component.module, component.module.original_component.forward)
        for attention in attentions:
            _set_forward(attention.module, partial(_fused_forward, attention.module))
        yield
    finally:
        config._attn_implementation = before
        for component in (*plain, *attentions):
            component.module.__dict__.pop("forward", None)


def _set_forward(module: Any, forward: Any) -> None:
    # A plain assignment would be forwarded by the bridge to the module that it wraps.
    object.__setattr__(module, "forward", forward)


def _fused_forward(attention: Any, *args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
    """The Hugging Face module's own forward between the bridge's first and last hook point."""
    hidden = kwargs.pop("hidden_states") if "hidden_states" in kwargs else args[0]
    output, weights = attention.original_component(attention.hook_in(hidden), **kwargs)
    return attention.hook_out(output), weights
