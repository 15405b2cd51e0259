"""Which loaded models can be hooked and read: causal language models on one device, with all of their weights.

What is right is unwrapped and goes on; everything else is an InputError that names the way out. No weights
are read or changed here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch

from interp_culture.engine.bridge import supported_architectures
from interp_culture.engine.foreign_hooks import hook_places
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError

# Buffers that older checkpoints carry and no model reads any more.
STALE_BUFFERS = re.compile(
    r"(^|\.)(attn|attention|self_attn)\.(masked_)?bias$|rotary_emb\.inv_freq$|position_ids$"
)
NAMED_KEYS = 3


def plain_model(source: Any) -> Any:
    """The Hugging Face model in what was given to `load_model`, out of its torch.compile wrapper.

    Raises InputError for anything that is not a whole, unhooked causal language model.
    """
    kind = type(source).__name__
    if isinstance(source, LanguageModel):
        raise InputError("this is a LanguageModel, which load_model returned: use it as it is")
    if kind == "OptimizedModule" and hasattr(source, "_orig_mod"):
        source = source._orig_mod
    elif (
        hasattr(source, "model")
        and hasattr(source, "tokenizer")
        and not isinstance(source, torch.nn.Module)
    ):
        raise InputError(
            f"a {kind} is no model; give load_model(pipeline.model, tokenizer=pipeline.tokenizer)"
        )
    if isinstance(source, torch.nn.Module) and kind in ("DataParallel", "DistributedDataParallel"):
        raise InputError(
            f"the model is wrapped in {kind}; give load_model(model.module, tokenizer=tokenizer)"
        )
    if not isinstance(source, torch.nn.Module):
        raise InputError(
            f"a {kind} is no model: give a name, a folder, a .gguf file or a Hugging Face model"
        )
    if type(source).__module__.startswith("transformer_lens"):
        raise InputError(
            f"a {kind} cannot be hooked again; give the Hugging Face model, loaded anew"
        )
    if not hasattr(source, "config") or not hasattr(source, "get_output_embeddings"):
        raise InputError(
            f"a {type(source).__name__} is no Hugging Face model; wrapped models are given as the model within"
        )
    _refuse_modified(source)
    _refuse_spread(source)
    if getattr(source, "_compiled_call_impl", None) is not None:
        source._compiled_call_impl = None  # left by model.compile(): hooks would be compiled away
    return source


def architecture_of(hf_model: Any) -> str:
    """The name under which TransformerLens knows the model's class or the nearest class that it extends.

    Raises InputError for an architecture that TransformerLens does not know, for one with an encoder, and for one
    that has no language-modelling head.
    """
    kind, config = type(hf_model).__name__, hf_model.config
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"{kind} has an encoder; only causal (decoder-only) language models can be read"
        )
    known = supported_architectures()
    name = next((cls.__name__ for cls in type(hf_model).__mro__ if cls.__name__ in known), None)
    if name is None or hf_model.get_output_embeddings() is None:
        headless = [
            n for n in (f"{kind.removesuffix('Model')}ForCausalLM", f"{kind}LMHead") if n in known
        ]
        hint = f"; load it as {headless[0]} (AutoModelForCausalLM does)" if headless else ""
        if name is not None or headless:
            raise InputError(f"{kind} has no language-modelling head{hint}")
        raise InputError(
            f"TransformerLens has no adapter for {kind}, so that it cannot be hooked; take a model of another "
            f"architecture, such as Llama, Qwen3, Gemma 3, Mistral or GPT-2 ({len(known)} are known)"
        )
    return name


def refuse_hooks(hf_model: Any) -> None:
    """Raise InputError for a model on which there are hooks: as part of its weights they could not be told from it."""
    if places := hook_places(hf_model):
        raise InputError(
            f"there are hooks on the model, at {', '.join(places[:NAMED_KEYS])}: remove them, load the model, and put "
            "them on model.bridge, where they are seen by every pass"
        )


def check_weights(name: str, report: Mapping[str, Collection[Any]], architecture: str) -> None:
    """Raise InputError for weights that a checkpoint lacks or that its model does not know.

    Args:
        report: transformers' loading info. Tied heads and what a model class itself ignores are not in it.
    """
    wrong = []
    missing = sorted(report.get("missing_keys", ()))
    if missing:
        wrong.append(f"{_counted(missing)} missing, which would be random")
    unexpected = sorted(
        key for key in report.get("unexpected_keys", ()) if not STALE_BUFFERS.search(key)
    )
    if unexpected:
        wrong.append(f"{_counted(unexpected)} not of this model")
    mismatched = sorted(key[0] for key in report.get("mismatched_keys", ()))
    if mismatched:
        wrong.append(f"{_counted(mismatched)} of another shape")
    if wrong:
        raise InputError(
            f"{name}: the weights do not fit {architecture}: {'; '.join(wrong)}. Save the whole, plain model "
            "anew (of a compiled one model._orig_mod, of adapters model.merge_and_unload()), or fetch it again"
        )


def _counted(keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED_KEYS} more" if len(keys) > NAMED_KEYS else ""
    return f"{len(keys)} ({', '.join(keys[:NAMED_KEYS])}{more})"


def _refuse_modified(hf_model: Any) -> None:
    """Adapters, quantised layers that are no nn.Linear, and a model that is hooked already."""
    kind = type(hf_model).__name__
    if type(hf_model).__module__.startswith("peft.") or kind.startswith("Peft"):
        raise InputError(
            f"{kind} holds adapters; merge them first: load_model(model.merge_and_unload(), ...)"
        )
    homes = {type(module).__module__ for module in hf_model.modules()}
    if _any_in(homes, "transformer_lens."):
        raise InputError(
            f"this {kind} is hooked already, since load_model changes it in place; use the LanguageModel that it "
            "returned, or load the Hugging Face model anew"
        )
    if _any_in(homes, "peft.") or getattr(hf_model, "_hf_peft_config_loaded", False):
        raise InputError(f"this {kind} holds adapters; merge them into its weights first")
    if _any_in(homes, "torch.ao.nn.", "torch.nn.quantized."):
        raise InputError(
            f"this {kind} is quantised by PyTorch (quantize_dynamic), whose layers cannot be hooked; load it "
            "without, with dtype='bfloat16' to save memory"
        )


def _any_in(homes: Iterable[str], *packages: str) -> bool:
    return any(home.startswith(packages) for home in homes)


def _refuse_spread(hf_model: Any) -> None:
    """A model on several devices, on disk, or without weights."""
    devices = {str(device) for device in (getattr(hf_model, "hf_device_map", None) or {}).values()}
    held = {parameter.device.type for parameter in hf_model.parameters()}
    if len(devices) > 1 or "disk" in devices or "meta" in held or len(held) > 1:
        where = ", ".join(sorted(devices | held))
        raise InputError(
            f"the model's weights are spread over devices, offloaded or not loaded ({where}); load it on one "
            "device, without device_map, and with dtype='bfloat16' if it is too large"
        )
