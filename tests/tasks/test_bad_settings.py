"""Every setting refuses what it cannot be, in one line that names it and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from hierdiff_core.errors import HierdiffError
from hierdiff_core.printable import printable
from tasks.settings import Settings, read_settings

WORDS = ("many", "1e", "--1", "\x1b[31m", "1 2", "０x1")
NOT_WHOLE = (*WORDS, "1.5", "nan", "inf", "1e999", "9" * 5000)
NOT_NUMBER = (*WORDS, "nan", "inf", "-inf")
NOT_SWITCH = ("maybe", "2", "\x1b[31m", "10")
BAD = {
    "steps": (*NOT_WHOLE, "0", "-1"),
    "guidance": (*NOT_NUMBER, "-0.1"),
    "height": (*NOT_WHOLE, "0", "-64"),
    "width": (*NOT_WHOLE, "0", "-64"),
    "seed": (*NOT_WHOLE, "-1", str(2**63)),
    "solver": ("heun", "DDIM", " ddim", "\x1b[31m"),
    "initial_noise": ("fresh", "ROOT"),
    "dtype": ("float64", "int8", "half"),
    "planner": ("paper2", "none"),
    "linkage": ("single", "complete", "Ward"),
    "tau": (*NOT_NUMBER, "-0.1"),
    "loss": (*NOT_NUMBER, "-0.1"),
    "joins": NOT_SWITCH,
    "accept_loss": NOT_SWITCH,
    "variants": (*NOT_WHOLE, "0", "-1", "100000"),
    "variants_shared": (*NOT_NUMBER, "-0.1", "1", "1.5"),
    "saving": (*NOT_NUMBER, "-0.1", "1", "1.5", "50%", "50"),
    "steps_per_image": (*NOT_NUMBER[:6], "0", "-1"),
    "exact_prompts": (*NOT_WHOLE, "0"),
    "shards": (*NOT_WHOLE, "0", "1001"),
    "slots": (*NOT_WHOLE, "0", "-1", "automatic"),
    "compile": NOT_SWITCH,
    "hold_weights": NOT_SWITCH,
    "previews": NOT_SWITCH,
    "prompt_in_images": NOT_SWITCH,
    "lease_seconds": (*WORDS, "0", "-1", "nan"),
    "keep_nights": (*NOT_WHOLE, "0", "-1"),
    "keep_gigabytes": (*NOT_NUMBER, "-1"),
    "patience_seconds": (*NOT_NUMBER, "-1"),
    "hold_megabytes": (*NOT_WHOLE, "0", "-1"),
    "notify": ("oncall", "/", "slack-webhook/", "/oncall", "a/b/c", "\x1b[31m/x"),
    "notify_hours": (*NOT_NUMBER, "0", "-1", "169"),
    "notify_rejected": (*NOT_WHOLE, "-1"),
    "gpu_price_per_hour": (*WORDS, "-1", "nan"),
    "kwh_price": (*WORDS, "-1", "nan"),
    "source_columns": ("prompt", "title=prompt", "prompt=", "=title", "prompt=a,prompt=b", "{x"),
    "source_template": ("a mug", "{", "}", "{}", "{a{b}", "{{a}}"),
    "source_encoding": ("klingon", "rot13", "hex", "\x1b[31m", "zip", "base64"),
    "source_megabytes": (*NOT_WHOLE, "0", "-1"),
    "source_seconds": (*NOT_NUMBER, "0", "-1"),
    "source_rows": (*NOT_WHOLE, "0", "-1"),
    "largest_side": (*NOT_WHOLE, "0", "-1"),
    "renditions": (
        "gif",
        "jpeg 0px",
        "jpeg q101",
        "png q9",
        "webp, webp",
        "\x1b[31m",
        "jpeg; webp",
    ),
    "remakes": (*NOT_WHOLE, "-1"),
    "sample": (*NOT_NUMBER, "-0.1", "1.1"),
    "sample_encoder": ("klingon", "clip", "siglip:", "vqascore:x", "\x1b[31m"),
    "sample_judge": ("klingon", "vqascore", "siglip:x", "\x1b[31m"),
    "hand_over": ("all", "Accepted", "\x1b[31m"),
    "publish_names": NOT_SWITCH,
    "c2pa_timestamp_url": ("timestamp.example.com", "ftp://x", "\x1b[31mhttp://x"),
    "timezone": ("Berlin", "Europe/Bonn", "../etc/passwd", "CET+1", "\x1b[31m", "/"),
}
CASES = [(name, value) for name, values in BAD.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES, ids=[f"{n}-{v[:9]!a}" for n, v in CASES])
def test_a_bad_value_is_one_line_that_names_the_setting(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HIERDIFF_HOME", str(tmp_path))
    monkeypatch.setenv(f"HIERDIFF_{name.upper()}", value)
    with pytest.raises(HierdiffError) as refused:
        read_settings()
    line = str(refused.value)
    assert line.startswith(f"Setting HIERDIFF_{name.upper()} is ")
    assert line == printable(line)
    assert len(line) < 500
    value_and_hint = line.removeprefix(f"Setting HIERDIFF_{name.upper()} is ")
    assert value_and_hint.startswith(repr(value)[:60])
    assert len(value_and_hint.rpartition(": ")[2]) > 8


def test_every_setting_that_can_be_wrong_has_its_cases() -> None:
    free = {"home", "database_url", "s3_endpoint_url", "s3_bucket", "s3_prefix", "s3_access_key",
            "s3_secret_key", "public_url", "source_url", "source_query", "source_file", "model",
            "options", "device", "currency", "text_pool", "result_url", "result_query",
            "refused_words", "refused_words_file",
            "c2pa_certificate", "c2pa_key", "c2pa_command"}  # fmt: skip
    assert set(Settings.model_fields) - set(BAD) == free
