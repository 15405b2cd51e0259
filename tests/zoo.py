"""The zoo: a description of a tiny random model of every architecture that a user may load."""

from __future__ import annotations

from functools import partial

from tiny_models import (
    CAPS,
    COMMON,
    DYNAMIC,
    EXPERTS,
    FEW,
    GEMMA3N,
    GEMMA4,
    HEADS,
    LATENT,
    LINEAR,
    LLAMA3,
    LONG_ROPE,
    NO_PER_LAYER,
    OLD,
    PER_LAYER,
    ROPE_LENGTH,
    SCALED_YARN,
    SIZES,
    SLIDING,
    VISION,
    WINDOW,
    YARN,
    Entry,
    rope,
)

# Reasons for a refusal, in the words of docs/models.md.
NO_ADAPTER = "TransformerLens has no adapter for it"
ADAPTER_FAILS = "TransformerLens' adapter does not fit it"
NO_FINAL_NORM = "no final norm"
RECURRENT = "recurrent layers"
ENCODER = "an encoder beside the decoder"
MASKED = "tokens see those after them"

_recurrent = partial(Entry, expect="right or refused", why=RECURRENT)
_refused = partial(Entry, expect="refused")

GPT_FAMILY = [
    Entry("GPT-2", ("GPT2LMHeadModel", "GPT2Config"), OLD, layers="transformer.h"),
    Entry(
        "GPT-1",
        ("OpenAIGPTLMHeadModel", "OpenAIGPTConfig"),
        OLD,
        layers="transformer.h",
        expect="right or refused",
        why=NO_FINAL_NORM,
    ),
    Entry("GPT-BigCode", "GPTBigCode", OLD, layers="transformer.h"),
    Entry(
        "GPT-Neo",
        "GPTNeo",
        {**FEW, "attention_types": [[["global", "local"], 2]], "window_size": WINDOW},
        layers="transformer.h",
    ),
    Entry("GPT-J", "GPTJ", {**OLD, "rotary_dim": 4}, layers="transformer.h"),
    Entry("CodeGen", "CodeGen", {**OLD, "rotary_dim": 4}, layers="transformer.h"),
    Entry("GPT-NeoX, Pythia", "GPTNeoX", FEW, layers="gpt_neox.layers"),
    Entry(
        "GPT-NeoX, sequential",
        "GPTNeoX",
        {**FEW, "use_parallel_residual": False},
        layers="gpt_neox.layers",
    ),
    Entry(
        "OPT",
        "OPT",
        {**FEW, "ffn_dim": 64, "word_embed_proj_dim": 32},
        layers="model.decoder.layers",
    ),
    Entry(
        "OPT, norm last, narrow embedding",
        "OPT",
        {**FEW, "ffn_dim": 64, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
        layers="model.decoder.layers",
        expect="right or refused",
        why=NO_FINAL_NORM,
    ),
    Entry(
        "XGLM",
        "XGLM",
        {**FEW, "d_model": 32, "ffn_dim": 64, "num_layers": 4, "attention_heads": 4},
    ),
    Entry(
        "BLOOM",
        "Bloom",
        {**COMMON, "hidden_size": 32, "n_layer": 4, "n_head": 4},
        layers="transformer.h",
    ),
    Entry(
        "MPT",
        "Mpt",
        {**COMMON, "d_model": 32, "n_layers": 4, "n_heads": 4},
        layers="transformer.blocks",
    ),
    Entry(
        "Falcon",
        "Falcon",
        {**FEW, "multi_query": True, "parallel_attn": True, "alibi": False},
        layers="transformer.h",
    ),
    Entry(
        "Falcon, ALiBi",
        "Falcon",
        {**FEW, "multi_query": False, "parallel_attn": False, "alibi": True, "bias": True},
        layers="transformer.h",
        expect="right or refused",
        why=ADAPTER_FAILS,
    ),
    Entry(
        "Falcon, new decoder",
        "Falcon",
        {**FEW, "new_decoder_architecture": True, "num_kv_heads": 2, "alibi": False},
        layers="transformer.h",
        expect="right or refused",
        why=ADAPTER_FAILS,
    ),
]
LLAMAS = [
    Entry("Llama", "Llama", SIZES),
    Entry(
        "Llama, biased and tied",
        "Llama",
        {**SIZES, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    Entry("Llama, LongRoPE", "Llama", {**SIZES, **LONG_ROPE}, rope_length=ROPE_LENGTH),
    Entry("Llama, dynamic NTK", "Llama", {**SIZES, **DYNAMIC}, rope_length=ROPE_LENGTH),
    Entry("Llama 3", "Llama", {**SIZES, **LLAMA3}),
    Entry("Llama, YaRN", "Llama", {**SIZES, **YARN}),
    Entry("Llama, linear RoPE", "Llama", {**SIZES, **rope("linear", factor=4.0)}),
    Entry(
        "Llama 4",
        ("Llama4ForCausalLM", "Llama4TextConfig"),
        {
            **HEADS,
            "intermediate_size_mlp": 64,
            "num_local_experts": 4,
            "floor_scale": WINDOW,
            "attention_chunk_size": WINDOW,
            "layer_types": ["chunked_attention", "full_attention"] * 2,
            "no_rope_layers": [1, 0, 1, 0],
        },
    ),
    Entry("Arcee", "Arcee", SIZES),
    Entry("Seed-OSS", "SeedOss", HEADS),
    Entry("Ernie 4.5", "Ernie4_5", HEADS),
    Entry("HunYuan", "HunYuanDenseV1", HEADS),
    Entry("Apertus", "Apertus", {**SIZES, **LLAMA3}),
    Entry("SmolLM3", "SmolLM3", {**SIZES, "no_rope_layers": [1, 0, 1, 0]}),
    Entry("Granite", "Granite", {**SIZES, "logits_scaling": 8.0}),
    Entry("GraniteMoe", "GraniteMoe", {**SIZES, "logits_scaling": 6.0, "num_local_experts": 4}),
    Entry("OLMo", "Olmo", SIZES),
    Entry("OLMo 2", "Olmo2", SIZES),
    Entry("OLMo 3", "Olmo3", {**SIZES, **SLIDING}),
    Entry("OLMoE", "Olmoe", {**SIZES, "num_experts": 4, "num_experts_per_tok": 2}),
    Entry("Mistral", "Mistral", {**SIZES, "sliding_window": WINDOW}),
    Entry("Mistral, no window", "Mistral", {**SIZES, "sliding_window": None}),
    Entry("Mixtral", "Mixtral", {**SIZES, "sliding_window": WINDOW, "num_local_experts": 4}),
    _refused("Ministral", "Ministral", {**HEADS, **SLIDING, **rope("default")}, why=NO_ADAPTER),
    Entry("Ministral 3", "Ministral3", {**HEADS, **SCALED_YARN}),
    Entry("Starcoder 2", "Starcoder2", {**SIZES, "sliding_window": WINDOW}),
]
QWENS_AND_GEMMAS = [
    Entry("Qwen 2", "Qwen2", SIZES),
    Entry("Qwen 2, sliding", "Qwen2", {**SIZES, **SLIDING, "use_sliding_window": True}),
    Entry("Qwen 2 MoE", "Qwen2Moe", {**SIZES, **EXPERTS}),
    Entry("Qwen 3", "Qwen3", HEADS),
    Entry("Qwen 3 MoE", "Qwen3Moe", {**HEADS, **EXPERTS}),
    Entry("Phi", "Phi", SIZES),
    Entry(
        "Phi, query-key norm",
        "Phi",
        {**SIZES, "qk_layernorm": True},
        expect="right or refused",
        why=ADAPTER_FAILS,
    ),
    Entry("Phi-3", "Phi3", {**SIZES, "sliding_window": WINDOW}),
    Entry(
        "Phi-3, LongRoPE",
        "Phi3",
        {**SIZES, **LONG_ROPE, "original_max_position_embeddings": ROPE_LENGTH},
        rope_length=ROPE_LENGTH,
    ),
    _refused("Phi-3.5 MoE", "Phimoe", {**SIZES, "num_local_experts": 4}, why=NO_ADAPTER),
    Entry("Gemma", "Gemma", HEADS),
    Entry("Gemma 2", "Gemma2", {**HEADS, **SLIDING, **CAPS}),
    Entry("Gemma 3", ("Gemma3ForCausalLM", "Gemma3TextConfig"), {**HEADS, **SLIDING}),
    Entry(
        "Gemma 3, multimodal",
        ("Gemma3ForConditionalGeneration", "Gemma3Config"),
        {"text_config": {**HEADS, **SLIDING}, "vision_config": VISION, "mm_tokens_per_image": 4},
        layers="model.language_model.layers",
    ),
    _refused(
        "Gemma 3n, text",
        ("Gemma3nForCausalLM", "Gemma3nTextConfig"),
        {**HEADS, **SLIDING, **GEMMA3N},
        why=NO_ADAPTER,
    ),
    Entry("Gemma 4", ("Gemma4ForCausalLM", "Gemma4TextConfig"), {**GEMMA4, **NO_PER_LAYER}),
    Entry(
        "Gemma 4, per-layer inputs",
        ("Gemma4ForCausalLM", "Gemma4TextConfig"),
        {**GEMMA4, **PER_LAYER},
    ),
    Entry(
        "Gemma 4, shared keys and values",
        ("Gemma4ForCausalLM", "Gemma4TextConfig"),
        {**GEMMA4, **PER_LAYER, "num_kv_shared_layers": 2},
    ),
]
OTHERS = [
    Entry("Cohere", "Cohere", {**SIZES, "logit_scale": 0.0625}),
    Entry("Cohere 2", "Cohere2", {**SIZES, **SLIDING, "logit_scale": 0.25}),
    Entry("StableLM", "StableLm", SIZES),
    Entry("StableLM, parallel residual", "StableLm", {**SIZES, "use_parallel_residual": True}),
    Entry(
        "StableLM, query-key norm",
        "StableLm",
        {**SIZES, "qk_layernorm": True, "use_qkv_bias": True},
    ),
    Entry("DeepSeek-V2", "DeepseekV2", LATENT),
    Entry("DeepSeek-V3", "DeepseekV3", LATENT),
    Entry(
        "GPT-OSS",
        "GptOss",
        {**HEADS, **SLIDING, **rope("default"), "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    Entry("GLM", "Glm", HEADS),
    Entry("GLM-4", "Glm4", HEADS),
    Entry("EXAONE 4", "Exaone4", {**SIZES, **SLIDING}),
    Entry("Nemotron", "Nemotron", SIZES),
    Entry(
        "ModernBERT decoder",
        "ModernBertDecoder",
        {**FEW, **SLIDING, "local_attention": WINDOW, "cls_token_id": 1, "sep_token_id": 2},
    ),
    Entry("NanoChat", "NanoChat", SIZES),
    _refused("Helium", "Helium", HEADS, why=NO_ADAPTER),
    _refused("Persimmon", "Persimmon", FEW, why=NO_ADAPTER),
]
HYBRIDS = [
    _recurrent("Qwen3-Next", "Qwen3Next", {**HEADS, **LINEAR, **EXPERTS}),
    _recurrent("Qwen 3.5", ("Qwen3_5ForCausalLM", "Qwen3_5TextConfig"), {**HEADS, **LINEAR}),
    _recurrent("LFM2", "Lfm2", {**SIZES, "layer_types": ["conv", "full_attention"] * 2}),
    _recurrent(
        "Falcon-H1",
        "FalconH1",
        {
            **HEADS,
            "mamba_d_ssm": 32,
            "mamba_n_heads": 4,
            "mamba_d_head": 8,
            "mamba_d_state": 8,
            "mamba_chunk_size": 16,
        },
    ),
    _recurrent(
        "Jamba",
        "Jamba",
        {
            **SIZES,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "num_experts": 4,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
        },
    ),
    _recurrent(
        "Nemotron-H",
        "NemotronH",
        {
            **HEADS,
            "layers_block_type": ["mamba", "attention", "mamba", "mlp"],
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "ssm_state_size": 8,
            "n_groups": 2,
            "chunk_size": 16,
        },
    ),
    _recurrent("OLMo Hybrid", "OlmoHybrid", {**SIZES, **LINEAR}),
    _recurrent("Mamba", "Mamba", {**FEW, "state_size": 8}, layers="backbone.layers"),
    _recurrent(
        "Mamba 2",
        "Mamba2",
        {**FEW, "head_dim": 8, "num_heads": 8, "state_size": 8, "n_groups": 2, "chunk_size": 16},
        layers="backbone.layers",
    ),
    _recurrent(
        "Bamba",
        "Bamba",
        {
            **SIZES,
            "attn_layer_indices": [1, 3],
            "mamba_n_heads": 8,
            "mamba_d_head": 8,
            "mamba_d_state": 8,
            "mamba_chunk_size": 16,
        },
    ),
    _recurrent(
        "Zamba 2",
        "Zamba2",
        {
            **SIZES,
            "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
            "mamba_d_state": 8,
            "mamba_headdim": 8,
            "n_mamba_heads": 8,
            "chunk_size": 16,
            "use_mem_rope": True,
            "adapter_rank": 4,
            "num_mem_blocks": 1,
        },
    ),
    _recurrent(
        "RecurrentGemma",
        "RecurrentGemma",
        {
            **SIZES,
            "attention_window_size": WINDOW,
            "lru_width": 32,
            "block_types": ["recurrent", "attention"],
        },
    ),
    _recurrent(
        "RWKV",
        "Rwkv",
        {
            **COMMON,
            "hidden_size": 32,
            "attention_hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "context_length": 2048,
        },
        layers="rwkv.blocks",
    ),
]
OTHER_KINDS = [
    _refused(
        "T5",
        ("T5ForConditionalGeneration", "T5Config"),
        {**COMMON, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 4, "num_heads": 4},
        layers="decoder.block",
        why=ENCODER,
    ),
    _refused(
        "BART",
        ("BartForConditionalGeneration", "BartConfig"),
        {
            **COMMON,
            "d_model": 32,
            "encoder_layers": 4,
            "decoder_layers": 4,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
        },
        layers="model.decoder.layers",
        why=ENCODER,
    ),
    _refused(
        "BERT",
        ("BertForMaskedLM", "BertConfig"),
        FEW,
        layers="bert.encoder.layer",
        why=MASKED,
    ),
    _refused(
        "BERT with a language head",
        ("BertLMHeadModel", "BertConfig"),
        FEW,
        layers="bert.encoder.layer",
        why=MASKED,
    ),
    _refused(
        "RoBERTa",
        ("RobertaForMaskedLM", "RobertaConfig"),
        FEW,
        layers="roberta.encoder.layer",
        why=MASKED,
    ),
]
ZOO: list[Entry] = [
    *GPT_FAMILY,
    *LLAMAS,
    *QWENS_AND_GEMMAS,
    *OTHERS,
    *HYBRIDS,
    *OTHER_KINDS,
]


def entry(name: str) -> Entry:
    """The entry of this name."""
    return next(e for e in ZOO if e.name == name)
