"""Settings, read once from the environment (HIERDIFF_*).

Knows names, defaults and limits of settings, and that a running stack leaves its addresses in
`<home>/stack.env`. Knows nothing of what the settings are used for. AWS credentials of a real
bucket are not here: boto3 finds them by itself.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.prompt import Recipe

PREFIX = "HIERDIFF_"
STACK_FILE = "stack.env"  # in the home; written by the stack, readable by its owner only
DIGESTS_FILE = "digests.json"  # in the home; what is known of weights on this machine


class Settings(BaseSettings):
    """Every setting, its default and its limits; the environment name is HIERDIFF_ + the name."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    home: Path = Path(".hierdiff")  # where a stack keeps its files
    database_url: SecretStr | None = None  # postgresql://user:password@host/name
    s3_endpoint_url: str | None = None  # None is Amazon's own
    s3_bucket: str = "hierdiff"
    s3_prefix: str = ""  # before every key, such as "nightly/"
    s3_access_key: SecretStr | None = None  # of the stack's own server
    s3_secret_key: SecretStr | None = None
    public_url: str | None = None  # where people see the bucket; None signs links instead

    source_url: SecretStr | None = None  # the user's own database, as SQLAlchemy writes it
    source_query: str | None = None  # its columns are named prompt, reference, ...
    source_file: Path | None = None  # or a .csv, .tsv, .jsonl file

    model: str = "hierdiff/miniature-decoder"  # folder, hub name, or the small one shipped here
    prior: str = "hierdiff/miniature-prior"
    solver: Literal["ddim", "ddpm", "euler", "flow_euler", "dpmsolver++"] = "ddim"
    steps: int = Field(default=8, ge=1)  # of the small model; a large one wants more
    guidance: float = Field(default=4.0, ge=0, allow_inf_nan=False)
    prior_steps: int = Field(default=25, ge=2)
    prior_guidance: float = Field(default=4.0, ge=0, allow_inf_nan=False)
    height: int = Field(default=64, ge=1)  # pixels
    width: int = Field(default=64, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    initial_noise: Literal["root", "shared"] = "root"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    planner: Literal["auto", "calibrated", "paper"] = "auto"  # auto: calibrated where it can be
    # Chosen from benchmarks/results/evaluation.md, "Ablations".
    linkage: Literal["ward", "average", "centroid"] = "average"
    tau: float = Field(default=0.25, ge=0, allow_inf_nan=False)  # used when no budget is set
    saving: float | None = Field(default=None, ge=0, lt=1)  # budget: share of evaluations
    steps_per_image: float | None = Field(default=None, gt=0)  # budget: evaluations per image

    exact_prompts: int = Field(default=20_000, ge=1)  # trees of more are made in two levels

    shards: int = Field(default=4, ge=1, le=1000)  # subtrees that are run and retried alone
    slots: PositiveInt | Literal["auto"] = "auto"  # rows denoised at once; auto tries the device
    compile: bool = False  # let torch compile the network: minutes once, then faster on a GPU
    device: str = "auto"  # cuda where there is one, else cpu
    lease_seconds: float = Field(default=60.0, ge=1)  # until a silent worker counts as gone
    previews: bool = True  # small pictures of the latents at each split, for the report
    prompt_in_images: bool = True  # write the prompt into the PNG; the source type always is

    gpu_price_per_hour: float | None = Field(default=None, ge=0)
    currency: str = "USD"

    @property
    def recipe(self) -> Recipe:
        """What a row asks for where it does not say otherwise."""
        return Recipe(**{name: getattr(self, name) for name in _RECIPE_FIELDS})

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
        return init_settings, env_settings, stack


_RECIPE_FIELDS = tuple(
    name for name in Recipe.__dataclass_fields__ if name in Settings.model_fields
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


def _refuse_misspelt() -> None:
    # A misspelt HIERDIFF_STEPS would otherwise spend a night on the wrong steps.
    known = [_variable(name) for name in Settings.model_fields]
    for name in sorted(os.environ):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
        if name.startswith(PREFIX) and name not in known and near:
            hint = f"there is no such setting, did you mean {near[0]}"
            raise InvalidSetting(setting=name, value="set", hint=hint)
