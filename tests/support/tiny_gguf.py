"""GGUF files of very small models, written with ggml's own package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
from tiny_language import model, tokenizer


def write_gguf(path: Path, made: Any = None, *, architecture: str = "qwen3", template: bool = True) -> Any:
    """Write a model with the tokenizer of the tiny ones, in float32; return the model.

    Its heads are 128 wide: transformers takes that for granted in files of this architecture.
    """
    made = model(head_dim=128) if made is None else made
    config = made.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, config.num_hidden_layers)
    for name, tensor in made.state_dict().items():
        writer.add_tensor(f"{names.get_name(name.removesuffix('.weight'))}.weight", tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return made


def _add_tokenizer(writer: Any, template: bool) -> None:
    own = tokenizer()
    merges = json.loads(own.backend_tokenizer.to_str())["model"]["merges"]
    words = [word for word, _ in sorted(own.get_vocab().items(), key=lambda each: each[1])]
    special = set(own.all_special_tokens) | {"<|im_start|>"}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(words)
    writer.add_token_types([3 if word in special else 1 for word in words])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(own.eos_token_id)
    writer.add_pad_token_id(own.pad_token_id)
    if template:
        writer.add_chat_template(own.chat_template)
