"""Checks of a loaded model: a whole causal language model on one device, with all of its weights.

A model that passes is taken out of its wrapper. For any other there is an InputError that says what
to do instead. Weights are neither read nor changed here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NoReturn

import torch

from interp_culture.engine.bridge import supported_architectures
from interp_culture.engine.foreign_hooks import hook_places
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError

# Buffers that older checkpoints contain and that no model reads any more.
STALE_BUFFERS = re.compile(
    r"(^|\.)(attn|attention|self_attn)\.(masked_)?bias$|rotary_emb\.inv_freq$|position_ids$"
)
# How many weights or modules a message names.
NAMED_KEYS = 3


def plain_model(source: Any) -> Any:
    """The Hugging Face model in the source of `load_model`, without a torch.compile wrapper.

    Raises InputError for anything that is not a whole, unhooked language model on one device.
    """
    # By name, since importing torch._dynamo takes seconds.
    if type(source).__name__ == "OptimizedModule" and hasattr(source, "_orig_mod"):
        source = source._orig_mod
    _refuse_other_objects(source)
    _refuse_modified(source)
    _refuse_spread(source)
    # model.compile() leaves a compiled call, which would not run hooks that are put on later.
    if getattr(source, "_compiled_call_impl", None) is not None:
        source._compiled_call_impl = None
    return source


def architecture_of(hf_model: Any) -> str:
    """TransformerLens' name of the model's class, or of the nearest base class that it knows.

    Raises InputError for a model with an encoder, for one without a language-modelling head, and
    for an architecture that TransformerLens does not know.
    """
    kind = type(hf_model).__name__
    if getattr(hf_model.config, "is_encoder_decoder", False):
        raise InputError(
            f"{kind} has an encoder; only causal (decoder-only) language models can be read"
        )
    known = supported_architectures()
    # A user's own subclass has no adapter, but that of its base class usually fits.
    classes = [base.__name__ for base in type(hf_model).__mro__]
    architecture = next((name for name in classes if name in known), None)
    if architecture is None or hf_model.get_output_embeddings() is None:
        _refuse_architecture(kind, known, is_known=architecture is not None)
    return architecture


def _refuse_architecture(kind: str, known: Collection[str], is_known: bool) -> NoReturn:
    candidates = (f"{kind.removesuffix('Model')}ForCausalLM", f"{kind}LMHead")
    with_head = [name for name in candidates if name in known]
    hint = f"; load it as {with_head[0]} (AutoModelForCausalLM does)" if with_head else ""
    if is_known or with_head:
        raise InputError(f"{kind} has no language-modelling head{hint}")
    raise InputError(
        f"TransformerLens has no adapter for {kind} and cannot hook it; use a model of another "
        f"architecture, such as Llama, Qwen3, Gemma 3, Mistral or GPT-2 ({len(known)} are known)"
    )


def refuse_hooks(hf_model: Any) -> None:
    """Raise InputError for a model with hooks of the user's.

    Their effect could not be told from that of the weights.
    """
    if places := hook_places(hf_model):
        raise InputError(
            f"there are hooks on the model, at {', '.join(places[:NAMED_KEYS])}: remove them, load "
            "the model, and put them on model.bridge, where every pass runs them"
        )


def check_weights(name: str, report: Mapping[str, Collection[Any]], architecture: str) -> None:
    """Raise InputError for weights that a checkpoint lacks or that its model does not know.

    Args:
        name: the checkpoint's name, for the message.
        report: transformers' loading info, which leaves out tied heads and the weights that a model
            class ignores.
        architecture: the name of the model's class, for the message.
    """
    problems = []
    missing = sorted(report.get("missing_keys", ()))
    if missing:
        problems.append(f"{_counted(missing)} missing, which would be random")
    unexpected = [k for k in report.get("unexpected_keys", ()) if not STALE_BUFFERS.search(k)]
    if unexpected:
        problems.append(f"{_counted(sorted(unexpected))} not of this model")
    # Each entry is (name, shape in the checkpoint, shape in the model).
    mismatched = sorted(key[0] for key in report.get("mismatched_keys", ()))
    if mismatched:
        problems.append(f"{_counted(mismatched)} of another shape")
    if problems:
        raise InputError(
            f"{name}: the weights do not fit {architecture}: {'; '.join(problems)}. Save the "
            "whole, plain model again (of a compiled one model._orig_mod, of adapters "
            "model.merge_and_unload()), or download it again"
        )


def _counted(keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED_KEYS} more" if len(keys) > NAMED_KEYS else ""
    return f"{len(keys)} ({', '.join(keys[:NAMED_KEYS])}{more})"


def _refuse_other_objects(source: Any) -> None:
    """Raise InputError for an object that is not a Hugging Face model."""
    kind = type(source).__name__
    if isinstance(source, LanguageModel):
        raise InputError("this is a LanguageModel, which load_model returned: use it as it is")
    if not isinstance(source, torch.nn.Module):
        if hasattr(source, "model") and hasattr(source, "tokenizer"):
            raise InputError(
                f"a {kind} is not a model; give load_model(pipeline.model, "
                "tokenizer=pipeline.tokenizer)"
            )
        raise InputError(
            f"a {kind} is not a model: give a name, a folder, a .gguf file or a Hugging Face model"
        )
    if kind in ("DataParallel", "DistributedDataParallel"):
        raise InputError(
            f"the model is wrapped in {kind}; give load_model(model.module, tokenizer=tokenizer)"
        )
    if type(source).__module__.startswith("transformer_lens"):
        raise InputError(
            f"a {kind} cannot be hooked again; load the Hugging Face model again and give that"
        )
    if not hasattr(source, "config") or not hasattr(source, "get_output_embeddings"):
        raise InputError(f"a {kind} is not a Hugging Face model; give the model inside its wrapper")


def _refuse_modified(hf_model: Any) -> None:
    """Raise InputError for adapters, PyTorch's quantised layers, and a model already hooked."""
    kind = type(hf_model).__name__
    # By name, since peft is not a dependency and may not be installed.
    if type(hf_model).__module__.startswith("peft.") or kind.startswith("Peft"):
        raise InputError(
            f"{kind} has adapters; merge them first: load_model(model.merge_and_unload(), ...)"
        )
    packages = {type(module).__module__ for module in hf_model.modules()}
    if _any_in(packages, "transformer_lens."):
        raise InputError(
            f"this {kind} is hooked already, since load_model changes it in place; use the "
            "LanguageModel that it returned, or load the Hugging Face model again"
        )
    if _any_in(packages, "peft.") or getattr(hf_model, "_hf_peft_config_loaded", False):
        raise InputError(f"this {kind} has adapters; merge them into its weights first")
    if _any_in(packages, "torch.ao.nn.", "torch.nn.quantized."):
        raise InputError(
            f"this {kind} is quantised by PyTorch (quantize_dynamic), whose layers cannot be "
            "hooked; load it unquantised, with dtype='bfloat16' to save memory"
        )


def _any_in(modules: Iterable[str], *packages: str) -> bool:
    return any(module.startswith(packages) for module in modules)


def _refuse_spread(hf_model: Any) -> None:
    """Raise InputError for a model on several devices, on disk, or without weights."""
    device_map = getattr(hf_model, "hf_device_map", None) or {}
    mapped = {str(device) for device in device_map.values()}
    used = {parameter.device.type for parameter in hf_model.parameters()}
    if len(mapped) > 1 or "disk" in mapped or "meta" in used or len(used) > 1:
        where = ", ".join(sorted(mapped | used))
        raise InputError(
            f"the model's weights are spread over devices, offloaded or not loaded ({where}); load "
            "it on one device, without device_map, and with dtype='bfloat16' if it is too large"
        )
