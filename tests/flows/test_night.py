"""A night on the whole stack: deployments on a real Prefect server, workers, Postgres, S3.

One stack serves the tests of this file; each has a catalogue of its own.
"""

from __future__ import annotations

import html
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from click.testing import CliRunner
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowFilter,
    FlowFilterName,
)
from prefect.client.schemas.objects import Artifact, FlowRun
from prefect.states import Scheduled

from flows.children import child_key, find_child
from flows.cli import cli, exit_code
from flows.stack.standalone import Stack
from flows.starts import NightStart, read_deployment, start_night
from flows.text_pool import move_text_side
from tasks.errors import NightDiffers
from tasks.lease import CRASHES
from tasks.ledger import (
    RunSummary,
    count_start,
    list_runs,
    load_pairs,
    note_flow_run,
    release_lease,
    set_run_state,
    summarise,
    take_lease,
)
from tasks.object_keys import manifest_key
from tasks.settings import read_settings
from tasks.states import RunState, SubtreeState
from tasks.stores import Stores, open_stores
from tasks.worker.denoise import denoise_shard
from tests.flows.night_stack import night_stack
from tests.tasks.night_kit import (
    NIGHT,
    SmallNight,
    end_states,
    plan_small_night,
    start_over,
    write_catalogue,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with night_stack() as running:
        yield running


@pytest.fixture
def stores(stack: Stack) -> Iterator[Stores]:
    with open_stores(read_settings()) as opened:
        yield opened


def test_a_night_runs_from_a_file_to_a_report(stack: Stack, stores: Stores, tmp_path: Path) -> None:
    file = write_catalogue(tmp_path)
    with file.open("a") as more:
        more.write('empty,\nlong,"' + "red mug " * 200 + '"\n')
    done = run_command("run", "from a file", "--date", "2026-11-22", "--file", str(file), "--json")
    told = json.loads(done)
    assert told["state"] == "completed"
    assert told["images"] == 12
    facts = summary(stores, uuid.UUID(told["run"]))
    assert facts.evaluations_done + facts.evaluations_reused == facts.evaluations_planned
    assert [each.row for each in facts.rejected] == [14, 15]
    page = stores.bucket.get(f"reports/{facts.run}/index.html").decode()
    assert "from a file" in page
    manifest = json.loads(stores.bucket.get(manifest_key(facts.run)))
    assert len(manifest["images"]) == 12
    for image in manifest["images"]:
        assert stores.bucket.get(image["key"], image["sha256"]).startswith(b"\x89PNG")
    assert {"markdown", "progress", "table"} <= artifact_kinds(facts.flow_run_id)
    shown = json.loads(run_command("status", told["run"], "--json"))
    assert (shown["images"], shown["state"]) == (12, "completed")
    assert told["run"] in run_command("status", "--json")
    run_command("report", told["run"], "--out", str(tmp_path / "report.html"))
    written = (tmp_path / "report.html").read_text()
    assert "red-mug" in written
    for source in (page, written):  # as Prefect links it, and from disk
        links = [
            html.unescape(each) for each in re.findall(r'class="picture" href="([^"]+)"', source)
        ]
        assert len(links) == 12
        assert all(opens(link) for link in links)
    assert any(
        "from a file · 2026" in text and "| saving |" in text
        for text in artifacts(facts.flow_run_id)
    )
    report = next(text for text in artifacts(facts.flow_run_id) if "gallery and plan" in text)
    assert opens(re.findall(r"\((http[^)]+)\)", report)[0], b"<!doctype html>")
    assert "nothing is missing" in run_command("retry", told["run"])
    priced = json.loads(run_command("plan", "again", "--file", str(file), "--json"))
    assert (priced["kept"], priced["device_seconds"]) == (12, 0.0)  # every picture is there by now
    again = ("--date", "2026-11-23", "--file", str(file), "--json")
    anew = ("--remake", "red-mug", "--seed", "5")
    next_night = json.loads(run_command("run", "from a file", *again, *anew))
    assert 0 < summary(stores, uuid.UUID(next_night["run"])).evaluations_done <= 6  # its own steps
    before, after = (pictures_of(stores, each["run"]) for each in (told, next_night))
    assert {each for each in before if before[each] != after[each]} == {"red-mug"}
    exported = tmp_path / "plan.json"
    run_command("plan", "from a file", *again[:-1], *anew, "--export", str(exported))
    copied = json.loads(run_command("run", "a copy", "--plan", str(exported), "--json"))
    assert pictures_of(stores, copied["run"]) == after


def test_prompts_are_embedded_in_the_pool_that_is_set(
    stack: Stack, stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIERDIFF_SEED", "71")  # nothing is embedded already
    monkeypatch.setenv("HIERDIFF_SHARDS", "1")
    file = write_catalogue(tmp_path, [("red", "mug"), ("blue", "mug")])
    with get_client(sync_client=True) as client:
        move_text_side(client, "gpu")
    try:
        told = json.loads(run_command("run", "elsewhere", "--file", str(file), "--json"))
    finally:
        with get_client(sync_client=True) as client:
            move_text_side(client, "cpu")
    assert (told["state"], told["images"]) == ("completed", 2)
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["embed"])))
    # Where the text side is, pictures of the sample are compared, too.
    assert sorted(each.name.split()[0] for each in runs) == ["compare", "embed"]
    assert {(each.state_name, each.work_pool_name) for each in runs} == {("Completed", "gpu")}
    with stores.session() as session:
        (pair,) = load_pairs(session, uuid.UUID(told["run"])).values()
    assert pair.loss is not None


def test_a_night_that_exists_answers_only_for_the_same_request(
    stack: Stack, stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIERDIFF_SHARDS", "1")
    file = write_catalogue(tmp_path)
    arguments = ("run", "twice", "--date", "2026-11-22", "--file", str(file), "--json")
    first = json.loads(run_command(*arguments))
    again = json.loads(run_command(*arguments))
    assert first == again
    assert summary(stores, uuid.UUID(first["run"])).subtrees[1].attempts <= 1
    monkeypatch.setenv("HIERDIFF_SAVING", "0.6")
    with pytest.raises(NightDiffers, match=r"saving was 0\.4, now 0\.6"):
        run_command(*arguments)
    monkeypatch.setenv("HIERDIFF_SAVING", "0.4")
    file.write_text(file.read_text().replace("red mug", "pink mug"))
    with pytest.raises(NightDiffers, match="1 rows are new or changed, 1 are gone"):
        run_command(*arguments)
    # The worker's own source has the corrected rows, too: a scheduled start is no silent success.
    scheduled = start_night(stack.api_url, asked("twice", source_file=file))
    refused = ended(scheduled)
    assert refused.state_name == "Failed"
    assert "1 rows are new or changed" in (refused.state.message or "") if refused.state else False
    assert summary(stores, uuid.UUID(first["run"])).state is RunState.COMPLETED
    anew = json.loads(run_command(*arguments, "--replace"))
    assert anew["run"] != first["run"]
    replaced = summary(stores, uuid.UUID(anew["run"]))
    assert (replaced.images, replaced.state) == (12, RunState.COMPLETED)
    assert summary(stores, uuid.UUID(first["run"])).state is RunState.REPLACED
    same = ended(start_night(stack.api_url, asked("twice", replaced=1, source_file=file)))
    assert same.state_name == "Completed"
    assert anew["run"] in (same.state.message or "") if same.state else False


def test_a_retry_of_a_failed_subtree_alone_makes_the_night_whole_and_evaluates_only_its_segments(
    stack: Stack, stores: Stores, tmp_path: Path
) -> None:
    night = planned(
        stores, tmp_path, "one subtree fails", words=("silver", "golden", "brown"), seed=1
    )
    with stores.session() as session:
        lease = take_lease(session, night.run, 2, "somebody else", 3600)
    parent = start_night(stack.api_url, asked("one subtree fails", seed=1))
    assert ended(parent).state_name == "Failed"
    failed, held = summary(stores, night.run), child(night, 2)
    assert failed.state is RunState.FAILED
    assert failed.subtrees[1].state is SubtreeState.COMPLETED
    assert failed.subtrees[2].evaluations_done == 0
    assert held.state_name == "Failed"
    assert "somebody else" in (held.state.message or "") if held.state else False
    with stores.session() as session:
        release_lease(session, lease, SubtreeState.WAITING)
    retry_as_the_ui_does(stack, held.id)  # of the subtree alone
    wait_until(lambda: summary(stores, night.run).state is RunState.COMPLETED)
    assert ended(parent).state_name == "Completed"
    healed = summary(stores, night.run)
    assert healed.state is RunState.COMPLETED
    assert healed.images == healed.images_expected
    assert healed.subtrees[2].evaluations_done == healed.subtrees[2].evaluations_planned
    for before, after in zip(failed.subtrees[:2], healed.subtrees[:2], strict=True):
        assert (before.evaluations_done, before.attempts) == (
            after.evaluations_done,
            after.attempts,
        )


def test_a_row_that_fails_by_itself_costs_its_own_picture_and_is_named_on_every_page(
    stack: Stack, stores: Stores, tmp_path: Path
) -> None:
    file = tmp_path / "one_bad_row.csv"
    rows = [f"{colour}-mug,,a {colour} mug" for colour in ("red", "blue", "green", "pink")]
    # A guidance that a float holds and no latents survive.
    file.write_text(
        "\n".join(["reference,guidance,prompt", *rows, "broken,1e39,a grey mug"]) + "\n"
    )
    night = ended(start_night(stack.api_url, asked("one bad row", source_file=file)))
    assert night.state_name == "Failed"
    assert "1 of them set aside: row 6 (broken)" in (night.state.message if night.state else "")
    with stores.session() as session:
        (run,) = [each.run for each in list_runs(session) if each.catalogue == "one bad row"]
    facts = summary(stores, run)
    assert (facts.images, facts.images_missing, facts.state) == (4, 1, RunState.FAILED)
    (aside,) = facts.set_aside
    assert str(aside) == "row 6 (broken): its latents are not finite numbers"
    assert facts.subtrees[aside.shard].state is SubtreeState.INCOMPLETE
    with get_client(sync_client=True) as client:
        subtree = find_child(client, child_key(str(run), aside.shard))
    assert subtree is not None
    assert "row 6 (broken)" in (subtree.state.message if subtree.state else "")
    assert "table" in artifact_kinds(str(subtree.id))
    assert f"set aside after 1 attempts: {aside}" in run_command("status", str(run))
    manifest = json.loads(stores.bucket.get(manifest_key(run)))
    assert [each["reference"] for each in manifest["set_aside"]] == ["broken"]
    assert "broken" in stores.bucket.get(f"reports/{run}/index.html").decode()


def test_a_night_that_is_cancelled_in_the_ui_is_cancelled_in_the_ledger_too(
    stack: Stack, stores: Stores, tmp_path: Path
) -> None:
    night = planned(stores, tmp_path, "cancelled", words=("teal", "amber", "mauve"), seed=2)
    parent = start_night(stack.api_url, asked("cancelled", seed=2))
    wait_until(lambda: summary(stores, night.run).segments_done > 0)
    set_state(stack, parent, {"type": "CANCELLING", "name": "Cancelling"})
    assert ended(parent).state_name == "Cancelled"
    wait_until(lambda: summary(stores, night.run).state is RunState.CANCELLED, patience=30)
    wait_until(lambda: all(not each.lease_owner for each in summary(stores, night.run).subtrees))
    assert summary(stores, night.run).images < 12


def test_a_worker_killed_in_the_middle_of_a_night_is_started_again_and_the_night_ends_the_same(
    stack: Stack, stores: Stores, tmp_path: Path
) -> None:
    night = planned(stores, tmp_path, "killed", words=("violet", "scarlet", "ivory"), seed=3)
    parent = start_night(stack.api_url, asked("killed", seed=3))
    worker = stack.services["worker-gpu"]
    wait_until(lambda: summary(stores, night.run).segments_done > 0)
    worker.kill()
    assert summary(stores, night.run).images < 12
    worker.start()
    assert ended(parent, patience=400).state_name == "Completed"
    facts = summary(stores, night.run)
    assert facts.images == facts.images_expected
    disturbed = end_states(stores, night.run)
    with undisturbed(night) as reference:
        assert disturbed == reference


def test_a_worker_that_is_asked_to_stop_gives_its_work_back_and_no_evaluation_is_lost(
    stack: Stack, stores: Stores, tmp_path: Path
) -> None:
    night = planned(stores, tmp_path, "stopped", words=("navy", "olive", "coral"), seed=5)
    parent = start_night(stack.api_url, asked("stopped", seed=5))
    worker = stack.services["worker-gpu"]
    wait_until(lambda: summary(stores, night.run).segments_done > 0)
    process = psutil.Process(worker.pid)
    process.terminate()
    assert process.wait(60) == 0
    facts = summary(stores, night.run)
    assert facts.images < facts.images_expected
    assert not any(each.lease_owner for each in facts.subtrees)
    worker.start()
    assert ended(parent).state_name == "Completed"
    facts = summary(stores, night.run)
    assert facts.evaluations_done == facts.evaluations_planned
    assert not {"Crashed", "Failed"} & {name for each in (1, 2) for name in states(night, each)}
    stopped = end_states(stores, night.run)
    with undisturbed(night) as reference:
        assert stopped == reference


def test_a_night_that_is_cancelled_or_deleted_in_its_queue_has_ended_in_the_ledger_too(
    stack: Stack, stores: Stores, tmp_path: Path
) -> None:
    night = planned(stores, tmp_path, "in its queue", words=("lilac",), seed=4)
    for end, state in ((cancel_as_the_ui_does, "cancelled"), (delete, "failed")):
        waiting = queued_for_later(stack, asked("in its queue", seed=4))
        with stores.session() as session:  # as where its process died, and it was queued again
            set_run_state(session, night.run, RunState.RUNNING)
            note_flow_run(session, night.run, str(waiting))
        assert status_of(night) == "running"
        end(stack, waiting)
        assert status_of(night) == state


def test_a_flow_run_whose_processes_die_before_they_take_up_its_work_is_given_up(
    stack: Stack, stores: Stores
) -> None:
    dying = 'python -c "import os; os.kill(os.getpid(), 9)"'
    started = create_flow_run(stack, asked("dies"), job_variables={"command": dying})
    with stores.session() as session:
        for _ in range(CRASHES - 1):
            count_start(session, str(started))
    failed = ended(started).state  # after one more, which the automation queues again
    assert failed is not None
    assert failed.name == "Failed"
    assert "5 processes of this flow run died in a row" in (failed.message or "")


def queued_for_later(stack: Stack, start: NightStart) -> uuid.UUID:
    later = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(hours=1))
    return create_flow_run(stack, start, state=later)


def create_flow_run(stack: Stack, start: NightStart, **given: object) -> uuid.UUID:
    with get_client(sync_client=True) as client:
        deployment = read_deployment(client, stack.api_url)
        made = client.create_flow_run_from_deployment(
            deployment.id, parameters=start.parameters, **given
        )
    return made.id


def cancel_as_the_ui_does(stack: Stack, flow_run: uuid.UUID) -> None:
    state = {"type": "CANCELLING", "name": "Cancelling"}
    send(stack, "POST", f"{flow_run}/set_state", {"state": state})


def delete(stack: Stack, flow_run: uuid.UUID) -> None:
    send(stack, "DELETE", str(flow_run))


def status_of(night: SmallNight) -> str:
    return str(json.loads(run_command("status", str(night.run), "--json"))["state"])


def asked(catalogue: str, replaced: int = 0, **changed: object) -> NightStart:
    """Return the request for a night as this environment has it."""
    return NightStart(catalogue, NIGHT, read_settings(**changed).night, replaced)


def run_command(*arguments: str) -> str:
    """Return what a command prints, having ended well."""
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False)
    assert exit_code(lambda: result.return_value) == 0, result.output
    return result.stdout


def planned(
    stores: Stores, folder: Path, catalogue: str, words: tuple[str, ...], **changed: object
) -> SmallNight:
    """Plan a night whose prompts and seed no other test has, so that it stands on no other's."""
    prompts = [(colour, product) for colour in words for product in ("mug", "clock", "lamp")]
    settings = read_settings(**changed)
    return plan_small_night(stores, settings, write_catalogue(folder, prompts), NIGHT, catalogue)


@contextmanager
def undisturbed(night: SmallNight) -> Iterator[dict[str, str]]:
    """Run the plan's segments anew, in this process and in peace."""
    start_over(night)
    for shard in range(3):
        denoise_shard(night.stores, read_settings(), night.run, shard, owner="peace")
    yield end_states(night.stores, night.run)


def child(night: SmallNight, shard: int) -> FlowRun:
    with get_client(sync_client=True) as client:
        found = find_child(client, child_key(str(night.run), shard))
    assert found is not None
    return found


def states(night: SmallNight, shard: int) -> list[str]:
    """Return the names of all states that a child has had."""
    with get_client(sync_client=True) as client:
        return [str(each.name) for each in client.read_flow_run_states(child(night, shard).id)]


def ended(flow_run: uuid.UUID, patience: float = 240) -> FlowRun:
    """Wait until a flow run has ended for good; a crash does not count."""
    last: list[FlowRun] = []

    def final() -> bool:
        with get_client(sync_client=True) as client:
            last[:] = [client.read_flow_run(flow_run)]
        return last[0].state_name in ("Completed", "Failed", "Cancelled")

    wait_until(final, patience)
    return last[0]


def retry_as_the_ui_does(stack: Stack, flow_run: uuid.UUID) -> None:
    """Send what the UI's Retry button sends."""
    state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
    set_state(stack, flow_run, state)


def set_state(stack: Stack, flow_run: uuid.UUID, state: dict[str, str]) -> None:
    send(stack, "POST", f"{flow_run}/set_state", {"state": state, "force": True})


def send(stack: Stack, method: str, path: str, body: object = None) -> None:
    """Send what the UI sends of a flow run, with the password that was typed there."""
    account, address = stack.password.split(":"), f"{stack.api_url}/flow_runs/{path}"
    for _ in range(10):
        answer = httpx.request(
            method, address, json=body, auth=httpx.BasicAuth(*account), trust_env=False
        )
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:  # its database was busy
            break
        time.sleep(1)
    answer.raise_for_status()


def artifact_kinds(flow_run_id: str | None) -> set[str | None]:
    return {each.type for each in read_artifacts(flow_run_id)}


def artifacts(flow_run_id: str | None) -> list[str]:
    return [str(each.data) for each in read_artifacts(flow_run_id)]


def read_artifacts(flow_run_id: str | None) -> list[Artifact]:
    assert flow_run_id is not None
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[uuid.UUID(flow_run_id)]))
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=wanted)


def opens(link: str, start: bytes = b"\x89PNG") -> bool:
    """Return whether anyone gets an object that starts so from a link."""
    return (
        httpx.get(link, trust_env=False)
        .raise_for_status()
        .content.lower()
        .startswith(start.lower())
    )


def pictures_of(stores: Stores, run: str) -> dict[str, str]:
    manifest = json.loads(stores.bucket.get(manifest_key(uuid.UUID(run))))
    return {image["reference"]: image["sha256"] for image in manifest["images"]}


def summary(stores: Stores, run: uuid.UUID) -> RunSummary:
    with stores.session() as session:
        return summarise(session, run)


def wait_until(true: Callable[[], bool], patience: float = 240) -> None:
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.2)
