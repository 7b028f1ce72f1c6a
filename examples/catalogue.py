"""See what sharing would save on a catalogue of your own, before a picture is made.

python examples/catalogue.py catalogue.csv      (with a column `prompt`)
"""

import csv
import sys
from pathlib import Path

import numpy as np

from hierdiff_core import Budget, Models, PlanSettings, Prompt, make_recipe, plan_forest
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.forest import group_prompts


def main(file: str) -> None:
    """Embed the prompts, plan them at several savings and print what each plan looks like."""
    recipe = make_recipe("hierdiff/miniature-decoder", steps=20)
    with Path(file).open(newline="", encoding="utf-8") as rows:
        texts = [row["prompt"] for row in csv.DictReader(rows)]
    prompts = [Prompt(row, str(row), text, recipe) for row, text in enumerate(texts, start=2)]
    (group,) = group_prompts(prompts)  # equal prompts are one picture
    embeddings = Models("cpu").encoder(recipe).embed(group.prompts)
    vectors = np.stack([embedding.vector for embedding in embeddings])
    print(f"{len(prompts)} rows, {len(group.prompts)} different prompts")
    for saving in (0.2, 0.4, 0.6, 0.8):
        try:
            plan = plan_forest([group], [vectors], PlanSettings(Budget(saving))).plan
        except InvalidSetting as error:
            print(error)
            break
        runs = len(plan.roots)
        print(f"{plan.saving:4.0%} saved: {plan.evaluations} evaluations, {runs} start from noise")


if __name__ == "__main__":
    main(sys.argv[1])
