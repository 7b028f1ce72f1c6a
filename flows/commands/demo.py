"""The command `demo`: the whole stack, a shop's database, one night, its report.

All figures that it prints at the end are read back from PostgreSQL and S3.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click
from PIL import Image

from flows.commands.watch import watch
from flows.stack.orchestrator import connected
from flows.stack.standalone import Stack, standalone
from flows.starts import NightStart, start_night
from tasks.business_date import date_in_zone
from tasks.ledger import find_run, load_images, load_plan, summarise
from tasks.object_keys import report_key
from tasks.report.gather import gather_report
from tasks.report.links import relative_link
from tasks.report.page import render_report
from tasks.settings import Settings, read_settings
from tasks.stores import Stores, open_stores

CATALOGUE = "demo"
QUERY = "SELECT sku AS reference, title AS prompt FROM products ORDER BY sku"

# The demo's own defaults; the environment overrides them.
_DEFAULTS = {
    "HIERDIFF_STEPS": "20",
    "HIERDIFF_SHARDS": "3",
    "HIERDIFF_SOURCE_QUERY": QUERY,
}
# A shop's usual catalogue: some products, each in its place, in many colours and patterns.
_PRODUCTS = (
    ("bottle", "on a wooden table"),
    ("clock", "on a marble counter"),
    ("shirt", "on a white studio backdrop"),
    ("umbrella", "on a sandy beach"),
    ("chair", "in a green meadow"),
    ("sneaker", "on a wooden table"),
)
_LOOKS = (
    ("red", "plain"),
    ("red", "striped"),
    ("yellow", "plain"),
    ("blue", "plain"),
    ("blue", "striped"),
    ("green", "checked"),
    ("purple", "plain"),
    ("pink", "plain"),
)


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="folder for the report and the pictures",
)
@click.option("--keep", is_flag=True, help="leave the stack running until Ctrl-C")
def demo(out: Path, keep: bool) -> int:
    """Run one night of a sample shop on this machine, with all the services of a real night."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    with _defaults(out / "shop.db"):
        home = read_settings().home / "demo"
        open_shop(out / "shop.db")
        click.echo(f"starting PostgreSQL, S3, Prefect and two workers in {home}")
        with standalone(home, gpus=0, fresh=True) as stack:
            return _night(stack, out, started, keep)


def open_shop(file: Path) -> int:
    """Write the sample shop's database anew; return how many products it has."""
    file.unlink(missing_ok=True)
    rows = [
        (f"{product}-{colour}-{pattern}", f"a product photo of a {colour} {pattern} {product} {at}")
        for product, at in _PRODUCTS
        for colour, pattern in _LOOKS
    ]
    with closing(sqlite3.connect(file)) as shop, shop:
        shop.execute("CREATE TABLE products (sku TEXT PRIMARY KEY, title TEXT NOT NULL)")
        shop.executemany("INSERT INTO products VALUES (?, ?)", rows)
    return len(rows)


@contextmanager
def _defaults(shop: Path) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.setdefault("HIERDIFF_SOURCE_URL", f"sqlite:///{shop.resolve()}")
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _night(stack: Stack, out: Path, started: float, keep: bool) -> int:
    click.echo(f"watch it in the Prefect UI: {stack.ui_url} (password {stack.password})")
    with connected(stack.addresses):
        settings = read_settings()
        start = NightStart(CATALOGUE, date_in_zone(settings.timezone), settings.night)
        with open_stores(settings) as stores:
            flow_run = start_night(stack.api_url, start)
            code = watch(stores, flow_run, settings.patience_seconds)
            if code == 0:
                _leave_files(stores, settings, out, time.monotonic() - started)
        if keep:
            click.echo(f"the stack keeps running at {stack.ui_url}; stop it with Ctrl-C")
            threading.Event().wait()
    return code


def _leave_files(stores: Stores, settings: Settings, out: Path, seconds: float) -> None:
    """Copy report and pictures out of the bucket and write run.json from the database."""
    with stores.session() as session:
        run = find_run(session)
        facts, plan = summarise(session, run), load_plan(session, run).plan
        images = load_images(session, run)
    bodies = {leaf: stores.bucket.get(each.key, each.sha256) for leaf, each in images.items()}
    for leaf, body in bodies.items():
        _write(out / images[leaf].key, body)
    report = out / report_key(run)
    page = render_report(gather_report(stores, settings, run, relative_link))
    _write(report, page.encode())
    gallery = out / "gallery.png"
    _write(gallery, contact_sheet([bodies[leaf] for leaf in plan.order]))
    figures = {
        "run": str(run),
        "prompts": facts.prompts,
        "images": facts.images,
        "evaluations": facts.evaluations_done + facts.evaluations_reused,
        "evaluations_standard": facts.evaluations_standard,
        "saving": 1
        - (facts.evaluations_done + facts.evaluations_reused) / facts.evaluations_standard,
        "seconds": round(seconds, 1),
        "gallery": str(gallery),
        "report": str(report),
    }
    _write(out / "run.json", (json.dumps(figures, indent=2) + "\n").encode())
    click.echo(f"gallery  {gallery}\nreport   {report}\nfigures  {out / 'run.json'}")


def contact_sheet(bodies: list[bytes], side: int = 128, gap: int = 6) -> bytes:
    """Return the pictures side by side in one PNG, in the order given."""
    columns = max(1, min(len(bodies), round((len(bodies) * 1.5) ** 0.5)))
    rows = -(-len(bodies) // columns)
    step = side + gap
    sheet = Image.new("RGB", (columns * step + gap, rows * step + gap), "white")
    for place, body in enumerate(bodies):
        with Image.open(io.BytesIO(body)) as picture:
            tile = picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(tile, (gap + place % columns * step, gap + place // columns * step))
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def _write(file: Path, body: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(body)
