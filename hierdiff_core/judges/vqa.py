"""VQAScore: how likely a vision-language model says "Yes, that is what the figure shows"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.judges.pretrained import load_network, load_pretrained
from hierdiff_core.models.device import choose_device

QUESTION = 'Does this figure show "{}"? Please answer yes or no.'
ANSWER = "Yes"


@dataclass(frozen=True)
class VqaScore:
    """A loaded vision-language model, its processor, and the tokens that read as "Yes"."""

    model: Any
    processor: Any
    yes: tuple[int, ...]
    name: str = "vqascore"

    def scores(self, pictures: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Return P("Yes" | picture, 'Does this figure show "{prompt}"? ...'), (B,).

        Lin et al., "Evaluating Text-to-Visual Generation with Image-to-Text Generation" (2024). The
        probability is that of the answer's first token over the whole vocabulary; tokenizers that
        have a "Yes" with and one without a leading space get the sum of both. Pictures are asked
        about one by one, so that a score does not depend on padding. Raises InvalidSetting for a
        prompt that holds one of the model's control tokens.
        """
        asked = zip(pictures, prompts, strict=True)
        return np.array([self._score(Image.fromarray(each), text) for each, text in asked])

    @torch.no_grad()
    def _score(self, picture: Image.Image, prompt: str) -> float:
        inputs = self._ask(picture, QUESTION.format(self._check(prompt)))
        inputs = inputs.to(self.model.device, self.model.dtype)
        config = self.model.config
        if config.is_encoder_decoder:
            start = getattr(config, "text_config", config).decoder_start_token_id
            first = torch.tensor([[start]], device=self.model.device)
            inputs = {**inputs, "decoder_input_ids": first}
        logits = self.model(**inputs).logits[0, -1]
        return float(logits.double().softmax(0)[list(self.yes)].sum())

    def _ask(self, picture: Image.Image, question: str) -> Any:
        """Return the model's inputs: through the chat template where the processor has one."""
        if not getattr(self.processor, "chat_template", None):
            return self.processor(images=picture, text=question, return_tensors="pt")
        content = [{"type": "image", "image": picture}, {"type": "text", "text": question}]
        return self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )

    def _check(self, prompt: str) -> str:
        known = self.processor.tokenizer.get_added_vocab()
        found = [token for token in known if token in prompt]
        if found:
            hint = f"{found[0]} is a control token of the judge; remove it from the prompt"
            raise InvalidSetting(setting="prompt", value=prompt, hint=hint)
        return prompt


def load_vqa(model: str, device: str = "auto") -> VqaScore:
    """Return the judge that asks the vision-language model of this folder or hub name.

    Any model that `AutoModelForImageTextToText` knows: those that chat, and those with an encoder
    and a decoder (BLIP-2 and InstructBLIP on Flan-T5). Raises UnknownModel.
    """
    processor = load_pretrained(AutoProcessor, model)
    yes = find_yes(processor.tokenizer)
    if not yes:
        hint = f'its tokenizer has no token for "{ANSWER}"; use another model'
        raise UnknownModel(model=model, hint=hint)
    return VqaScore(
        load_network(AutoModelForImageTextToText, model, choose_device(device)), processor, yes
    )


def find_yes(tokenizer: Any) -> tuple[int, ...]:
    """Return the tokens that an answer "Yes" may begin with: with and without a leading space."""
    written = [tokenizer.encode(text, add_special_tokens=False) for text in (ANSWER, f" {ANSWER}")]
    first = {tokens[0] for tokens in written if tokens}
    return tuple(sorted(each for each in first if tokenizer.decode([each]).strip() == ANSWER))
