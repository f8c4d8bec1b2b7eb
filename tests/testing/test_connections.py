"""daphne.testing.connections: what happens on a connection in memory is what happens on a socket.

Each test is one scenario over three kinds of connection: TCP and unix sockets on the loop's own transports,
and memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import error, interfaces
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer
from zope.interface.verify import verifyObject

from daphne.reactor.listeners import unix_listener
from daphne.reactor.ports import LoopPort
from daphne.testing import MemoryConnection, MemoryPort

DEADLINE = 60.0
MEGABYTE = b"0123456789abcdef" * 65536


class Told(Protocol):
    """A protocol that remembers what it was told, and takes orders for its transport."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.received = b""

    def connectionMade(self) -> None:
        self.events.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.events.append(("lost", reason.type))

    def pauseProducing(self) -> None:
        self.events.append("pause")

    def resumeProducing(self) -> None:
        self.events.append("resume")

    def stopProducing(self) -> None:
        self.events.append("stop")


@implementer(interfaces.IHalfCloseableProtocol)
class HalfCloseable(Told):
    def readConnectionLost(self) -> None:
        self.events.append("read lost")

    def writeConnectionLost(self) -> None:
        self.events.append("write lost")


class Client:
    """The client's end of a socket, with the methods of a MemoryConnection."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.received = bytearray()
        self.at_end = self.was_reset = False
        self.reading = True

    def send(self, data: bytes) -> None:
        asyncio.get_running_loop().create_task(asyncio.get_running_loop().sock_sendall(self._socket, data))

    def send_eof(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self._socket.close()

    def stop_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def look(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.reading and not (self.at_end or self.was_reset) and self._socket.fileno() >= 0:
                try:
                    data = self._socket.recv(1 << 20)
                except ConnectionResetError:
                    self.was_reset = True
                else:
                    self.received += data
                    self.at_end = not data


Kind = Callable[[Any], Any]


@contextlib.asynccontextmanager
async def memory(factory: Any, path: Path) -> AsyncIterator[Any]:
    yield MemoryPort(asyncio.get_running_loop(), factory).connect()


@contextlib.asynccontextmanager
async def on_sockets(factory: Any, path: Path, unix: bool) -> AsyncIterator[Any]:
    loop = asyncio.get_running_loop()
    if unix:
        listener, _ = unix_listener(str(path / "socket"), 5, 0o600)
    else:
        listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = LoopPort(loop, listener, factory, 5)
    port.startListening()
    client = socket.socket(listener.family)
    client.setblocking(False)
    await loop.sock_connect(client, listener.getsockname())
    try:
        yield Client(client)
    finally:
        client.close()
        port.stopListening()


KINDS = {
    "memory": memory,
    "tcp": functools.partial(on_sockets, unix=False),
    "unix": functools.partial(on_sockets, unix=True),
}
Scenario = Callable[[Any, Any, Callable[[Callable[[], Any]], Awaitable[None]]], Awaitable[None]]


@pytest.fixture(params=KINDS)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Play a scenario (`client, protocol, until`) with a protocol of the class on one kind of connection."""

    async def run(protocol_class: Any, scenario: Scenario) -> None:
        protocols: list[Any] = []

        class Remembers(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> Any:
                protocols.append(protocol_class())
                return protocols[-1]

        async with KINDS[request.param](Remembers(), tmp_path) as client:

            async def until(condition: Callable[[], Any]) -> None:
                async with asyncio.timeout(DEADLINE):
                    while True:
                        if isinstance(client, Client):
                            client.look()
                        if condition():
                            return
                        await asyncio.sleep(0.001)

            await until(lambda: protocols and "made" in protocols[0].events)
            await scenario(client, protocols[0], until)
            if not any(event[0] == "lost" for event in protocols[0].events if isinstance(event, tuple)):
                protocols[0].transport.abortConnection()
                await until(lambda: isinstance(protocols[0].events[-1], tuple))

    def play(protocol_class: Any, scenario: Scenario) -> None:
        asyncio.run(run(protocol_class, scenario))

    yield play


def test_bytes_both_ways(play: Any) -> None:
    async def scenario(client: Any, server: Any, until: Any) -> None:
        client.send(b"hello")
        await until(lambda: server.received == b"hello")
        server.transport.write(b"a")
        server.transport.writeSequence([b"b", b"", b"c"])
        await until(lambda: client.received == b"abc")

    play(Told, scenario)


def test_what_is_written_is_sent_before_the_connection_closes(play: Any) -> None:
    async def scenario(client: Any, server: Any, until: Any) -> None:
        client.stop_reading()
        for _ in range(10):
            server.transport.write(MEGABYTE)
        server.transport.loseConnection()
        assert server.transport.disconnecting
        assert server.events == ["made"]
        client.resume_reading()
        await until(lambda: client.at_end)
        assert client.received == MEGABYTE * 10
        await until(lambda: server.events[-1] == ("lost", error.ConnectionDone))
        server.transport.write(b"ignored")
        server.transport.loseConnection()
        server.transport.abortConnection()

    play(Told, scenario)


def test_an_abort_drops_what_is_unsent(play: Any) -> None:
    async def scenario(client: Any, server: Any, until: Any) -> None:
        client.stop_reading()
        server.transport.write(MEGABYTE * 20)
        server.transport.abortConnection()
        await until(lambda: server.events[-1] == ("lost", error.ConnectionAborted))
        client.resume_reading()
        await until(lambda: client.at_end or client.was_reset)
        assert len(client.received) < len(MEGABYTE) * 20

    play(Told, scenario)


@pytest.mark.parametrize("how", ["close", "reset", "send_eof"])
def test_the_client_goes(play: Any, how: str) -> None:
    async def scenario(client: Any, server: Any, until: Any) -> None:
        getattr(client, how)()
        await until(lambda: server.events[-1] != "made")
        assert server.events[-1] in (("lost", error.ConnectionDone), ("lost", error.ConnectionLost))

    play(Told, scenario)


def test_a_half_closed_client_is_still_answered(play: Any) -> None:
    async def scenario(client: Any, server: Any, until: Any) -> None:
        client.send(b"question")
        await until(lambda: server.received == b"question")
        client.send_eof()
        await until(lambda: server.events[-1] == "read lost")
        server.transport.write(b"answer")
        server.transport.loseConnection()
        await until(lambda: client.at_end)
        assert client.received == b"answer"
        await until(lambda: server.events[-1] == ("lost", error.ConnectionDone))

    play(HalfCloseable, scenario)


def test_output_may_end_before_input(play: Any) -> None:
    async def scenario(client: Any, server: Any, until: Any) -> None:
        server.transport.write(b"last")
        server.transport.loseWriteConnection()
        server.transport.write(b"never")
        await until(lambda: client.at_end)
        assert client.received == b"last"
        await until(lambda: server.events[-1] == "write lost")
        client.send(b"still talking")
        await until(lambda: server.received == b"still talking")
        client.close()
        await until(lambda: server.events[-1] == "read lost")
        server.transport.loseConnection()
        await until(lambda: server.events[-1] == ("lost", error.ConnectionDone))

    play(HalfCloseable, scenario)


def test_a_producer_is_paused_and_resumed(play: Any) -> None:
    async def scenario(client: Any, server: Any, until: Any) -> None:
        client.stop_reading()
        server.transport.registerProducer(server, True)
        written = 0
        while server.events[-1] != "pause":
            server.transport.write(MEGABYTE)
            written += len(MEGABYTE)
            await asyncio.sleep(0)
        client.resume_reading()
        await until(lambda: server.events[-1] == "resume")
        await until(lambda: len(client.received) == written)
        assert server.events == ["made", "pause", "resume"]
        server.transport.loseConnection()
        await asyncio.sleep(0.01)
        assert not client.at_end, "a connection closes only when its producer is done"
        server.transport.unregisterProducer()
        await until(lambda: client.at_end)

    play(Told, scenario)


def test_the_producer_hears_of_the_end_first(play: Any) -> None:
    async def scenario(client: Any, server: Any, until: Any) -> None:
        server.transport.registerProducer(server, True)
        client.reset()
        await until(lambda: isinstance(server.events[-1], tuple))
        assert server.events[-2] == "stop"

    play(Told, scenario)


def test_reading_can_pause(play: Any) -> None:
    async def scenario(client: Any, server: Any, until: Any) -> None:
        server.transport.pauseProducing()
        client.send(b"wait")
        await asyncio.sleep(0.02)
        assert server.received == b""
        server.transport.resumeProducing()
        await until(lambda: server.received == b"wait")

    play(Told, scenario)


def test_big_data_arrives_whole(play: Any) -> None:
    async def scenario(client: Any, server: Any, until: Any) -> None:
        client.send(MEGABYTE * 3)
        server.transport.write(MEGABYTE * 3)
        await until(lambda: len(server.received) == len(client.received) == len(MEGABYTE) * 3)
        assert server.received == client.received == MEGABYTE * 3

    play(Told, scenario)


def test_the_interfaces_of_twisted(play: Any) -> None:
    async def scenario(client: Any, server: Any, until: Any) -> None:
        for interface in (interfaces.ITCPTransport, interfaces.IConsumer, interfaces.IPushProducer):
            assert verifyObject(interface, server.transport)
        server.transport.setTcpNoDelay(True)
        server.transport.getTcpKeepAlive()
        host, peer = server.transport.getHost(), server.transport.getPeer()
        assert type(host) is type(peer) and isinstance(host, IPv4Address | UNIXAddress)
        other = Told()
        server.transport.protocol = other
        other.makeConnection(server.transport)
        client.send(b"for the other")
        await until(lambda: other.received == b"for the other")
        server.events.append(("lost", None))  # which it never will be
        server.transport.abortConnection()
        await until(lambda: other.events[-1] == ("lost", error.ConnectionAborted))

    play(Told, scenario)


def test_a_protocol_that_raises_loses_its_connection(play: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Raises(Told):
        def dataReceived(self, data: bytes) -> None:
            raise LookupError("broken")

    async def scenario(client: Any, server: Any, until: Any) -> None:
        client.send(b"x")
        await until(lambda: server.events[-1] == ("lost", LookupError))

    play(Raises, scenario)


# ---- memory alone --------------------------------------------------------------------------------------


def test_bytes_can_be_taken_one_by_one() -> None:
    async def main() -> None:
        factory = Factory.forProtocol(Told)
        factory.noisy = False
        connection = MemoryPort(asyncio.get_running_loop(), factory).connect()
        connection.stop_reading()
        connection.server.write(b"abcdef")
        assert (connection.take(2), connection.take(1), bytes(connection.received)) == (b"ab", b"c", b"abc")
        connection.resume_reading()
        assert connection.received == b"abcdef"

    asyncio.run(main())


def test_waiting_for_what_never_comes() -> None:
    async def main() -> None:
        factory = Factory.forProtocol(Told)
        factory.noisy = False
        connection: MemoryConnection = MemoryPort(asyncio.get_running_loop(), factory).connect()
        asyncio.get_running_loop().call_soon(connection.server.write, b"something")
        assert await connection.wait_for(lambda: bytes(connection.received)) == b"something"
        asyncio.get_running_loop().call_soon(connection.server.close)
        with pytest.raises(EOFError, match="something"):
            await connection.wait_for(lambda: None)

    asyncio.run(main())
