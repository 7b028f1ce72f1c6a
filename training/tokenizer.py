"""A CLIP tokenizer whose merges are learnt from the captions.

Knows byte-level BPE; every Unicode text tokenises, because all 256 bytes are in the vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

MAX_TOKENS = 48
VOCABULARY_SIZE = 1024
START, END = "<|startoftext|>", "<|endoftext|>"


def train_tokenizer(sentences: Iterable[str]) -> CLIPTokenizer:
    """Return a `CLIPTokenizer` of at most 1,024 tokens; the padding token is the end token."""
    blank = CLIPTokenizer(vocab={START: 0, END: 1}, merges=[])
    learner = Tokenizer(BPE(end_of_word_suffix="</w>", unk_token=END))
    learner.normalizer = blank.backend_tokenizer.normalizer
    learner.pre_tokenizer = blank.backend_tokenizer.pre_tokenizer
    learner.train_from_iterator(sentences, _trainer())
    model = json.loads(learner.to_str())["model"]
    return CLIPTokenizer(
        vocab=_with_word_ends(model["vocab"]),
        merges=[tuple(pair) for pair in model["merges"]],
        model_max_length=MAX_TOKENS,
    )


def _trainer() -> BpeTrainer:
    return BpeTrainer(
        vocab_size=VOCABULARY_SIZE - 256,
        special_tokens=[START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        end_of_word_suffix="</w>",
        show_progress=False,
    )


def _with_word_ends(vocabulary: dict[str, int]) -> dict[str, int]:
    """Add each byte in its word-final form, which the trainer learns only where it was seen."""
    complete = dict(vocabulary)
    for byte in sorted(pre_tokenizers.ByteLevel.alphabet()):
        complete.setdefault(byte + "</w>", len(complete))
    return complete
