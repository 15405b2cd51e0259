"""A description of a tiny random model, and the sizes and settings that many of them share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import transformers

# Tokens that a sliding layer attends to; all prompts are longer.
WINDOW = 16
# Factor on weights, which are drawn with a deviation of 0.02: every layer then changes its input.
SCALE = 8.0
# Deviation of the noise on biases and norms, which are initialised with zeros and ones.
NOISE = 0.1
# Tokens beyond which some rotary embeddings change.
ROPE_LENGTH = 320
# A recurrence's own rates keep their initial values: larger ones would forget all but a few tokens.
RATES = ("A_log", "dt_proj", "conv1d", "time_decay", "time_first", "recurrent_param")

Expectation = Literal["right", "right or refused", "refused"]


@dataclass(frozen=True)
class Entry:
    """One architecture.

    Attributes:
        name: for readers, as in docs/models.md.
        family: the prefix of its classes' names in transformers, or (model class, config class).
        settings: arguments of the config; those left out have the class's default.
        layers: the dotted path of the decoder layers.
        expect: "right" (whatever shortcuts are off), "right or refused", or "refused".
        why: the reason why it is or may be refused.
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
        """The names of the model's class and of the config's class."""
        if isinstance(self.family, tuple):
            return self.family
        return f"{self.family}ForCausalLM", f"{self.family}Config"

    @property
    def is_installed(self) -> bool:
        """Whether the installed transformers knows the architecture."""
        return all(hasattr(transformers, name) for name in self.classes)

    def build(self) -> Any:
        """The random model, the same every time; its layers, biases and norms all matter."""
        model_name, config_name = self.classes
        config = getattr(transformers, config_name)(**self.settings)
        torch.manual_seed(0)
        model = getattr(transformers, model_name)(config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if any(part in name for part in RATES):
                    continue
                if parameter.ndim > 1:
                    parameter.mul_(SCALE)
                else:
                    parameter.add_(NOISE * torch.randn_like(parameter))
        return model


# -- sizes ----------------------------------------------------------------------------------------

COMMON: dict[str, Any] = {
    "vocab_size": 320,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# The names in configs of GPT-2's time.
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
    """The part of a config that chooses a kind of rotary embedding."""
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
# The scale of queries grows with their position.
SCALED_YARN = rope(
    "yarn",
    factor=32.0,
    original_max_position_embeddings=64,
    llama_4_scaling_beta=0.1,
)
