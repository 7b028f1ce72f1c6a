"""Certificates for tests of signing: an authority of our own, and one that it has issued."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class Issued:
    """Files of a certificate, and the authority that a reader has to trust."""

    certificate: Path
    key: Path
    authority: str  # PEM


def new_key(kind: str = "es256") -> Key:
    """Return a key for one of C2PA's algorithms."""
    curves = {"es256": ec.SECP256R1, "es384": ec.SECP384R1, "es512": ec.SECP521R1}
    if kind in curves:
        return ec.generate_private_key(curves[kind]())
    if kind == "ps256":
        return rsa.generate_private_key(65537, 2048)
    return ed25519.Ed25519PrivateKey.generate()


def issue(folder: Path, key: Key, days: int = 30) -> Issued:
    """Write a certificate that an authority of our own has issued for a key."""
    above = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("Authority", above, "Authority", above, 30)
    own = _certificate("A shop", key, "Authority", above, days)
    certificate, secret = folder / "chain.pem", folder / "key.pem"
    certificate.write_bytes(own.public_bytes(Encoding.PEM) + authority.public_bytes(Encoding.PEM))
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Issued(certificate, secret, authority.public_bytes(Encoding.PEM).decode())


def _certificate(
    whose: str, key: Key, issuer: str, above: ec.EllipticCurvePrivateKey, days: int
) -> x509.Certificate:
    now, is_authority = dt.datetime.now(dt.UTC), whose == issuer
    uses = ("key_cert_sign", "crl_sign") if is_authority else ("digital_signature",)
    built = (
        x509.CertificateBuilder()
        .subject_name(_name(whose))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=60))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.KeyUsage(**{use: use in uses for use in _USES}), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key()), False
        )
    )
    if not is_authority:
        use = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        built = built.add_extension(use, critical=False)
    return built.sign(above, hashes.SHA256())


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )
