"""A report is opened in a real browser, from its address and from disk, and so are its pictures."""

from __future__ import annotations

import html
import io
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tasks.ledger import load_images
from tasks.object_keys import report_key
from tasks.report.gather import gather_report
from tasks.report.links import relative_link
from tasks.report.page import render_report
from tasks.report.publish import publish, report_url
from tasks.settings import Settings
from tests.tasks.night_kit import SmallNight, published

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="needs apt-get install chromium"),
]

Pixels = npt.NDArray[np.uint8]
WINDOW = (600, 400)  # pixels


@dataclass(frozen=True)
class Browser:
    """A headless Chromium with a profile of its own."""

    folder: Path

    def read(self, address: str) -> str:
        """Return a page as it stands after its scripts have run."""
        return self._run("--dump-dom", address)

    def see(self, address: str) -> Pixels:
        """Return what the window shows."""
        file = self.folder / "seen.png"
        file.unlink(missing_ok=True)
        self._run(f"--screenshot={file}", address)
        with Image.open(file) as image:
            return np.array(image.convert("RGB"))

    def _run(self, action: str, address: str) -> str:
        size = f"--window-size={WINDOW[0]},{WINDOW[1]}"
        profile = f"--user-data-dir={self.folder / 'profile'}"
        options = ["--headless", "--disable-gpu", "--hide-scrollbars", "--no-proxy-server", size]
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        command = [str(PROGRAM), *options, *sandbox, profile, "--timeout=20000", action, address]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=True, cwd=self.folder
        )
        return done.stdout


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(tmp_path)


@pytest.fixture
def made(settings: Settings, tmp_path: Path) -> Iterator[SmallNight]:
    with published(settings, tmp_path) as night:
        yield night


@contextmanager
def from_its_signed_address(night: SmallNight, folder: Path) -> Iterator[str]:
    yield report_url(night.stores, night.settings, report_key(night.run))


@contextmanager
def from_a_disk(night: SmallNight, folder: Path) -> Iterator[str]:
    page = folder / "report.html"
    page.write_text(render_report(gather_report(night.stores, night.settings, night.run)))
    yield page.as_uri()


@contextmanager
def beside_its_pictures(night: SmallNight, folder: Path) -> Iterator[str]:
    copy(night, folder)
    page = folder / report_key(night.run)
    data = gather_report(night.stores, night.settings, night.run, relative_link)
    page.write_text(render_report(data))
    yield page.as_uri()


@contextmanager
def below_a_public_address(night: SmallNight, folder: Path) -> Iterator[str]:
    with served(folder / "public") as address:
        public = night.settings.model_copy(update={"public_url": address})
        publish(night.stores, public, night.run)
        copy(night, folder / "public")
        link = report_url(night.stores, public, report_key(night.run))
        assert link == f"{address}/{report_key(night.run)}"
        yield link


def test_a_report_shows_its_pictures_and_opens_each_wherever_it_is_read(
    made: SmallNight, browser: Browser, tmp_path: Path
) -> None:
    places = (
        from_its_signed_address,
        from_a_disk,
        beside_its_pictures,
        below_a_public_address,
    )
    for place in places:
        with place(made, tmp_path) as address:
            assert_opens(made, browser, address)


def test_after_a_week_a_report_shows_its_small_pictures_still(
    made: SmallNight, browser: Browser, tmp_path: Path
) -> None:
    """The links of a report on a disk end; what lies in it does not."""
    data = gather_report(
        made.stores,
        made.settings,
        made.run,
        lambda key, name: made.stores.bucket.presigned_url(key, 1),
    )
    page = tmp_path / "report.html"
    page.write_text(render_report(data))
    threading.Event().wait(2)
    found = browser.read(page.as_uri())
    assert len(re.findall(r'<img[^>]+src="data:image/webp', found)) >= 2
    wanted = pictures(made)
    for link in links(found):
        seen = browser.see(link)
        assert not any(shows(seen, each) for each in wanted)


def assert_opens(night: SmallNight, browser: Browser, address: str) -> None:
    """The report shows its pictures, and each of them opens as itself."""
    page = browser.read(address)
    assert "red-mug" in page
    found, left = links(page, address), pictures(night)
    assert len(found) == len(left) == 2
    for link in found:
        seen = browser.see(link)
        (shown,) = [number for number, each in enumerate(left) if shows(seen, each)]
        del left[shown]


def links(page: str, address: str = "") -> list[str]:
    """Return where a page's pictures are opened."""
    found = [html.unescape(each) for each in re.findall(r'class="picture" href="([^"]+)"', page)]
    return [str(each) if ":" in each else f"{address.rsplit('/', 1)[0]}/{each}" for each in found]


def pictures(night: SmallNight) -> list[Pixels]:
    """Return the night's pictures."""
    with night.stores.session() as session:
        images = load_images(session, night.run)
    bodies = [night.stores.bucket.get(each.key, each.sha256) for each in images.values()]
    opened = [Image.open(io.BytesIO(body)).convert("RGB") for body in bodies]
    return [np.asarray(each) for each in opened]


def shows(seen: Pixels, picture: Pixels) -> bool:
    """Return whether a window shows a picture in its middle, in its own size."""
    height, width = picture.shape[:2]
    top, left = (seen.shape[0] - height) // 2, (seen.shape[1] - width) // 2
    # By a pixel beside where halves are rounded.
    for up in (0, 1):
        for aside in (0, 1):
            part = seen[top + up : top + up + height, left + aside : left + aside + width]
            if np.array_equal(part, picture):
                return True
    return False


def copy(night: SmallNight, folder: Path) -> None:
    """Write the bucket's objects below a folder."""
    for key in night.stores.bucket.list():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(night.stores.bucket.get(key))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder to everybody for the block, as a public bucket is; yields its address."""
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
