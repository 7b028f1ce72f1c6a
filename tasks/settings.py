"""Settings, read once from the environment (HIERDIFF_*).

Each is the night's (`tasks.night_settings`) or the machine's (`tasks.machine_settings`). A running
stack leaves its addresses in `<home>/stack.env`. AWS credentials of a real bucket are not here:
boto3 finds them by itself.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.families import FAMILIES, options_of
from hierdiff_core.printable import brief
from tasks.errors import UnknownSetting
from tasks.machine_settings import MachineSettings
from tasks.night_settings import NightSettings

PREFIX = "HIERDIFF_"
OPTION_PREFIX = "HIERDIFF_OPTION_"
STACK_FILE = "stack.env"  # in the home; written by the stack, readable by its owner only


class Settings(MachineSettings, NightSettings, BaseSettings):
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

    @property
    def night(self) -> NightSettings:
        """The part that travels with a night."""
        return NightSettings(**{name: getattr(self, name) for name in NightSettings.model_fields})

    def with_night(self, night: NightSettings) -> Settings:
        """Return this machine's settings with those of a night, which this machine may be given."""
        return self.model_copy(
            update={name: getattr(night, name) for name in NightSettings.model_fields}
        )

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


_SECRETS = frozenset(
    name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)
)


def read_settings(**given: object) -> Settings:
    """Return the settings: `given` before the environment before the stack's file.

    Raises InvalidSetting, which names the variable and never shows a secret.
    """
    _refuse_unknown()
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
    # A fault without a place is that of two budgets, the only one that concerns two settings.
    name = str(fault["loc"][0]) if fault["loc"] else "saving"
    value = "***" if name in _SECRETS else "set" if not fault["loc"] else brief(fault["input"])
    hint = fault["msg"].removeprefix("Value error, ")
    raise InvalidSetting(setting=_variable(name), value=value, hint=hint[0].lower() + hint[1:])


def overruled(night: NightSettings) -> tuple[str, ...]:
    """Return the variables by which this environment asks for something else than a night does."""
    here = read_settings().night
    names = (name for name in NightSettings.model_fields if os.environ.get(_variable(name)))
    return tuple(_variable(name) for name in names if getattr(here, name) != getattr(night, name))


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _read_options() -> dict[str, str]:
    """Return the options that the environment sets, for the model's family to read."""
    names = [name for name in sorted(os.environ) if name.startswith(OPTION_PREFIX)]
    return {name.removeprefix(OPTION_PREFIX).lower(): os.environ[name] for name in names}


def _refuse_unknown() -> None:
    # A misspelt HIERDIFF_STEPS would otherwise spend a night on the wrong steps.
    known = {_variable(name) for name in Settings.model_fields}
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and not name.startswith(OPTION_PREFIX) and name not in known:
            near = _nearest(name.removeprefix(PREFIX).lower())
            hint = f"did you mean {near}?" if near else "`hierdiff settings` lists all that exist"
            raise UnknownSetting(setting=name, hint=hint)


def _nearest(name: str) -> str | None:
    """Return the variable that a misspelt name stands for, if one is near."""
    options = {option.name for family in FAMILIES.values() for option in options_of(family)}
    if name in options:
        return OPTION_PREFIX + name.upper()
    close = difflib.get_close_matches(name, Settings.model_fields, cutoff=0.6)
    # People shorten words: of those that are near, the one that begins alike.
    close.sort(key=lambda known: not known.startswith(name[:3]))
    return _variable(close[0]) if close else None
