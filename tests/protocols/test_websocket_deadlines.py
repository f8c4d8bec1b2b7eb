"""daphne.protocols.websocket: pings and lifetimes, to the tenth of a second."""

from __future__ import annotations

import pytest

from daphne.layers.memory import ChannelLayer
from daphne.testing.frames import (
    BINARY,
    PING,
    PONG,
    TEXT,
    client_frame,
    close_frame,
)
from tests.protocols.open_socket import MEGABYTE, Open, Serve, opening, sent_frames


def test_a_ping_after_the_interval_and_the_end_without_an_answer(serve: Serve) -> None:
    socket = Open(serve, ping_interval=20, ping_timeout=30)
    socket.loop.advance(19.95)
    assert socket.read() == []
    socket.loop.advance(0.1)
    assert [frame.opcode for frame in socket.read()] == [PING]
    socket.loop.advance(29.85)
    assert not socket.connection.ended
    assert socket.read() == []
    socket.loop.advance(0.1)
    assert socket.connection.was_reset
    assert socket.receive()["code"] == 1006
    socket.finish()


@pytest.mark.parametrize(
    "life", [client_frame(PONG, b""), client_frame(TEXT, b"hi"), client_frame(PING), b"\x81"]
)
@pytest.mark.parametrize("after", [0.0, 0.05, 9.9])
def test_any_byte_counts_as_life(serve: Serve, life: bytes, after: float) -> None:
    socket = Open(serve, ping_interval=20, ping_timeout=10)
    for _ in range(5):
        socket.loop.advance(20.01)
        assert PING in [frame.opcode for frame in socket.read()]
        socket.loop.advance(after)
        socket.write(life)
        life = life if life != b"\x81" else b"\x80\x00\x00\x00\x00\x81"
    assert not socket.connection.ended
    socket.connection.reset()
    socket.finish()


def test_a_ping_that_a_full_connection_delayed_is_sent_anew(serve: Serve) -> None:
    """Its answer waits behind what the client has not read yet, so that silence proves nothing."""
    socket = Open(serve, ping_interval=20, ping_timeout=30)
    socket.loop.advance(20)
    assert [frame.opcode for frame in socket.read()] == [PING]
    socket.connection.stop_reading()
    sending = socket.loop.create_task(socket.told.sends[0]({"type": "websocket.send", "bytes": MEGABYTE}))
    socket.loop.advance(20)
    socket.connection.resume_reading()
    socket.loop.advance(20.1)
    assert sending.done() and not socket.connection.ended
    assert [frame.opcode for frame in socket.read()] == [BINARY, PING]
    socket.loop.advance(30)
    assert socket.connection.was_reset
    socket.finish()


def test_a_client_that_talks_is_not_pinged(serve: Serve) -> None:
    socket = Open(serve, ping_interval=20)
    for _ in range(20):
        socket.loop.advance(19)
        socket.write(client_frame(TEXT, b"hi"))
        socket.receive()
    assert socket.read() == []
    socket.loop.advance(20.1)
    assert len(socket.read()) == 1
    socket.connection.reset()
    socket.finish()


@pytest.mark.parametrize(
    ("settings", "pings"), [({"ping_interval": 0}, 0), ({"ping_interval": 10, "ping_timeout": 0}, 10)]
)
def test_pings_and_their_timeout_can_be_off(serve: Serve, settings: dict[str, float], pings: int) -> None:
    socket = Open(serve, **settings)
    socket.loop.advance(105)
    assert not socket.connection.ended
    assert len(socket.read()) == pings
    socket.connection.reset()
    socket.finish()


@pytest.mark.parametrize("seconds", [86400, 7])
def test_the_lifetime_of_a_socket(serve: Serve, seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    socket = Open(serve, websocket_timeout=seconds, ping_interval=0)
    socket.loop.advance(seconds - 0.05)
    assert socket.read() == []
    socket.loop.advance(0.1)
    assert socket.read()[0].close_code == 1000
    assert "websocket_timeout" in caplog.text
    socket.write(close_frame())
    socket.finish()


@pytest.mark.parametrize("options, seconds", [({}, 7), ({"websocket_timeout": 20}, 20)])
def test_over_a_layer_a_socket_lives_as_long_as_its_groups(
    serve: Serve, options: dict[str, float], seconds: float
) -> None:
    layer = ChannelLayer(group_expiry=7)
    bench = serve(layer, ping_interval=0, **options)
    connection = bench.exchange(opening())
    connect = layer.receive(["websocket.connect"])[1]
    layer.send(connect["reply_channel"], {"accept": True})
    bench.loop.settle()
    assert b" 101 " in bytes(connection.received)
    bench.loop.advance(seconds - 0.05)
    assert sent_frames(bytes(connection.received)) == []
    bench.loop.advance(0.1)
    assert [frame.close_code for frame in sent_frames(bytes(connection.received))] == [1000]
    connection.reset()


@pytest.mark.parametrize("off", [0, -1])
def test_a_lifetime_that_is_off(serve: Serve, off: int) -> None:
    socket = Open(serve, websocket_timeout=off, ping_interval=0)
    socket.loop.advance(10_000_000)
    assert socket.read() == []
    socket.connection.reset()
    socket.finish()


def test_the_connection_has_no_deadline_of_http_once_it_is_a_socket(serve: Serve) -> None:
    socket = Open(serve, ping_interval=0, keep_alive_timeout=5, request_head_timeout=5)
    socket.loop.advance(1000)
    assert not socket.connection.ended
    socket.connection.reset()
    socket.finish()
