"""Hooks that somebody has put on the model: where they are, and passes without them.

TransformerLens puts hooks of its own on a bridge (on OPT's MLP, at the input of each norm). They do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

LIBRARIES = ("transformer_lens.", "transformers.", "accelerate.")
PYTORCH = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
TRANSFORMER_LENS = ("fwd_hooks", "bwd_hooks")  # lists of handles on a hook point
KINDS = (*PYTORCH, *TRANSFORMER_LENS)


def hook_places(model: nn.Module) -> list[str]:
    """The modules on which somebody has put a hook, TransformerLens' or PyTorch's, by name."""
    return [name or "the whole model" for name, m in model.named_modules() if has_hooks(m)]


def is_hooked(model: nn.Module) -> bool:
    """Whether somebody has put a hook on any module of the model."""
    return any(has_hooks(module) for module in model.modules())


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody has put a hook on this module itself."""
    held = module.__dict__
    if not any(held.get(kind) for kind in KINDS):
        return False  # nearly all: a model has thousands of modules, and each pass asks
    if any(_is_foreign(handle.user_hook) for handle in _handles(module)):
        return True
    return any(_is_foreign(hook) for kind in PYTORCH for hook in getattr(module, kind).values())


@contextmanager
def without_hooks(model: nn.Module) -> Iterator[None]:
    """The plain model for the time of the block: somebody's hooks are put away, then put back."""
    before: list[tuple[Any, Any]] = []
    try:
        for module in model.modules():
            if has_hooks(module):
                before += _put_away(module)
        yield
    finally:
        for hooks, kept in before:
            hooks.clear()
            (hooks.extend if isinstance(hooks, list) else hooks.update)(kept)


def _put_away(module: nn.Module) -> list[tuple[Any, Any]]:
    """Take the hooks off; returns each dictionary or list with what it held."""
    ids = {h.hook.id for h in _handles(module) if _is_foreign(h.user_hook)}
    before: list[tuple[Any, Any]] = []
    for kind in PYTORCH:
        hooks = getattr(module, kind)
        before.append((hooks, dict(hooks)))
        for key, hook in list(hooks.items()):
            if key in ids or _is_foreign(hook):
                del hooks[key]
    for kind in TRANSFORMER_LENS:
        handles = getattr(module, kind, None)
        if handles is not None:
            before.append((handles, list(handles)))
            handles[:] = [handle for handle in handles if handle.hook.id not in ids]
    return before


def _handles(module: nn.Module) -> list[Any]:
    return [handle for kind in TRANSFORMER_LENS for handle in getattr(module, kind, ())]


def _is_foreign(hook: Any) -> bool:
    # The wrappers that TransformerLens puts around a hook are its own; whose hook it is stands in the handle.
    return not str(getattr(hook, "__module__", "")).startswith(LIBRARIES)
