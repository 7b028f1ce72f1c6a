"""Signing: a file gets a C2PA manifest that says it was generated, by which software and model.

The certificate is the user's. Its key is a file of this machine, or stays with a command that signs
(one that asks a key management service, say); it is in no log, message or text of a record.
"""

from __future__ import annotations

import hashlib
import io
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from pydantic import SecretStr

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.png import SOURCE_TYPE, Provenance
from tasks.errors import SigningFailed
from tasks.settings import Settings

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

FORM = 1  # of what is said; raised when files are to be signed anew
_SECONDS = 30.0  # that a command may take to sign once
_CERTIFICATE, _KEY, _COMMAND = (
    f"HIERDIFF_C2PA_{name}" for name in ("CERTIFICATE", "KEY", "COMMAND")
)


@dataclass(frozen=True)
class Signing:
    """Whose certificate files are signed with, and who holds its key."""

    chain: str  # PEM, the signer's own certificate first
    algorithm: str  # as C2PA calls it
    key: SecretStr | None = None  # PEM
    command: tuple[str, ...] = ()  # that signs, where there is no key
    timestamp_url: str | None = None
    size: int = field(default=0, repr=False)  # bytes of a number in an ECDSA signature

    @property
    def mark(self) -> str:
        """What tells files that were signed so from others: a digest of the certificates."""
        said = f"{FORM} {self.timestamp_url or ''} {self.chain}"
        return f"c2pa {hashlib.sha256(said.encode()).hexdigest()[:16]}"


def open_signing(settings: Settings) -> Signing | None:
    """Return how this machine signs files; None where no certificate is set.

    Raises InvalidSetting for a certificate, a key or a command that does not serve.
    """
    if settings.c2pa_certificate is None:
        return None
    if find_spec("c2pa") is None:
        hint = "signing needs the package c2pa-python: install hierdiff[c2pa]"
        raise _refused(_CERTIFICATE, settings.c2pa_certificate, hint)
    if (settings.c2pa_key is None) == (settings.c2pa_command is None):
        hint = (
            f"name its key, as the file {_KEY} or by the command {_COMMAND}, and only one of them"
        )
        raise _refused(_CERTIFICATE, settings.c2pa_certificate, hint)
    chain = _read(_CERTIFICATE, settings.c2pa_certificate)
    certificate = _first(chain, settings.c2pa_certificate)
    algorithm, size = _algorithm(certificate, settings.c2pa_certificate)
    if settings.c2pa_command is not None:
        command = tuple(shlex.split(settings.c2pa_command))
        return Signing(chain, algorithm, None, command, settings.c2pa_timestamp_url, size)
    key = _read_key(certificate, settings.c2pa_key or Path())
    return Signing(chain, algorithm, key, (), settings.c2pa_timestamp_url, size)


def sign_file(
    signing: Signing, body: bytes, content_type: str, provenance: Provenance | None
) -> bytes:
    """Return a file with its signed manifest; raises SigningFailed.

    Two calls give two files: a manifest has an identifier of its own, and a signature its noise.
    """
    import c2pa  # an extra

    faults: list[str] = []
    signed = io.BytesIO()
    try:
        with (
            _signer(signing, faults) as signer,
            c2pa.Builder(_manifest(content_type, provenance), _context()) as builder,
        ):
            builder.sign(signer, content_type, io.BytesIO(body), signed)
    except c2pa.C2paError as error:
        raise SigningFailed(reason=(faults or [str(error)])[0].rstrip(".")) from None
    return signed.getvalue()


def try_signing(settings: Settings) -> str:
    """Sign a blank picture and say with what; raises InvalidSetting and SigningFailed."""
    signing, blank = open_signing(settings), io.BytesIO()
    if signing is None:
        return "files are not signed"
    Image.new("RGB", (8, 8)).save(blank, "PNG")
    sign_file(signing, blank.getvalue(), "image/png", None)
    certificate = _first(signing.chain, settings.c2pa_certificate or Path())
    whose = certificate.subject.rfc4514_string()
    return f"{signing.algorithm} for {whose} until {certificate.not_valid_after_utc:%Y-%m-%d}"


def _manifest(content_type: str, provenance: Provenance | None) -> dict[str, Any]:
    """Return what is said of a file: generated, by this software with this model."""
    software = {"name": "hierdiff", "version": version("hierdiff")}
    created: dict[str, Any] = {
        "action": "c2pa.created",
        "digitalSourceType": SOURCE_TYPE,
        "softwareAgent": software,
    }
    manifest: dict[str, Any] = {"claim_generator_info": [software], "format": content_type}
    if provenance is not None:
        recipe = provenance.recipe
        model = {"org.hierdiff.model": recipe.model, "org.hierdiff.revision": recipe.revision}
        created["parameters"] = {name: value for name, value in model.items() if value}
        manifest["title"] = provenance.reference
    manifest["assertions"] = [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}]
    return manifest


def _signer(signing: Signing, faults: list[str]) -> Any:
    """Return a signer of the library, whose command's faults are noted."""
    import c2pa

    if signing.key is not None:
        key = signing.key.get_secret_value().encode()
        given = (signing.algorithm, signing.chain.encode(), key, signing.timestamp_url)
        return c2pa.Signer.from_info(c2pa.C2paSignerInfo(*given))
    kind = c2pa.C2paSigningAlg[signing.algorithm.upper()]
    sign = _noting(lambda data: _ask(signing, data), faults)
    return c2pa.Signer.from_callback(sign, kind, signing.chain, signing.timestamp_url)


def _noting(sign: Callable[[bytes], bytes], faults: list[str]) -> Callable[[bytes], bytes]:
    """Return a function that signs, or notes why not: the library tells nobody."""

    def noted(data: bytes) -> bytes:
        try:
            return sign(data)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            faults.append(str(error))
            return b""

    return noted


def _ask(signing: Signing, data: bytes) -> bytes:
    """Return what the command signs; raises ValueError with its words."""
    program = signing.command[0]
    try:
        done = subprocess.run(signing.command, input=data, capture_output=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise ValueError(f"{program} did not end within {_SECONDS:g} s") from None
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip()[-200:]
        raise ValueError(f"{program} ended with {done.returncode}: {said or 'no signature'}")
    return _plain(done.stdout, signing.size) if signing.size else done.stdout


def _plain(signature: bytes, size: int) -> bytes:
    """Return an ECDSA signature as two numbers, as COSE has it; services write it in DER."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    if len(signature) == 2 * size:
        return signature
    return b"".join(each.to_bytes(size, "big") for each in decode_dss_signature(signature))


@cache
def _context() -> Any:
    import c2pa

    # A small picture of the picture would make a shop's small files larger than they are.
    return c2pa.Context(c2pa.Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}}))


def _read(setting: str, path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no PEM file"
        raise _refused(setting, path, f"it cannot be read ({reason})") from None


def _first(chain: str, path: Path) -> Certificate:
    """Return the certificate that signs; raises InvalidSetting where it cannot now."""
    from cryptography.x509 import load_pem_x509_certificates

    try:
        first = load_pem_x509_certificates(chain.encode())[0]
    except ValueError:
        hint = "write the certificates as PEM, the signer's own first, then those above it"
        raise _refused(_CERTIFICATE, path, hint) from None
    if not first.not_valid_before_utc <= datetime.now(UTC) <= first.not_valid_after_utc:
        hint = f"it is valid until {first.not_valid_after_utc:%Y-%m-%d}; renew it"
        raise _refused(_CERTIFICATE, path, hint)
    return first


def _algorithm(certificate: Certificate, path: Path) -> tuple[str, int]:
    """Return C2PA's name for what a certificate signs by, and the size of an ECDSA number."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, rsa.RSAPublicKey):
        return "ps256", 0
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519", 0
    hint = "C2PA signs by ECDSA on P-256, P-384 or P-521, by RSA-PSS and by Ed25519"
    raise _refused(_CERTIFICATE, path, hint)


_CURVES = {"secp256r1": ("es256", 32), "secp384r1": ("es384", 48), "secp521r1": ("es512", 66)}


def _read_key(certificate: Certificate, path: Path) -> SecretStr:
    """Return the key of a certificate; raises InvalidSetting, which never shows it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = SecretStr(_read(_KEY, path))
    try:
        key = load_pem_private_key(pem.get_secret_value().encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        hint = f"write the key as PEM without a password, or keep it where {_COMMAND} signs"
        raise _refused(_KEY, path, hint) from None
    if key.public_key() != certificate.public_key():
        raise _refused(_KEY, path, f"it is not the key of the first certificate in {_CERTIFICATE}")
    return pem


def _refused(setting: str, path: Path, hint: str) -> InvalidSetting:
    return InvalidSetting(setting=setting, value=str(path), hint=hint)
