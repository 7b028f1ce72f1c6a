"""Settings, read once from the environment (HIERDIFF_*).

A running stack leaves its addresses in `<home>/stack.env`. AWS credentials of a real bucket are not
here: boto3 finds them by itself.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from hierdiff_core.clustering.linkage import LINKAGES
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.miniature import MODEL
from hierdiff_core.planners import PLANNERS, PlanSettings
from hierdiff_core.recipe import DTYPES, INITIAL_NOISE, Recipe
from hierdiff_core.solvers import SOLVERS

PREFIX = "HIERDIFF_"
OPTION_PREFIX = "HIERDIFF_OPTION_"
STACK_FILE = "stack.env"  # in the home; written by the stack, readable by its owner only
_PLANNED = PlanSettings()


def _one_of(*known: str) -> AfterValidator:
    """Return a validator that refuses any other text and lists the known ones."""

    def check(value: str) -> str:
        if value not in known:
            raise ValueError(f"use one of {', '.join(known)}")
        return value

    return AfterValidator(check)


class Settings(BaseSettings):
    """Every setting, its default and its limits; the environment name is HIERDIFF_ + the name.

    What only one family of models asks for stands in `options`: HIERDIFF_OPTION_ + its name.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    home: Path = Field(
        default=Path(".hierdiff"), description="folder in which a stack keeps its files"
    )
    database_url: SecretStr | None = Field(
        default=None, description="the ledger: `postgresql://user:password@host/name`"
    )
    s3_endpoint_url: str | None = Field(
        default=None, description="address of the object store; empty: Amazon S3"
    )
    s3_bucket: str = Field(
        default="hierdiff", description="bucket for pictures, checkpoints and reports"
    )
    s3_prefix: str = Field(default="", description="prefix of every key, such as `nightly/`")
    s3_access_key: SecretStr | None = Field(
        default=None,
        description="access key of the stack's own store; for any other, boto3 finds it",
    )
    s3_secret_key: SecretStr | None = Field(
        default=None, description="secret key of the stack's own store"
    )
    public_url: str | None = Field(
        default=None, description="public address of the bucket; empty: links are signed for a week"
    )

    source_url: SecretStr | None = Field(
        default=None, description="SQLAlchemy URL of your own database"
    )
    source_query: str | None = Field(
        default=None, description="SQL to run on it, with columns named `prompt`, `reference`, ..."
    )
    source_file: Path | None = Field(
        default=None, description="a .csv, .tsv or .jsonl file to read instead"
    )

    model: str = Field(
        default=MODEL,
        description="folder or hub name; the default is the small model that ships here",
    )
    solver: Annotated[str, _one_of(*SOLVERS)] | None = Field(
        default=None, description=f"{', '.join(SOLVERS)}; empty: the model's own"
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
        default="root", description="one draw per `root` of a tree, or one `shared` by all"
    )
    dtype: Annotated[str, _one_of(*DTYPES)] = Field(
        default="float32", description=f"precision of the networks: {', '.join(DTYPES)}"
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="options of the model's family, each as HIERDIFF_OPTION_ and its name",
    )

    planner: Annotated[str, _one_of("auto", *PLANNERS)] = Field(
        default=_PLANNED.planner,
        description=f"{', '.join(PLANNERS)}; auto: calibrated if the model is",
    )
    linkage: Annotated[str, _one_of(*LINKAGES)] = Field(
        default=_PLANNED.linkage, description=f"linkage of the paper's trees: {', '.join(LINKAGES)}"
    )
    tau: float = Field(
        default=_PLANNED.tau,
        ge=0,
        allow_inf_nan=False,
        description="scale of the paper's thresholds, where no budget is set",
    )
    saving: float | None = Field(
        default=None, ge=0, lt=1, description="budget: share of the evaluations to save"
    )
    steps_per_image: float | None = Field(
        default=None, gt=0, description="budget: evaluations per image, on average"
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
    slots: PositiveInt | Literal["auto"] = Field(
        default="auto", description="rows denoised at once; auto measures the device"
    )
    compile: bool = Field(
        default=False,
        description="compile the network with torch: takes minutes once, then is faster on a GPU",
    )
    device: str = Field(
        default="auto", description="cuda, cuda:N or cpu; auto: a GPU if there is one"
    )
    lease_seconds: float = Field(
        default=60.0, ge=1, description="seconds until a silent worker counts as gone"
    )
    previews: bool = Field(default=True, description="small pictures of each split, for the report")
    prompt_in_images: bool = Field(
        default=True,
        description="write the prompt into the PNG; that it was generated is always written",
    )

    gpu_price_per_hour: float | None = Field(
        default=None, ge=0, description="price of one GPU, for the cost of a night"
    )
    currency: str = Field(default="USD", description="currency of that price")

    @property
    def recipe(self) -> Recipe:
        """The recipe of a row without columns of its own; raises what `make_recipe` raises."""
        from hierdiff_core.models.recipes import make_recipe  # loads torch

        asked = {name: getattr(self, name) for name in _RECIPE_FIELDS}
        recipe = make_recipe(self.model, self.options, **asked)
        _refuse_bare(recipe)
        return recipe

    @property
    def digests(self) -> Path:
        """The file in which the digests of weights on this machine are remembered."""
        return self.home / "digests.json"

    @model_validator(mode="after")
    def _one_budget(self) -> Settings:
        if self.saving is not None and self.steps_per_image is not None:
            raise ValueError("and so is HIERDIFF_STEPS_PER_IMAGE; set one of them")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, strongest first: arguments, environment, the stack's file."""
        given = init_settings().get("home") or os.environ.get(f"{PREFIX}HOME") or ".hierdiff"
        stack = DotEnvSettingsSource(settings_cls, env_file=Path(given) / STACK_FILE)
        options = InitSettingsSource(settings_cls, {"options": _read_options()})
        return init_settings, env_settings, options, stack


_RECIPE_FIELDS = tuple(
    name
    for name in Recipe.__dataclass_fields__
    if name in Settings.model_fields and name not in ("model", "options")
)
_SECRETS = frozenset(
    name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)
)


def read_settings(**given: object) -> Settings:
    """Return the settings: `given` before the environment before the stack's file.

    Raises InvalidSetting, which names the variable and never shows a secret.
    """
    _refuse_misspelt()
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
    # A fault without a place is that of two budgets, the only one that concerns two settings.
    name = str(fault["loc"][0]) if fault["loc"] else "saving"
    value = "***" if name in _SECRETS else "set" if not fault["loc"] else fault["input"]
    hint = fault["msg"].removeprefix("Value error, ")
    raise InvalidSetting(setting=_variable(name), value=value, hint=hint[0].lower() + hint[1:])


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _read_options() -> dict[str, str]:
    """Return the options that the environment sets, for the model's family to read."""
    names = [name for name in sorted(os.environ) if name.startswith(OPTION_PREFIX)]
    return {name.removeprefix(OPTION_PREFIX).lower(): os.environ[name] for name in names}


def _refuse_bare(recipe: Recipe) -> None:
    # HIERDIFF_PRIOR would otherwise be asked for and not be used.
    for name in recipe.options:
        if os.environ.get(_variable(name)):
            hint = f"it is an option of {recipe.family}; write {OPTION_PREFIX}{name.upper()}"
            raise InvalidSetting(setting=_variable(name), value="set", hint=hint)


def _refuse_misspelt() -> None:
    # A misspelt HIERDIFF_STEPS would otherwise spend a night on the wrong steps.
    known = [_variable(name) for name in Settings.model_fields]
    for name in sorted(os.environ):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
        if name.startswith(PREFIX) and name not in known and near:
            hint = f"there is no such setting, did you mean {near[0]}"
            raise InvalidSetting(setting=name, value="set", hint=hint)
