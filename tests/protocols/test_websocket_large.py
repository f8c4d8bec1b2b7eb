"""daphne.protocols.websocket_large, and how websocket_reader fills it: large messages, received where they
stay. That any bytes are read as Autobahn reads them, this way too, is in test_websocket_frames."""

from __future__ import annotations

import asyncio
import random
import ssl
from pathlib import Path
from typing import Any

import pytest

from daphne.protocols import websocket_large
from daphne.protocols.websocket_large import LARGE, LargeFrame, needed
from daphne.reactor import LoopReactor
from daphne.service import Service
from daphne.settings import Settings
from daphne.testing.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    client_frame,
    close_frame,
    read_frame,
)
from daphne.testing.sockets import handshake
from tests.certificates import issue
from tests.protocols.open_socket import Open, Serve
from tests.reactor.served import LOOPS, new_loop

PAYLOAD = random.Random(1).randbytes(1 << 20)
FRAME = client_frame(BINARY, PAYLOAD)
PARTS = [FRAME[:20_000], FRAME[20_000:300_000], FRAME[300_000:]]


def is_filling(socket: Open) -> bool:
    """Whether the transport reads into the frame's memory."""
    return isinstance(socket.connection.server.get_protocol(), asyncio.BufferedProtocol)


def test_memory_is_there_once_some_of_the_payload_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert needed(LARGE - 1) == LARGE - 1
    assert needed(LARGE) == LARGE // 64
    assert needed(1 << 62) == 1 << 56
    monkeypatch.setattr(websocket_large, "HAS_NVX", False)
    assert needed(LARGE) == LARGE


def test_a_frame_takes_what_belongs_to_it() -> None:
    frame = LargeFrame(True, b"\0\0\0\0", 10)
    assert frame.take(b"abc") == b""
    frame.rest[:2] = b"de"
    frame.written(2)
    assert frame.take(b"fghijklm") == b"klm"
    assert frame.payload() == b"abcdefghij"


def test_large_messages_follow_each_other_and_small_ones(serve: Serve) -> None:
    socket = Open(serve)
    text = "é" * 200_000
    for _ in range(2):
        socket.write(*PARTS)
        assert is_filling(socket)
        assert socket.receive()["bytes"] == PAYLOAD
        socket.write(client_frame(TEXT, text.encode()))
        assert socket.receive()["text"] == text
        socket.write(client_frame(BINARY, PAYLOAD[:1000]) + client_frame(PING, b"p") + PARTS[0])
        assert socket.receive()["bytes"] == PAYLOAD[:1000]
        assert [frame.opcode for frame in socket.read()] == [PONG]
        socket.write(*PARTS[1:])
        assert socket.receive()["bytes"] == PAYLOAD
        socket.write(client_frame(TEXT, b"hi"))
        assert socket.receive()["text"] == "hi"
        assert not is_filling(socket)
    socket.connection.reset()
    socket.finish()


def test_before_some_of_it_is_there_nothing_is_filled(serve: Serve) -> None:
    socket = Open(serve)
    socket.write(FRAME[:14], FRAME[14:10_000])
    assert not is_filling(socket)
    socket.write(FRAME[10_000:20_000])
    assert is_filling(socket)
    socket.write(FRAME[20_000:])
    assert socket.receive()["bytes"] == PAYLOAD
    socket.connection.reset()
    socket.finish()


def test_reading_pauses_after_each_that_the_application_does_not_take(serve: Serve) -> None:
    socket = Open(serve, websocket_max_queue=65536)
    socket.write(*PARTS, *[FRAME] * 3)
    [stream] = socket.bench.server.service.runner.streams
    for _ in range(4):
        socket.loop.settle()
        assert not socket.connection.server.is_reading()
        assert stream._queued < 1.1 * len(PAYLOAD)
        assert socket.receive()["bytes"] == PAYLOAD
    socket.loop.settle()
    assert socket.connection.server.is_reading()
    socket.connection.reset()
    socket.finish()


def test_what_has_waited_for_the_application_is_filled_in_too(serve: Serve) -> None:
    """A large frame that begins in what came while the application was behind."""
    socket = Open(serve, websocket_max_queue=1000)
    small = client_frame(BINARY, b"x" * 2000)
    socket.write(small * 2 + FRAME[:200_000])
    assert not socket.connection.server.is_reading()
    for _ in range(2):
        assert socket.receive()["bytes"] == b"x" * 2000
    socket.loop.settle()
    assert is_filling(socket) and socket.connection.server.is_reading()
    socket.write(FRAME[200_000:] + small)
    assert socket.receive()["bytes"] == PAYLOAD
    assert socket.receive()["bytes"] == b"x" * 2000
    socket.connection.reset()
    socket.finish()


def test_text_that_is_not_utf8(serve: Serve) -> None:
    socket = Open(serve)
    frame = client_frame(TEXT, PAYLOAD)
    socket.write(frame[:20_000], frame[20_000:] + client_frame(TEXT, b"late"))
    (frame_back,) = socket.read()
    assert frame_back.close_code == 1007
    assert socket.receive()["code"] == 1006
    assert not is_filling(socket)
    socket.connection.reset()
    socket.finish()


def test_more_messages_than_the_rate_allows(serve: Serve) -> None:
    socket = Open(serve, websocket_max_messages_per_second=1)
    for _ in range(20):
        socket.write(*PARTS)
        socket.loop.settle()
        if socket.connection.at_end:
            break
        assert socket.receive()["bytes"] == PAYLOAD
    assert socket.read()[-1].close_code == 1008
    assert not is_filling(socket)
    socket.connection.reset()
    socket.finish()


@pytest.mark.parametrize("how", ["reset", "send_eof", "close"])
def test_a_client_that_goes_in_the_middle(serve: Serve, how: str) -> None:
    socket = Open(serve)
    socket.write(*PARTS[:2])
    getattr(socket.connection, how)()
    socket.loop.settle()
    assert socket.receive() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert not socket.bench.server.service.site.connections
    socket.finish()


def test_a_close_in_the_middle(serve: Serve) -> None:
    """The rest of the frame is read past to the answer."""
    socket = Open(serve)
    socket.write(*PARTS[:2])
    socket.send({"type": "websocket.close", "code": 4000})
    assert [frame.close_code for frame in socket.read()] == [4000]
    socket.write(PARTS[2] + close_frame(4000))
    assert socket.connection.at_end and not socket.connection.was_reset
    assert socket.receive()["code"] == 4000
    socket.finish()


def test_every_byte_counts_as_life(serve: Serve) -> None:
    socket = Open(serve, ping_interval=20, ping_timeout=10)
    socket.write(PARTS[0])
    for at in range(20_000, 20_005):
        socket.loop.advance(20.01)
        assert PING in [frame.opcode for frame in socket.read()]
        socket.loop.advance(9.9)
        socket.write(FRAME[at : at + 1])
    assert is_filling(socket) and not socket.connection.ended
    socket.connection.reset()
    socket.finish()


# ---- over real sockets ---------------------------------------------------------------------------------


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application that sends everything back."""
    while (event := await receive())["type"] != "websocket.disconnect":
        if event["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif event.get("text") is not None:
            await send({"type": "websocket.send", "text": event["text"]})
        else:
            await send({"type": "websocket.send", "bytes": event["bytes"]})


async def talk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytes, chance: random.Random, size: int
) -> bytes:
    """Send the bytes in pieces of many sizes, and close when so many have come back; what came."""

    async def say() -> None:
        rest = said
        while rest:
            piece = chance.choice([1, 14, 3000, 20_000, 100_000, 1 << 20])
            writer.write(rest[:piece])
            rest = rest[piece:]
            await writer.drain()
            if piece < 5000:
                await asyncio.sleep(0.001)

    saying = asyncio.ensure_future(say())
    heard = await reader.readexactly(size)
    await saying
    writer.write(close_frame(1000))
    heard += await reader.read()
    writer.close()
    return heard


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
@pytest.mark.parametrize("loop_kind", LOOPS)
def test_echoes_over_sockets(loop_kind: str, kind: str, seed: int, tmp_path: Path) -> None:
    certificate = issue(tmp_path, "localhost", ("localhost",)) if kind == "tls" else None
    endpoints = {
        "tcp": "tcp:0:interface=127.0.0.1",
        "unix": f"unix:{tmp_path / 'socket'}",
        "tls": f"ssl:0:privateKey={certificate and certificate.both}:interface=127.0.0.1",
    }
    chance = random.Random(seed)
    messages = [
        chance.randbytes(chance.choice([0, 5, 200, 70_000, LARGE, 300_000, 1 << 20])) for _ in range(12)
    ]
    said = b"".join(client_frame(BINARY, message) for message in messages)
    said += client_frame(BINARY, messages[0], final=False) + client_frame(PONG, b"")
    said += client_frame(CONTINUATION, messages[1])
    messages.append(messages[0] + messages[1])
    size = sum(len(client_frame(BINARY, message, mask=None)) for message in messages)

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        service = Service(echo, Settings(graceful_timeout=5, websocket_max_message_size=1 << 21))
        await service.start(LoopReactor(loop), [endpoints[kind]])
        async with asyncio.timeout(60):
            host = service.ports[0].getHost()
            if kind == "unix":
                reader, writer = await asyncio.open_unix_connection(str(tmp_path / "socket"))
            else:
                context = None
                if certificate is not None:
                    context = ssl.create_default_context(cafile=str(certificate.certificate_path))
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", host.port, ssl=context, server_hostname=context and "localhost"
                )
            writer.write(handshake("/", []))
            await reader.readuntil(b"\r\n\r\n")
            heard = await talk(reader, writer, said, chance, size)
            await service.stop()
        return heard

    loop = new_loop(loop_kind)
    try:
        heard = loop.run_until_complete(main())
    finally:
        loop.close()
    frames = []
    while heard:
        part = read_frame(heard)
        assert part is not None
        frame, heard = part
        frames.append(frame)
    assert [frame.payload for frame in frames if frame.opcode == BINARY] == messages
    assert [frame.opcode for frame in frames if frame.opcode != BINARY] == [CLOSE]
