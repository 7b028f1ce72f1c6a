"""The tokenizer learns from captions and still takes any text."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from hierdiff_core.miniature import PRIOR
from training.captions import caption
from training.tokenizer import MAX_TOKENS, train_tokenizer
from training.vocabulary import split_attributes


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    seen, _ = split_attributes()
    return train_tokenizer(caption(attributes, at) for at, attributes in enumerate(seen[:3000]))


@pytest.mark.parametrize(
    "text", ["a red mug", "rot-weiß gestreift", "日本の茶碗 🍵", "{x}: 100 %!"]
)
def test_any_text_comes_back_from_its_tokens(tokenizer: CLIPTokenizer, text: str) -> None:
    back = tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True)
    assert back.replace(" ", "") == text.lower().replace(" ", "")


def test_the_longest_caption_fits(tokenizer: CLIPTokenizer) -> None:
    _, held_out = split_attributes()
    texts = [caption(attributes, seed) for seed, attributes in enumerate(held_out)]
    assert max(len(ids) for ids in tokenizer(texts).input_ids) <= MAX_TOKENS


def test_saving_and_loading_changes_no_token(tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path)
    texts = [caption(attributes, 5) for attributes in split_attributes()[1][:100]]
    assert loaded(texts).input_ids == tokenizer(texts).input_ids
    assert loaded.model_max_length == MAX_TOKENS


def test_the_shipped_tokenizer_needs_few_tokens_for_a_caption() -> None:
    shipped = CLIPTokenizer.from_pretrained(PRIOR / "tokenizer")
    texts = [caption(attributes, 5) for attributes in split_attributes()[1][:100]]
    assert max(len(ids) for ids in shipped(texts).input_ids) < MAX_TOKENS / 2
