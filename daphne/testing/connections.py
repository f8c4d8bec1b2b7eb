"""Connections in memory: both ends of what would be a TCP connection, and a port that makes them.

Used by `daphne.testing.memory` and by tests of protocols. `MemoryTransport` is an asyncio transport; the
Twisted transport over it is the one that real connections have (`daphne.reactor.transports`), so that a
protocol cannot tell the difference.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.address import IPv4Address, UNIXAddress

from daphne.reactor.transports import LoopTransport
from daphne.streams.signal import Signal

T = TypeVar("T")
Address = tuple[str, int] | str
"""A host and a port, or the path of a unix socket (empty for the client's end)."""

LARGEST_READ = 262144
"""Bytes that the protocol gets at a time, at most."""


class MemoryPort:
    """A port of `factory` that connections in memory come in by."""

    sockname: Any = None
    """Each connection is asked for its own."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, factory: Any, address: Address = ("127.0.0.1", 8000)
    ) -> None:
        self.loop = loop
        self.factory = factory
        self.address = address

    def getHost(self) -> IPv4Address | UNIXAddress:
        """The address that is listened on, as Twisted writes it."""
        if isinstance(self.address, str):
            return UNIXAddress(self.address)
        return IPv4Address("TCP", *self.address)

    def connect(self, client: Address = ("127.0.0.1", 50000)) -> MemoryConnection:
        """A new connection from `client`; the protocol on the server's side has been told of it."""
        connection = MemoryConnection(self.loop)
        names = {"peername": client, "sockname": self.address}
        transport: Any = LoopTransport
        connection.server = MemoryTransport(self.loop, connection, transport(self), names)
        connection.server.begin()
        return connection


class MemoryConnection:
    """The client's end of a connection. Nothing arrives anywhere before the loop turns."""

    server: MemoryTransport
    """The server's end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.received = bytearray()
        """All bytes that have arrived. A test may delete what it has seen."""
        self.reading = True
        """Whether bytes are taken as they come; else they stay with the server, whose buffer fills up."""
        self.at_end = False
        """Whether the server has said that it sends no more."""
        self.was_reset = False
        """Whether the server has cut the connection."""
        self._change = Signal(loop)

    @property
    def ended(self) -> bool:
        """Whether nothing more will arrive."""
        return self.at_end or self.was_reset

    def send(self, data: bytes) -> None:
        """Send bytes; they arrive as one piece (of at most LARGEST_READ)."""
        self.server.arrive(data)

    def send_eof(self) -> None:
        """Say that no more will be sent; go on reading."""
        self.server.arrive(None)

    def close(self) -> None:
        """Close as a client does that has gone for good: whatever the server still writes is answered by a
        reset."""
        self.server.peer_gone = True
        self.server.arrive(None)

    def reset(self) -> None:
        """Cut the connection, as TCP does by RST."""
        self.server.lose(ConnectionResetError(104, "Connection reset by peer"))

    def stop_reading(self) -> None:
        """Leave what comes from now on with the server."""
        self.reading = False

    def resume_reading(self) -> None:
        """Take what is there and what comes."""
        self.reading = True
        self.server.flush()

    def take(self, count: int) -> bytes:
        """While reading is stopped: take up to `count` bytes from the server after all."""
        return self.server.hand_over(count)

    async def wait_for(self, condition: Callable[[], T | None]) -> T:
        """The first true value of `condition`, which is looked at whenever something has arrived.

        Raises EOFError if the connection ends before that.
        """
        while not (value := condition()):
            if self.ended:
                raise EOFError(f"the connection ended with {bytes(self.received[-200:])!r}")
            await self._change.waiter()
        return value

    def changed(self) -> None:
        """Something has arrived (called by the server's end)."""
        self._change.fire()


class MemoryTransport(asyncio.Transport):
    """The server's end as a transport of the loop, with asyncio's rules for each method."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, peer: MemoryConnection, protocol: Any, names: dict[str, Any]
    ) -> None:
        super().__init__(names)
        self._loop = loop
        self._peer = peer
        self._protocol = protocol
        self._arrived: deque[bytes | None] = deque()
        self._delivering = False
        self._reading = True
        self._unsent = bytearray()
        self._high, self._low = 65536, 16384
        self._writing_paused = False
        self._eof = False
        self._closing = False
        self._lost = False
        self.peer_gone = False

    def begin(self) -> None:
        """Give the protocol its connection."""
        self._protocol.connection_made(self)

    # What the client's end calls

    def arrive(self, data: bytes | None) -> None:
        """Bytes from the client, or None for the end of its output."""
        if data is None:
            self._arrived.append(None)
        else:
            self._arrived.extend(data[at : at + LARGEST_READ] for at in range(0, len(data), LARGEST_READ))
        self._deliver_soon()

    def flush(self) -> None:
        """Let the client have what it takes."""
        if self._peer.reading:
            self.hand_over(len(self._unsent))

    def hand_over(self, count: int) -> bytes:
        """Let the client have up to `count` bytes; what they are."""
        data = bytes(self._unsent[:count])
        del self._unsent[:count]
        self._peer.received += data
        if self._writing_paused and len(self._unsent) <= self._low:
            self._writing_paused = False
            self._protocol.resume_writing()
        if not self._unsent:
            self._all_sent()
        self._peer.changed()
        return data

    def lose(self, problem: Exception | None) -> None:
        """End the connection, in the loop's next turn."""
        if not self._lost:
            self._lost = self._closing = True
            self._unsent.clear()
            self._loop.call_soon(self._protocol.connection_lost, problem)

    def _all_sent(self) -> None:
        if self._eof or self._closing:
            self._peer.at_end = True
        if self._closing:
            self.lose(None)

    def _deliver_soon(self) -> None:
        if self._arrived and self._reading and not self._delivering and not self._closing:
            self._delivering = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._delivering = False
        if self._closing or not self._reading:
            return
        data = self._arrived.popleft()
        try:
            if data is not None:
                self._give(data)
            elif not self._protocol.eof_received():
                self.close()
        except Exception as problem:
            # As asyncio's own transports do it: say so, and end the connection.
            self._loop.call_exception_handler({"message": "Fatal error", "exception": problem})
            self._peer.was_reset = True
            self.lose(problem)
        self._deliver_soon()

    def _give(self, data: bytes) -> None:
        protocol = self._protocol
        if not isinstance(protocol, asyncio.BufferedProtocol):
            protocol.data_received(data)
            return
        buffer = memoryview(protocol.get_buffer(-1))
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        if count < len(data):
            self._arrived.appendleft(data[count:])
        protocol.buffer_updated(count)

    # asyncio.Transport

    def write(self, data: Any) -> None:
        """Send bytes as soon as the client takes them."""
        if self._eof:
            raise RuntimeError("write after write_eof")
        if self._closing or not data:
            return
        if self.peer_gone:
            self.lose(ConnectionResetError(104, "Connection reset by peer"))
            return
        self._unsent += data
        self.flush()
        self._pause_if_full()

    def _pause_if_full(self) -> None:
        if len(self._unsent) > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        """Send the end of file when all is sent."""
        if not self._eof and not self._closing:
            self._eof = True
            self.flush()

    def can_write_eof(self) -> bool:
        """TCP can."""
        return True

    def close(self) -> None:
        """End when all is sent; read no more."""
        if not self._closing:
            self._closing = True
            self.flush()

    def abort(self) -> None:
        """End at once."""
        self._peer.was_reset = True
        self.lose(None)
        self._peer.changed()

    def is_closing(self) -> bool:
        """Whether the end has begun."""
        return self._closing

    def pause_reading(self) -> None:
        """Let the client wait."""
        self._reading = False

    def resume_reading(self) -> None:
        """Read on."""
        self._reading = True
        self._deliver_soon()

    def is_reading(self) -> bool:
        """Whether bytes are taken from the client."""
        return self._reading and not self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Count writing as paused above `high` unsent bytes, until at most `low` are left."""
        self._high = 65536 if high is None else high
        self._low = self._high // 4 if low is None else low
        self._pause_if_full()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The low and the high mark."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Bytes that the client has not taken."""
        return len(self._unsent)

    def set_protocol(self, protocol: Any) -> None:
        """Hand the connection to another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> Any:
        """The protocol."""
        return self._protocol
