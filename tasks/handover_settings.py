"""The settings of a hand-over: in which formats pictures are published, and for whom.

They change no picture, so a night that exists answers for any of them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from hierdiff_core.rendition import FORMATS, Rendition, read_renditions


def _renditions(text: str) -> str:
    return ", ".join(each.words for each in read_renditions(text))


class HandOverSettings(BaseModel):
    """What is made of a night's pictures for those who use them."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    renditions: Annotated[str, AfterValidator(_renditions)] = Field(
        default="",
        description="files made of each picture, as `jpeg, webp 1200px q80, avif 600px`: formats "
        f"out of {', '.join(FORMATS)}, each with its longer side and quality",
    )

    hand_over: Literal["unrejected", "accepted"] = Field(
        default="unrejected",
        description="pictures that are handed over: all that nobody has rejected, or accepted ones",
    )
    publish_names: bool = Field(
        default=False,
        description="also publish pictures under their references, in `published/CATALOGUE/`",
    )

    result_query: str | None = Field(
        default=None,
        description="SQL run on the shop's database for each picture that is handed over, such as "
        "`UPDATE products SET image = :url WHERE sku = :reference`",
    )

    @property
    def wanted_renditions(self) -> tuple[Rendition, ...]:
        """The renditions of each picture."""
        return read_renditions(self.renditions)

    @property
    def hands_over(self) -> bool:
        """Whether pictures go anywhere beside the manifest and its tables."""
        return self.publish_names or self.result_query is not None
