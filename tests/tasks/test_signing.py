"""A signed file is verified by C2PA's own reader, and its key is seen nowhere."""

from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest
from PIL import Image

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.png import SOURCE_TYPE, encode_png, read_provenance
from hierdiff_core.rendition import FORMATS, Rendition, render
from tasks.errors import SigningFailed
from tasks.renditions import make_renditions, read_wanted
from tasks.settings import Settings, read_settings
from tasks.signing import Signing, open_signing, sign_file, try_signing
from tasks.stores import open_stores
from tests.core.test_png import provenance
from tests.tasks.certificates import Issued, issue, new_key
from tests.tasks.gc.nights import keys, make_nights

COMMAND = """
import sys
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
key = load_pem_private_key(open(sys.argv[1], "rb").read(), None)
data = sys.stdin.buffer.read()
if isinstance(key, ec.EllipticCurvePrivateKey):
    signed = key.sign(data, ec.ECDSA({256: hashes.SHA256, 384: hashes.SHA384}[key.key_size]()))
else:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    signed = key.sign(data, pss, hashes.SHA256())
sys.stdout.buffer.write(signed)
"""


@pytest.fixture
def issued(tmp_path: Path) -> Issued:
    return issue(tmp_path, new_key())


def with_key(issued: Issued) -> Settings:
    return read_settings(c2pa_certificate=issued.certificate, c2pa_key=issued.key)


def with_command(issued: Issued, program: str = COMMAND) -> Settings:
    file = issued.key.parent / "sign.py"
    file.write_text(program)
    command = f"{sys.executable} {file} {issued.key}"
    return read_settings(c2pa_certificate=issued.certificate, c2pa_command=command)


def opened(settings: Settings) -> Signing:
    signing = open_signing(settings)
    assert signing is not None
    return signing


def picture(name: str = "jpeg") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    body = encode_png(pixels, provenance())
    return render(body, Rendition(name, None, FORMATS[name].quality)).body


def signed(settings: Settings, name: str = "jpeg") -> bytes:
    return sign_file(opened(settings), picture(name), FORMATS[name].content_type, provenance())


def read(body: bytes, name: str, authority: str) -> Any:
    """Return the library's reader of a file, which trusts one authority."""
    trust = {"trust": {"trust_anchors": authority}, "verify": {"verify_trust": True}}
    context = c2pa.Context(c2pa.Settings.from_dict(trust))
    return c2pa.Reader(FORMATS[name].content_type, io.BytesIO(body), context=context)


def state(body: bytes, name: str, authority: str) -> str:
    try:
        return str(read(body, name, authority).get_validation_state())
    except c2pa.C2paError:
        return "Unreadable"


@pytest.mark.parametrize("name", FORMATS)
def test_a_signed_file_says_that_it_was_generated_and_by_which_model(
    name: str, issued: Issued
) -> None:
    body = signed(with_key(issued), name)
    reader = read(body, name, issued.authority)
    assert reader.get_validation_state() == "Trusted"
    manifest = reader.get_active_manifest()
    (actions,) = [each for each in manifest["assertions"] if each["label"] == "c2pa.actions.v2"]
    (created,) = actions["data"]["actions"]
    assert (created["action"], created["digitalSourceType"]) == ("c2pa.created", SOURCE_TYPE)
    assert created["softwareAgent"]["name"] == "hierdiff"
    assert created["parameters"] == {
        "org.hierdiff.model": "miniature/decoder",
        "org.hierdiff.revision": "abc123def4567890",
    }
    assert manifest["claim_generator_info"][0]["name"] == "hierdiff"
    assert manifest["title"] == "SKU-1"
    with Image.open(io.BytesIO(body)) as image, Image.open(io.BytesIO(picture(name))) as before:
        assert np.array_equal(np.asarray(image), np.asarray(before))


@pytest.mark.parametrize("name", FORMATS)
def test_a_flipped_byte_of_the_picture_or_of_its_metadata_does_not_verify(
    name: str, issued: Issued
) -> None:
    body, plain = signed(with_key(issued), name), picture(name)
    said = body.index(b"trainedAlgorithmicMedia", body.index(b"jumb"))
    inside = body.index(plain[-60:-30])  # of the compressed pixels, which stand last
    for place in (inside, body.index(b"trainedAlgorithmicMedia"), said):
        broken = bytearray(body)
        broken[place] ^= 1
        assert state(bytes(broken), name, issued.authority) in ("Invalid", "Unreadable")


def test_who_is_not_trusted_is_not_trusted(issued: Issued, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = issue(tmp_path / "other", new_key())
    body = signed(with_key(issued))
    assert state(body, "jpeg", other.authority) != "Trusted"


@pytest.mark.parametrize("kind", ["es384", "es512", "ps256", "ed25519"])
def test_any_key_that_c2pa_takes_signs(kind: str, tmp_path: Path) -> None:
    issued = issue(tmp_path, new_key(kind))
    settings = with_key(issued)
    assert opened(settings).algorithm == kind
    assert state(signed(settings), "jpeg", issued.authority) == "Trusted"


@pytest.mark.parametrize("kind", ["es256", "es384", "ps256"])
def test_a_command_signs_where_the_key_stays_with_it(kind: str, tmp_path: Path) -> None:
    issued = issue(tmp_path, new_key(kind))
    settings = with_command(issued)
    assert opened(settings).key is None
    assert state(signed(settings), "jpeg", issued.authority) == "Trusted"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit('the service is away')", "ended with 1: the service is away"),
        ("pass", "no signature"),
        ("print('no signature at all')", "."),
    ],
)
def test_a_command_that_does_not_sign_is_named_in_one_line(
    program: str, reason: str, issued: Issued
) -> None:
    with pytest.raises(SigningFailed, match=reason) as caught:
        signed(with_command(issued, program))
    assert "\n" not in str(caught.value)


def test_a_program_that_is_not_there_is_named(issued: Issued) -> None:
    settings = read_settings(c2pa_certificate=issued.certificate, c2pa_command="/no/such/program")
    with pytest.raises(SigningFailed, match="/no/such/program"):
        signed(settings)


def test_the_key_is_in_no_text_log_or_file(
    issued: Issued, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = with_key(issued)
    secret = issued.key.read_text().splitlines()[1]
    signing = opened(settings)
    body = signed(settings)
    with pytest.raises(SigningFailed) as caught:
        sign_file(signing, b"no picture", "image/png", None)
    said = [repr(signing), str(signing), str(caught.value), caplog.text, settings.model_dump_json()]
    assert not [text for text in (*said, json.dumps(str(settings))) if secret in text]
    assert secret.encode() not in body


@pytest.mark.parametrize("which", ["c2pa_certificate", "c2pa_key"])
def test_a_file_that_is_none_is_named(which: str, issued: Issued, tmp_path: Path) -> None:
    given = {"c2pa_certificate": issued.certificate, "c2pa_key": issued.key}
    with pytest.raises(InvalidSetting, match=f"HIERDIFF_{which.upper()} .* cannot be read"):
        open_signing(read_settings(**given | {which: tmp_path / "absent.pem"}))
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("a hush, and no PEM")
    with pytest.raises(InvalidSetting, match=f"HIERDIFF_{which.upper()} .* PEM") as caught:
        open_signing(read_settings(**given | {which: wrong}))
    assert "hush" not in str(caught.value)


def test_a_certificate_that_cannot_serve_is_refused_before_a_picture_is_made(
    issued: Issued, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSetting, match="name its key"):
        open_signing(read_settings(c2pa_certificate=issued.certificate))
    (tmp_path / "old").mkdir()
    old = issue(tmp_path / "old", new_key(), days=-1)
    with pytest.raises(InvalidSetting, match=r"valid until .*; renew it"):
        open_signing(with_key(old))
    with pytest.raises(InvalidSetting, match="not the key of the first certificate"):
        open_signing(read_settings(c2pa_certificate=issued.certificate, c2pa_key=old.key))
    assert open_signing(read_settings()) is None


def test_doctor_signs_a_blank_picture(issued: Issued) -> None:
    assert try_signing(with_key(issued)).startswith("es256 for CN=A shop,O=Tests until ")


def test_every_published_rendition_is_signed_and_none_twice(
    settings: Settings, issued: Issued
) -> None:
    given = {"c2pa_certificate": issued.certificate, "c2pa_key": issued.key}
    asked = settings.model_copy(update={"renditions": "jpeg, webp 4px, avif", **given})
    with open_stores(asked) as stores:
        (night,) = make_nights(stores, (1, 2, 3))
        assert make_renditions(stores, asked, night.run) == 4 * 3
        files = sorted(keys(stores, "renditions/"))
        for key in files:
            name = key.split("/")[1]
            assert state(stores.bucket.get(key), name, issued.authority) == "Trusted"
        assert make_renditions(stores, asked, night.run) == 0
        assert sorted(keys(stores, "renditions/")) == files


def test_another_certificate_signs_anew(issued: Issued, tmp_path: Path) -> None:
    (tmp_path / "next").mkdir()
    following = issue(tmp_path / "next", new_key())
    words = [read_wanted(with_key(each))["png"].words for each in (issued, issued, following)]
    assert words[0] == words[1] != words[2]


def test_the_prompt_stays_where_it_was(issued: Issued) -> None:
    body = signed(with_key(issued), "png")
    assert read_provenance(body) == provenance()
