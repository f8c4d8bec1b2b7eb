"""daphne.reactor.transports and tls_transport: Twisted's contract, on every kind and loop."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from typing import Any

import pytest
from twisted.internet import error, interfaces
from zope.interface import implementer
from zope.interface.verify import verifyObject

from daphne.reactor.addresses import twisted_address
from daphne.reactor.transports import LoopTransport
from tests.reactor.served import Echo, Events, Served, Told, exchanged, received, settled, until

MEGABYTE = bytes(range(256)) * 4096


def test_echoes_and_ends_once(each: Served) -> None:
    factory = each.serve(Echo)
    client = each.connect()
    protocol, _ = factory.next("made")
    client.sendall(b"hello")
    assert client.recv(100) == b"hello"
    client.close()
    lost, reason = factory.next("lost")
    assert lost is protocol
    assert reason.check(error.ConnectionDone)
    each.call(lambda: None)
    assert factory.events.empty()


def test_serves_many_connections_at_once(each: Served) -> None:
    factory = each.serve(Echo)
    clients = [each.connect() for _ in range(50)]
    for number, client in enumerate(clients):
        client.sendall(b"%d" % number)
    for number, client in enumerate(clients):
        assert client.recv(100) == b"%d" % number
        client.close()
    told = [factory.events.get(timeout=60)[0] for _ in range(100)]
    assert sorted(told) == ["lost"] * 50 + ["made"] * 50


def test_tells_the_addresses_of_both_ends(each: Served) -> None:
    factory = each.serve(Told)
    client = each.connect()
    transport = factory.next("made")[0].transport
    host, peer = each.call(transport.getHost), each.call(transport.getPeer)
    assert host == each.port.getHost()
    assert peer == twisted_address(client.getsockname())
    client.close()
    factory.next("lost")
    assert (transport.getHost(), transport.getPeer()) == (host, peer)


def test_provides_what_twisted_calls_a_transport(each: Served) -> None:
    factory = each.serve(Told)
    client = each.connect()
    transport = factory.next("made")[0].transport
    for interface in (interfaces.ITCPTransport, interfaces.IConsumer, interfaces.IPushProducer):
        assert verifyObject(interface, transport)
    assert interfaces.ISSLTransport.providedBy(transport) == each.is_tls
    assert transport.negotiatedProtocol is None
    client.close()


def test_no_python_frame_lies_between_the_loop_and_the_protocol(plain: Served) -> None:
    callers: list[list[str]] = []

    class Looks(Told):
        def dataReceived(self, data: bytes) -> None:
            frame, files = sys._getframe(1), []
            while frame is not None:
                files.append(frame.f_code.co_filename)
                frame = frame.f_back  # type: ignore[assignment]
            callers.append(files)
            self.transport.write(data)

    plain.serve(Looks)
    client = plain.connect()
    client.sendall(b"data")
    assert client.recv(100) == b"data"
    assert callers[0] and not [file for file in callers[0] if "/daphne/" in file]


def test_write_is_the_write_of_the_loop(plain: Served) -> None:
    factory = plain.serve(Told)
    client = plain.connect()
    transport = factory.next("made")[0].transport
    assert transport.write == transport.loop_transport.write
    assert transport.write.__self__ is transport.loop_transport
    plain.call(transport.writeSequence, [b"a", b"", b"b"])
    plain.call(transport.loseConnection)
    assert received(client) == b"ab"


def test_what_is_written_is_sent_before_the_connection_closes(each: Served) -> None:
    factory = each.serve(Told)
    client = each.connect()
    transport = factory.next("made")[0].transport

    def write_and_close() -> None:
        for _ in range(10):
            transport.write(MEGABYTE)
        transport.loseConnection()

    each.call(write_and_close)
    # The client has read nothing yet, so all that the kernel could not take is in the process.
    assert factory.events.empty()
    assert received(client) == MEGABYTE * 10
    client.close()
    assert factory.next("lost")[1].check(error.ConnectionDone)


def test_an_aborted_connection_is_reset_and_drops_what_is_unsent(each: Served) -> None:
    factory = each.serve(Told)
    client = each.connect()
    transport = factory.next("made")[0].transport

    def write_and_abort() -> None:
        transport.write(MEGABYTE * 10)
        transport.abortConnection()
        transport.abortConnection()

    each.call(write_and_abort)
    assert factory.next("lost")[1].check(error.ConnectionAborted)
    if each.kind == "unix":
        assert len(received(client)) < len(MEGABYTE * 10)
    else:
        with pytest.raises(OSError):
            received(client)
    assert factory.events.empty()


def test_after_the_end_nothing_raises(each: Served) -> None:
    factory = each.serve(Told)
    client = each.connect()
    transport = factory.next("made")[0].transport
    client.close()
    factory.next("lost")

    def everything() -> None:
        transport.write(b"x")
        transport.writeSequence([b"x"])
        transport.pauseProducing()
        transport.resumeProducing()
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        transport.setWriteBufferSize(10)
        transport.loseWriteConnection()
        transport.loseConnection()
        transport.abortConnection()
        transport.stopProducing()
        transport.unregisterProducer()

    each.call(everything)
    assert (transport.connected, transport.disconnected) == (False, True)
    assert factory.events.empty()


class Pushes(Told):
    """A push producer that writes `left` megabytes as long as it may."""

    left = 20
    most_buffered = 0

    def connectionMade(self) -> None:
        super().connectionMade()
        self.pauses = 0
        self.paused = False
        self.transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self.paused = False
        while self.left and not self.paused:
            self.left -= 1
            self.transport.write(MEGABYTE)
            buffered = self.transport.loop_transport.get_write_buffer_size()
            self.most_buffered = max(self.most_buffered, buffered)
        if not self.left:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def pauseProducing(self) -> None:
        self.pauses += 1
        self.paused = True

    def stopProducing(self) -> None:
        self.tell("stop")


def test_a_push_producer_is_paused_while_the_peer_does_not_read(each: Served) -> None:
    factory = each.serve(Pushes)
    client = each.connect()
    producer, _ = factory.next("made")
    assert settled(lambda: producer.left) > 0
    assert producer.paused
    assert received(client) == MEGABYTE * 20
    client.close()
    factory.next("lost")
    assert producer.most_buffered <= len(MEGABYTE) + 65536


def test_the_write_buffer_has_the_size_that_is_asked_for(each: Served) -> None:
    sizes = []

    class Small(Pushes):
        def connectionMade(self) -> None:
            self.transport.setWriteBufferSize(4 * len(MEGABYTE))
            super().connectionMade()

        def pauseProducing(self) -> None:
            super().pauseProducing()
            sizes.append(self.transport.loop_transport.get_write_buffer_size())

    factory = each.serve(Small)
    client = each.connect()
    until(lambda: sizes)
    assert sizes[0] >= 3 * len(MEGABYTE)
    client.close()
    factory.next("made")
    factory.next("stop")
    factory.next("lost")


def test_unsent_bytes_are_all_that_the_kernel_has_not_taken(each: Served) -> None:
    factory = each.serve(Told)
    client = each.connect()
    transport = factory.next("made")[0].transport
    each.call(lambda: [transport.write(MEGABYTE) for _ in range(20)])
    unsent = settled(lambda: each.call(transport.unsentBytes))
    assert 8 << 20 < unsent < 21 << 20
    got = 0
    while got < 10 << 20:
        got += len(client.recv(1 << 20))
    assert settled(lambda: each.call(transport.unsentBytes)) < unsent - (6 << 20)
    while got < 20 << 20:
        got += len(client.recv(1 << 20))
    assert until(lambda: each.call(transport.unsentBytes) == 0)
    client.close()


def test_a_connection_closes_only_when_its_producer_is_done(each: Served) -> None:
    class Slow(Told):
        def connectionMade(self) -> None:
            self.transport.registerProducer(self, True)
            self.transport.write(b"first ")
            self.transport.loseConnection()
            super().connectionMade()

        def last(self) -> None:
            self.transport.write(b"last")
            self.transport.unregisterProducer()

        def pauseProducing(self) -> None: ...

        def resumeProducing(self) -> None: ...

    factory = each.serve(Slow)
    client = each.connect()
    protocol, _ = factory.next("made")
    assert client.recv(100) == b"first "
    assert protocol.transport.disconnecting
    assert factory.events.empty()
    each.call(protocol.last)
    assert received(client) == b"last"
    client.close()
    factory.next("lost")


def test_a_producer_registered_while_writing_is_paused_is_paused(each: Served) -> None:
    factory = each.serve(Told)
    client = each.connect()
    protocol, _ = factory.next("made")

    class Producer:
        paused = False

        def pauseProducing(self) -> None:
            self.paused = True

        def resumeProducing(self) -> None:
            self.paused = False

    producer = Producer()

    def fill_and_register() -> None:
        for _ in range(20):
            protocol.transport.write(MEGABYTE)
        protocol.transport.registerProducer(producer, True)

    each.call(fill_and_register)
    assert producer.paused
    with pytest.raises(RuntimeError, match="cannot be registered"):
        each.call(protocol.transport.registerProducer, producer, True)
    got = 0
    while got < 20 * len(MEGABYTE):
        got += len(client.recv(1 << 20))
    until(lambda: not producer.paused)
    each.call(protocol.transport.unregisterProducer)
    client.close()


def test_the_producer_is_stopped_when_the_connection_is_lost(each: Served) -> None:
    factory = each.serve(Pushes)
    client = each.connect()
    producer, _ = factory.next("made")
    until(lambda: producer.paused)
    each.call(producer.transport.abortConnection)
    factory.next("stop")
    factory.next("lost")
    each.call(producer.transport.registerProducer, producer, True)
    factory.next("stop")
    client.close()


class Pulled(Told):
    """A pull producer of so many chunks."""

    chunks = 300

    def connectionMade(self) -> None:
        super().connectionMade()
        self.sent = 0
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        if self.sent == self.chunks:
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            return
        self.transport.write(b"%06d" % self.sent * 5000)
        self.sent += 1

    def stopProducing(self) -> None:
        self.tell("stop")


def test_a_pull_producer_is_asked_when_all_is_sent(each: Served) -> None:
    factory = each.serve(Pulled)
    client = each.connect()
    producer, _ = factory.next("made")
    assert settled(lambda: producer.sent) < producer.chunks
    assert received(client) == b"".join(b"%06d" % number * 5000 for number in range(producer.chunks))
    client.close()
    factory.next("lost")


def test_a_pull_producer_that_raises_ends_its_connection(
    each: Served, caplog: pytest.LogCaptureFixture
) -> None:
    class Raises(Pulled):
        def connectionMade(self) -> None:
            Told.connectionMade(self)

        def dataReceived(self, data: bytes) -> None:
            self.transport.registerProducer(self, False)

        def resumeProducing(self) -> None:
            raise LookupError("nothing to give")

    factory = each.serve(Raises)
    client = each.connect()
    client.sendall(b"give")
    factory.next("made")
    factory.next("stop")
    assert factory.next("lost")[1].check(error.ConnectionAborted)
    client.close()
    assert len([record for record in caplog.records if "resumeProducing" in record.message]) == 1


def test_reading_stops_while_the_protocol_wants_nothing(each: Served) -> None:
    class Takes(Told):
        taken = 0

        def dataReceived(self, data: bytes) -> None:
            self.taken += len(data)
            if self.taken == len(data):
                self.transport.pauseProducing()

    factory = each.serve(Takes)
    client = each.connect()
    protocol, _ = factory.next("made")
    client.settimeout(0.3)
    sent = 0
    with pytest.raises(TimeoutError):
        for _ in range(100):
            client.sendall(MEGABYTE)
            sent += 1
    assert sent < 20
    client.shutdown(socket.SHUT_WR)
    assert 0 < until(lambda: protocol.taken) <= 1 << 19
    each.call(protocol.transport.resumeProducing)
    factory.next("lost")
    assert protocol.taken >= sent * len(MEGABYTE)


def test_big_data_arrives_whole_both_ways_at_once(each: Served) -> None:
    class EchoesWithPressure(Told):
        """Reads only while what it has written is on its way."""

        def connectionMade(self) -> None:
            self.transport.registerProducer(self, True)
            super().connectionMade()

        def dataReceived(self, data: bytes) -> None:
            self.transport.write(data)

        def pauseProducing(self) -> None:
            self.transport.pauseProducing()

        def resumeProducing(self) -> None:
            self.transport.resumeProducing()

        def stopProducing(self) -> None: ...

    each.serve(EchoesWithPressure)
    client = each.connect()
    assert exchanged(client, MEGABYTE * 30) == MEGABYTE * 30


@implementer(interfaces.IHalfCloseableProtocol)
class HalfCloseable(Told):
    def readConnectionLost(self) -> None:
        self.tell("end of input")

    def writeConnectionLost(self) -> None:
        self.tell("end of output")


def test_a_half_closeable_protocol_answers_after_the_end_of_input(plain: Served) -> None:
    factory = plain.serve(HalfCloseable)
    client = plain.connect()
    protocol, _ = factory.next("made")
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert factory.next("data")[1] == b"question"
    factory.next("end of input")
    # Asking for more input does not make the end of it come again.
    plain.call(protocol.transport.pauseProducing)
    plain.call(protocol.transport.resumeProducing)
    plain.call(protocol.transport.write, b"answer")
    plain.call(protocol.transport.loseConnection)
    assert received(client) == b"answer"
    assert factory.next("lost")[1].check(error.ConnectionDone)


def test_other_protocols_lose_the_connection_at_the_end_of_input(plain: Served) -> None:
    factory = plain.serve(Told)
    client = plain.connect()
    factory.next("made")
    client.shutdown(socket.SHUT_WR)
    assert factory.next("lost")[1].check(error.ConnectionDone)
    assert received(client) == b""


def test_output_can_end_before_input(plain: Served) -> None:
    factory = plain.serve(HalfCloseable)
    client = plain.connect()
    transport = factory.next("made")[0].transport

    def end_output() -> None:
        transport.write(MEGABYTE * 5)
        transport.loseWriteConnection()
        transport.loseWriteConnection()
        transport.write(b"dropped")

    plain.call(end_output)
    factory.next("end of output")
    assert received(client) == MEGABYTE * 5
    client.sendall(b"still heard")
    assert factory.next("data")[1] == b"still heard"
    client.close()
    factory.next("end of input")
    plain.call(transport.loseConnection)
    factory.next("lost")


@pytest.mark.parametrize("problem", [LookupError("broken"), FileNotFoundError(2, "no such thing")])
def test_a_protocol_that_raises_loses_its_connection_and_is_logged(
    each: Served, problem: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    class Raises(Told):
        def dataReceived(self, data: bytes) -> None:
            raise problem

    factory = each.serve(Raises)
    client = each.connect()
    factory.next("made")
    with caplog.at_level(logging.WARNING):
        client.sendall(b"x")
        _, reason = factory.next("lost")
    client.close()
    assert reason.check(LookupError, error.ConnectionLost)
    assert any(record.exc_info and record.exc_info[1] is problem for record in caplog.records)


def test_a_factory_that_builds_nothing_closes_the_connection(each: Served) -> None:
    factory = each.serve(Told)
    factory.buildProtocol = lambda address: None  # type: ignore[method-assign]
    with each.connect() as client:
        assert received(client) == b""
    assert factory.events.empty()


@pytest.mark.parametrize("where", ["buildProtocol", "makeConnection"])
def test_a_factory_that_raises_closes_the_connection(
    each: Served, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Raises(Told):
        def makeConnection(self, transport: Any) -> None:
            raise LookupError("broken")

    def fails(address: Any) -> Any:
        raise LookupError("broken")

    factory = each.serve(Raises)
    if where == "buildProtocol":
        factory.buildProtocol = fails  # type: ignore[method-assign]
    # An aborted TLS connection ends without a goodbye.
    with each.connect() as client, contextlib.suppress(OSError):
        assert received(client) == b""
    until(lambda: any("could not be served" in record.message for record in caplog.records))


def test_a_connection_changes_hands(each: Served) -> None:
    """As it does when HTTP becomes a WebSocket."""
    factory = each.serve(Told)
    client = each.connect()
    transport = factory.next("made")[0].transport
    other = Events(Echo)

    def hand_over() -> None:
        protocol = other.buildProtocol(None)
        transport.protocol = protocol
        protocol.makeConnection(transport)

    each.call(hand_over)
    other.next("made")
    client.sendall(b"to the other")
    assert client.recv(100) == b"to the other"
    client.close()
    other.next("lost")
    assert factory.events.empty()


def test_sockets_do_not_wait_to_send_and_can_be_kept_alive(each: Served) -> None:
    factory = each.serve(Told)
    client = each.connect()
    transport = factory.next("made")[0].transport

    def options() -> tuple[bool, bool, bool]:
        without_delay = transport.getTcpNoDelay()
        transport.setTcpNoDelay(False)
        transport.setTcpKeepAlive(True)
        return without_delay, transport.getTcpNoDelay(), transport.getTcpKeepAlive()

    is_tcp = each.kind != "unix"
    assert each.call(options) == (is_tcp, False, True)
    assert each.call(lambda: transport.getHandle().fileno()) > 0
    client.close()


class _GoneTransport:
    """What a loop's transport is like when the peer has reset the connection before it was accepted."""

    aborted = False

    def get_extra_info(self, name: str) -> None:
        return None

    def write(self, data: bytes) -> None: ...

    def abort(self) -> None:
        self.aborted = True


def test_a_peer_that_has_gone_never_passes_for_a_unix_socket() -> None:
    gone = _GoneTransport()
    transport = LoopTransport(port=None)  # type: ignore[arg-type]  # it must not even be looked at
    transport.connection_made(gone)
    assert gone.aborted
    transport.connection_lost(None)
    assert not transport.connected
