"""The panel: the judges that score every picture.

Judges may offer more than scores: features, attributes, diversity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hierdiff_core.digest import digest
from hierdiff_core.errors import HierdiffError
from hierdiff_core.judges.choose import load_judge
from hierdiff_core.judges.judge import Judge

Pictures = NDArray[np.uint8]
Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Panel:
    """Judges; the first one's scores are those that count."""

    judges: tuple[Judge, ...]
    clip: Any = None  # a judge with `diversity`, or None

    def features(self, pictures: Pictures) -> NDArray[np.float32] | None:
        """Return (B, F) of the first judge that has features, or None."""
        for judge in self.judges:
            if hasattr(judge, "features"):
                found: NDArray[np.float32] = np.asarray(judge.features(pictures), np.float32)
                return found
        return None

    def verdicts(self, pictures: Pictures, prompts: Sequence[str]) -> tuple[Scores, Scores]:
        """Return (B,) scores by judge, and (B,) by attribute: 1, 0, or NaN where it is not named.

        A judge that has both is called once; without one there are no attributes.
        """
        scores: Scores = {}
        right: Scores = {}
        for judge in self.judges:
            if right or not hasattr(judge, "verdicts"):
                scores[judge.name] = judge.scores(pictures, prompts)
                continue
            found = judge.verdicts(pictures, prompts)
            scores[judge.name] = found.scores
            for name, values in found.right.items():
                right[name] = np.ma.filled(np.ma.asarray(values, np.float64), np.nan)
        return scores, right

    def check(self, prompts: Sequence[str]) -> None:
        """Raise InvalidSetting for a prompt that a judge cannot read, before a picture is made."""
        for judge in self.judges:
            if hasattr(judge, "vocabulary"):
                for prompt in prompts:
                    judge.vocabulary.read(prompt)

    def diversity(self, pictures: Pictures) -> float | None:
        """Return how alike pictures are to CLIP; None without CLIP, or for a single picture."""
        few = self.clip is None or len(pictures) < 2
        return None if few else float(self.clip.diversity(pictures))

    def fingerprint(self, prompt: str, size: tuple[int, int]) -> str:
        """Return a digest that distinguishes panels: of their scores of pictures of noise.

        So a judge with other weights has another fingerprint, whatever it is made of.
        """
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 256, (2, *size, 3)).astype(np.uint8)
        answers = [
            [judge.name, [float(f"{each:.3g}") for each in judge.scores(noise, [prompt] * 2)]]
            for judge in self.judges
        ]
        alike = self.diversity(noise)
        return digest("panel", answers, None if alike is None else float(f"{alike:.3g}"))[:16]


def load_panel(names: Sequence[str], model: str, device: str) -> Panel:
    """Return the judges of these names, and the CLIP that ships with a model, where one does.

    Raises InvalidSetting and UnknownModel, naming the judge.
    """
    judges = tuple(load_judge(name, device) for name in names)
    clip = next((judge for judge in judges if hasattr(judge, "diversity")), None)
    return Panel(judges, clip or _clip_of(model, device))


def _clip_of(model: str, device: str) -> Any:
    try:
        return load_judge(f"clip:{model}", device)
    except HierdiffError:
        return None  # diversity is then left out, and the page says so
