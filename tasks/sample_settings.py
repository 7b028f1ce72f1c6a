"""The settings of the sample: how many pictures are also made without sharing, and who compares.

They change no picture, so a night that exists answers for any of them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from hierdiff_core.plain import MOST


def _naming(*kinds: str, alone: tuple[str, ...]) -> AfterValidator:
    """Take KIND:FOLDER_OR_NAME, and of some kinds the name alone; a model is looked for later."""

    def check(value: str) -> str:
        kind, _, model = value.partition(":")
        if value and kind not in alone and not (kind in kinds and model):
            forms = [*alone, *(f"{each}:FOLDER_OR_NAME" for each in kinds)]
            raise ValueError(f"use one of {', '.join(forms)}")
        return value

    return AfterValidator(check)


class SampleSettings(BaseModel):
    """What is done to see whether sharing hurt a picture."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    sample: float = Field(
        default=0.01,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="share of a night's new pictures that are also made without sharing, for "
        f"comparison; at least one, at most {MOST}; 0: none",
    )
    sample_encoder: Annotated[str, _naming("clip", "siglip", alone=("attributes",))] = Field(
        default="",
        description="what compares them, as `clip:FOLDER_OR_NAME` or `siglip:FOLDER_OR_NAME`; "
        "empty: what the model was calibrated with, or its own",
    )
    sample_judge: Annotated[str, _naming("vqascore", alone=("attributes", "clip"))] = Field(
        default="",
        description="what scores them beside that: attributes, `clip:FOLDER_OR_NAME` or "
        "`vqascore:FOLDER_OR_NAME`",
    )
