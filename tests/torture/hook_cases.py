"""Random edits, hooks and prompts on small models, and what plain Hugging Face gives for them."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from conftest import SIZES, Pair, byte_tokenizer, tiny_hf
from torch import Tensor
from transformers import Olmo2Config, Olmo2ForCausalLM

from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import next_token_logits, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.token_tree import TokenSequence

# What writes into the residual stream, by architecture: the last module of attention and of MLP.
WRITERS = {
    "llama": ("self_attn.o_proj", "mlp"),
    "gemma3_text": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "olmo2": ("post_attention_layernorm", "post_feedforward_layernorm"),
}
WORDS = ["late", "cold", "early", "green", "house", "river", "seven", "often", "under", "maybe"]


def pair_of(architecture: str) -> Pair:
    """A hooked model and a plain copy; OLMo 2 and Gemma 3 have a norm after attention and MLP."""
    plain = _olmo2() if architecture == "olmo2" else tiny_hf(architecture)
    hooked = LanguageModel.wrap(copy.deepcopy(plain), byte_tokenizer(), f"tiny-{architecture}")
    return Pair(hooked, plain)


def _olmo2() -> Any:
    torch.manual_seed(0)
    sizes = {name: size for name, size in SIZES.items() if name != "head_dim"}
    model = Olmo2ForCausalLM(Olmo2Config(**sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def random_text(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randrange(1, 8)))


def pairs_of_texts(model: LanguageModel, rng: random.Random, n: int) -> list[list[TokenSequence]]:
    """Random prompts, each with two answers."""
    answers = (" Yes.", " Surely not.")
    return [
        [model.tokenise(Prompt(random_text(rng), answer)) for answer in answers] for _ in range(n)
    ]


def random_edit(rng: random.Random, model: LanguageModel, **settings: Any) -> Edit:
    """A vector to add in one of the blocks, about as long as the residual stream."""
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    vector = torch.randn(model.d_model, generator=generator)
    return Edit(rng.randrange(model.n_layers), vector, rng.uniform(-2, 2), **settings)


@contextmanager
def written(plain: Any, architecture: str, edits: Sequence[Edit]) -> Iterator[None]:
    """The plain model with each edit's step added where its hook point writes into the stream."""
    at_attention, at_mlp = WRITERS[architecture]
    modules = {"hook_attn_out": f".{at_attention}", "hook_mlp_out": f".{at_mlp}"}
    with ExitStack() as stack:
        for edit in edits:
            path = f"model.layers.{edit.layer}{modules.get(edit.hook_point, '')}"
            hook = adding(edit.strength * edit.vector)
            stack.callback(plain.get_submodule(path).register_forward_hook(hook).remove)
        yield


def adding(step: Tensor) -> Callable[..., Any]:
    """A PyTorch hook that adds a step to a module's output, or to its first part."""

    def hook(module: Any, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (output[0] + step, *output[1:])
        return output + step

    return hook


def logits_of_plain(plain: Any, tokens: Sequence[int]) -> Tensor:
    """The logits after the last token [vocab]."""
    with torch.no_grad():
        return plain(torch.tensor([list(tokens)]), use_cache=False).logits[0, -1]


def logits_of(model: LanguageModel, tokens: Sequence[int], edits: Sequence[Edit]) -> Tensor:
    """The same by the package, in a batch with a longer prompt and the run without edits."""
    vocabulary = range(model.bridge.original_model.config.vocab_size)
    groups = [[TokenSequence(tuple(tokens))], [TokenSequence((*tokens, 7, 8, 9))]]
    runs = {"plain": (), "edited": tuple(edits)}
    scores = score_runs(model, groups, runs, next_token_logits(list(vocabulary)))
    # The last value is the partition function.
    return torch.from_numpy(scores["edited"][0, 0, :-1]).float()
