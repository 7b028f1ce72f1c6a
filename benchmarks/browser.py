"""A headless Chromium that is driven as a person does: by keys, and by what the page then shows."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import connect
from websockets.sync.connection import Connection

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
_PATIENCE = 60.0  # seconds
# Keys that type no letter: their code, and the text that they type.
_NAMED = {
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Tab": (9, ""),
    "End": (35, ""),
    "Home": (36, ""),
}
_NAMED |= {f"Arrow{way}": (37 + at, "") for at, way in enumerate(("Left", "Up", "Right", "Down"))}


@dataclass
class Tab:
    """One page, over the browser's own protocol."""

    socket: Connection
    asked: list[str] = field(default_factory=list)  # addresses that the page has asked for
    faults: list[str] = field(default_factory=list)  # errors of its scripts and its policy
    _last: int = 0

    def call(self, method: str, **given: object) -> dict[str, Any]:
        """Send one command and return its answer."""
        self._last += 1
        self.socket.send(json.dumps({"id": self._last, "method": method, "params": given}))
        while True:
            message = json.loads(self.socket.recv(timeout=_PATIENCE))
            if message.get("id") == self._last:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return dict(message["result"])
            self._note(message)

    def open(self, address: str) -> None:
        """Go to an address."""
        self.call("Page.navigate", url=address)

    def reload(self) -> None:
        """Load the page again; returns once the old one is gone."""
        self.read("window.old = true")
        self.call("Page.reload")
        self.until("!window.old")

    def read(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"])[:500])
        return found["result"].get("value")

    def until(self, script: str) -> float:
        """Wait until an expression holds, its names known; return the seconds that it took."""
        began = time.perf_counter()
        while not self.read(f"(() => {{ try {{ return {script} }} catch {{ return false }} }})()"):
            if time.perf_counter() - began > _PATIENCE:
                raise TimeoutError(script)
            time.sleep(0.02)
        return time.perf_counter() - began

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        for key in keys:
            code, typed = _NAMED.get(key, (ord(key.upper()[0]), key))
            facts = {"key": key, "windowsVirtualKeyCode": code}
            down = {"type": "keyDown", "text": typed} if typed else {"type": "rawKeyDown"}
            self.call("Input.dispatchKeyEvent", **down, **facts)
            self.call("Input.dispatchKeyEvent", type="keyUp", **facts)

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Give the window another size, and light or dark colours."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def see(self) -> bytes:
        """Return what the window shows, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _note(self, message: dict[str, Any]) -> None:
        given = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.asked.append(given["request"]["url"])
        if message.get("method") == "Runtime.exceptionThrown":
            self.faults.append(json.dumps(given["exceptionDetails"])[:500])
        if message.get("method") == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.faults.append(given["entry"]["text"])


@contextmanager
def browser_tab(folder: Path, size: tuple[int, int] = (1280, 800)) -> Iterator[Tab]:
    """Yield an empty page of a browser with a profile of its own, which ends with the block."""
    if PROGRAM is None:
        raise FileNotFoundError("needs apt-get install chromium")
    profile = folder / "profile"
    options = ["--headless", "--disable-gpu", "--no-proxy-server", "--remote-debugging-port=0"]
    options += [f"--user-data-dir={profile}", "--no-first-run", "--hide-scrollbars"]
    options += ["--no-sandbox"] if os.geteuid() == 0 else []
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([PROGRAM, *options, "about:blank"], **silent, cwd=folder)  # type: ignore[call-overload]
    try:
        with connect(_address(profile), max_size=None) as socket:
            tab = Tab(socket)
            for domain in ("Page", "Runtime", "Network", "Log"):
                tab.call(f"{domain}.enable")
            # Or its page would count as one in the background, where nothing has the focus.
            tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
            tab.resize(*size)
            yield tab
    finally:
        process.terminate()
        process.wait()


def _address(profile: Path) -> str:
    """Return the address of the browser's first page, once it has one."""
    file, end = profile / "DevToolsActivePort", time.monotonic() + _PATIENCE
    while not (file.exists() and file.read_text().strip()):
        if time.monotonic() > end:
            raise TimeoutError("the browser does not start")
        time.sleep(0.05)
    port = int(file.read_text().split()[0])
    with urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
        pages = json.loads(answer.read())
    return next(str(each["webSocketDebuggerUrl"]) for each in pages if each["type"] == "page")
