"""A WebSocket client in memory, for unit tests of applications.

Made by `daphne.testing.memory.MemoryServer.websocket`; calls a `MemoryConnection`.
"""

from __future__ import annotations

import struct

from daphne.testing.connections import MemoryConnection
from daphne.testing.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    client_frame,
    close_frame,
    read_frame,
)
from daphne.testing.responses import Response


class WebSocketRefused(Exception):
    """The handshake was refused; `response` says how."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"refused with {response.status}")
        self.response = response


class WebSocketClosed(Exception):
    """The socket is closed, with `code` and `reason`: 1005 where the server gave no code, 1006 where it just
    went."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"closed with {code} {reason}")
        self.code = code
        self.reason = reason


class MemoryWebSocket:
    """An open WebSocket. Pings are answered, close frames too, as any client does."""

    def __init__(self, connection: MemoryConnection, response: Response) -> None:
        self.connection = connection
        self.response = response
        """The answer to the handshake."""
        self._close_sent = False

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was agreed on."""
        value = self.response.header(b"sec-websocket-protocol")
        return None if value is None else value.decode("latin-1")

    def send(self, message: str | bytes) -> None:
        """Send one message, as text or binary after its type."""
        if isinstance(message, str):
            self.connection.send(client_frame(TEXT, message.encode()))
        else:
            self.connection.send(client_frame(BINARY, message))

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping."""
        self.connection.send(client_frame(PING, payload))

    async def receive(self) -> str | bytes:
        """The next message. Raises WebSocketClosed when there will be none."""
        parts: list[bytes] = []
        kind = TEXT
        while True:
            frame = await self.receive_frame()
            if frame.opcode == CLOSE:
                self._answer_close(frame)
                code = frame.close_code
                raise WebSocketClosed(1005 if code is None else code, frame.close_reason)
            if frame.opcode == PING:
                self.connection.send(client_frame(PONG, frame.payload))
            if frame.opcode in (TEXT, BINARY, CONTINUATION):
                kind = frame.opcode or kind
                parts.append(frame.payload)
                if frame.final:
                    whole = b"".join(parts)
                    return whole.decode() if kind == TEXT else whole

    async def receive_frame(self) -> Frame:
        """The next frame, whatever it is. Raises WebSocketClosed(1006) when the connection ends first."""
        try:
            frame, rest = await self.connection.wait_for(lambda: read_frame(bytes(self.connection.received)))
        except EOFError:
            raise WebSocketClosed(1006) from None
        self.connection.received[:] = rest
        return frame

    async def close(self, code: int | None = 1000, reason: str = "") -> tuple[int, str]:
        """Close and await the server's close frame; its code and reason."""
        self._close_sent = True
        self.connection.send(close_frame(code, reason.encode()))
        try:
            while True:
                await self.receive()
        except WebSocketClosed as closed:
            return closed.code, closed.reason

    def _answer_close(self, frame: Frame) -> None:
        if not self._close_sent:
            self._close_sent = True
            self.connection.send(client_frame(CLOSE, frame.payload))
        self.connection.close()


def handshake(target: str, fields: list[tuple[bytes, bytes]]) -> bytes:
    """The opening handshake that asks for `target`."""
    standard = [
        (b"host", b"testserver"),
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"sec-websocket-version", b"13"),
    ]
    given = {name.lower() for name, _ in fields}
    lines = [b"%b: %b\r\n" % pair for pair in [*standard, *fields] if pair in fields or pair[0] not in given]
    return b"GET %b HTTP/1.1\r\n%b\r\n" % (target.encode("ascii"), b"".join(lines))


def unpack_close(payload: bytes) -> tuple[int, bytes]:
    """The code and the raw reason of a close frame's payload; 1005 for an empty one."""
    return (struct.unpack("!H", payload[:2])[0], payload[2:]) if payload else (1005, b"")
