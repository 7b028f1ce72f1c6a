"""Settings under the names that a shell knows: the variables that set them."""

from __future__ import annotations

from hierdiff_core.errors import HierdiffError, InvalidSetting
from tasks.settings import PREFIX, Settings


def in_words_of_the_shell(error: HierdiffError) -> HierdiffError:
    """Return an error of a setting under the name of the variable that sets it."""
    if not isinstance(error, InvalidSetting):
        return error
    name = str(error.facts["setting"])
    known = name in Settings.model_fields
    return InvalidSetting(**{**error.facts, "setting": PREFIX + name.upper()}) if known else error
