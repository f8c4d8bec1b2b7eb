"""daphne.reactor.certificates: what can be loaded, and what is said about what cannot."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet.protocol import Factory

from daphne.errors import EndpointError
from daphne.reactor import certificates
from daphne.reactor.certificates import CertificateFiles, TLSOptions, make_context
from tests.certificates import Issued, issue, key_bytes


@pytest.fixture
def issued(tmp_path: Path) -> Issued:
    return issue(tmp_path, "localhost", ("localhost",))


def context_of(certificate: object, key: object, chain: object = None, **options: object) -> ssl.SSLContext:
    files = CertificateFiles(str(certificate), str(key), None if chain is None else str(chain))
    return make_context(TLSOptions(certificates=(files,), **options), Factory())  # type: ignore[arg-type]


def test_a_context_remembers_its_certificate(issued: Issued) -> None:
    context = context_of(issued.certificate_path, issued.key_path)
    assert isinstance(context, certificates.ServerContext)
    assert context.certificate == issued.pem
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_issuers_may_be_in_the_certificate_s_file_or_in_their_own(tmp_path: Path) -> None:
    root = issue(tmp_path, "root authority")
    middle = issue(tmp_path, "middle authority", by=root)
    leaf = issue(tmp_path, "leaf", by=middle)
    context_of(leaf.certificate_path, leaf.key_path, middle.certificate_path)
    both = tmp_path / "both"
    both.write_text(leaf.pem + middle.pem)
    context_of(both, leaf.key_path)


def test_what_cannot_be_used_is_named_in_one_line(tmp_path: Path, issued: Issued) -> None:
    other = issue(tmp_path, "other")
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("rubbish")
    encrypted = tmp_path / "encrypted"
    encrypted.write_bytes(key_bytes(issued.key, b"secret"))
    cases = [
        (tmp_path / "missing", issued.key_path, "missing cannot be read: No such file"),
        (issued.certificate_path, tmp_path / "missing", "missing cannot be read: No such file"),
        (tmp_path, issued.key_path, "cannot be read: Is a directory"),
        (rubbish, issued.key_path, "rubbish holds no certificate in PEM form"),
        (issued.certificate_path, rubbish, "rubbish holds no private key that can be used"),
        (issued.certificate_path, encrypted, "encrypted is encrypted; a server needs a key without"),
        (issued.certificate_path, other.key_path, "other.key is not the key of .*localhost.crt"),
    ]
    for certificate, key, text in cases:
        with pytest.raises(EndpointError, match=text) as caught:
            context_of(certificate, key)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_key_that_may_not_be_read(issued: Issued) -> None:
    issued.key_path.chmod(0)
    with pytest.raises(EndpointError, match="localhost.key cannot be read: Permission denied"):
        context_of(issued.certificate_path, issued.key_path)


def test_a_key_that_is_too_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = rsa.generate_private_key(65537, 1024)
    monkeypatch.setattr("tests.certificates.ec.generate_private_key", lambda curve: short)
    issued = issue(tmp_path, "short")
    with pytest.raises(EndpointError, match="short.crt has a key that is too short"):
        context_of(issued.certificate_path, issued.key_path)


def test_other_files_are_named_too(tmp_path: Path, issued: Issued) -> None:
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("rubbish")
    for option, text in {
        "client_ca": "no certificates of an authority",
        "dh_parameters": "no Diffie",
    }.items():
        with pytest.raises(EndpointError, match=f"rubbish holds {text}"):
            context_of(issued.certificate_path, issued.key_path, **{option: str(rubbish)})
        with pytest.raises(EndpointError, match="missing cannot be read"):
            context_of(issued.certificate_path, issued.key_path, **{option: str(tmp_path / "missing")})


def test_no_certificate_is_an_error() -> None:
    with pytest.raises(EndpointError, match="no certificate"):
        make_context(TLSOptions(certificates=()), Factory())


def test_diffie_hellman_needs_parameters(tmp_path: Path, issued: Issued) -> None:
    def has_dhe(context: ssl.SSLContext) -> bool:
        return any(cipher["name"].startswith("DHE") for cipher in context.get_ciphers())

    parameters = tmp_path / "dh.pem"
    parameters.write_text(FFDHE2048)
    assert not has_dhe(context_of(issued.certificate_path, issued.key_path))
    assert has_dhe(context_of(issued.certificate_path, issued.key_path, dh_parameters=str(parameters)))


FFDHE2048 = """-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""
"""The group ffdhe2048 of RFC 7919."""


def test_the_key_is_never_left_in_a_file(
    issued: Issued, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no memory file system, a file of ours alone takes its place for a moment."""
    seen = []

    class Context(certificates.ServerContext):
        def load_cert_chain(self, certfile, keyfile=None, password=None):  # type: ignore[no-untyped-def]
            seen.extend([certfile, keyfile])
            assert os.stat(keyfile).st_mode & 0o77 == 0
            super().load_cert_chain(certfile, keyfile, password)

    def missing(name: str) -> int:
        raise OSError("no memfd")

    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(certificates, "ServerContext", Context)
    monkeypatch.setattr(os, "memfd_create", missing)
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    context_of(issued.certificate_path, issued.key_path)
    assert all(path.startswith(str(directory)) for path in seen)
    assert os.listdir(directory) == []
