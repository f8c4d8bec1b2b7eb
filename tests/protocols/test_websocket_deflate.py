"""daphne.protocols.websocket_handshake: permessage-deflate (RFC 7692), with its output capped."""

from __future__ import annotations

import zlib

import pytest

from daphne.testing.frames import (
    BINARY,
    CONTINUATION,
    TEXT,
    client_frame,
)
from tests.protocols.open_socket import Open, Serve

DEFLATE = (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits")


def compressed(data: bytes) -> bytes:
    """`data` as RFC 7692 section 7.2.1 compresses it."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_compression_is_off_unless_switched_on(serve: Serve) -> None:
    socket = Open(serve, DEFLATE)
    assert socket.head.header(b"sec-websocket-extensions") is None
    socket.write(client_frame(TEXT, compressed(b"hi"), reserved=4))
    assert socket.read()[0].close_code == 1002
    socket.connection.reset()
    socket.finish()


def test_compression_both_ways(serve: Serve) -> None:
    socket = Open(serve, DEFLATE, ws_per_message_deflate=True)
    agreed = socket.head.header(b"sec-websocket-extensions")
    assert agreed.startswith(b"permessage-deflate") and b"client_no_context_takeover" in agreed
    for _ in range(3):
        socket.write(client_frame(TEXT, compressed(b"hello " * 100), reserved=4))
        assert socket.receive()["text"] == "hello " * 100
        socket.write(client_frame(TEXT, b"plain"))
        assert socket.receive()["text"] == "plain"
        data = compressed(b"ab" * 1000)
        socket.write(
            client_frame(BINARY, data[:5], reserved=4, final=False) + client_frame(CONTINUATION, data[5:])
        )
        assert socket.receive()["bytes"] == b"ab" * 1000
        socket.send({"type": "websocket.send", "text": "hello " * 1000})
        (frame,) = socket.read()
        assert (frame.reserved, frame.opcode) == (4, TEXT)
        assert len(frame.payload) < 200
        assert zlib.decompressobj(-15).decompress(frame.payload + b"\x00\x00\xff\xff") == b"hello " * 1000
    socket.connection.reset()
    socket.finish()


@pytest.mark.parametrize(
    "offer",
    [
        b"permessage-deflate; nonsense=1",
        b"x-unknown",
        b"permessage-deflate; client_max_window_bits=99",
        b";;,,=",
        b'"',
    ],
)
def test_offers_that_make_no_sense_are_passed_over(serve: Serve, offer: bytes) -> None:
    socket = Open(serve, (b"sec-websocket-extensions", offer), ws_per_message_deflate=True)
    assert socket.head.header(b"sec-websocket-extensions") is None
    socket.connection.reset()
    socket.finish()


def test_a_decompression_bomb(serve: Serve) -> None:
    import tracemalloc

    socket = Open(serve, DEFLATE, ws_per_message_deflate=True)
    bomb = compressed(b"\x00" * 100_000_000)
    assert len(bomb) < 1_048_576
    frame = client_frame(BINARY, bomb, reserved=4, mask=b"\x00\x00\x00\x00")
    tracemalloc.start()
    socket.write(frame)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert socket.read()[0].close_code == 1009
    assert peak < 20_000_000
    socket.connection.reset()
    socket.finish()


def test_garbage_in_a_compressed_message(serve: Serve) -> None:
    socket = Open(serve, DEFLATE, ws_per_message_deflate=True)
    socket.write(client_frame(BINARY, b"\xff" * 50, reserved=4))
    assert socket.read()[0].close_code in (1002, 1007)
    socket.connection.reset()
    socket.finish()
