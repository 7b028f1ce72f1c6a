"""Settings come from the environment, a bad one is named, and a secret is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from hierdiff_core.errors import InvalidSetting
from tasks.errors import UnknownSetting
from tasks.machine_settings import MachineSettings
from tasks.night_settings import NightSettings
from tasks.settings import STACK_FILE, Settings, overruled, read_settings


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_any_environment_every_setting_has_a_default() -> None:
    settings = read_settings()
    assert settings.database_url is None
    assert settings.steps is None
    assert (settings.recipe.steps, settings.recipe.height, settings.recipe.width) == (8, 64, 64)


def test_the_environment_sets_and_arguments_prevail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIERDIFF_STEPS", "12")
    monkeypatch.setenv("HIERDIFF_GUIDANCE", "2.5")
    settings = read_settings(steps=6)
    assert (settings.steps, settings.guidance) == (6, 2.5)
    assert (settings.recipe.steps, settings.recipe.guidance) == (6, 2.5)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIERDIFF_STEPS", "")
    monkeypatch.setenv("HIERDIFF_DATABASE_URL", "")
    assert read_settings().recipe.steps == 8


def test_a_running_stack_is_found_and_the_environment_prevails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "a home"
    home.mkdir()
    (home / STACK_FILE).write_text(
        "HIERDIFF_DATABASE_URL=postgresql://stack\nHIERDIFF_S3_BUCKET=of-stack\n"
        "HIERDIFF_S3_SECRET_KEY='hush#=hush'\nPREFECT_API_URL=http://127.0.0.1:4200/api\n"
    )
    monkeypatch.setenv("HIERDIFF_HOME", str(home))
    monkeypatch.setenv("HIERDIFF_S3_BUCKET", "mine")
    settings = read_settings()
    assert settings.database_url == SecretStr("postgresql://stack")
    assert settings.s3_secret_key == SecretStr("hush#=hush")
    assert settings.s3_bucket == "mine"
    assert read_settings(home=tmp_path).database_url is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STEPS", "0"),
        ("STEPS", "many"),
        ("SOLVER", "heun"),
        ("LINKAGE", "single"),
        ("TAU", "nan"),
        ("SAVING", "1"),
        ("SEED", str(2**63)),
        ("SHARDS", "0"),
        ("LEASE_SECONDS", "0"),
    ],
)
def test_a_bad_value_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"HIERDIFF_{name}", value)
    with pytest.raises(InvalidSetting, match=f"HIERDIFF_{name} is '{value}'") as caught:
        read_settings()
    assert "\n" not in str(caught.value)


def test_two_budgets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIERDIFF_SAVING", "0.5")
    monkeypatch.setenv("HIERDIFF_STEPS_PER_IMAGE", "20")
    with pytest.raises(InvalidSetting, match=r"HIERDIFF_SAVING.*HIERDIFF_STEPS_PER_IMAGE"):
        read_settings()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("LINKAGES", "did you mean HIERDIFF_LINKAGE"),
        ("SAVE", "did you mean HIERDIFF_SAVING"),
        ("PRIOR_STEPS", "did you mean HIERDIFF_OPTION_PRIOR_STEPS"),
        ("S3_BUKET", "did you mean HIERDIFF_S3_BUCKET"),
        ("UTTERLY_MADE_UP", "hierdiff settings"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    monkeypatch.setenv(f"HIERDIFF_{name}", "1")
    with pytest.raises(UnknownSetting, match=f"HIERDIFF_{name}; .*{hint}"):
        read_settings()


def test_every_setting_is_the_nights_or_the_machines_and_no_secret_is_the_nights() -> None:
    night, machine = set(NightSettings.model_fields), set(MachineSettings.model_fields)
    assert night | machine == set(Settings.model_fields)
    assert not night & machine
    assert not [name for name in night if "Secret" in str(NightSettings.model_fields[name])]


def test_a_machine_takes_a_nights_settings_and_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HIERDIFF_SAVING", "0.3")
    monkeypatch.setenv("HIERDIFF_SLOTS", "7")
    night = NightSettings(steps_per_image=4, options={"prior_steps": 5})
    there = read_settings().with_night(night)
    assert (there.saving, there.steps_per_image, there.slots) == (None, 4, 7)
    assert there.night == night


def test_a_worker_that_asks_for_something_else_than_the_night_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HIERDIFF_SAVING", "0.3")
    monkeypatch.setenv("HIERDIFF_SHARDS", "4")
    monkeypatch.setenv("HIERDIFF_SLOTS", "7")  # the machine's own
    assert overruled(NightSettings(saving=0.5)) == ("HIERDIFF_SAVING",)
    assert overruled(NightSettings(saving=0.3)) == ()


def test_what_travels_as_a_parameter_comes_back_equal() -> None:
    night = NightSettings(source_file=Path("/rows.csv"), guidance=2.5, options={"prior_steps": 5})
    assert NightSettings.model_validate_json(night.model_dump_json(exclude_none=True)) == night


def test_a_form_offers_one_type_and_a_meaning_for_each_setting_of_a_night() -> None:
    for name, field in NightSettings.model_json_schema()["properties"].items():
        assert field["type"] in ("string", "integer", "number", "boolean", "object"), name
        assert field["description"], name
        assert "anyOf" not in field, name


@pytest.mark.parametrize("zone", ["Europe/Berlim", "../../etc/passwd", "UTC+1", "/etc/localtime"])
def test_a_zone_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("HIERDIFF_TIMEZONE", zone)
    with pytest.raises(InvalidSetting, match=r"HIERDIFF_TIMEZONE.*Europe/Berlin"):
        read_settings()


def test_what_only_a_family_asks_for_is_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIERDIFF_OPTION_PRIOR_STEPS", "7")
    assert read_settings().recipe.option("prior_steps") == 7
    monkeypatch.setenv("HIERDIFF_OPTION_PRIOR_STEP", "7")
    with pytest.raises(InvalidSetting, match="did you mean prior_steps"):
        _ = read_settings().recipe


def test_secrets_are_in_no_text_of_the_settings() -> None:
    settings = read_settings(
        database_url="postgresql://bob:hush@host/name", s3_secret_key="hush", s3_access_key="hush"
    )
    texts = (str(settings), repr(settings), settings.model_dump_json(), f"{settings.model_dump()}")
    assert not any("hush" in text for text in texts)


def test_a_bad_secret_is_not_shown() -> None:
    with pytest.raises(InvalidSetting, match="HIERDIFF_DATABASE_URL") as caught:
        read_settings(database_url=["hush"])
    assert "hush" not in str(caught.value)
    assert "hush" not in str(caught.value.facts)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(Exception, match="frozen"):
        read_settings().steps = 3
