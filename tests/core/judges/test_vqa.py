"""VQAScore asks real vision-language classes the published question and reads their answer.

The models are small and their weights are drawn at random; classes and processors are real ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    BlipImageProcessorPil,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    T5Config,
)

from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.judges.vqa import QUESTION, VqaScore, find_yes, load_vqa

PIXELS = 32
CHAT = (
    "{% for message in messages %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
PICTURES = np.stack(
    [np.full((PIXELS, PIXELS, 3), colour, np.uint8) for colour in ((200, 20, 20), (20, 20, 200))]
)
PROMPTS = ["a red mug", "a lamp, {braces} and 100 %"]


def tiny_tokenizer(*words: str) -> PreTrainedTokenizerFast:
    """Return byte-level BPE that learnt `words`, with a token for pictures."""
    learner = Tokenizer(BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.decoder = decoders.ByteLevel()
    special = ["<pad>", "</s>", "<image>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learner.train_from_iterator(
        [text for word in words for text in (word, f"x {word}")] * 5,
        BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    return PreTrainedTokenizerFast(tokenizer_object=learner, pad_token="<pad>", eos_token="</s>")


def save_llava(folder: Path) -> Path:
    """Write a LLaVA that chats: CLIP's eyes, Llama's mouth."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer("Yes", "No")
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            **sizes, num_hidden_layers=2, image_size=PIXELS, patch_size=16, projection_dim=32
        ),
        text_config=LlamaConfig(**sizes, num_hidden_layers=2, vocab_size=len(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    seen = CLIPImageProcessorPil(
        size={"shortest_edge": PIXELS}, crop_size={"height": PIXELS, "width": PIXELS}
    )
    LlavaProcessor(
        seen,
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    ).save_pretrained(folder)
    return folder


def save_blip(folder: Path) -> Path:
    """Write a BLIP-2 whose language half is T5: an encoder, and a decoder that answers."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer("Yes", "No")
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    processor = Blip2Processor(
        BlipImageProcessorPil(size={"height": PIXELS, "width": PIXELS}),
        tokenizer,
        num_query_tokens=4,
    )
    config = Blip2Config(
        vision_config=Blip2VisionConfig(
            **sizes, num_hidden_layers=1, image_size=PIXELS, patch_size=16
        ),
        qformer_config=Blip2QFormerConfig(**sizes, num_hidden_layers=1, vocab_size=8),
        text_config=T5Config(
            d_model=32,
            d_ff=64,
            d_kv=16,
            num_heads=2,
            num_layers=1,
            vocab_size=len(tokenizer),
            decoder_start_token_id=0,
        ),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    Blip2ForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


SAVED = {"llava": save_llava, "blip": save_blip}


@pytest.fixture(scope="module", params=SAVED)
def judge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VqaScore:
    folder = SAVED[request.param](tmp_path_factory.mktemp(request.param))
    return load_vqa(str(folder), device="cpu")


def generated_yes(judge: VqaScore, picture: np.ndarray, prompt: str) -> float:
    """Return P("Yes") as `generate` has it for the first token it writes."""
    image, question = Image.fromarray(picture), QUESTION.replace("{}", prompt)
    if judge.model.config.model_type == "llava":
        question = f"USER: <image>{question} ASSISTANT:"
    inputs = judge.processor(images=image, text=question, return_tensors="pt")
    written = judge.model.generate(
        **inputs,
        max_new_tokens=1,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    likely = written.logits[0][0].double().softmax(0)
    return sum(float(likely[each]) for each in judge.yes)


def test_the_score_is_the_probability_that_the_model_would_write_yes(judge: VqaScore) -> None:
    expected = [
        generated_yes(judge, picture, prompt)
        for picture, prompt in zip(PICTURES, PROMPTS, strict=True)
    ]
    found = judge.scores(PICTURES, PROMPTS)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_score_depends_on_the_picture_and_on_the_prompt(judge: VqaScore) -> None:
    one, other, third = judge.scores(PICTURES[[0, 1, 0]], [PROMPTS[0], PROMPTS[0], PROMPTS[1]])
    assert len({one, other, third}) == 3


def test_the_score_does_not_depend_on_the_company(judge: VqaScore) -> None:
    together = judge.scores(PICTURES, PROMPTS)
    alone = [judge.scores(PICTURES[[at]], [PROMPTS[at]])[0] for at in range(2)]
    assert together.tolist() == alone


def test_the_question_is_the_published_one() -> None:
    assert QUESTION.format("x") == 'Does this figure show "x"? Please answer yes or no.'


def test_yes_is_found_with_and_without_the_space_before_it() -> None:
    tokenizer = tiny_tokenizer("Yes", "No")
    assert sorted(tokenizer.decode([each]) for each in find_yes(tokenizer)) == [" Yes", "Yes"]


def test_a_prompt_with_a_control_token_is_refused(judge: VqaScore) -> None:
    with pytest.raises(InvalidSetting, match="<image> is a control token"):
        judge.scores(PICTURES[:1], ["a mug <image>"])


def test_a_model_without_a_token_for_yes_is_refused(tmp_path: Path) -> None:
    save_llava(tmp_path)
    LlavaProcessor(CLIPImageProcessorPil(), tiny_tokenizer("Hm"), patch_size=16).save_pretrained(
        tmp_path
    )
    with pytest.raises(UnknownModel, match='no token for "Yes"'):
        load_vqa(str(tmp_path), device="cpu")


def test_a_folder_that_holds_no_such_model_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="refuses it") as refusal:
        load_vqa(str(tmp_path), device="cpu")
    assert "\n" not in str(refusal.value)
