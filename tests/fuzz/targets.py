"""What is fuzzed: bytes from the network against a whole server in memory, for each protocol.

Called by `python -m tests.fuzz` (with atheris, guided by coverage) and by test_fuzz.py (with hypothesis).
Each target takes any bytes and raises AssertionError when the server raises, writes what no client could
read, reads the same bytes in two ways, or keeps anything of a connection that is gone.
"""

from __future__ import annotations

from typing import Any

from hyperframe import frame as frames

from daphne.testing import MemoryConnection, read_response
from daphne.testing.frames import client_frame, read_frame
from tests.protocols.bench import Bench
from tests.protocols.http2_client import PREFACE

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
FRAME_TYPES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16)
OPCODES = (0, 1, 2, 8, 9, 10, 3, 11)

_benches: list[Bench] = []


async def application(scope: Any, receive: Any, send: Any) -> None:
    """An echo, which answers when it has read everything."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] != "websocket.disconnect":
            if event["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")})
        return
    body = repr((scope["method"], scope["raw_path"], scope["query_string"], scope["headers"])).encode()
    while (event := await receive())["type"] == "http.request":
        body += event["body"]
        if not event["more_body"]:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})
            return


def _bench() -> Bench:
    if not _benches:
        settings = {"date_header": False, "max_header_count": 8, "max_body_size": 4096}
        _benches.append(Bench(application, **settings, ws_per_message_deflate=True))
    return _benches[0]


def _spoken(*pieces: bytes) -> tuple[bytes, MemoryConnection]:
    """What the server says to these pieces; then the client goes, and nothing may be left of it."""
    bench = _bench()
    connection = bench.exchange(*pieces)
    said = bytes(connection.received)
    connection.reset()
    bench.loop.advance(20)
    assert not bench.problems, bench.problems
    assert not bench.server.service.site.connections
    assert not bench.server.service.runner.streams
    assert not bench.server.service.site.admission
    return said, connection


def http1(data: bytes) -> None:
    """Requests of HTTP/1: well-formed answers, and the same ones however the bytes are split.

    Of a request with several faults only that it is refused is the same: which is seen first may differ.
    """
    if not data or data.startswith(PREFACE[:14]):
        return
    step = data[0] % 17 + 1
    whole = _answers(*_spoken(data), data)
    pieces = _answers(*_spoken(*(data[at : at + step] for at in range(0, len(data), step))), data)
    assert whole == pieces, f"{data!r}\n{whole!r}\n{pieces!r}"


def _answers(said: bytes, connection: MemoryConnection, data: bytes) -> list[Any]:
    """Status and body of every answer, but for the server's own refusals."""
    found: list[Any] = []
    has_head = b"HEAD" in data  # whose answers end where others begin
    while said and not has_head:
        if said == b"HTTP/1.1 100 Continue\r\n\r\n":
            break  # the rest of the request has not come
        part = read_response(said, "GET", connection.ended)
        assert part is not None, said
        response, said = part
        if response.status == 101:
            break  # a WebSocket's frames follow
        found.append("refused" if response.status >= 400 else (response.status, response.body))
    return found


def http2(data: bytes) -> None:
    """Frames of HTTP/2, of which `data` gives type, flags, stream and payload: only frames come back."""
    sent = [PREFACE, frames.SettingsFrame().serialize()]
    while len(data) >= 4:
        kind, flags, stream, size = data[:4]
        payload, data = data[4 : 4 + size], data[4 + size :]
        head = len(payload).to_bytes(3, "big") + bytes((FRAME_TYPES[kind % len(FRAME_TYPES)], flags))
        sent.append(head + (stream % 16).to_bytes(4, "big") + payload)
    said, _ = _spoken(b"".join(sent))
    while said:
        frame, size = frames.Frame.parse_frame_header(memoryview(said[:9]))
        assert len(said) >= 9 + size, said
        frame.parse_body(memoryview(said[9 : 9 + size]))
        said = said[9 + size :]


def websocket(data: bytes) -> None:
    """Frames of a WebSocket, of which `data` gives opcode, bits and payload: only frames come back."""
    sent = []
    while len(data) >= 2:
        first, size = data[:2]
        payload, data = data[2 : 2 + size], data[2 + size :]
        frame = client_frame(
            OPCODES[first & 7],
            payload,
            final=bool(first & 8),
            reserved=4 if first & 16 else 0,
            length_bytes=8 if first & 128 else None,
            mask=None if first & 96 == 96 else b"\x37\xfa\x21\x3d",
        )
        sent.append(frame)
    lines = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n" if first_bit(data) else b"\r\n"
    said, _ = _spoken(HANDSHAKE[:-2] + lines, b"".join(sent) + data)
    head, _, said = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    while said:
        part = read_frame(said)
        assert part is not None, said
        said = part[1]


def first_bit(data: bytes) -> bool:
    """Whether the left-over byte, if there is one, is odd: compression is offered then."""
    return bool(data and data[0] & 1)


TARGETS = {"http1": http1, "http2": http2, "websocket": websocket}

SEEDS = {
    "http1": [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2,
        b"POST /x?y HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
        b"3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n",
        b"GET http://a/ HTTP/1.0\r\nConnection: close\r\nX: \xe9\r\n\r\n",
        HANDSHAKE,
    ],
    "http2": [
        b"\x01\x05\x01\x05\x82\x87\x84\x41\x01a" + b"\x06\0\0\x0812345678",
        b"\x01\x04\x01\x07\x83\x87\x84\x41\x01a\x40" + b"\0\x01\x01\x03abc" + b"\x03\0\x01\x04\0\0\0\x08",
        b"\x04\0\0\x06\0\x04\0\0\xff\xff" + b"\x08\0\0\x04\0\0\xff\xff" + b"\x07\0\0\x08" + bytes(8),
    ],
    "websocket": [
        b"\x09\x03abc\x09\x00\x0c\x02hi\x0b\x02\x03\xe8",
        b"\x01\x02ab\x00\x02cd\x08\x02ef\x19\x05\xf2H\xcd\xc9\xc9" + b"\x01",
        b"\x0a\x04\xff\xfe\xfd\xfc\x09\x02\xc3\x28",
    ],
}
"""Inputs to begin with."""
