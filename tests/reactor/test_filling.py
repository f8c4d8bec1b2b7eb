"""daphne.reactor.filling: a transport that reads into the protocol's memory, on every kind and loop."""

from __future__ import annotations

import pytest
from twisted.internet import error

from tests.reactor.served import Served, Told, until


class Into(Told):
    """Reads into `memory` from its first bytes on, until that is full, and then as usual."""

    received = b""

    def connectionMade(self) -> None:
        self.memory = bytearray(100_000)
        self.at = 0
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        if not self.at:
            self.memory[: len(data)] = data
            self.at = len(data)
            self.tell("into", self.transport.receiveInto(self))
        else:
            self.received += data
            self.tell("data", data)

    def get_buffer(self, hint: int) -> memoryview:
        return memoryview(self.memory)[self.at :]

    def buffer_updated(self, count: int) -> None:
        self.at += count
        if self.at == len(self.memory):
            self.transport.receiveData()
            self.tell("full")


PAYLOAD = bytes(range(250)) * 400


def test_memory_is_filled_and_then_data_received_again(plain: Served) -> None:
    factory = plain.serve(Into)
    client = plain.connect()
    protocol, _ = factory.next("made")
    client.sendall(PAYLOAD[:10])
    assert factory.next("into") == (protocol, True)
    client.sendall(PAYLOAD[10:] + b"rest")
    factory.next("full")
    assert bytes(protocol.memory) == PAYLOAD
    assert factory.data(4) == b"rest"
    client.close()
    assert factory.next("lost")[1].check(error.ConnectionDone)


def test_pausing_holds_for_memory_too(plain: Served) -> None:
    factory = plain.serve(Into)
    client = plain.connect()
    protocol, _ = factory.next("made")
    client.sendall(PAYLOAD[:10])
    factory.next("into")
    plain.call(protocol.transport.pauseProducing)
    client.sendall(PAYLOAD[10:1000])
    plain.call(lambda: None)
    assert protocol.at == 10
    plain.call(protocol.transport.resumeProducing)
    until(lambda: protocol.at == 1000)
    client.close()
    factory.next("lost")


@pytest.mark.parametrize("how", ["abortConnection", "loseConnection"])
def test_the_end_comes_through(plain: Served, how: str) -> None:
    factory = plain.serve(Into)
    client = plain.connect()
    protocol, _ = factory.next("made")
    client.sendall(PAYLOAD[:10])
    factory.next("into")
    plain.call(getattr(protocol.transport, how))
    assert factory.next("lost")[0] is protocol
    plain.call(protocol.transport.receiveData)
    plain.call(protocol.transport.receiveInto, protocol)
    client.close()


def test_a_full_buffer_pauses_the_writer(plain: Served) -> None:
    factory = plain.serve(Into)
    client = plain.connect()
    protocol, _ = factory.next("made")
    client.sendall(PAYLOAD[:10])
    factory.next("into")
    told: list[str] = []

    class Producer:
        def pauseProducing(self) -> None:
            told.append("pause")

        def resumeProducing(self) -> None:
            told.append("resume")

        def stopProducing(self) -> None:
            told.append("stop")

    plain.call(protocol.transport.registerProducer, Producer(), True)
    plain.call(protocol.transport.write, b"x" * 20_000_000)
    assert told == ["pause"]
    left = 20_000_000
    while left:
        left -= len(client.recv(1 << 20))
    until(lambda: told == ["pause", "resume"])
    plain.call(protocol.transport.unregisterProducer)
    client.close()
    factory.next("lost")


def test_not_where_something_comes_between_the_socket_and_the_protocol(each: Served) -> None:
    factory = each.serve(Into)
    client = each.connect()
    protocol, _ = factory.next("made")
    assert each.call(protocol.transport.receiveInto, object()) is False
    client.sendall(PAYLOAD[:10])
    assert factory.next("into") == (protocol, not each.is_tls)
    client.close()
    factory.next("lost")
