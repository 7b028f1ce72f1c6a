"""The small Kandinsky 2.2 that ships with the package: its names, its folders, what it is made for.

`hierdiff_core.models` loads it, `training` makes it. The judge of its pictures and a sample of its
prompts lie beside it and are no part of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

MODEL, PRIOR_MODEL = "hierdiff/miniature-decoder", "hierdiff/miniature-prior"

PRIOR: Path = Path(__file__).parent / "prior"
DECODER: Path = Path(__file__).parent / "decoder"
JUDGE: Path = Path(__file__).parent / "judge"
PROMPTS: Path = Path(__file__).parent / "prompts.csv"

# Its size is read from its configs, as any model's.
DEFAULTS: Mapping[str, object] = {"steps": 8, "prior": PRIOR_MODEL}
