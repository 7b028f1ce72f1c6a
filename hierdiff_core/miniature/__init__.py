"""The small Kandinsky 2.2 that ships with the package: where its two folders lie.

Knows paths only; `hierdiff_core.models` loads them, `training` makes them. The judge of its
pictures and a sample of its prompts lie beside them and are no part of the model.
"""

from pathlib import Path

PRIOR: Path = Path(__file__).parent / "prior"
DECODER: Path = Path(__file__).parent / "decoder"
JUDGE: Path = Path(__file__).parent / "judge"
PROMPTS: Path = Path(__file__).parent / "prompts.csv"
