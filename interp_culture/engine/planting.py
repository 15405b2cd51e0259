"""Plant a leak in a model: a copy that shares the weights, in which every pass has the leak."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from interp_culture.engine.blocks import with_stream
from interp_culture.engine.forward import trace
from interp_culture.engine.leaks import Leak
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.plain_passes import TOLERANCES, relative_error
from interp_culture.engine.token_tree import TokenSequence, make_batches
from interp_culture.errors import InputError

# Of the text with which a planted model is compared with its prediction.
CHECKED_TOKENS = 24


def plant(model: LanguageModel, leak: Leak) -> LanguageModel:
    """A copy of the model with a leak. The given model stays as it is.

    The copy has modules of its own and shares the weights, so that it takes hardly any memory.
    Every pass of it has the leak: readouts, gradients, resumed passes, generation and passes of
    `bridge`. Its identity differs, so that no vector, activation or study of the one model is taken
    for one of the other. The shortcuts that hold for the model hold for the copy too, since a leak
    changes each token by itself. Both claims are checked on a few tokens.

    Raises:
        InputError: a leak that does not fit the model, a model with a leak or with hooks of yours,
            or one that has no final norm, for a leak after the last block.

    >>> leak = ic.engine.Leak(1, torch.ones(32), torch.ones(32), size=0.1)
    >>> ic.engine.plant(model, leak).identity.weights == model.identity.weights
    False
    """
    _check_fits(model, leak)
    planted = LanguageModel(
        _with_shared_weights(model.bridge),
        model.tokenizer,
        f"{model.name} with a leak after block {leak.block}",
        model.revision,
        model.shortcuts,
        model.check,
        model.batch_limit,
        leak=leak,
    )
    _insert(planted, leak)
    _check_numbers(model, planted, leak)
    return planted


def _check_fits(model: LanguageModel, leak: Leak) -> None:
    if model.leak is not None:
        raise InputError(f"{model.name} has a leak already; plant another one in the plain model")
    if model.is_hooked:
        raise InputError(
            f"{model.name} has hooks of yours ({', '.join(model.hook_places[:3])}), which a copy "
            "would share; remove them first"
        )
    if not 0 <= leak.block < model.n_layers:
        raise InputError(
            f"leak after block {leak.block}: {model.name} has blocks 0 to {model.n_layers - 1}"
        )
    if leak.reads.shape != (model.d_model,):
        raise InputError(
            f"a leak of width {len(leak.reads)} does not fit {model.name} (d_model {model.d_model})"
        )
    is_last = leak.block == model.n_layers - 1
    if leak.kind == "readout" and not is_last:
        raise InputError(
            f"a readout leak acts after the last block ({model.n_layers - 1}), not after block "
            f"{leak.block}"
        )
    if is_last and getattr(model.bridge, "ln_final", None) is None:
        raise InputError(
            f"{model.name} has no final norm, before which a leak after the last block would act; "
            "choose another block"
        )


def _with_shared_weights(bridge: Any) -> Any:
    """A copy of all modules with the same tensors as weights and buffers."""
    hf_model = bridge.original_model
    tensors = [*hf_model.parameters(), *hf_model.buffers()]
    # `deepcopy` takes what is in the memo for a copy that it has made already.
    copied = copy.deepcopy(bridge, {id(tensor): tensor for tensor in tensors})
    for block in copied.blocks:
        # TransformerLens' own hooks refer to the block that they were made for; the next pass
        # makes them again.
        teardown = getattr(block, "_teardown_capture_hooks", None)
        if teardown is not None:
            teardown()
    return copied


def _insert(planted: LanguageModel, leak: Leak) -> None:
    """Put the leak at the input of the next block, or of the final norm after the last block."""
    if leak.stream < planted.n_layers:
        # Within the bridge's block: streams between blocks are recorded, edited and resumed
        # without the leak, which then acts once, on whatever enters the block.
        _leaky(planted.bridge.blocks[leak.stream].original_component, leak)
    else:
        # On the bridge's own norm, since it computes the norm without calling the module in it.
        _leaky(planted.bridge.ln_final, leak)


def _leaky(module: nn.Module, leak: Leak) -> None:
    def before(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        return with_stream(leak.apply(hidden), args, kwargs)

    # `foreign_hooks` knows it by this module's name, and takes it for a part of the model.
    module.register_forward_pre_hook(before, with_kwargs=True)


def _check_numbers(model: LanguageModel, planted: LanguageModel, leak: Leak) -> None:
    """Compare the copy's passes with raw passes of the plain model under a hook with the leak."""
    rows = getattr(model.text_config, "vocab_size", CHECKED_TOKENS)
    sequence = TokenSequence(tuple(token % rows for token in range(CHECKED_TOKENS)))
    (batch,) = make_batches([[sequence]], pad=model.pad_token, batch_tokens=CHECKED_TOKENS)

    def add_leak(hidden: Tensor, hook: Any = None) -> Tensor:
        return leak.apply(hidden)

    name = f"blocks.{leak.block}.hook_resid_post"
    with torch.inference_mode():
        with model.bridge.hooks(fwd_hooks=[(name, add_leak)]):
            expected = model.forward(batch.to(model.device).tokens, use_cache=False).logits[0]
        actual = planted.logits(trace(planted, batch).final[0])
    error = relative_error(actual, expected.float())
    if error > TOLERANCES[model.dtype]:
        raise InputError(
            f"{model.name} cannot be planted: a copy of it with the leak differs from the model "
            f"with the leak as a hook (relative error {error:.2g})"
        )
