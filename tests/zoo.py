"""A tiny random model of every architecture that somebody may bring, and the table of what becomes of it.

`python tests/zoo.py --write docs/models.md` writes the table from the models as they are loaded now.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import transformers

WINDOW = 16  # tokens that a sliding layer sees: all prompts are longer
SCALE = 8.0  # of weights drawn with a deviation of 0.02, so that every layer changes its input visibly
NOISE = 0.1  # on biases and norms, which begin as zeros and ones
STATE = ("A_log", "time_decay", "time_first", "rg_lru")  # a recurrence's own rates, left as drawn

Expectation = Literal["right", "right or refused", "refused"]

SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FEW_SIZES = {k: v for k, v in SIZES.items() if k != "num_key_value_heads"}
# Names of GPT-2's time.
OLD_SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "n_embd": 32,
    "n_layer": 4,
    "n_head": 4,
    "n_positions": 2048,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEAD = {"head_dim": 8}
ALTERNATING = {
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}
LINEAR = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"] * 2,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LATENT = {
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
    "num_key_value_heads": 4,
}
MAMBA2 = {"head_dim": 8, "num_heads": 8, "state_size": 8, "n_groups": 2, "chunk_size": 16}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
NO_ADAPTER = "TransformerLens has no adapter for it"
RECURRENT = "recurrent layers"
ENCODER = "an encoder beside the decoder"
MASKED = "every token sees those after it"


@dataclass(frozen=True)
class Entry:
    """One architecture.

    Attributes:
        build: gives the Hugging Face model, the same one every time.
        layers: where its decoder layers are, as a dotted path.
        expect: "right" (whatever shortcuts are off), "right or refused", or "refused".
        why: in words, why it is or may be refused.
        rope_length: tokens beyond which the rotary embedding of the whole sequence changes.
    """

    name: str
    build: Callable[[], Any]
    layers: str = "model.layers"
    expect: Expectation = "right"
    why: str = ""
    rope_length: int | None = None

    @property
    def is_installed(self) -> bool:
        """Whether the installed transformers knows the architecture."""
        return all(hasattr(transformers, name) for name in self.build.args)  # type: ignore[attr-defined]

    @property
    def hf_class(self) -> str:
        return self.build.args[0]  # type: ignore[attr-defined]


def tiny(model: str, config: str, *parts: str, **settings: Any) -> Any:
    """A random model by its class's and its config's name; `parts` are sub-configs' classes that it needs."""
    return enlarged(getattr(transformers, model), getattr(transformers, config)(**settings))


def enlarged(model_class: Any, config: Any) -> Any:
    """A random model with weights large enough that layers, biases and norms matter."""
    torch.manual_seed(0)
    model = model_class(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(part in name for part in STATE):
                continue
            if parameter.ndim > 1:
                parameter.mul_(SCALE)
            else:
                parameter.add_(NOISE * torch.randn_like(parameter))
    return model


def with_vision(model: str, config: str, text: str, **settings: Any) -> Any:
    """A multimodal model, whose language part alone is read."""
    sizes = getattr(transformers, text)(**settings)
    whole = getattr(transformers, config)(text_config=sizes, vision_config=VISION, mm_tokens_per_image=4)
    return enlarged(getattr(transformers, model), whole)


def _sized(name: str, *classes: str, layers: str = "model.layers", **settings: Any) -> Entry:
    """An entry with the usual sizes, which `settings` go before."""
    about = {k: settings.pop(k) for k in ("expect", "why", "rope_length") if k in settings}
    return Entry(name, partial(tiny, *classes, **{**SIZES, **settings}), layers, **about)


def _old(name: str, *classes: str, layers: str = "transformer.h", **settings: Any) -> Entry:
    """An entry whose config takes GPT-2's names."""
    return Entry(name, partial(tiny, *classes, **{**OLD_SIZES, **settings}), layers)


def _llama(name: str, rope_length: int | None = None, **settings: Any) -> Entry:
    return _sized(name, "LlamaForCausalLM", "LlamaConfig", rope_length=rope_length, **settings)


def _hybrid(name: str, *classes: str, **settings: Any) -> Entry:
    return _sized(name, *classes, expect="right or refused", why=RECURRENT, **settings)


def _refused(name: str, *classes: str, why: str, **settings: Any) -> Entry:
    return _sized(name, *classes, expect="refused", why=why, **settings)


def _rope(kind: str, **settings: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **settings}}


def _long_rope(length: int, whole: int) -> dict[str, Any]:
    factors = {"short_factor": [1.0] * 4, "long_factor": [1.0, 4.0, 16.0, 64.0]}
    rope = _rope("longrope", **factors, original_max_position_embeddings=length)
    return {**rope, "max_position_embeddings": whole}


GPT2_FAMILY = [
    _old("GPT-2", "GPT2LMHeadModel", "GPT2Config"),
    _old("GPT-1", "OpenAIGPTLMHeadModel", "OpenAIGPTConfig"),
    _old("GPT-BigCode", "GPTBigCodeForCausalLM", "GPTBigCodeConfig"),
    Entry(
        "GPT-Neo",
        partial(
            tiny,
            "GPTNeoForCausalLM",
            "GPTNeoConfig",
            **{**FEW_SIZES, "attention_types": [[["global", "local"], 2]], "window_size": WINDOW},
        ),
        "transformer.h",
    ),
    _old("GPT-J", "GPTJForCausalLM", "GPTJConfig", rotary_dim=4),
    _old("CodeGen", "CodeGenForCausalLM", "CodeGenConfig", rotary_dim=4),
    _sized("GPT-NeoX, Pythia", "GPTNeoXForCausalLM", "GPTNeoXConfig", layers="gpt_neox.layers"),
    _sized(
        "GPT-NeoX, sequential",
        "GPTNeoXForCausalLM",
        "GPTNeoXConfig",
        layers="gpt_neox.layers",
        use_parallel_residual=False,
    ),
]
OPT = partial(_sized, "OPT", "OPTForCausalLM", "OPTConfig", layers="model.decoder.layers", ffn_dim=64)
ABSOLUTE = [
    OPT(word_embed_proj_dim=32),
    Entry(
        "OPT, norm last, other embedding width",
        OPT(word_embed_proj_dim=16, do_layer_norm_before=False).build,
        "model.decoder.layers",
    ),
    _sized(
        "XGLM",
        "XGLMForCausalLM",
        "XGLMConfig",
        d_model=32,
        ffn_dim=64,
        num_layers=4,
        attention_heads=4,
    ),
    _old("BLOOM", "BloomForCausalLM", "BloomConfig", hidden_size=32),
    _old("MPT", "MptForCausalLM", "MptConfig", layers="transformer.blocks", d_model=32, n_layers=4, n_heads=4),
]
FALCON = partial(_sized, layers="transformer.h")
FALCONS = [
    FALCON(
        "Falcon",
        "FalconForCausalLM",
        "FalconConfig",
        multi_query=True,
        parallel_attn=True,
        alibi=False,
    ),
    FALCON(
        "Falcon, ALiBi",
        "FalconForCausalLM",
        "FalconConfig",
        multi_query=False,
        parallel_attn=False,
        alibi=True,
        bias=True,
    ),
    FALCON(
        "Falcon, new decoder",
        "FalconForCausalLM",
        "FalconConfig",
        new_decoder_architecture=True,
        num_kv_heads=2,
        alibi=False,
    ),
]
LLAMAS = [
    _llama("Llama"),
    _llama("Llama, biased", attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    _llama("Llama, LongRoPE", rope_length=320, **_long_rope(320, 2048)),
    _llama(
        "Llama, dynamic NTK",
        rope_length=320,
        **_rope("dynamic", factor=4.0, original_max_position_embeddings=320),
    ),
    _llama(
        "Llama 3 RoPE",
        **_rope(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=64,
        ),
    ),
    _llama("Llama, YaRN", **_rope("yarn", factor=4.0, original_max_position_embeddings=64)),
    _llama("Llama, linear RoPE", **_rope("linear", factor=4.0)),
    _sized(
        "Llama 4",
        "Llama4ForCausalLM",
        "Llama4TextConfig",
        intermediate_size_mlp=64,
        head_dim=8,
        num_local_experts=4,
        attention_chunk_size=WINDOW,
        floor_scale=WINDOW,
        layer_types=["chunked_attention", "full_attention"] * 2,
        no_rope_layers=[1, 0, 1, 0],
    ),
    _sized("Arcee", "ArceeForCausalLM", "ArceeConfig"),
    _sized("Seed-OSS", "SeedOssForCausalLM", "SeedOssConfig", **HEAD),
    _sized("Ernie 4.5", "Ernie4_5ForCausalLM", "Ernie4_5Config", **HEAD),
    _sized("HunYuan", "HunYuanDenseV1ForCausalLM", "HunYuanDenseV1Config", **HEAD),
    _sized("Apertus", "ApertusForCausalLM", "ApertusConfig"),
    _sized("SmolLM3", "SmolLM3ForCausalLM", "SmolLM3Config", no_rope_layers=[1, 0, 1, 0]),
    _sized("Granite", "GraniteForCausalLM", "GraniteConfig", logits_scaling=8.0),
    _sized(
        "GraniteMoe",
        "GraniteMoeForCausalLM",
        "GraniteMoeConfig",
        logits_scaling=6.0,
        num_local_experts=4,
    ),
    _sized("OLMo", "OlmoForCausalLM", "OlmoConfig"),
    _sized("OLMo 2", "Olmo2ForCausalLM", "Olmo2Config"),
    _sized("OLMo 3", "Olmo3ForCausalLM", "Olmo3Config", **ALTERNATING),
    _sized("OLMoE", "OlmoeForCausalLM", "OlmoeConfig", num_experts=4, num_experts_per_tok=2),
]
MISTRALS = [
    _sized("Mistral", "MistralForCausalLM", "MistralConfig", sliding_window=WINDOW),
    _sized("Mistral, no window", "MistralForCausalLM", "MistralConfig", sliding_window=None),
    _sized(
        "Mixtral",
        "MixtralForCausalLM",
        "MixtralConfig",
        sliding_window=WINDOW,
        num_local_experts=4,
    ),
    _sized(
        "Ministral",
        "MinistralForCausalLM",
        "MinistralConfig",
        expect="refused",
        why=NO_ADAPTER,
        **HEAD,
        **ALTERNATING,
        **_rope("default"),
    ),
    _sized("Ministral 3", "Ministral3ForCausalLM", "Ministral3Config", **HEAD),
    _sized("Starcoder 2", "Starcoder2ForCausalLM", "Starcoder2Config", sliding_window=WINDOW),
]
QWENS = [
    _sized("Qwen 2", "Qwen2ForCausalLM", "Qwen2Config"),
    _sized(
        "Qwen 2, sliding",
        "Qwen2ForCausalLM",
        "Qwen2Config",
        use_sliding_window=True,
        **ALTERNATING,
    ),
    _sized(
        "Qwen 2 MoE",
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        shared_expert_intermediate_size=32,
        **EXPERTS,
    ),
    _sized("Qwen 3", "Qwen3ForCausalLM", "Qwen3Config", **HEAD),
    _sized("Qwen 3 MoE", "Qwen3MoeForCausalLM", "Qwen3MoeConfig", **HEAD, **EXPERTS),
]
PHIS = [
    _sized("Phi", "PhiForCausalLM", "PhiConfig"),
    _sized("Phi, query-key norm", "PhiForCausalLM", "PhiConfig", qk_layernorm=True),
    _sized("Phi-3", "Phi3ForCausalLM", "Phi3Config", sliding_window=WINDOW),
    _sized(
        "Phi-3, LongRoPE",
        "Phi3ForCausalLM",
        "Phi3Config",
        rope_length=320,
        original_max_position_embeddings=320,
        **_long_rope(320, 2048),
    ),
    _refused("Phi-3.5 MoE", "PhimoeForCausalLM", "PhimoeConfig", why=NO_ADAPTER, num_local_experts=4),
]
CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
GEMMA4 = {**ALTERNATING, **HEAD, "global_head_dim": 8, "num_kv_shared_layers": 0}
NO_PER_LAYER = {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 320}
PER_LAYER = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 320}
GEMMAS = [
    _sized("Gemma", "GemmaForCausalLM", "GemmaConfig", **HEAD),
    _sized("Gemma 2", "Gemma2ForCausalLM", "Gemma2Config", **HEAD, **ALTERNATING, **CAPS),
    _sized("Gemma 3", "Gemma3ForCausalLM", "Gemma3TextConfig", **HEAD, **ALTERNATING),
    Entry(
        "Gemma 3, multimodal",
        partial(
            with_vision,
            "Gemma3ForConditionalGeneration",
            "Gemma3Config",
            "Gemma3TextConfig",
            **SIZES,
            **HEAD,
            **ALTERNATING,
        ),
        "model.language_model.layers",
    ),
    _sized("Gemma 4", "Gemma4ForCausalLM", "Gemma4TextConfig", **GEMMA4, **NO_PER_LAYER),
    _sized(
        "Gemma 4, per-layer inputs",
        "Gemma4ForCausalLM",
        "Gemma4TextConfig",
        **GEMMA4,
        **PER_LAYER,
    ),
    _sized(
        "Gemma 4, shared keys and values",
        "Gemma4ForCausalLM",
        "Gemma4TextConfig",
        **{**GEMMA4, "num_kv_shared_layers": 2},
        **PER_LAYER,
    ),
]
OTHERS = [
    _sized("Cohere", "CohereForCausalLM", "CohereConfig", logit_scale=0.0625),
    _sized("Cohere 2", "Cohere2ForCausalLM", "Cohere2Config", logit_scale=0.25, **ALTERNATING),
    _sized("StableLM", "StableLmForCausalLM", "StableLmConfig"),
    _sized(
        "StableLM, parallel residual",
        "StableLmForCausalLM",
        "StableLmConfig",
        use_parallel_residual=True,
    ),
    _sized(
        "StableLM, query-key norm",
        "StableLmForCausalLM",
        "StableLmConfig",
        qk_layernorm=True,
        use_qkv_bias=True,
    ),
    _sized("DeepSeek-V2", "DeepseekV2ForCausalLM", "DeepseekV2Config", **LATENT),
    _sized("DeepSeek-V3", "DeepseekV3ForCausalLM", "DeepseekV3Config", n_group=2, topk_group=1, **LATENT),
    _sized(
        "GPT-OSS",
        "GptOssForCausalLM",
        "GptOssConfig",
        num_local_experts=4,
        num_experts_per_tok=2,
        **HEAD,
        **ALTERNATING,
    ),
    _sized("GLM", "GlmForCausalLM", "GlmConfig", **HEAD),
    _sized("GLM-4", "Glm4ForCausalLM", "Glm4Config", **HEAD),
    _sized("EXAONE 4", "Exaone4ForCausalLM", "Exaone4Config", **ALTERNATING),
    _sized("Nemotron", "NemotronForCausalLM", "NemotronConfig"),
    _sized(
        "ModernBERT decoder",
        "ModernBertDecoderForCausalLM",
        "ModernBertDecoderConfig",
        local_attention=WINDOW,
        **ALTERNATING,
    ),
    _refused("Helium", "HeliumForCausalLM", "HeliumConfig", why=NO_ADAPTER, **HEAD),
    _refused("Persimmon", "PersimmonForCausalLM", "PersimmonConfig", why=NO_ADAPTER),
    _sized("NanoChat", "NanoChatForCausalLM", "NanoChatConfig"),
]
HYBRIDS = [
    _hybrid(
        "Qwen3-Next",
        "Qwen3NextForCausalLM",
        "Qwen3NextConfig",
        shared_expert_intermediate_size=32,
        **HEAD,
        **LINEAR,
        **EXPERTS,
    ),
    _hybrid("Qwen 3.5", "Qwen3_5ForCausalLM", "Qwen3_5TextConfig", **HEAD, **LINEAR),
    _hybrid("LFM2", "Lfm2ForCausalLM", "Lfm2Config", layer_types=["conv", "full_attention"] * 2),
    _hybrid(
        "Falcon-H1",
        "FalconH1ForCausalLM",
        "FalconH1Config",
        mamba_d_ssm=32,
        mamba_n_heads=4,
        mamba_d_head=8,
        mamba_d_state=8,
        **HEAD,
    ),
    _hybrid(
        "Jamba",
        "JambaForCausalLM",
        "JambaConfig",
        use_mamba_kernels=False,
        attn_layer_period=2,
        attn_layer_offset=1,
        num_experts=4,
        mamba_d_state=8,
        mamba_dt_rank=4,
    ),
    _hybrid(
        "Nemotron-H",
        "NemotronHForCausalLM",
        "NemotronHConfig",
        layers_block_type=["mamba", "attention", "mamba", "mlp"],
        mamba_num_heads=8,
        mamba_head_dim=8,
        ssm_state_size=8,
        n_groups=2,
        chunk_size=16,
        use_mamba_kernels=False,
        **HEAD,
    ),
    _hybrid("OLMo Hybrid", "OlmoHybridForCausalLM", "OlmoHybridConfig", **LINEAR),
    _hybrid("Mamba", "MambaForCausalLM", "MambaConfig", layers="backbone.layers", state_size=8),
    _hybrid(
        "Mamba 2",
        "Mamba2ForCausalLM",
        "Mamba2Config",
        layers="backbone.layers",
        **MAMBA2,
    ),
    _hybrid(
        "Bamba",
        "BambaForCausalLM",
        "BambaConfig",
        attn_layer_indices=[1, 3],
        mamba_n_heads=8,
        mamba_d_head=8,
        mamba_d_state=8,
        mamba_chunk_size=16,
    ),
    _hybrid(
        "Zamba 2",
        "Zamba2ForCausalLM",
        "Zamba2Config",
        layers_block_type=["mamba", "hybrid", "mamba", "hybrid"],
        mamba_d_state=8,
        mamba_headdim=8,
        n_mamba_heads=8,
        chunk_size=16,
        use_mem_rope=True,
        adapter_rank=4,
        num_mem_blocks=1,
    ),
    _hybrid(
        "RecurrentGemma",
        "RecurrentGemmaForCausalLM",
        "RecurrentGemmaConfig",
        attention_window_size=WINDOW,
        lru_width=32,
        block_types=["recurrent", "attention"],
    ),
    _hybrid(
        "RWKV",
        "RwkvForCausalLM",
        "RwkvConfig",
        layers="rwkv.blocks",
        attention_hidden_size=32,
        context_length=2048,
    ),
]
OTHER_KINDS = [
    _refused(
        "T5",
        "T5ForConditionalGeneration",
        "T5Config",
        why=ENCODER,
        layers="decoder.block",
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=4,
        num_heads=4,
    ),
    _refused(
        "BART",
        "BartForConditionalGeneration",
        "BartConfig",
        why=ENCODER,
        layers="model.decoder.layers",
        d_model=32,
        encoder_layers=2,
        decoder_layers=4,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
    ),
    _refused("BERT", "BertForMaskedLM", "BertConfig", why=MASKED, layers="bert.encoder.layer"),
    _refused(
        "BERT with a causal head",
        "BertLMHeadModel",
        "BertConfig",
        why=MASKED,
        layers="bert.encoder.layer",
    ),
    _refused("RoBERTa", "RobertaForMaskedLM", "RobertaConfig", why=MASKED, layers="roberta.encoder.layer"),
]
ZOO: list[Entry] = [
    *GPT2_FAMILY,
    *ABSOLUTE,
    *FALCONS,
    *LLAMAS,
    *MISTRALS,
    *QWENS,
    *PHIS,
    *GEMMAS,
    *OTHERS,
    *HYBRIDS,
    *OTHER_KINDS,
]


def entry(name: str) -> Entry:
    return next(e for e in ZOO if e.name == name)
