"""The settings of a night: what it draws, from which rows, and what it may cost.

They are decided where a night is started or scheduled, travel with it as a parameter of its flow
run and are recorded with it. No secret is among them. What differs from machine to machine is in
`tasks.machine_settings`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_settings import NoDecode

from hierdiff_core.clustering.linkage import LINKAGES
from hierdiff_core.miniature import MODEL
from hierdiff_core.planners import PLANNERS, SHARE, PlanSettings
from hierdiff_core.prompt import MOST_VARIANTS
from hierdiff_core.recipe import DTYPES, INITIAL_NOISE, Recipe
from hierdiff_core.solvers import SOLVERS
from tasks.handover_settings import HandOverSettings
from tasks.remake import TIMES
from tasks.sample_settings import SampleSettings
from tasks.source.columns import read_mapping
from tasks.source.stream import check_encoding
from tasks.source.template import check_template

_PLANNED = PlanSettings()


def _one_of(*known: str) -> AfterValidator:
    """Return a validator that refuses any other text and lists the known ones."""

    def check(value: str) -> str:
        if value not in known:
            raise ValueError(f"use one of {', '.join(known)}")
        return value

    return AfterValidator(check)


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (KeyError, ValueError, OSError):  # no name of the database, a path, a folder
        raise ValueError("use a name of the zone database, such as Europe/Berlin") from None


def _without_null(schema: dict[str, Any]) -> None:
    # A form lets people choose between a number and null; a field that may stay empty is plainer.
    for field in schema["properties"].values():
        types = field.pop("anyOf", [{}])
        if types[-1] == {"type": "null"}:
            del field["default"]
        field.update(types[0])


class SourceSettings(BaseModel):
    """Where a night's rows come from and how they are read."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        protected_namespaces=(),
        json_schema_extra=_without_null,
    )

    source_query: str | None = Field(
        default=None,
        description="SQL to run on your database, with columns named `prompt`, `reference`, ...",
    )
    source_file: Path | None = Field(
        default=None, description="a .csv, .tsv, .json, .jsonl or .txt file to read instead"
    )
    source_columns: Annotated[dict[str, str], NoDecode, BeforeValidator(read_mapping)] = Field(
        default_factory=dict,
        description="what the source calls our columns: `prompt=title, reference=id`",
    )
    source_template: Annotated[str, AfterValidator(check_template)] | None = Field(
        default=None,
        description="prompt over the source's columns: `a photo of {title}, {color}`",
    )
    source_encoding: Annotated[str, AfterValidator(check_encoding)] | None = Field(
        default=None, description="encoding of the file, such as cp1252; empty: UTF-8"
    )
    largest_side: int = Field(
        default=4096, ge=1, description="pixels of width and of height that a row may ask for"
    )
    refused_words: str = Field(
        default="",
        description="prompts with one of these words, such as `gun, blood`, become no picture",
    )
    refused_words_file: Path | None = Field(
        default=None, description="a file of further refused words, one a line"
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC",
        description="zone of the schedule and of a night's date, such as `Europe/Berlin`",
    )


class NightSettings(SampleSettings, HandOverSettings, SourceSettings):
    """What decides a night."""

    model: str = Field(
        default=MODEL,
        description="folder or hub name; the default is the small model that ships here",
    )
    solver: Annotated[str, _one_of(*SOLVERS)] | None = Field(
        default=None,
        description=f"{', '.join(SOLVERS)}; empty: the model's own",
        json_schema_extra={"enum": [*SOLVERS]},
    )
    steps: int | None = Field(
        default=None, ge=1, description="denoising steps (K); empty: the model's own"
    )
    guidance: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="scale of classifier-free guidance; empty: the model's own",
    )
    height: int | None = Field(default=None, ge=1, description="pixels; empty: the model's own")
    width: int | None = Field(default=None, ge=1, description="pixels; empty: the model's own")
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="seed of all noise; another seed, other pictures"
    )
    initial_noise: Annotated[str, _one_of(*INITIAL_NOISE)] = Field(
        default="root",
        description="one draw per `root` of a tree, or one `shared` by all",
        json_schema_extra={"enum": [*INITIAL_NOISE]},
    )
    dtype: Annotated[str, _one_of(*DTYPES)] = Field(
        default="float32",
        description=f"precision of the networks: {', '.join(DTYPES)}",
        json_schema_extra={"enum": [*DTYPES]},
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="options of the model's family, each as HIERDIFF_OPTION_ and its name",
    )

    planner: Annotated[str, _one_of("auto", *PLANNERS)] = Field(
        default=_PLANNED.planner,
        description=f"{', '.join(PLANNERS)}; auto: calibrated if the model is",
        json_schema_extra={"enum": ["auto", *PLANNERS]},
    )
    linkage: Annotated[str, _one_of(*LINKAGES)] = Field(
        default=_PLANNED.linkage,
        description=f"linkage of the paper's trees: {', '.join(LINKAGES)}",
        json_schema_extra={"enum": [*LINKAGES]},
    )
    tau: float | None = Field(
        default=_PLANNED.tau,
        ge=0,
        allow_inf_nan=False,
        description="scale of the paper's thresholds, where no budget is set; empty: that which "
        f"saves {SHARE:.0%}",
    )
    saving: float | None = Field(
        default=None, ge=0, lt=1, description="budget: share of the evaluations to save"
    )
    steps_per_image: float | None = Field(
        default=None, gt=0, description="budget: evaluations per image, on average"
    )
    loss: float = Field(
        default=_PLANNED.loss,
        ge=0,
        allow_inf_nan=False,
        description="most that a calibrated model's pictures may lose on average, as a share of "
        "what plain ones miss, where no budget is set",
    )
    accept_loss: bool = Field(
        default=False,
        description="make a night whose budget is predicted to lose more than that all the same",
    )
    joins: bool = Field(
        default=_PLANNED.joins,
        description="let new rows go on from splits that earlier nights have stored",
    )
    variants: int = Field(
        default=1,
        ge=1,
        le=MOST_VARIANTS,
        description="pictures of each row that has no column `variants`",
    )
    variants_shared: float = Field(
        default=_PLANNED.shared,
        ge=0,
        lt=1,
        description="share of its steps up to which a further picture of a row, or one with a seed "
        "of its own, may share them; less makes them differ more",
    )
    remakes: int = Field(
        default=TIMES,
        ge=0,
        description="times that a night makes another picture of a row in place of a rejected one; "
        "after that the row waits for a person",
    )
    exact_prompts: int = Field(
        default=_PLANNED.exact,
        ge=1,
        description="number of prompts up to which trees and plans are exact",
    )

    shards: int = Field(
        default=4,
        ge=1,
        le=1000,
        description="number of subtrees, each run, watched and retried by itself",
    )
    previews: bool = Field(default=True, description="small pictures of each split, for the report")
    prompt_in_images: bool = Field(
        default=True,
        description="write the prompt into the PNG; that it was generated is always written",
    )

    def without_source(self) -> NightSettings:
        """Return these settings for a night whose rows are stored already."""
        return self.model_copy(update={"source_file": None, "source_query": None})

    @property
    def recipe(self) -> Recipe:
        """The recipe of a row without columns of its own; raises what `make_recipe` raises."""
        from hierdiff_core.models.recipes import make_recipe  # loads torch

        asked = {name: getattr(self, name) for name in RECIPE_FIELDS}
        return make_recipe(self.model, self.options, **asked)

    @model_validator(mode="after")
    def _one_budget(self) -> NightSettings:
        if self.saving is not None and self.steps_per_image is not None:
            raise ValueError("and so is HIERDIFF_STEPS_PER_IMAGE; set one of them")
        return self


RECIPE_FIELDS = tuple(
    name
    for name in Recipe.__dataclass_fields__
    if name in NightSettings.model_fields and name not in ("model", "options")
)
