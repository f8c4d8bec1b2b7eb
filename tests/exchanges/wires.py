"""The wires over which exchanges are played, each from the client's side over a real socket.

Called by test_exchanges. A wire has an endpoint string, and two ways to use it; those of HTTP/2 are in
http2_wires.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Protocol

from daphne.testing import read_frame, read_response
from daphne.testing.frames import BINARY, CLOSE, CONTINUATION, TEXT, client_frame, close_frame
from daphne.testing.sockets import handshake
from tests.exchanges.scenarios import Answer, Request, Talk

DEADLINE = 60.0


class Wire(Protocol):
    """One way for bytes to travel. `port` is the Twisted port of a server that listens at `endpoint`."""

    secure: bool

    def endpoint(self, folder: Path) -> str:
        """The endpoint string of the server."""

    async def request(self, port: Any, target: str, request: Request) -> Answer:
        """Send a request and read the answer, without the fields that the wire adds."""

    async def talk(self, port: Any, target: str, talk: Talk) -> tuple[list[tuple[bytes, bytes]], list[Any]]:
        """Open a WebSocket and play the client's part; the fields of the answer, and what was heard."""


ADDED = {b"date", b"server", b"connection", b"transfer-encoding", b"content-length"}


def answer_of(status: int, headers: list[tuple[bytes, bytes]], body: bytes, complete: bool) -> Answer:
    """An answer as scenarios expect it; of an error page only the status counts."""
    kept = [pair for pair in headers if pair[0] not in ADDED]
    return Answer(500) if status == 500 else Answer(status, kept, body, complete)


class Http1:
    """HTTP/1.1 in clear text."""

    secure = False

    def endpoint(self, folder: Path) -> str:
        return "tcp:0:interface=127.0.0.1"

    async def connect(self, port: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port.getHost().port)

    async def request(self, port: Any, target: str, request: Request) -> Answer:
        reader, writer = await self.connect(port)
        fields = [(b"host", b"localhost"), *request.headers]
        if request.pieces or request.method in ("POST", "PUT", "PATCH"):
            size = sum(map(len, request.pieces))
            framing = (
                (b"content-length", b"%d" % size) if request.length else (b"transfer-encoding", b"chunked")
            )
            fields.append(framing)
        lines = [
            f"{request.method} {target} HTTP/1.1".encode(),
            *[b": ".join(pair) for pair in fields],
            b"",
            b"",
        ]
        writer.write(b"\r\n".join(lines))
        for piece in request.pieces:
            writer.write(piece if request.length else b"%x\r\n%b\r\n" % (len(piece), piece))
            await asyncio.sleep(0)
        if not request.length:
            writer.write(b"0\r\n\r\n")
        data, part = b"", None
        while part is None:
            piece = await reader.read(1 << 20)
            data += piece
            part = read_response(data, request.method, ended=not piece)
            assert part is not None or piece, f"no response: {data!r}"
        writer.close()
        response, rest = part
        assert rest == b""
        return answer_of(response.status, response.headers, response.body, response.complete)

    async def talk(self, port: Any, target: str, talk: Talk) -> tuple[list[tuple[bytes, bytes]], list[Any]]:
        reader, writer = await self.connect(port)
        writer.write(handshake(target, talk.headers))
        data = b""
        while (part := read_response(data)) is None:
            data += await reader.read(1 << 16)
        response, rest = part
        if response.status != 101:
            writer.close()
            return response.headers, [("refused", response.status)]
        heard = await converse(reader, writer, rest, talk)
        assert await reader.read(1) == b"", "the connection ends after the close"
        writer.close()
        return response.headers, heard


def frames_of(message: Any) -> list[bytes]:
    """The frames of one thing that a client says."""
    if isinstance(message, tuple) and message[0] == "close":
        return [close_frame(message[1], message[2].encode())]
    parts = message if isinstance(message, tuple) else (message,)
    kind = TEXT if isinstance(parts[0], str) else BINARY
    payloads = [part.encode() if isinstance(part, str) else part for part in parts]
    return [
        client_frame(kind if index == 0 else CONTINUATION, payload, final=index == len(payloads) - 1)
        for index, payload in enumerate(payloads)
    ]


async def converse(reader: Any, writer: Any, data: bytes, talk: Talk) -> list[Any]:
    """Say everything, the close only when all else has been heard; what has been heard."""
    heard: list[Any] = []
    closes = [message for message in talk.says if message[:1] == ("close",)]
    for message in talk.says:
        if message not in closes:
            writer.write(b"".join(frames_of(message)))
    while True:
        if closes and len(heard) == len(talk.hears) - 1:
            writer.write(b"".join(frames_of(closes.pop())))
        while (part := read_frame(data)) is None:
            piece = await reader.read(1 << 20)
            assert piece, f"the connection ended after {heard!r:.200}"
            data += piece
        frame, data = part
        if frame.opcode == CLOSE:
            writer.write(client_frame(CLOSE, frame.payload))
            code = frame.close_code
            return [*heard, ("closed", 1005 if code is None else code, frame.close_reason)]
        assert frame.final and frame.opcode in (TEXT, BINARY), frame
        heard.append(frame.payload.decode() if frame.opcode == TEXT else frame.payload)


HTTP1_WIRES: dict[str, Wire] = {"http1": Http1()}
