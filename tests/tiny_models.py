"""Tiny random models: what one is, and the sizes and settings that many of them share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import transformers

WINDOW = 16  # tokens that a sliding layer sees: all prompts are longer
SCALE = 8.0  # of weights drawn with a deviation of 0.02, so that every layer changes its input
NOISE = 0.1  # on biases and norms, which begin as zeros and ones
ROPE_LENGTH = 320  # tokens beyond which some rotary embeddings change

Expectation = Literal["right", "right or refused", "refused"]


@dataclass(frozen=True)
class Entry:
    """One architecture.

    Attributes:
        family: what its classes' names in transformers begin with, or (model class, config class).
        settings: of the config; whatever is left out has the class's default.
        layers: where the decoder layers are, as a dotted path.
        expect: "right" (whatever shortcuts are off), "right or refused", or "refused".
        why: in words, why it is or may be refused.
        rope_length: tokens beyond which the rotary embedding of the whole sequence changes.
    """

    name: str
    family: str | tuple[str, str]
    settings: Mapping[str, Any]
    layers: str = "model.layers"
    expect: Expectation = "right"
    why: str = ""
    rope_length: int | None = None

    @property
    def classes(self) -> tuple[str, str]:
        """The names of the model's and the config's class."""
        if isinstance(self.family, tuple):
            return self.family
        return f"{self.family}ForCausalLM", f"{self.family}Config"

    @property
    def is_installed(self) -> bool:
        """Whether the installed transformers knows the architecture."""
        return all(hasattr(transformers, name) for name in self.classes)

    def build(self) -> Any:
        """The random model, the same one every time; layers, biases and norms all matter."""
        model_class, config_class = (getattr(transformers, name) for name in self.classes)
        config = config_class(**self.settings)
        torch.manual_seed(0)
        model = model_class(config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if any(part in name for part in RATES):
                    continue
                if parameter.ndim > 1:
                    parameter.mul_(SCALE)
                else:
                    parameter.add_(NOISE * torch.randn_like(parameter))
        return model


# A recurrence's own rates, which are left as drawn: larger ones would forget all but a few tokens.
RATES = ("A_log", "dt_proj", "conv1d", "time_decay", "time_first", "recurrent_param")

# -- sizes ----------------------------------------------------------------------------------------

COMMON: dict[str, Any] = {
    "vocab_size": 320,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# Names of GPT-2's time.
OLD = {**COMMON, "n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 2048}
FEW = {
    **COMMON,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
}
SIZES = {**FEW, "num_key_value_heads": 2}
HEADS = {**SIZES, "head_dim": 8}
SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"] * 2}
LINEAR = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"] * 2,
}
EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}
LATENT = {
    **FEW,
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
GEMMA4 = {**HEADS, **SLIDING, "global_head_dim": 8, "num_kv_shared_layers": 0}
PER_LAYER = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 320}
NO_PER_LAYER = {**PER_LAYER, "hidden_size_per_layer_input": 0}
GEMMA3N = {
    **PER_LAYER,
    "num_kv_shared_layers": 0,
    "laurel_rank": 8,
    "activation_sparsity_pattern": None,
}


def rope(kind: str, **settings: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **settings}}


LONG_ROPE = rope(
    "longrope",
    short_factor=[1.0] * 4,
    long_factor=[1.0, 4.0, 16.0, 64.0],
    original_max_position_embeddings=ROPE_LENGTH,
)
DYNAMIC = {**rope("dynamic", factor=4.0), "max_position_embeddings": ROPE_LENGTH}
LLAMA3 = rope(
    "llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)
YARN = rope("yarn", factor=32.0, original_max_position_embeddings=64)
# Queries grow with their position.
SCALED_YARN = rope(
    "yarn",
    factor=32.0,
    original_max_position_embeddings=64,
    llama_4_scaling_beta=0.1,
)
