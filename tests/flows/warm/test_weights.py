"""Weights that are held: forked runs share them, and make the same bits as one that reads them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# What each process says: its threads, torch's, whether it read weights, and what it predicted.
SCRIPT = """
import hashlib, json, os, sys, threading
import torch
from hierdiff_core.models.loaded import Models
from hierdiff_core.models.recipes import pin_recipe
from hierdiff_core.models import kandinsky22
from hierdiff_core.embedding import Conditioning
from tasks.settings import Settings
from flows.warm.weights import hold_weights

recipe, reads = pin_recipe(Settings().recipe), []
load = kandinsky22.load_pipeline
kandinsky22.load_pipeline = lambda *given: reads.append(1) or load(*given)

def run(place):
    if os.fork():
        return os.wait()
    negative = Conditioning({"image_embeds": torch.ones(1, WIDTH)})
    denoiser = Models("cpu").denoiser(recipe, negative)
    latents = torch.linspace(-2, 2, 4096).reshape(-1, *denoiser.latent_shape)[:2]
    rows = {"image_embeds": torch.linspace(-1, 1, 2 * WIDTH).reshape(2, WIDTH)}
    with torch.no_grad():
        made = denoiser.predict(latents, torch.full((len(latents),), 500), rows)
    bits = hashlib.sha256(made.numpy().tobytes()).hexdigest()
    print(json.dumps([place, torch.get_num_threads(), len(reads), bits]), flush=True)
    os._exit(0)

WIDTH = kandinsky22.read_number(recipe.model, "unet", "encoder_hid_dim")
run("by itself")
hold_weights(recipe.to_json(), sys.argv[1])
tasks = [f"/proc/self/task/{each}/comm" for each in os.listdir("/proc/self/task")]
names = [open(each).read().strip() for each in tasks]
print(json.dumps([str(threading.enumerate()), *names]), flush=True)
reads.clear()
run("held")
run("held")
"""


def test_runs_that_share_held_weights_make_the_bits_of_one_that_reads_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "digests.json")],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    alone, threads, *held = map(json.loads, done.stdout.splitlines())
    assert len(threads) == 2, (
        threads
    )  # one of Python's and of the system; or the fork would break what they are at
    _, count, reads, bits = alone
    assert reads == 1
    assert held == [["held", count, 0, bits]] * 2
