"""daphne.reactor.certificate_options and listenSSL: what the loop serves, and what remains Twisted's."""

from __future__ import annotations

import socket
import ssl
import warnings
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, crypto
from twisted.internet import interfaces
from twisted.internet.ssl import (
    CertificateOptions,
    DiffieHellmanParameters,
    PrivateCertificate,
    TLSVersion,
)
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from daphne.reactor.certificate_options import tls_options
from daphne.reactor.ports import LoopPort, TLSPort
from tests.certificates import Issued
from tests.reactor.served import Echo, Events, ServedReactor, exchanged
from tests.reactor.test_certificates import FFDHE2048


@pytest.fixture
def pair(localhost: Issued) -> dict[str, Any]:
    """Private key and certificate as CertificateOptions takes them."""
    private = PrivateCertificate.loadPEM(localhost.both.read_bytes())
    return {"privateKey": private.privateKey.original, "certificate": private.original}


def test_plain_options_are_the_loop_s(pair: dict[str, Any], localhost: Issued, tmp_path: Path) -> None:
    options = tls_options(CertificateOptions(**pair))
    assert options is not None
    (certificate,) = options.certificates
    assert certificate.chain.decode() == localhost.pem  # type: ignore[union-attr]
    key = serialization.load_pem_private_key(certificate.key, None)  # type: ignore[arg-type]
    assert key.public_key() == localhost.key.public_key()  # type: ignore[union-attr]
    assert (options.minimum, options.maximum) == (
        ssl.TLSVersion.TLSv1_2,
        ssl.TLSVersion.MAXIMUM_SUPPORTED,
    )
    assert options.tickets is False


def test_what_the_loop_can_do_too(pair: dict[str, Any], localhost: Issued, tmp_path: Path) -> None:
    parameters = tmp_path / "dh.pem"
    parameters.write_text(FFDHE2048)
    issuer = crypto.X509.from_cryptography(localhost.certificate)
    options = tls_options(
        CertificateOptions(
            **pair,
            extraCertChain=[issuer],
            dhParameters=DiffieHellmanParameters.fromFile(_file_path(parameters)),
            raiseMinimumTo=TLSVersion.TLSv1_3,
            enableSessionTickets=True,
        )
    )
    assert options is not None
    assert options.certificates[0].chain.count(b"BEGIN CERT") == 2  # type: ignore[union-attr,arg-type]
    assert options.dh_parameters == str(parameters)
    assert options.minimum == ssl.TLSVersion.TLSv1_3
    assert options.tickets is True


def test_the_newest_tls_may_be_bounded(pair: dict[str, Any]) -> None:
    bounded = CertificateOptions(**pair, lowerMaximumSecurityTo=TLSVersion.TLSv1_2)
    options = tls_options(bounded)
    if bounded._options & SSL.OP_NO_TLSv1_2:  # an older Twisted takes the bound itself away, too
        assert options is None
        return
    assert options is not None
    assert options.maximum == ssl.TLSVersion.TLSv1_2


def _file_path(path: Path) -> Any:
    from twisted.python.filepath import FilePath

    return FilePath(str(path))


def not_plain(pair: dict[str, Any], localhost: Issued) -> dict[str, Any]:
    authority = crypto.X509.from_cryptography(localhost.certificate)
    used = CertificateOptions(**pair)
    used.getContext()

    class Derived(CertificateOptions): ...

    class Own:
        def getContext(self) -> SSL.Context:
            return used.getContext()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        by_method = CertificateOptions(**pair, method=SSL.TLSv1_2_METHOD)
    return {
        "verifies": CertificateOptions(**pair, verify=True, caCerts=[authority]),
        "ciphers": CertificateOptions(**pair, acceptableCiphers=_OneCipher()),
        "protocols": CertificateOptions(**pair, acceptableProtocols=[b"spdy"]),
        "old TLS": CertificateOptions(**pair, insecurelyLowerMinimumTo=TLSVersion.TLSv1_0),
        "method": by_method,
        "context made": used,
        "no certificate": CertificateOptions(),
        "derived": Derived(**pair),
        "own": Own(),
    }


@implementer(interfaces.IAcceptableCiphers)
class _OneCipher:
    def selectCiphers(self, availableCiphers: Any) -> Any:
        return tuple(cipher for cipher in availableCiphers if "AES256-GCM" in cipher.fullName)


def test_the_rest_is_pyopenssl_s(pair: dict[str, Any], localhost: Issued) -> None:
    for what, context_factory in not_plain(pair, localhost).items():
        assert tls_options(context_factory) is None, what


@implementer(interfaces.IProtocolNegotiationFactory)
class Negotiates(Events):
    def acceptableProtocols(self) -> list[bytes]:
        return [b"h2", b"http/1.1"]


@pytest.mark.parametrize("whose", ["loop", "Twisted"])
def test_listen_ssl_serves_both_ways(
    served: ServedReactor, pair: dict[str, Any], localhost: Issued, whose: str
) -> None:
    context_factory: Any = CertificateOptions(**pair)
    if whose == "Twisted":
        context_factory = CertificateOptions(**pair, acceptableCiphers=_OneCipher())
    factory = Negotiates(Echo)
    port = served.call(served.reactor.listenSSL, 0, factory, context_factory, interface="127.0.0.1")
    assert type(port) is (TLSPort if whose == "loop" else LoopPort)
    assert isinstance(port.factory, TLSMemoryBIOFactory) is (whose == "Twisted")
    context = ssl.create_default_context(cafile=str(localhost.certificate_path))
    context.set_alpn_protocols(["h2"])
    data = bytes(3 << 20)
    raw = socket.create_connection(("127.0.0.1", port.getHost().port), timeout=60)
    with raw, context.wrap_socket(raw, server_hostname="localhost") as client:
        assert exchanged(client, data) == data
        assert client.selected_alpn_protocol() == "h2"
        protocol, _ = factory.next("made")
        assert protocol.transport.negotiatedProtocol == b"h2"
        assert interfaces.ISSLTransport.providedBy(protocol.transport)
        assert served.call(protocol.transport.getPeerCertificate) is None
    factory.next("lost")
