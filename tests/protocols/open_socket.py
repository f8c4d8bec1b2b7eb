"""An open WebSocket for tests: an application that the test drives, and the client of it.

Called by the tests of WebSockets; calls tests.protocols.bench.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from daphne.testing import MemoryConnection, Response, read_response
from daphne.testing.frames import (
    Frame,
    read_frame,
)
from daphne.testing.sockets import handshake
from tests.protocols.bench import Bench, Driven, Event

Serve = Callable[..., Bench]
ACCEPT: Event = {"type": "websocket.accept"}
MEGABYTE = b"x" * 1_000_000


def opening(*fields: tuple[bytes, bytes], target: str = "/") -> bytes:
    return handshake(target, list(fields))


def answer(connection: MemoryConnection) -> Response:
    """The answer to the handshake."""
    part = read_response(bytes(connection.received))
    assert part is not None
    return part[0]


def sent_frames(data: bytes) -> list[Frame]:
    """The frames that a server has written after its answer to the handshake."""
    rest = data.partition(b"\r\n\r\n")[2]
    frames = []
    while rest:
        part = read_frame(rest)
        assert part is not None
        frame, rest = part
        frames.append(frame)
    return frames


class Open(Driven):
    """A server with an application that the test drives, and one client with an open WebSocket."""

    def __init__(
        self, serve: Serve, *fields: tuple[bytes, bytes], accept: Event = ACCEPT, **settings: Any
    ) -> None:
        super().__init__(serve, opening(*fields), **settings)
        assert self.receive() == {"type": "websocket.connect"}
        self.send(accept)
        self.head = answer(self.connection)
        assert self.head.status == 101

    def write(self, *pieces: bytes) -> None:
        self.bench.send(self.connection, *pieces)

    def read(self) -> list[Frame]:
        """The frames that have arrived since the last look."""
        self.loop.settle()
        frames = sent_frames(bytes(self.connection.received))
        del self.connection.received[self.connection.received.index(b"\r\n\r\n") + 4 :]
        return frames

    @property
    def actions(self) -> list[str]:
        return [action for _, action, _ in self.bench.actions]
