"""Compare a model of your own with itself: every picture alone, and with steps shared.

python examples/own_model.py FOLDER        (as `pipeline.save_pretrained` wrote it)
"""

import sys

import numpy as np

import hierdiff_core

PROMPTS = ["a red mug", "a blue mug", "a red clock", "a blue clock"]


def main(model: str) -> None:
    """Make the same prompts twice and print what sharing saved and how much it changed."""

    def bar(done: int, planned: int) -> None:
        print(f"\r{done} of {planned} evaluations", end="", file=sys.stderr)

    # Size, guidance and solver are the model's own unless they are named.
    alone = hierdiff_core.generate(model, PROMPTS, tau=0, steps=10, progress=bar)
    shared = hierdiff_core.generate(model, PROMPTS, saving=0.3, steps=10, progress=bar)
    for name, made in (("alone", alone), ("shared", shared)):
        print(f"\n{name}: {made.evaluations} evaluations, {made.saving:.0%} saved", end="")
    difference = np.abs(alone.pictures.astype(int) - shared.pictures.astype(int)).mean()
    print(f"\npictures differ by {difference:.1f} of 255 in the mean")


if __name__ == "__main__":
    main(sys.argv[1])
