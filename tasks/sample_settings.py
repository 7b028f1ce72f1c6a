"""The settings of the sample: how many pictures are also made without sharing, and who compares.

They change no picture, so a night that exists answers for any of them.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from hierdiff_core.plain import MOST


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
    sample_encoder: str = Field(
        default="",
        description="what compares them, as `clip:FOLDER_OR_NAME` or `siglip:FOLDER_OR_NAME`; "
        "empty: what the model was calibrated with, or its own",
    )
    sample_judge: str = Field(
        default="",
        description="what scores them beside that: attributes, `clip:FOLDER_OR_NAME` or "
        "`vqascore:FOLDER_OR_NAME`",
    )
