"""Everything that the miniature is made of, each piece made when it is first asked for.

Knows which stage needs which; a piece that a former run finished is loaded. Knows neither the
command line nor the layout of the exported folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from diffusers import PriorTransformer, UNet2DConditionModel, VQModel
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

from hierdiff_core.judges.attributes import AttributeJudge
from training import encodings
from training.autoencoder import train_autoencoder
from training.captions import caption
from training.clip import train_clip
from training.export import Parts
from training.judge import judge_pictures, train_judge
from training.loop import Plan
from training.pictures import Pictures, pictures
from training.polish import polish_decoder
from training.prior import Reader, train_prior
from training.tokenizer import train_tokenizer
from training.unet import train_unet
from training.vocabulary import split_attributes

# Two processor cores need a night for these steps; a GPU, minutes.
PLANS: Mapping[str, Plan] = {
    "autoencoder": Plan(steps=6_000, rate=2e-3, average=0.995),
    "decoder": Plan(steps=2_000, rate=1e-3, average=0.998),
    "clip": Plan(steps=3_000, rate=1e-3, average=0.998),
    "prior": Plan(steps=2_000, rate=1e-3),
    "unet": Plan(steps=20_000, rate=1e-3, average=0.999),
    "judge": Plan(steps=800, rate=2e-3, average=0.99),
}


@dataclass(frozen=True)
class Workshop:
    """A working folder, a seed and a plan for each training."""

    folder: Path
    seed: int
    plans: Mapping[str, Plan]
    rounds: int = 3  # drawings of each combination of attributes
    workers: int = 2

    @cached_property
    def pictures(self) -> Pictures:
        """The drawings that training sees."""
        return pictures(self.folder, self.seed, self.rounds, self.workers)

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        """Learnt from one caption for each combination."""
        place = self.folder / "tokenizer"
        if place.exists():
            return CLIPTokenizer.from_pretrained(place)
        seen, _ = split_attributes()
        learnt = train_tokenizer(caption(attributes, at) for at, attributes in enumerate(seen))
        learnt.save_pretrained(place)
        return learnt

    @cached_property
    def autoencoder(self) -> VQModel:
        """Pictures to latents and back."""
        return train_autoencoder(self.pictures, self.plans["autoencoder"], self.folder, self.seed)

    @cached_property
    def latents(self) -> Tensor:
        """Of all pictures, (N, 4, 16, 16)."""
        return encodings.latents(self.pictures, self.autoencoder, self.folder)

    @cached_property
    def decoder(self) -> VQModel:
        """The autoencoder with its decoder trained further."""
        return polish_decoder(
            self.autoencoder,
            self.pictures,
            self.latents,
            self.plans["decoder"],
            self.folder,
            self.seed,
        )

    @cached_property
    def clip(self) -> tuple[CLIPTextModelWithProjection, CLIPVisionModelWithProjection]:
        """Both encoders."""
        return train_clip(self.pictures, self.tokenizer, self.plans["clip"], self.folder, self.seed)

    @cached_property
    def embeddings(self) -> Tensor:
        """Of all pictures, (N, 128)."""
        return encodings.embeddings(self.pictures, self.clip[1], self.folder)

    @cached_property
    def prior(self) -> PriorTransformer:
        """Caption to picture embedding."""
        reader = Reader(self.tokenizer, self.clip[0])
        return train_prior(
            self.pictures, self.embeddings, reader, self.plans["prior"], self.folder, self.seed
        )

    @cached_property
    def unet(self) -> UNet2DConditionModel:
        """Noise and picture embedding to latents."""
        negative = encodings.negative_embedding(self.clip[1])
        return train_unet(
            self.latents, self.embeddings, negative, self.plans["unet"], self.folder, self.seed
        )

    @cached_property
    def judge(self) -> AttributeJudge:
        """Of the pictures; it shares neither drawings nor seeds with the model."""
        drawn = judge_pictures(self.folder / "judge_pictures", workers=self.workers)
        return train_judge(drawn, self.plans["judge"], self.folder)

    def parts(self) -> Parts:
        """Return everything, trained."""
        text_encoder, image_encoder = self.clip
        return Parts(
            tokenizer=self.tokenizer,
            text_encoder=text_encoder,
            image_encoder=image_encoder,
            prior=self.prior,
            unet=self.unet,
            autoencoder=self.decoder,
        )
