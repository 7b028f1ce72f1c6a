"""The files of deploy/: what they promise is in them, and no engine is needed to see it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.utilities.templating import apply_values

from tasks.settings import Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
API = ("1.30", "1.37")  # the oldest and the newest that the manifests are held to
POOLS = ("cpu", "gpu")
PREFECT = re.search(r"^prefect==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


def stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage of the Containerfile."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]
    found: list[list[tuple[str, str]]] = [[]]
    for line in lines:
        instruction, _, words = line.partition(" ")
        if instruction == "FROM":
            found.append([])
        found[-1].append((instruction, " ".join(words.split())))
    return found[1:]


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return read


def job(**given: object) -> dict[str, Any]:
    """Return the job that Prefect makes of the template, with its defaults and other values."""
    template = json.loads((KUBERNETES / "base-job-template.json").read_text())
    properties = template["variables"]["properties"]
    defaults = {name: each["default"] for name, each in properties.items() if "default" in each}
    run = {"name": "subtree-1", "labels": {"night": "shop"}, "env": [{"name": "A", "value": "b"}]}
    made: dict[str, Any] = apply_values(template["job_configuration"], defaults | run | given)
    manifest: dict[str, Any] = made["job_manifest"]
    return manifest


def manifests() -> Iterator[dict[str, Any]]:
    yield from yaml.safe_load_all((KUBERNETES / "hierdiff.yaml").read_text())
    yield job()
    yield job(gpus=0, node_selector={"pool": "night"}, tolerations=[])


def pods(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    spec = manifest.get("spec", {})
    template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
    if template is not None:
        yield template["spec"]


def test_an_image_takes_the_wheel_and_its_pins_from_the_clone_and_nothing_else() -> None:
    build, final = stages()
    copied = [words for name, words in build if name == "COPY"]
    assert copied == ["constraints.txt dist/hierdiff-*.whl /src/"]
    assert [words for name, words in final if name == "COPY"] == [
        "--from=build /opt/hierdiff /opt/hierdiff"
    ]
    allowed = {line for line in (ROOT / ".containerignore").read_text().split() if line[0] == "!"}
    assert allowed == {"!constraints.txt", "!dist/hierdiff-*.whl"}


def test_an_image_installs_no_compiler_and_runs_as_nobody_by_number() -> None:
    build, final = stages()
    commands = " ".join(words for name, words in (*build, *final) if name == "RUN")
    assert not re.search(r"\b(apt|apt-get|apk|dnf|gcc|curl|wget|git)\b", commands)
    assert not any("pip" in words for name, words in final if name == "RUN")
    user = [words for name, words in final if name == "USER"]
    assert user == ["10001:10001"]
    assert final[-2:] == [("ENTRYPOINT", '["hierdiff"]'), ("CMD", '["--help"]')]


def test_a_container_of_ours_has_no_rights_and_cannot_write_to_its_root() -> None:
    services = compose()["services"]
    ours = {name: each for name, each in services.items() if "hierdiff" in str(each["image"])}
    assert set(services) - set(ours) == {"postgres", "s3"}
    for service in ours.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"] == "10001:10001"


def test_nothing_but_the_ui_can_be_reached_and_nothing_inside_reaches_the_internet() -> None:
    read = compose()
    assert read["networks"]["inside"] == {"internal": True}
    for name, service in read["services"].items():
        assert service["networks"] == (["inside", "outside"] if name == "prefect" else ["inside"])
        assert service.get("ports", []) == (["127.0.0.1:4200:4200"] if name == "prefect" else [])


def test_passwords_come_from_outside_and_stand_in_no_command() -> None:
    read = compose()
    for service in read["services"].values():
        words = str([service.get("command"), service.get("entrypoint"), service.get("healthcheck")])
        assert "PASSWORD" not in words
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|AUTH|DATABASE", name) and name.isupper():
                assert "_PASSWORD:?}" in value or value.startswith("events"), name
    given = set(re.findall(r"\$\{(\w+_PASSWORD)", (DEPLOY / "compose.yaml").read_text()))
    made = re.search(r"for name in (.*); do", (DEPLOY / "secrets.sh").read_text())
    assert made is not None
    assert given == {f"{name}_PASSWORD" for name in made[1].split()}


def test_settings_that_deployments_give_exist() -> None:
    named = {
        name
        for file in (*DEPLOY.glob("*.yaml"), *KUBERNETES.glob("*"), DEPLOY / "Containerfile")
        for name in re.findall(r"\b(HIERDIFF_[A-Z0-9_]+)\b", file.read_text())
    } - {"HIERDIFF_IMAGE", "HIERDIFF_GPU_IMAGE"}  # of the compose file itself
    known = {f"HIERDIFF_{name.upper()}" for name in Settings.model_fields}
    assert named
    assert named <= known


@pytest.mark.parametrize("version", API)
def test_manifests_follow_the_schemas_of_the_api(version: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="pip install 'hierdiff[dev]'")
    for manifest in manifests():
        assert schemas.validate(manifest, version, strict=True)


def test_a_manifest_with_a_misspelt_field_does_not_follow_them() -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="pip install 'hierdiff[dev]'")
    manifest = job()
    manifest["spec"]["backofLimit"] = manifest["spec"].pop("backoffLimit")
    with pytest.raises(schemas.ValidationError):
        schemas.validate(manifest, API[-1], strict=True)


def test_prefect_takes_the_template_and_leaves_no_place_of_it_unfilled() -> None:
    template = json.loads((KUBERNETES / "base-job-template.json").read_text())
    WorkPoolCreate(name="gpu", type="kubernetes", base_job_template=template)
    assert "{{" not in json.dumps(job())
    assert job()["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] == {
        "memory": "32Gi",
        "nvidia.com/gpu": 1,
    }


def test_a_flow_run_in_a_cluster_is_rescheduled_by_prefect_alone_and_has_time_to_end() -> None:
    spec = job()["spec"]
    # With it Prefect reschedules on SIGTERM; a second pod of the job would run beside that one.
    assert spec["backoffLimit"] == 0
    assert {rule["action"] for rule in spec["podFailurePolicy"]["rules"]} == {"FailJob"}
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] > 30  # after which Prefect itself kills
    assert pod["containers"][0]["command"] + pod["containers"][0]["args"] == [
        "prefect",
        "flow-run",
        "execute",
    ]


def test_pods_in_a_cluster_have_no_rights() -> None:
    found = [pod for manifest in manifests() for pod in pods(manifest)]
    assert len(found) == 4
    for pod in found:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            locked = container["securityContext"]
            assert locked["readOnlyRootFilesystem"] is True
            assert locked["allowPrivilegeEscalation"] is False
            assert locked["capabilities"] == {"drop": ["ALL"]}


def test_servers_and_workers_of_prefect_have_the_version_of_flow_runs() -> None:
    assert PREFECT is not None
    values = [yaml.safe_load(file.read_text()) for file in sorted(KUBERNETES.glob("*.values.yaml"))]
    server, *workers = values
    assert server["global"]["prefect"]["image"]["prefectTag"].startswith(f"{PREFECT[1]}-")
    assert server["server"]["basicAuth"]["enabled"] is True
    assert [each["worker"]["config"]["workPool"] for each in workers] == list(POOLS)
    for each in workers:
        assert each["worker"]["image"]["prefectTag"].startswith(f"{PREFECT[1]}-")
        assert each["worker"]["selfHostedServerApiConfig"]["basicAuth"]["enabled"] is True
