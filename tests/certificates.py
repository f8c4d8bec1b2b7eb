"""Certificates for tests: authorities, servers and clients, in files.

Called by tests that speak TLS; calls the cryptography library.
"""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = datetime.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Issued:
    """A certificate, its key, and the PEM files that they are in; `both` holds key and certificate."""

    certificate: Any
    key: Any
    certificate_path: Path
    key_path: Path
    both: Path

    @property
    def pem(self) -> str:
        return str(self.certificate.public_bytes(serialization.Encoding.PEM), "ascii")


def issue(directory: Path, name: str, hosts: tuple[str, ...] = (), by: Issued | None = None) -> Issued:
    """Issue a certificate for `name`, itself an authority when nobody else signs it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(
            x509.BasicConstraints(ca=by is None or name.endswith("authority"), path_length=None), True
        )
    )
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, False)
    certificate = builder.sign(by.key if by else key, hashes.SHA256())
    return _written(directory, name.replace("*", "any"), certificate, key)


def _written(directory: Path, name: str, certificate: Any, key: Any) -> Issued:
    certificate_pem = certificate.public_bytes(serialization.Encoding.PEM)
    key_pem = key_bytes(key)
    issued = Issued(
        certificate, key, directory / f"{name}.crt", directory / f"{name}.key", directory / f"{name}.pem"
    )
    issued.certificate_path.write_bytes(certificate_pem)
    issued.key_path.write_bytes(key_pem)
    issued.both.write_bytes(key_pem + certificate_pem)
    return issued


def key_bytes(key: Any, passphrase: bytes | None = None) -> bytes:
    """The key as PEM, encrypted when there is a passphrase."""
    encryption: Any = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
