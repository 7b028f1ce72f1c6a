"""Make a set of pictures with half of the denoising shared, and lay them out on one sheet.

python examples/library.py out.png
"""

import sys

from PIL import Image

import hierdiff_core

PROMPTS = [
    f"a photo of a plain {colour} {thing} on a wooden table"
    for thing in ("mug", "clock", "chair", "lamp")
    for colour in ("red", "blue", "green", "yellow")
]


def main(file: str) -> None:
    """Make the pictures and write the sheet."""
    # The small model that ships with the package; a folder or hub name is as good.
    made = hierdiff_core.generate("hierdiff/miniature-decoder", PROMPTS, saving=0.5, steps=20)
    images, height, width, _ = made.pictures.shape
    sheet = Image.new("RGB", (4 * width, images // 4 * height))
    for place, picture in enumerate(made.pictures):
        sheet.paste(Image.fromarray(picture), (place % 4 * width, place // 4 * height))
    sheet.save(file)
    print(f"{images} pictures, {made.evaluations} evaluations, {made.saving:.0%} saved: {file}")


if __name__ == "__main__":
    main(sys.argv[1])
