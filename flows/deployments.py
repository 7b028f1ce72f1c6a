"""What this package needs on a Prefect server: pools, deployments and two automations.

They are registered the same way on the embedded server and on any other; `prefect.yaml` defines the
deployments. Flows are named by module, so a worker finds them wherever the package is installed,
from whatever folder it was started.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

from flows.automations import register_automations
from flows.errors import MissingDeployments, ServiceFailed
from flows.schedules import set_form_defaults
from flows.text_pool import NIGHTS, move_text_side
from tasks.night_settings import NightSettings

POOLS = {
    "cpu": "Parent runs: each plans a night and has all its subtrees run.",
    "gpu": "Subtrees: one worker per GPU, one run at a time.",
}
TEXT = "Embedding: prompts are read here, where only text sides are loaded."


def prefect_file() -> Path:
    """The prefect.yaml of this clone or installation; raises MissingDeployments."""
    folders = [Path(__file__).parents[1], Path(sys.prefix) / "share" / "hierdiff"]
    for folder in folders:
        if (folder / "prefect.yaml").is_file():
            return folder / "prefect.yaml"
    raise MissingDeployments(folders=" or ".join(str(folder) for folder in folders))


def register_pools(text_pool: str = NIGHTS) -> None:
    """Create the process pools where they do not exist; other types of pool are left alone.

    The server is the one of Prefect's own settings, here as everywhere: address, credentials, TLS.
    """
    # With its template from the start: workers that find none all write it in the same moment,
    # and the server's SQLite then refuses one of them.
    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        for name, description in ({text_pool: TEXT} | POOLS).items():
            pool = WorkPoolCreate(
                name=name, type="process", description=description, base_job_template=template
            )
            try:
                client.create_work_pool(pool)
            except ObjectAlreadyExists:
                continue
        register_automations(client)


def register_deployments(
    environment: dict[str, str],
    log: Path,
    settings: NightSettings,
    file: Path | None = None,
    text_pool: str = NIGHTS,
) -> None:
    """Run `prefect deploy --all` on prefect.yaml against the server named in `environment`.

    A process of its own, because deploying imports the flows and all they need. Its output goes to
    `log`; raises ServiceFailed with that log's name. The form of a new night then starts from
    `settings`, and prompts are embedded in `text_pool`.
    """
    file = file or prefect_file()
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    with log.open("ab") as output:
        done = subprocess.run(
            [*command, "--prefect-file", str(file)],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=file.parent,
            check=False,
        )
    if done.returncode:
        reason = f"could not be registered (prefect ended with code {done.returncode})"
        raise ServiceFailed(service="deployments", reason=reason, log=log)
    if file == prefect_file():
        with get_client(sync_client=True) as client:
            set_form_defaults(client, settings)
            move_text_side(client, text_pool)
