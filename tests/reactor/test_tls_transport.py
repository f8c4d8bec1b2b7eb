"""daphne.reactor.tls_transport: handshakes, ALPN, certificates, slow ends. For data see test_transports."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import error, interfaces
from zope.interface import implementer

from daphne.reactor import tls_transport
from daphne.reactor.certificates import CertificateFiles, TLSOptions
from tests.certificates import Issued, issue
from tests.reactor.served import DEADLINE, Echo, Events, ServedReactor, Told, received, settled, until

MEGABYTE = bytes(1 << 20)


@implementer(interfaces.IProtocolNegotiationFactory)
class Negotiates(Events):
    def acceptableProtocols(self) -> list[bytes]:
        return [b"h2", b"http/1.1"]


@pytest.fixture
def options(localhost: Issued) -> TLSOptions:
    return TLSOptions(certificates=(CertificateFiles(str(localhost.both), str(localhost.both)),))


class Secure:
    """A TLS port and its clients."""

    def __init__(self, served: ServedReactor, factory: Events, options: TLSOptions) -> None:
        self.served = served
        self.factory = factory
        self.port = served.call(served.reactor.listenTLS, 0, factory, options, interface="127.0.0.1")

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port.getHost().port), timeout=60)

    @contextlib.contextmanager
    def client(
        self, context: ssl.SSLContext, name: str = "localhost", **named: Any
    ) -> Iterator[ssl.SSLSocket]:
        with self.raw() as raw, context.wrap_socket(raw, server_hostname=name, **named) as client:
            yield client


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    "offered, agreed",
    [(["http/1.1", "h2"], b"h2"), (["http/1.1"], b"http/1.1"), (["spdy"], None), ([], None)],
)
def test_negotiates_the_protocol(
    served: ServedReactor,
    options: TLSOptions,
    localhost: Issued,
    version: ssl.TLSVersion,
    offered: list[str],
    agreed: bytes | None,
) -> None:
    secure = Secure(served, Negotiates(Echo), options)
    context = ssl.create_default_context(cafile=str(localhost.certificate_path))
    context.maximum_version = version
    if offered:
        context.set_alpn_protocols(offered)
    with secure.client(context) as client:
        protocol, _ = secure.factory.next("made")
        assert protocol.transport.negotiatedProtocol == agreed
        assert (client.selected_alpn_protocol() or "").encode() == (agreed or b"")
        assert client.version() == version.name.replace("_", ".")
        client.sendall(b"x")
        assert client.recv(10) == b"x"


def test_old_versions_and_weak_ciphers_are_refused(served: ServedReactor, options: TLSOptions) -> None:
    secure = Secure(served, Events(Echo), options)
    for restrict in (_only_tls_1_1, _only_cbc, _only_rsa_key_exchange):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        restrict(context)
        with pytest.raises(OSError), secure.client(context):
            pass
    assert secure.factory.events.empty()


def _only_tls_1_1(context: ssl.SSLContext) -> None:
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1


def _only_cbc(context: ssl.SSLContext) -> None:
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384")
    context.maximum_version = ssl.TLSVersion.TLSv1_2


def _only_rsa_key_exchange(context: ssl.SSLContext) -> None:
    context.set_ciphers("AES128-GCM-SHA256")
    context.maximum_version = ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    "limits, version",
    [
        ({"minimum": ssl.TLSVersion.TLSv1_3}, "TLSv1.3"),
        ({"maximum": ssl.TLSVersion.TLSv1_2}, "TLSv1.2"),
    ],
)
def test_the_versions_can_be_narrowed(
    served: ServedReactor,
    options: TLSOptions,
    client_context: ssl.SSLContext,
    limits: dict[str, Any],
    version: str,
) -> None:
    secure = Secure(served, Events(Echo), dataclasses.replace(options, **limits))
    with secure.client(client_context) as client:
        assert client.version() == version


@pytest.mark.parametrize("greeting", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\x00"])
def test_who_does_not_shake_hands_reaches_nobody(
    served: ServedReactor, options: TLSOptions, greeting: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    secure = Secure(served, Events(Echo), options)
    with secure.raw() as client:
        client.sendall(greeting)
        client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            received(client)
    served.call(lambda: None)
    assert secure.factory.events.empty()
    # asyncio's own debug mode (`python -X dev`) says that the port listens.
    said = [line for line in caplog.messages if not line.endswith("is serving")]
    assert not said, "anybody can send rubbish, so it is not worth a line"


def test_a_handshake_has_its_time_only(
    served: ServedReactor, options: TLSOptions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    secure = Secure(served, Events(Echo), dataclasses.replace(options, handshake_timeout=0.3))
    with secure.raw() as client:
        begin = time.monotonic()
        client.sendall(b"\x16\x03\x01\x02\x00")
        with contextlib.suppress(ConnectionError):
            received(client)
        assert time.monotonic() - begin > 0.25
    assert secure.factory.events.empty()
    served.call(lambda: None)
    assert "Limit handshakeTimeout reached by ('127.0.0.1'" in caplog.text


def test_a_client_that_leaves_in_the_handshake_leaves_nothing_behind(
    served: ServedReactor, options: TLSOptions, client_context: ssl.SSLContext
) -> None:
    secure = Secure(served, Events(Echo), options)
    for greeting in (b"", b"\x16\x03\x01\x02\x00") * 10:
        with secure.raw() as client:
            client.sendall(greeting)
    with secure.client(client_context) as client:
        client.sendall(b"served after them")
        assert client.recv(100) == b"served after them"
        secure.factory.next("made")
        assert secure.factory.events.empty()


def shake_hands(
    client: socket.socket, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
) -> None:
    """The client's part of a handshake; its last message is left in `outgoing`."""
    while True:
        try:
            return tls.do_handshake()
        except ssl.SSLWantReadError:
            client.sendall(outgoing.read())
            incoming.write(client.recv(65536))


def test_data_that_comes_with_the_end_of_the_handshake_is_not_lost(
    served: ServedReactor, options: TLSOptions, client_context: ssl.SSLContext
) -> None:
    """In TLS 1.3 a client may send its request in one piece with its last handshake message."""
    secure = Secure(served, Events(Told), options)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with secure.raw() as client:
        shake_hands(client, tls, incoming, outgoing)
        tls.write(b"at once")
        client.sendall(outgoing.read())
        secure.factory.next("made")
        assert secure.factory.next("data")[1] == b"at once"
        tls.write(b"and more")
        client.sendall(outgoing.read())
        assert secure.factory.next("data")[1] == b"and more"


def test_a_protocol_that_raises_on_the_first_data_is_logged_and_ended(
    served: ServedReactor,
    options: TLSOptions,
    client_context: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Raises(Told):
        def dataReceived(self, data: bytes) -> None:
            raise LookupError("broken")

    secure = Secure(served, Events(Raises), options)
    with secure.client(client_context) as client:
        client.sendall(b"x")
        secure.factory.next("made")
        secure.factory.next("lost")
    assert any(record.exc_info and "broken" in str(record.exc_info[1]) for record in caplog.records)


def test_half_closing_is_closing(
    served: ServedReactor, options: TLSOptions, client_context: ssl.SSLContext
) -> None:
    @implementer(interfaces.IHalfCloseableProtocol)
    class HalfCloseable(Told):
        def readConnectionLost(self) -> None:
            self.tell("end of input")

        def writeConnectionLost(self) -> None: ...

    secure = Secure(served, Events(HalfCloseable), options)
    with secure.client(client_context) as client:
        protocol, _ = secure.factory.next("made")
        served.call(protocol.transport.write, b"last words")
        served.call(protocol.transport.loseWriteConnection)
        assert received(client) == b"last words"
    assert secure.factory.next("lost")[1].check(error.ConnectionDone)


def test_a_client_s_goodbye_does_not_cut_the_answer(
    served: ServedReactor,
    options: TLSOptions,
    client_context: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Answers(Told):
        def dataReceived(self, data: bytes) -> None:
            self.transport.write(MEGABYTE * 5)
            self.tell("data")

    secure = Secure(served, Events(Answers), options)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with secure.raw() as client:
        shake_hands(client, tls, incoming, outgoing)
        client.sendall(outgoing.read())
        protocol, _ = secure.factory.next("made")
        tls.write(b"question")
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()
        client.sendall(outgoing.read())
        secure.factory.next("data")
        for _ in range(10):
            served.call(protocol.transport.write, b"into the void")
        incoming.write(received(client))
    assert secure.factory.next("lost")[1].check(error.ConnectionDone)
    assert incoming.pending > 5 << 20
    assert not caplog.records


def test_a_slow_reader_gets_everything_after_the_connection_is_closed(
    served: ServedReactor,
    options: TLSOptions,
    client_context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loop's own TLS cuts off what is unsent when its shutdown timeout is over."""
    monkeypatch.setattr(tls_transport, "SHUTDOWN_TIMEOUT", 0.5)
    secure = Secure(served, Events(Told), options)
    with secure.client(client_context, suppress_ragged_eofs=False) as client:
        transport = secure.factory.next("made")[0].transport

        def write_and_close() -> None:
            for _ in range(30):
                transport.write(MEGABYTE)
            transport.loseConnection()

        served.call(write_and_close)
        time.sleep(1.5)  # three times the timeout, without reading
        # Once all has been sent, a slow machine may need more than that to read it and to answer the goodbye.
        monkeypatch.setattr(tls_transport, "SHUTDOWN_TIMEOUT", DEADLINE)
        until(
            lambda: (
                served.call(lambda: transport._deadline.when() - transport.port.loop.time()) > DEADLINE / 2
            )
        )
        assert len(received(client)) == 30 << 20
    assert secure.factory.next("lost")[1].check(error.ConnectionDone)


def test_a_peer_that_never_answers_the_goodbye_is_left_in_the_end(
    served: ServedReactor,
    options: TLSOptions,
    client_context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tls_transport, "SHUTDOWN_TIMEOUT", 0.3)
    secure = Secure(served, Events(Told), options)
    with secure.client(client_context):
        transport = secure.factory.next("made")[0].transport
        served.call(transport.loseConnection)
        assert secure.factory.next("lost")[1].check(error.ConnectionLost)


def test_memory_does_not_grow_while_the_peer_does_not_read(
    served: ServedReactor, options: TLSOptions, client_context: ssl.SSLContext
) -> None:
    class Pushes(Told):
        written = 0
        paused = False

        def connectionMade(self) -> None:
            self.transport.registerProducer(self, True)
            self.tell("made")
            self.resumeProducing()

        def resumeProducing(self) -> None:
            self.paused = False
            # Bounded: writes to a peer that has gone are dropped, and nobody would pause them.
            for _ in range(256):
                if self.paused:
                    break
                self.transport.write(MEGABYTE[: 1 << 16])
                self.written += 1 << 16

        def pauseProducing(self) -> None:
            self.paused = True

        def stopProducing(self) -> None: ...

    secure = Secure(served, Events(Pushes), options)
    with secure.client(client_context) as client:
        protocol, _ = secure.factory.next("made")
        # The kernels' buffers on the way hold some megabytes; the process holds what is left.
        in_kernels = 12 << 20
        assert settled(lambda: protocol.written) < in_kernels
        before = protocol.written
        got = 0
        while got < before:
            got += len(client.recv(1 << 16))
        until(lambda: protocol.written > before)


def test_the_client_s_certificate_is_known(
    served: ServedReactor, options: TLSOptions, localhost: Issued, tmp_path: Path
) -> None:
    authority = issue(tmp_path, "authority")
    person = issue(tmp_path, "somebody", by=authority)
    secure = Secure(
        served,
        Events(Echo),
        dataclasses.replace(options, client_ca=str(authority.certificate_path)),
    )
    context = ssl.create_default_context(cafile=str(localhost.certificate_path))
    context.load_cert_chain(str(person.certificate_path), str(person.key_path))
    with secure.client(context) as client:
        client.sendall(b"it is me")
        assert client.recv(100) == b"it is me"
        protocol, _ = secure.factory.next("made")
        certificate = served.call(protocol.transport.getPeerCertificate)
        assert certificate.to_cryptography() == person.certificate


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("has", ["none", "unknown"])
def test_bad_client_certificates_are_refused_and_none_if_one_is_required(
    served: ServedReactor, options: TLSOptions, localhost: Issued, tmp_path: Path, required: bool, has: str
) -> None:
    authority, stranger = issue(tmp_path, "authority"), issue(tmp_path, "stranger")
    options = dataclasses.replace(
        options, client_ca=str(authority.certificate_path), client_certificate_required=required
    )
    secure = Secure(served, Events(Echo), options)
    context = ssl.create_default_context(cafile=str(localhost.certificate_path))
    if has == "unknown":
        context.load_cert_chain(str(stranger.certificate_path), str(stranger.key_path))
    if has == "none" and not required:
        with secure.client(context) as client:
            client.sendall(b"anonymous")
            assert client.recv(100) == b"anonymous"
            protocol, _ = secure.factory.next("made")
            assert served.call(protocol.transport.getPeerCertificate) is None
        return
    with pytest.raises(OSError), secure.client(context, suppress_ragged_eofs=False) as client:
        client.sendall(b"hello")
        client.recv(100)
    assert secure.factory.events.empty()


@pytest.mark.parametrize("tickets", [True, False])
def test_session_tickets_spare_the_second_handshake(
    served: ServedReactor,
    options: TLSOptions,
    client_context: ssl.SSLContext,
    tickets: bool,
) -> None:
    secure = Secure(served, Events(Echo), dataclasses.replace(options, tickets=tickets))
    with secure.client(client_context) as client:
        client.sendall(b"x")
        client.recv(1)  # the tickets come with the first data
        session = client.session
    with secure.client(client_context, session=session) as client:
        assert client.session_reused is tickets


def test_certificates_are_picked_by_name_and_reloaded(
    served: ServedReactor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    issued = {
        name: issue(tmp_path, name, (name,)) for name in ("one.example", "two.example", "*.three.example")
    }
    files = tuple(CertificateFiles(str(each.both), str(each.both)) for each in issued.values())
    secure = Secure(served, Events(Echo), TLSOptions(certificates=files))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def shown(name: str) -> Any:
        with secure.client(context, name) as client:
            return ssl.DER_cert_to_PEM_cert(client.getpeercert(binary_form=True) or b"")

    for asked, answer in {
        "one.example": "one.example",
        "two.example": "two.example",
        "TWO.example": "two.example",
        "a.three.example": "*.three.example",
        "b.a.three.example": "one.example",
        "elsewhere.example": "one.example",
    }.items():
        assert shown(asked) == issued[answer].pem, asked
    with secure.raw() as raw, context.wrap_socket(raw) as nameless:
        der = nameless.getpeercert(binary_form=True) or b""
        assert ssl.DER_cert_to_PEM_cert(der) == issued["one.example"].pem

    with secure.client(context, "two.example") as old:
        renewed = issue(tmp_path, "two.example", ("two.example",))
        assert shown("two.example") == issued["two.example"].pem
        assert served.call(secure.port.reloadCertificates)
        assert shown("two.example") == renewed.pem != issued["two.example"].pem
        old.sendall(b"as before")
        assert old.recv(100) == b"as before"

    renewed.both.write_text("rubbish")
    with caplog.at_level(logging.ERROR):
        assert not served.call(secure.port.reloadCertificates)
    assert "stay as they were" in caplog.text and "two.example.pem" in caplog.text
    assert shown("two.example") == renewed.pem
