"""daphne.protocols.http2_tunnel: a stream as a Twisted transport, with a protocol of our own on it.

The WebSocket protocol on it: test_http2_websocket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from h2.settings import SettingCodes
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from zope.interface.verify import verifyObject

from daphne.protocols import http2_exchange
from daphne.protocols.http2_tunnel import Tunnel
from tests.protocols.bench import Bench, Told
from tests.protocols.http2_client import Client
from tests.protocols.test_http2_websocket import opening

Serve = Callable[..., Bench]


class Recorder:
    """A Twisted protocol and a producer that note what they are told."""

    handshake_fields: list[Any] = []

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.told: list[Any] = []

    def makeConnection(self, transport: Tunnel) -> None:
        self.transport = transport
        transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self.told.append(data)

    def readConnectionLost(self) -> None:
        self.told.append("end")

    def connectionLost(self, reason: Any) -> None:
        self.told.append(reason.type)
        self.stream.socket_closed(1000, "")

    def close(self, code: int, reason: bytes) -> None:
        """The application has ended; a socket would say goodbye now."""

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")


class Laid:
    """A tunnel to a client, and the protocol on it."""

    def __init__(self, serve: Serve, monkeypatch: pytest.MonkeyPatch, window: int = 65535, **settings: Any):
        recorders: list[Recorder] = []

        def open_recorder(site: Any, stream: Any, extensions: str) -> Recorder:
            recorders.append(Recorder(stream))
            return recorders[0]

        monkeypatch.setattr(http2_exchange, "open_socket", open_recorder)
        told = Told()
        self.bench = serve(told, **settings)
        self.client = Client(self.bench, {SettingCodes.INITIAL_WINDOW_SIZE: window}, acknowledge=False)
        self.stream_id = self.client.start("CONNECT", "/", opening(), ended=False, protocol="websocket")
        self.bench.loop.run(told.sends[0]({"type": "websocket.accept"}))
        told.finish()
        (self.protocol,) = recorders
        self.tunnel = self.protocol.transport
        self.bench.loop.settle()
        self.client.flush()

    @property
    def answer(self) -> Any:
        self.client.flush()
        return self.client.answers[self.stream_id]


@pytest.fixture
def laid(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Laid]:
    return lambda **options: Laid(serve, monkeypatch, **options)


def end(laid: Laid) -> None:
    laid.client.connection.close()
    laid.bench.loop.settle()


def test_it_is_what_it_says(laid: Callable[..., Laid]) -> None:
    one = laid()
    for interface in (ITransport, IConsumer, IPushProducer):
        verifyObject(interface, one.tunnel)
    assert (one.tunnel.getPeer().host, one.tunnel.getPeer().port) == ("127.0.0.1", 50000)
    assert one.tunnel.getHost().port == 8000
    with pytest.raises(RuntimeError):
        one.tunnel.registerProducer(one.protocol, True)
    end(one)
    assert one.protocol.told == [ConnectionLost]


def test_writing(laid: Callable[..., Laid]) -> None:
    one = laid()
    one.tunnel.write(b"one ")
    one.tunnel.writeSequence([b"two ", b"three"])
    assert one.answer.body == b"one two three"
    end(one)
    one.tunnel.write(b"too late")


def test_reading_can_pause(laid: Callable[..., Laid]) -> None:
    one = laid(http2_stream_window=65535)
    one.client.send(one.stream_id, b"a")
    one.tunnel.pauseProducing()
    assert one.client.send(one.stream_id, b"b" * 100_000) == 65534
    assert one.protocol.told == [b"a"]
    one.tunnel.resumeProducing()
    assert b"".join(one.protocol.told) == b"a" + b"b" * 65534
    one.client.flush()
    assert one.client.send(one.stream_id, b"c") == 1
    end(one)


def test_an_end_that_comes_while_reading_is_paused(laid: Callable[..., Laid]) -> None:
    one = laid()
    one.tunnel.pauseProducing()
    one.client.send(one.stream_id, b"last", ended=True)
    assert one.protocol.told == []
    one.tunnel.resumeProducing()
    assert one.protocol.told == [b"last", "end"]
    one.tunnel.loseConnection()
    assert one.answer.ended
    assert one.protocol.told[-1] is ConnectionDone


def test_a_producer_is_paused_and_resumed(laid: Callable[..., Laid]) -> None:
    one = laid(window=1000, write_buffer_size=10_000)
    one.tunnel.write(b"x" * 20_000)
    assert one.protocol.told == ["pause"]
    one.client.flush()
    assert one.tunnel.unsentBytes() == 19_000
    one.client.machine.increment_flow_control_window(20_000, one.stream_id)
    one.client.flush()
    assert one.protocol.told == ["pause", "resume"]
    assert one.tunnel.unsentBytes() == 0
    end(one)


def test_lose_connection_sends_everything_first(laid: Callable[..., Laid]) -> None:
    one = laid(window=1000)
    one.tunnel.write(b"x" * 3000)
    one.tunnel.loseConnection()
    one.tunnel.write(b"too late")
    assert (len(one.answer.body), one.answer.ended) == (1000, False)
    one.client.send(one.stream_id, b"nobody reads this")
    one.client.machine.increment_flow_control_window(3000, one.stream_id)
    assert (len(one.answer.body), one.answer.ended) == (3000, True)
    assert one.protocol.told == [ConnectionDone]
    one.client.machine.end_stream(one.stream_id)
    assert one.answer.reset is None


def test_lose_write_connection_reads_on(laid: Callable[..., Laid]) -> None:
    one = laid()
    one.tunnel.loseWriteConnection()
    assert one.answer.ended
    one.client.send(one.stream_id, b"still here", ended=True)
    assert one.protocol.told == [b"still here", ConnectionDone]
    assert one.answer.reset is None


def test_lose_connection_after_lose_write_connection(laid: Callable[..., Laid]) -> None:
    one = laid()
    one.tunnel.loseWriteConnection()
    one.client.flush()
    one.tunnel.loseConnection()
    one.bench.loop.settle()
    assert one.protocol.told == [ConnectionDone]
    one.bench.loop.advance(2.1)
    assert one.answer.reset == 0


def test_abort_connection_drops_what_waits(laid: Callable[..., Laid]) -> None:
    one = laid(window=10)
    one.tunnel.write(b"x" * 1000)
    one.tunnel.abortConnection()
    assert one.answer.reset == 8
    assert len(one.answer.body) == 0
    assert one.protocol.told == [ConnectionAborted]
    one.tunnel.abortConnection()


def test_stop_producing_loses_the_connection(laid: Callable[..., Laid]) -> None:
    one = laid()
    one.tunnel.unregisterProducer()
    one.tunnel.stopProducing()
    assert one.answer.ended
    end(one)
