"""daphne.tls_info: the content of ASGI's `tls` extension, over the loop's TLS and over pyOpenSSL's."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from daphne.reactor.certificates import CertificateFiles, TLSOptions
from daphne.tls_info import tls_info
from tests.certificates import issue
from tests.reactor.conftest import served  # noqa: F401
from tests.reactor.served import Echo, Events, ServedReactor, connected


class Chain:
    """A server and a client whose certificate an intermediate authority has issued."""

    def __init__(self, directory: Path) -> None:
        self.server = issue(directory, "localhost", ("localhost",))
        self.root = issue(directory, "root authority")
        self.middle = issue(directory, "middle authority", by=self.root)
        self.person = issue(directory, "O=some, body", by=self.middle)

    def client(self, version: ssl.TLSVersion, with_certificate: bool) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.server.certificate_path))
        context.minimum_version = context.maximum_version = version
        context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        if with_certificate:
            both = self.person.certificate_path.with_suffix(".chain")
            both.write_text(self.person.pem + self.middle.pem)
            context.load_cert_chain(str(both), str(self.person.key_path))
        return context


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path)


@implementer(IOpenSSLServerConnectionCreator)
class WithPyOpenSSL:
    """Asks for a client certificate."""

    def __init__(self, chain: Chain) -> None:
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.use_certificate_file(str(chain.server.certificate_path))
        self.context.use_privatekey_file(str(chain.server.key_path))
        self.context.load_verify_locations(str(chain.root.certificate_path))
        self.context.set_verify(SSL.VERIFY_PEER)
        self.context.set_session_id(b"test")

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return SSL.Connection(self.context)


def listen(served: ServedReactor, chain: Chain, whose: str, factory: Events) -> Any:
    if whose == "loop":
        files = CertificateFiles(str(chain.server.both), str(chain.server.both))
        options = TLSOptions(
            certificates=(files,),
            client_ca=str(chain.root.certificate_path),
            client_certificate_required=False,
        )
        return served.call(served.reactor.listenTLS, 0, factory, options, interface="127.0.0.1")
    creator = WithPyOpenSSL(chain)
    return served.call(served.reactor.listenSSL, 0, factory, creator, interface="127.0.0.1")


def info(served: ServedReactor, port: Any, factory: Events, context: ssl.SSLContext) -> Any:
    with context.wrap_socket(connected(port.getHost()), server_hostname="localhost") as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        protocol, _ = factory.next("made")
        return served.call(tls_info, protocol.transport)


@pytest.mark.parametrize("whose", ["loop", "pyOpenSSL"])
@pytest.mark.parametrize(
    "version, number", [(ssl.TLSVersion.TLSv1_2, 0x0303), (ssl.TLSVersion.TLSv1_3, 0x0304)]
)
def test_tells_all_about_a_client_certificate(
    served: ServedReactor,
    chain: Chain,
    whose: str,
    version: ssl.TLSVersion,
    number: int,
) -> None:
    factory = Events(Echo)
    told = info(served, listen(served, chain, whose, factory), factory, chain.client(version, True))
    suite = told.pop("cipher_suite")
    assert told == {
        "server_cert": chain.server.pem,
        "client_cert_chain": [chain.person.pem, chain.middle.pem],
        "client_cert_name": r"CN=O=some\, body",
        "client_cert_error": None,
        "tls_version": number,
    }
    # RFC 5289: TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256; RFC 8446 appendix B.4: 0x1301 and following.
    assert suite == 0xC02B if number == 0x0303 else suite in (0x1301, 0x1302, 0x1303)


@pytest.mark.parametrize("whose", ["loop", "pyOpenSSL"])
def test_tells_of_a_client_without_a_certificate(
    served: ServedReactor,
    chain: Chain,
    whose: str,
) -> None:
    factory = Events(Echo)
    context = chain.client(ssl.TLSVersion.TLSv1_3, False)
    told = info(served, listen(served, chain, whose, factory), factory, context)
    assert told["server_cert"] == chain.server.pem
    assert told["client_cert_chain"] == []
    assert told["client_cert_name"] is told["client_cert_error"] is None


def test_finds_tls_below_the_proxy_protocol(served: ServedReactor, chain: Chain) -> None:
    factory = Events(Echo)
    port = served.listen(f"haproxy:ssl:0:privateKey={chain.server.both}:interface=127.0.0.1", factory)
    context = chain.client(ssl.TLSVersion.TLSv1_3, False)
    with context.wrap_socket(connected(port.getHost()), server_hostname="localhost") as client:
        client.sendall(b"PROXY TCP4 203.0.113.7 198.51.100.2 4711 443\r\nx")
        assert client.recv(1) == b"x"
        protocol, _ = factory.next("made")
        told = served.call(tls_info, protocol.transport)
    assert told["tls_version"] == 0x0304


def test_without_tls_there_is_nothing_to_tell(served: ServedReactor) -> None:
    factory = Events(Echo)
    port = served.listen("tcp:0:interface=127.0.0.1", factory)
    with connected(port.getHost()):
        protocol, _ = factory.next("made")
        assert served.call(tls_info, protocol.transport) is None
    assert tls_info(None) is tls_info(object()) is None
