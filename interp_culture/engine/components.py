"""Components of a model that compute the same without TransformerLens' hook points.

TransformerLens computes attention scores and patterns step by step, and the scale of each norm
separately, so that hooks can see them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

HOOKS_AROUND = ("hook_in", "hook_out")  # an attention's hook points that fire when it is fused too


@dataclass(frozen=True)
class Component:
    """A module of the bridge, the hook points within it, and for an attention its own components.

    Attributes:
        points: the hook points that do not fire when the wrapped module runs in its place.
    """

    module: Any
    points: tuple[Any, ...]
    parts: tuple[Component, ...] = ()

    @property
    def is_hooked(self) -> bool:
        return any(point.fwd_hooks or point.bwd_hooks for point in self.points)


@dataclass(frozen=True)
class Components:
    """The components of one model.

    Attributes:
        attentions: the attentions that PyTorch's fused kernel (SDPA) can compute.
        others: the transparent components outside attentions: of the blocks, and the final norm.
    """

    attentions: tuple[Component, ...]
    others: tuple[Component, ...]


def transparent_classes() -> frozenset[type]:
    """TransformerLens' classes whose output is that of the wrapped module's forward.

    Their subclasses may compute something else and are not meant.
    """
    from transformer_lens.model_bridge.generalized_components import (
        GatedMLPBridge,
        LinearBridge,
        MLPBridge,
        NormalizationBridge,
        RMSNormalizationBridge,
    )

    return frozenset(
        {LinearBridge, NormalizationBridge, RMSNormalizationBridge, MLPBridge, GatedMLPBridge}
    )


def attention_class() -> type[Any]:
    """TransformerLens' class of attentions that can be fused; its subclasses are not meant."""
    from transformer_lens.model_bridge.generalized_components import (
        PositionEmbeddingsAttentionBridge,
    )

    return PositionEmbeddingsAttentionBridge


def find_components(bridge: Any) -> Components:
    """The components of a bridge's blocks and its final norm."""
    attentions: list[Component] = []
    final_norm = getattr(bridge, "ln_final", None)  # some OPT models have none
    others = [] if final_norm is None else [_component(final_norm)]
    for block in bridge.blocks:
        # In hybrid models, some blocks have a recurrent layer in place of attention.
        attention = getattr(block, "attn", None)
        within_attention = set(attention.modules()) if attention is not None else set()
        others += [c for c in _transparent(block) if c.module not in within_attention]
        if attention is not None and _can_fuse(bridge.original_model, attention):
            attentions.append(_attention(attention))
    return Components(tuple(attentions), tuple(others))


def _transparent(module: Any) -> list[Component]:
    """The transparent components within a module, itself included."""
    classes = transparent_classes()
    return [_component(m) for m in module.modules() if type(m) in classes]


def _component(module: Any) -> Component:
    return Component(module, tuple(m for m in module.modules() if hasattr(m, "fwd_hooks")))


def _attention(attention: Any) -> Component:
    # Without those of q, k, v and o, modules of their own that fire in a fused attention too.
    hooks = attention.get_hooks()
    points = tuple(point for name, point in hooks.items() if name not in HOOKS_AROUND)
    return Component(attention, points, tuple(_transparent(attention)))


def _can_fuse(hf_model: Any, attention: Any) -> bool:
    """Whether SDPA computes this attention: it has no soft cap and no input per head."""
    if type(attention) is not attention_class() or not getattr(hf_model, "_supports_sdpa", False):
        return False
    if getattr(attention.original_component, "attn_logit_softcapping", None) is not None:
        return False
    # With these options of TransformerLens, every head has an input of its own to be hooked.
    flags = ("use_split_qkv_input", "use_attn_in")
    return not any(getattr(attention.config, flag, False) for flag in flags)
