"""The small Kandinsky 2.2 that ships with the package: where its two folders lie.

Knows paths only; `hierdiff_core.models` loads them, `training` makes them.
"""

from pathlib import Path

PRIOR: Path = Path(__file__).parent / "prior"
DECODER: Path = Path(__file__).parent / "decoder"
