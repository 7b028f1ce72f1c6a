"""Tokenizers that read each letter as a token, of the classes that models come with."""

from __future__ import annotations

import string

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer, GemmaTokenizer, Qwen2Tokenizer, T5Tokenizer

BYTES = sorted(ByteLevel.alphabet())
LETTERS = [*string.ascii_letters, *string.digits, *string.punctuation, "\n"]
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def clip(length: int) -> CLIPTokenizer:
    names = ["<|startoftext|>", "<|endoftext|>", *BYTES, *(f"{each}</w>" for each in BYTES)]
    return CLIPTokenizer(vocab=_numbered(names), merges=[], model_max_length=length)


def t5(length: int = 512) -> T5Tokenizer:
    names = ["<pad>", "</s>", "<unk>", "\u2581", *LETTERS]
    pieces = [(name, 0.0 if name.startswith("<") else -1.0) for name in names]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=length)


def gemma() -> GemmaTokenizer:
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "\u2581", *LETTERS]
    names += [f"<0x{byte:02X}>" for byte in range(256)]
    return GemmaTokenizer(vocab=_numbered(names), merges=[])


def chat() -> Qwen2Tokenizer:
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *BYTES]
    special = ["<|im_start|>", "<|im_end|>"]
    made = Qwen2Tokenizer(
        vocab=_numbered(names), merges=[], additional_special_tokens=special, model_max_length=4096
    )
    made.chat_template = CHAT
    return made


def _numbered(names: list[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}
