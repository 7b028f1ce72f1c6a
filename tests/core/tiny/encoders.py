"""Small text encoders with random weights."""

from __future__ import annotations

from typing import Any

from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
)

WIDE = 32


def clip(tokenizer: Any, *, projected: bool = False, wide: int = WIDE) -> Any:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=wide,
        intermediate_size=64,
        projection_dim=wide,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def t5(tokenizer: Any, wide: int = 64) -> T5EncoderModel:
    config = T5Config(
        vocab_size=len(tokenizer), d_model=wide, d_kv=32, d_ff=64, num_layers=1, num_heads=2
    )
    return T5EncoderModel(config)


def qwen3(tokenizer: Any, layers: int = 2, wide: int = WIDE) -> Qwen3ForCausalLM:
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=wide,
            intermediate_size=64,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,
            max_position_embeddings=1024,
        )
    )


def gemma2(tokenizer: Any, wide: int = WIDE) -> Gemma2Model:
    return Gemma2Model(
        Gemma2Config(
            vocab_size=len(tokenizer),
            hidden_size=wide,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,
            max_position_embeddings=4096,
        )
    )
