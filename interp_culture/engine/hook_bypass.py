"""Components that no hook looks at run as Hugging Face wrote them.

TransformerLens computes attention scores and patterns step by step, and the scale of each norm beside the norm itself,
so that hooks can see them. Where nobody looks, that work is left out; every other hook fires as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from interp_culture.engine.model import LanguageModel

# Of these the wrapped module's own forward is all they compute; what their hook points show comes on top.
TRANSPARENT = {
    "LinearBridge",
    "NormalizationBridge",
    "RMSNormalizationBridge",
    "MLPBridge",
    "GatedMLPBridge",
}
ATTENTION = "PositionEmbeddingsAttentionBridge"
COMPONENTS = "components"  # in a model's memo


@dataclass(frozen=True)
class _Component:
    """A part of a block, the hook points within it, and for an attention the parts within it."""

    module: Any
    points: tuple[Any, ...]
    parts: tuple[_Component, ...] = ()

    @property
    def is_hooked(self) -> bool:
        return any(point.fwd_hooks or point.bwd_hooks for point in self.points)


@contextmanager
def unhooked(model: LanguageModel) -> Iterator[None]:
    """For the time of the block: no hook, no extra work; attention by PyTorch's fused kernel (SDPA).

    Hooks must be on the model before. An attention with a soft-cap, which the kernel has not, is left as it is.
    """
    config = model.text_config
    before = config._attn_implementation
    attentions, others = _components(model)
    fused = [a for a in attentions if not a.is_hooked]
    plain = [c for c in (*others, *(part for a in fused for part in a.parts)) if not c.is_hooked]
    try:
        if fused:
            config._attn_implementation = "sdpa"
        for component in plain:
            object.__setattr__(
                component.module, "forward", component.module.original_component.forward
            )
        for attention in fused:
            object.__setattr__(
                attention.module, "forward", partial(_fused_forward, attention.module)
            )
        yield
    finally:
        config._attn_implementation = before
        for component in (*plain, *fused):
            component.module.__dict__.pop("forward", None)


def _components(model: LanguageModel) -> tuple[list[_Component], list[_Component]]:
    """The attentions that can be fused, and the transparent components of the blocks outside any attention, and the
    final norm; found once a model."""
    if COMPONENTS not in model.memo:
        attentions, others = [], [_component(model.bridge.ln_final)]
        for block in model.bridge.blocks:
            attention = getattr(block, "attn", None)
            within = set(attention.modules()) if attention is not None else set()
            others += [
                _component(m)
                for m in block.modules()
                if type(m).__name__ in TRANSPARENT and m not in within
            ]
            if attention is not None and _can_fuse(model, attention):
                parts = tuple(
                    _component(m) for m in attention.modules() if type(m).__name__ in TRANSPARENT
                )
                seen = [
                    p for n, p in attention.get_hooks().items() if n not in ("hook_in", "hook_out")
                ]
                attentions.append(_Component(attention, tuple(seen), parts))
        model.memo[COMPONENTS] = attentions, others
    return model.memo[COMPONENTS]


def _component(module: Any) -> _Component:
    return _Component(module, tuple(m for m in module.modules() if hasattr(m, "fwd_hooks")))


def _can_fuse(model: LanguageModel, attention: Any) -> bool:
    return (
        type(attention).__name__ == ATTENTION
        and getattr(model.bridge.original_model, "_supports_sdpa", False)
        and getattr(attention.original_component, "attn_logit_softcapping", None) is None
        and not any(
            getattr(attention.config, flag, False)
            for flag in ("use_split_qkv_input", "use_attn_in")
        )
    )


def _fused_forward(attention: Any, *args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
    """The Hugging Face module's own forward between the bridge's first and last hook point."""
    hidden = kwargs.pop("hidden_states") if "hidden_states" in kwargs else args[0]
    output, weights = attention.original_component(attention.hook_in(hidden), **kwargs)
    return attention.hook_out(output), weights
