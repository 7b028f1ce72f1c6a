"""Reviewing a large night: `python -m benchmarks.review --pictures 10000`.

Measures, in a real browser, how soon the first row of pictures is on the screen, how many pictures
are asked for, there and after a jump to the end, and how long a hundred verdicts by keyboard take
until they are rows. Plan and objects are stored by the product, the pictures drawn by a formula.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from queue import Queue
from uuid import UUID

import numpy as np
from PIL import Image
from sqlalchemy import text

from benchmarks.browser import Tab, browser_tab
from flows.stack.standalone import standalone
from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.digest import digest
from hierdiff_core.plan import make_plan
from hierdiff_core.prompt import Prompt, content_key
from hierdiff_core.recipe import Recipe, compatibility_key
from hierdiff_core.schedule import make_schedule
from hierdiff_core.shard import make_shards
from tasks import ledger
from tasks.object_keys import picture_key
from tasks.settings import read_settings
from tasks.states import RunState
from tasks.stores import Stores, open_stores

_VERDICTS = 100
_FIRST = date(2026, 1, 1)
_WRITERS = 16
_SCENES = 24  # pictures that really differ
_KINDS = ("mug", "clock", "chair", "lamp", "umbrella", "sneaker", "vase", "backpack")
_COLOURS = ("red", "blue", "green", "yellow", "black", "white", "orange", "violet")
SEEN = "document.querySelector('#grid img.there')"
# Whether the whole first row is on the screen, as the page sees it.
_FIRST_ROW = (
    "(() => { const row = document.querySelector('#grid [role=row]');"
    " return !!row && [...row.querySelectorAll('img')].every((each) => each.complete"
    " && each.naturalWidth > 0); })()"
)
_VISIBLE = (
    "[...document.querySelectorAll('.tile')].filter((each) => { const box ="
    " each.getBoundingClientRect(); return box.bottom > 0 && box.top < innerHeight; }).length"
)
_SAVED = "document.querySelectorAll('.unsaved').length === 0 && waiting.length === 0"


@dataclass(frozen=True)
class Taken:
    """One step, and what it took."""

    step: str
    seconds: float
    note: str = ""

    def __str__(self) -> str:
        return f"{self.step:<44}{self.seconds:>8.2f} s  {self.note}"


def main() -> None:
    """Fill a night, open it, and print what each step took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=512, help="pixels of a picture")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="hierdiff-bench-") as folder,
        standalone(Path(folder), stores_only=True, announce=lambda line: None) as stack,
        open_stores(read_settings(home=stack.home)) as stores,
    ):
        began = time.perf_counter()
        fill(stores, asked.pictures, asked.side)
        print(Taken(f"night of {asked.pictures:,} stored", time.perf_counter() - began), flush=True)
        for each in _measure(stores, stack.home, Path(folder)):
            print(each, flush=True)


def fill(stores: Stores, pictures: int, side: int, day: date = _FIRST) -> UUID:
    """Store a night of a catalogue and its pictures, as if it had been made; return its run."""
    recipe = read_settings().recipe
    prompts = [_prompt(number, recipe) for number in range(1, pictures + 1)]
    night = _plan(prompts, recipe)
    with stores.session() as session:
        claimed = ledger.claim_night(session, "shop", day)
        ledger.store_prompts(session, claimed.batch, prompts, [])
        found = {each.embedding_key: ledger.StoredEmbedding(b"x") for each in night.leaves}
        ledger.store_embeddings(session, found)
        run = ledger.store_plan(session, claimed.batch, night)
        images = dict(enumerate(_store(stores, pictures, side, str(day))))
        ledger.record_images(session, run, images)
        session.execute(text("UPDATE leaves SET loss = (leaf % 97) / 80.0"))
        ledger.set_run_state(session, run, RunState.COMPLETED)
    return run


def _prompt(number: int, recipe: Recipe) -> Prompt:
    kind, colour = _KINDS[number % 8], _COLOURS[number // 8 % 8]
    words = f"a product photo of a {colour} {kind} number {number} on a wooden table"
    return Prompt(number, f"SKU-{number:05}", words, recipe)


def _plan(prompts: list[Prompt], recipe: Recipe) -> ledger.NightPlan:
    vectors = np.random.default_rng(0).normal(size=(len(prompts), 8)) + 2.0
    plan = make_plan(build_tree(vectors, linkage="average"), make_schedule(recipe.steps, tau=0.4))
    keys = [content_key(prompt) for prompt in prompts]
    return ledger.NightPlan(
        recipe=recipe,
        plan=plan,
        trees=(ledger.Tree(compatibility_key(recipe), recipe, 0, len(prompts)),),
        leaves=tuple(ledger.Leaf(key, f"e{key}") for key in keys),
        keys=tuple(digest("segment", each.id, len(prompts)) for each in plan.segments),
        shards=make_shards(plan, 4),
    )


def _store(stores: Stores, count: int, side: int, word: str) -> Iterator[ledger.StoredImage]:
    """Put pictures into the bucket; each is a file of its own."""
    scenes = [_scene(number, side) for number in range(_SCENES)]

    def put(number: int) -> ledger.StoredImage:
        body = _marked(scenes[number % _SCENES], f"{word} {number}")
        sha256 = hashlib.sha256(body).hexdigest()
        stores.bucket.put(picture_key(sha256), body)
        return ledger.StoredImage(picture_key(sha256), sha256, len(body), side, side)

    with ThreadPoolExecutor(_WRITERS) as pool:
        yield from pool.map(put, range(count))


def _scene(number: int, side: int) -> bytes:
    """Return a picture of a shape, a gradient and smooth noise.

    Noise of single pixels, which no PNG compresses, made 10,000 of them 6 GB.
    """
    y, x = np.mgrid[0:side, 0:side] / side
    generator = np.random.default_rng(number)
    hue, centre = generator.uniform(0, 255, 3), generator.uniform(0.3, 0.7, 2)
    inside = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < 0.06)[..., None]
    grain = Image.fromarray(generator.normal(0, 5, (32, 32)).astype(np.float32))
    smooth = np.asarray(grain.resize((side, side), Image.Resampling.BICUBIC))[..., None]
    pixels = np.where(inside, hue, 235 - 60 * y[..., None]) + smooth
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _marked(png: bytes, words: str) -> bytes:
    """Return a PNG with some words in it, so that it is another file of the same pixels."""
    body = b"tEXt" + b"n\0" + words.encode()
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return png[:-12] + chunk + png[-12:]


def _measure(stores: Stores, home: Path, folder: Path) -> Iterator[Taken]:
    began = time.perf_counter()
    with served(home) as link:
        yield Taken("hierdiff review, until its link is printed", time.perf_counter() - began)
        with browser_tab(folder) as tab:
            began = time.perf_counter()
            tab.open(link)
            tab.until(_FIRST_ROW)
            yield Taken("first row on the screen", time.perf_counter() - began)
            tab.until("[...document.images].every((each) => !each.src || each.complete)")
            yield Taken("all of the window", time.perf_counter() - began, _pictures(tab))
            tab.asked.clear()
            tab.press("End")
            seconds = tab.until(f"here === chosen.length - 1 && {SEEN} !== null")
            time.sleep(1)
            yield Taken("jump to the end", seconds, _pictures(tab))
            tab.press("Home")
            began = time.perf_counter()
            tab.press(*"a" * _VERDICTS)
            tab.until(_SAVED)
            yield Taken(
                f"{_VERDICTS} verdicts by keyboard", time.perf_counter() - began, _rows(stores)
            )


def _pictures(tab: Tab) -> str:
    small = sum("/small/" in each for each in tab.asked)
    return f"{small} pictures asked for, {tab.read(_VISIBLE)} in the window"


def _rows(stores: Stores) -> str:
    with stores.session() as session:
        rows = session.execute(text("SELECT count(*) FROM verdicts")).scalar_one()
    return f"{rows} rows"


@contextmanager
def served(home: Path, *arguments: str) -> Iterator[str]:
    """Run `hierdiff review` in a process of its own for the block; yields its link."""
    code = "import sys; from flows.cli import main; sys.argv[0] = 'hierdiff'; main()"
    program = [sys.executable, "-c", code, "review", *arguments]
    process = subprocess.Popen(
        program, stdout=subprocess.PIPE, text=True, env={**os.environ, "HIERDIFF_HOME": str(home)}
    )
    lines: Queue[str] = Queue()
    reader = threading.Thread(target=lambda: [*map(lines.put, process.stdout or ())], daemon=True)
    reader.start()
    try:
        while not (line := lines.get(timeout=120)).startswith("http"):
            pass
        yield line.strip()
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
