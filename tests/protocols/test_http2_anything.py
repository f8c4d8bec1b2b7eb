"""Whatever a client does over HTTP/2: the server raises nothing, keeps nothing, and serves others."""

from __future__ import annotations

import asyncio
from typing import Any

from hyperframe import frame as frames
from hypothesis import given, settings
from hypothesis import strategies as st

from daphne.testing.frames import BINARY, client_frame
from tests.protocols.bench import Bench, answering, body_of
from tests.protocols.http2_client import PREFACE, Client, RawClient, request_fields

PATHS = ["/echo", "/large", "/raises", "/late", "/waits", "/early", "/trailers"]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Does what the path says; on a WebSocket: accept and echo."""
    if scope["type"] == "websocket":
        await _echo_messages(receive, send)
        return
    path, start = scope["path"], {"type": "http.response.start", "status": 200, "headers": []}
    if path == "/raises":
        raise ValueError
    if path == "/waits":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    if path == "/late":
        await asyncio.sleep(5)
    body = b"" if path in ("/early", "/late") else await body_of(receive)
    await send({**start, "trailers": path == "/trailers"})
    size = 200_000 if path == "/large" else 10
    await send({"type": "http.response.body", "body": body + b"x" * size, "more_body": True})
    await send({"type": "http.response.body", "body": b"end"})
    if path == "/trailers":
        await send({"type": "http.response.trailers", "headers": [(b"x", b"y")]})


async def _echo_messages(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


WHICH = st.integers(0, 5)
"""Which of the streams that have been opened, counted from the last."""
SIZES = st.sampled_from([1, 7, 100, 16384, 65535, 1 << 20, (1 << 31) - 1])
STEP = st.one_of(
    st.tuples(st.just("open"), st.sampled_from(PATHS), st.booleans()),
    st.tuples(st.just("open"), st.just("/large"), st.just(True)),
    st.tuples(st.just("socket")),
    st.tuples(st.just("data"), WHICH, st.binary(max_size=100), st.booleans()),
    st.tuples(st.just("message"), WHICH, st.binary(max_size=300)),
    st.tuples(st.just("trailers"), WHICH),
    st.tuples(st.just("reset"), WHICH),
    st.tuples(st.just("window"), WHICH, SIZES),
    st.tuples(st.just("connection window"), SIZES),
    st.tuples(st.just("initial window"), SIZES),
    st.tuples(st.just("priority"), WHICH, st.sampled_from([b"u=0", b"u=7, i", b"i", b"x"])),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 3, 8, 70])),
    st.tuples(st.just("ping")),
    st.tuples(st.just("unread")),
    st.tuples(st.just("read"), st.integers(1, 100_000)),
    st.tuples(st.just("drain")),
    st.tuples(st.just("end of file")),
)
ANY_FRAME = st.builds(
    lambda kind, flags, stream, payload: (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
    ),
    st.integers(0, 17),
    st.integers(0, 255),
    st.integers(0, 12),
    st.binary(max_size=40),
)


class Player:
    """Plays steps as a client."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.client = RawClient(bench)
        self.last = -1

    def stream(self, which: int) -> int:
        """The number of an opened stream, the last one for 0."""
        return max(self.last - 2 * which, 1)

    def play(self, name: str, *values: Any) -> None:
        step = getattr(self, name.replace(" ", "_"))(*values)
        if step is not None:
            self.client.send(step)

    def open(self, path: str, ended: bool) -> Any:
        self.last += 2
        flags = ["END_HEADERS", *(["END_STREAM"] if ended else [])]
        return self.client.headers(self.last, request_fields("POST", path), *flags)

    def socket(self) -> Any:
        self.last += 2
        fields = request_fields("CONNECT", "/", [(b"sec-websocket-version", b"13")], protocol="websocket")
        return self.client.headers(self.last, fields, "END_HEADERS")

    def data(self, which: int, data: bytes, ended: bool) -> Any:
        return frames.DataFrame(self.stream(which), data, flags=["END_STREAM"] if ended else [])

    def message(self, which: int, data: bytes) -> Any:
        return frames.DataFrame(self.stream(which), client_frame(BINARY, data))

    def trailers(self, which: int) -> Any:
        return self.client.headers(self.stream(which), [(b"x", b"y")])

    def reset(self, which: int) -> Any:
        return frames.RstStreamFrame(self.stream(which), 8)

    def window(self, which: int, size: int) -> Any:
        return frames.WindowUpdateFrame(self.stream(which), size)

    def connection_window(self, size: int) -> Any:
        return frames.WindowUpdateFrame(0, size)

    def initial_window(self, size: int) -> Any:
        return frames.SettingsFrame(settings={4: size})

    def priority(self, which: int, value: bytes) -> Any:
        payload = self.stream(which).to_bytes(4, "big") + value
        return len(payload).to_bytes(3, "big") + b"\x10\0" + bytes(4) + payload

    def ping(self) -> Any:
        return frames.PingFrame(0, b"goodbye!", flags=["ACK"])

    def wait(self, seconds: float) -> None:
        self.bench.loop.advance(seconds)

    def unread(self) -> None:
        self.client.connection.stop_reading()

    def read(self, size: int) -> None:
        self.client.connection.take(size)
        self.bench.loop.settle()

    def drain(self) -> None:
        for connection in list(self.bench.server.service.site.connections):
            connection.drain()
        self.bench.loop.settle()

    def end_of_file(self) -> None:
        self.client.connection.send_eof()
        self.bench.loop.settle()


@settings(max_examples=200)
@given(
    st.sampled_from([0, 100, 65535, 1 << 20]),
    st.lists(STEP, min_size=3, max_size=40),
    st.lists(ANY_FRAME, max_size=3),
)
def test_any_steps_in_any_order(window: int, steps: list[Any], frames_at_the_end: list[bytes]) -> None:
    bench = Bench(application, http2_stream_window=65535, write_buffer_size=10_000)
    player = Player(bench)
    player.play("initial window", window)
    for step in steps:
        player.play(*step)
    for frame in frames_at_the_end:
        player.client.send(frame)
    assert Client(bench).fetch(path="/early").body == b"x" * 10 + b"end"
    player.client.connection.resume_reading()
    player.client.connection.close()
    bench.loop.advance(20)
    assert not bench.server.service.runner.streams
    bench.close()  # looks for what else is left, and for exceptions


@settings(max_examples=100)
@given(st.binary(max_size=300), st.booleans(), st.integers(1, 50))
def test_any_bytes(data: bytes, greeted: bool, piece: int) -> None:
    bench = Bench(answering())
    connection = bench.connect()
    connection.send(PREFACE + frames.SettingsFrame().serialize() if greeted else PREFACE)
    for at in range(0, len(data), piece):
        connection.send(data[at : at + piece])
    bench.loop.settle()
    connection.close()
    bench.loop.advance(5)
    bench.close()
