"""The small Kandinsky 2.2 that ships with the package: where its two folders lie.

Knows paths only; `hierdiff_core.models` loads them, `training` makes them. The judge of its
pictures lies beside them and is no part of the model.
"""

from pathlib import Path

PRIOR: Path = Path(__file__).parent / "prior"
DECODER: Path = Path(__file__).parent / "decoder"
JUDGE: Path = Path(__file__).parent / "judge"
