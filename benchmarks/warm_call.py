"""A flow run's process up to its first evaluation, forked as a worker's are.

It is given the recipe and the clock just before it was started, and prints the seconds until its
first evaluation has ended, its parent, and how often it read weights itself.
"""

from __future__ import annotations

import json
import os
import time
from unittest.mock import patch

from hierdiff_core.models import kandinsky22, loaded
from hierdiff_core.models.folder import load_pipeline, read_number
from hierdiff_core.recipe import Recipe

GIVEN = "PREFECT__CALL"  # a variable of the flow run's own


def main() -> None:
    """Load a denoiser and call it once."""
    import torch

    from hierdiff_core.embedding import Conditioning

    given = json.loads(os.environ[GIVEN])
    recipe = Recipe.from_json(given["recipe"])
    width = read_number(recipe.model, "unet", "encoder_hid_dim")
    rows = {kandinsky22.EMBEDDING: torch.zeros(1, width)}
    with patch.object(kandinsky22, "load_pipeline", wraps=load_pipeline) as reads:
        denoiser = loaded.Models("cpu").denoiser(recipe, Conditioning(rows))
    ready = time.time()
    with torch.no_grad():
        latents = torch.zeros(1, *denoiser.latent_shape)
        denoiser.predict(latents, torch.tensor([500]), rows).sum().item()
    ended = time.time()
    facts = {"denoiser": ready - given["clock"], "first evaluation": ended - given["clock"]}
    print(json.dumps({**facts, "parent": os.getppid(), "reads": reads.call_count}))


if __name__ == "__main__":
    main()
