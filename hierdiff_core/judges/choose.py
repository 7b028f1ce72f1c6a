"""Which judge a name means; a model is loaded only when its judge is asked for."""

from __future__ import annotations

from pathlib import Path

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.judges.attributes import load_attribute_judge
from hierdiff_core.judges.clip import load_clip
from hierdiff_core.judges.judge import Judge
from hierdiff_core.judges.vqa import load_vqa

_MINIATURE = "hierdiff/miniature-prior"
_HINT = "use attributes, attributes:FOLDER, clip, clip:FOLDER_OR_NAME or vqascore:FOLDER_OR_NAME"


def load_judge(name: str, device: str = "auto") -> Judge:
    """Return the judge of a name: `attributes`, `clip` or `vqascore`, with `:model` after it.

    Without a model `attributes` and `clip` are the miniature's own; `vqascore` always needs one.
    Raises InvalidSetting for another name, UnknownModel for a model that cannot be loaded.
    """
    kind, _, model = name.partition(":")
    if kind == "attributes":
        return load_attribute_judge(Path(model)) if model else load_attribute_judge()
    if kind == "clip":
        return load_clip(model or _MINIATURE, device)
    if kind == "vqascore" and model:
        return load_vqa(model, device)
    raise InvalidSetting(setting="judge", value=name, hint=_HINT)
