"""Hooks that the user has put on a model: where they are, and a context without them.

TransformerLens and transformers put hooks of their own on a model (on OPT's MLP, at the input of
each norm), and a planted leak is one too. Those are not counted and not removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

# Whose hooks are a part of the model.
LIBRARIES = ("transformer_lens.", "transformers.", "accelerate.", "interp_culture.engine.planting")
# Attributes of a module that hold PyTorch hooks, as dictionaries.
PYTORCH = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# Attributes of a hook point of TransformerLens, as lists of handles.
TRANSFORMER_LENS = ("fwd_hooks", "bwd_hooks")
ATTRIBUTES = (*PYTORCH, *TRANSFORMER_LENS)


def hook_places(model: nn.Module) -> list[str]:
    """The names of the modules with a hook of the user's, put there by either library."""
    return [
        name or "the whole model" for name, module in model.named_modules() if has_hooks(module)
    ]


def is_hooked(model: nn.Module) -> bool:
    """Whether any module of the model has a hook of the user's."""
    # A fast way out for nearly all modules: a model has thousands, and every pass asks.
    return any(
        has_hooks(module) for module in model.modules() if any(map(module.__dict__.get, ATTRIBUTES))
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether this module itself has a hook of the user's."""
    if any(_is_foreign(handle.user_hook) for handle in _handles(module)):
        return True
    return any(_is_foreign(hook) for name in PYTORCH for hook in getattr(module, name).values())


@contextmanager
def without_hooks(model: nn.Module) -> Iterator[None]:
    """The model without the user's hooks, inside the `with` block; they are put back at its end."""
    removed: list[tuple[Any, Any]] = []
    try:
        for module in model.modules():
            if has_hooks(module):
                removed += _remove(module)
        yield
    finally:
        for hooks, content in removed:
            # Refilled in place: the handles that the user holds refer to these very objects.
            hooks.clear()
            if isinstance(hooks, list):
                hooks.extend(content)
            else:
                hooks.update(content)


def _remove(module: nn.Module) -> list[tuple[Any, Any]]:
    """Remove the user's hooks; returns each dictionary or list of hooks with its former content."""
    ids = {handle.hook.id for handle in _handles(module) if _is_foreign(handle.user_hook)}
    before: list[tuple[Any, Any]] = []
    for name in PYTORCH:
        hooks = getattr(module, name)
        before.append((hooks, dict(hooks)))
        for key, hook in list(hooks.items()):
            if key in ids or _is_foreign(hook):
                del hooks[key]
    for name in TRANSFORMER_LENS:
        handles = getattr(module, name, None)
        if handles is not None:
            before.append((handles, list(handles)))
            handles[:] = [handle for handle in handles if handle.hook.id not in ids]
    return before


def _handles(module: nn.Module) -> list[Any]:
    return [handle for name in TRANSFORMER_LENS for handle in getattr(module, name, ())]


def _is_foreign(hook: Any) -> bool:
    # TransformerLens wraps each hook in a function of its own; the handle knows the user's hook.
    return not str(getattr(hook, "__module__", "")).startswith(LIBRARIES)
