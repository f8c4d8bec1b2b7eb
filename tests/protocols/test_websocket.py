"""daphne.protocols.websocket: messages, back-pressure and closing, as the client sees them."""

from __future__ import annotations

import gc

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol

from daphne.testing.frames import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    Frame,
    client_frame,
    close_frame,
)
from tests.protocols.bench import Event, Told, responses
from tests.protocols.open_socket import ACCEPT, MEGABYTE, Open, Serve, opening

# ---- messages -----------------------------------------------------------------------------------------


def test_messages_both_ways(serve: Serve) -> None:
    socket = Open(serve)
    socket.write(
        client_frame(TEXT, "h\u00e9".encode()), client_frame(BINARY, b"\xff"), client_frame(TEXT, b"")
    )
    assert [socket.receive() for _ in range(3)] == [
        {"type": "websocket.receive", "text": "h\u00e9"},
        {"type": "websocket.receive", "bytes": b"\xff"},
        {"type": "websocket.receive", "text": ""},
    ]
    for event, frame in [
        ({"text": "h\u00e9"}, Frame(TEXT, "h\u00e9".encode())),
        ({"bytes": b"\xff", "text": None}, Frame(BINARY, b"\xff")),
        ({"text": ""}, Frame(TEXT, b"")),
        ({"bytes": b""}, Frame(BINARY, b"")),
        ({"bytes": bytearray(b"like bytes")}, Frame(BINARY, b"like bytes")),
        *[({"bytes": b"x" * size}, Frame(BINARY, b"x" * size)) for size in (125, 126, 65535, 65536, 300_000)],
    ]:
        socket.send({"type": "websocket.send", **event})
        assert socket.read() == [frame]
    socket.connection.reset()
    socket.finish()


@pytest.mark.parametrize(
    "event",
    [
        {"type": "websocket.send"},
        {"type": "websocket.send", "text": "a", "bytes": b"b"},
        {"type": "websocket.send", "text": b"bytes"},
        {"type": "websocket.send", "bytes": "text"},
        {"type": "websocket.accept"},
        {"type": "websocket.http.response.start", "status": 200},
        {"type": "websocket.close", "code": 1005},
        {"type": "websocket.close", "code": 1006},
        {"type": "websocket.close", "code": 999},
        {"type": "websocket.close", "code": 5000},
        {"type": "websocket.close", "code": "1000"},
        {"type": "websocket.close", "reason": 5},
        {"type": "nonsense"},
    ],
)
def test_events_that_are_not_allowed_are_the_applications_error(serve: Serve, event: Event) -> None:
    socket = Open(serve)
    with pytest.raises(ValueError):
        socket.send(event)
    assert socket.read() == []
    socket.send({"type": "websocket.send", "text": "still open"})
    assert len(socket.read()) == 1
    socket.told.finish(0, ValueError("as applications do"))
    socket.loop.settle()
    assert socket.read()[0].close_code == 1011


def test_early_frames_are_kept(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(opening() + client_frame(TEXT, b"one"), client_frame(TEXT, b"two")[:4])
    bench.loop.run(told.receives[0]())
    bench.loop.run(told.sends[0](ACCEPT))
    bench.send(connection, client_frame(TEXT, b"two")[4:])
    assert [bench.loop.run(told.receives[0]())["text"] for _ in range(2)] == ["one", "two"]
    connection.reset()
    told.finish()


def test_early_frames_are_kept_within_a_bound(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(opening(), *[client_frame(BINARY, b"x" * 50_000)] * 20)
    assert not connection.server.is_reading()
    bench.loop.run(told.sends[0](ACCEPT))
    bench.loop.run(told.receives[0]())
    for _ in range(20):
        assert len(bench.loop.run(told.receives[0]())["bytes"]) == 50_000
    connection.reset()
    told.finish()


def test_early_frames_after_a_refusal_are_never_a_request(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(opening() + client_frame(TEXT, b"hello"))
    bench.loop.run(told.sends[0]({"type": "websocket.close"}))
    told.finish()
    bench.loop.settle()
    assert [response.status for response in responses(connection)] == [403]
    assert connection.ended


# ---- back-pressure --------------------------------------------------------------------------------------


def test_reading_pauses_while_the_application_does_not_take_messages(serve: Serve) -> None:
    socket = Open(serve, websocket_max_queue=65536)
    frame = client_frame(BINARY, b"x" * 10_000)
    for _ in range(30):
        socket.write(frame)
    assert not socket.connection.server.is_reading()
    for _ in range(30):
        assert len(socket.receive()["bytes"]) == 10_000
        socket.loop.settle()
    assert socket.connection.server.is_reading()
    socket.connection.reset()
    socket.finish()


def test_a_flood_of_tiny_messages_is_bounded_too(serve: Serve) -> None:
    socket = Open(serve, websocket_max_queue=65536)
    flood = client_frame(TEXT, b"") * 40_000
    for _ in range(10):
        socket.write(flood)
    assert not socket.connection.server.is_reading()
    socket.connection.reset()
    socket.finish()


def test_send_waits_while_the_client_does_not_read(serve: Serve) -> None:
    socket = Open(serve)
    socket.connection.stop_reading()
    socket.send({"type": "websocket.send", "bytes": b"x" * 60_000})
    pending = socket.loop.create_task(
        socket.told.sends[0]({"type": "websocket.send", "bytes": b"x" * 60_000})
    )
    socket.loop.settle()
    assert not pending.done()
    socket.connection.resume_reading()
    socket.loop.settle()
    assert pending.done()
    assert len(socket.read()) == 2
    socket.connection.reset()
    socket.finish()


def test_pings_do_not_pile_up_pongs_for_a_client_that_does_not_read(serve: Serve) -> None:
    socket = Open(serve)
    socket.connection.stop_reading()
    for _ in range(20):
        socket.write(client_frame(PING, b"x" * 125) * 1000)
    assert socket.connection.server.get_write_buffer_size() < 200_000
    socket.connection.reset()
    socket.finish()


def test_a_client_that_does_not_read_at_all_is_cut_off(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    socket = Open(serve, min_response_rate=1000, rate_grace=5)
    socket.connection.stop_reading()
    pending = socket.loop.create_task(socket.told.sends[0]({"type": "websocket.send", "bytes": MEGABYTE}))
    socket.loop.advance(70.4)
    assert not pending.done()
    socket.loop.advance(0.3)
    assert isinstance(pending.exception(), OSError)
    assert socket.connection.was_reset
    assert "--min-response-rate" in caplog.text
    socket.finish()


# ---- closing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "code", "reason"),
    [
        ({}, 1000, ""),
        ({"code": None, "reason": None}, 1000, ""),
        ({"code": 1001}, 1001, ""),
        ({"code": 3000, "reason": "bye"}, 3000, "bye"),
        ({"code": 4999, "reason": "é" * 100}, 4999, "é" * 61),
    ],
)
def test_the_application_closes(serve: Serve, event: Event, code: int, reason: str) -> None:
    socket = Open(serve)
    socket.send({"type": "websocket.close", **event})
    (frame,) = socket.read()
    assert (frame.opcode, frame.close_code, frame.close_reason) == (CLOSE, code, reason)
    with pytest.raises((OSError, ValueError)):
        socket.send({"type": "websocket.send", "text": "late"})
    socket.write(client_frame(TEXT, b"crossing"), close_frame(code))
    assert socket.connection.at_end
    assert socket.receive() == {"type": "websocket.disconnect", "code": code, "reason": ""}
    assert socket.actions == ["connecting", "connected", "disconnected"]
    socket.finish()


def test_the_client_closes(serve: Serve) -> None:
    socket = Open(serve)
    socket.write(
        client_frame(TEXT, b"last words") + close_frame(4000, b"bye") + client_frame(TEXT, b"too late")
    )
    (frame,) = socket.read()
    assert (frame.close_code, frame.close_reason) == (4000, "bye")
    assert socket.connection.at_end and not socket.connection.was_reset
    assert socket.receive() == {"type": "websocket.receive", "text": "last words"}
    for _ in range(2):
        assert socket.receive() == {"type": "websocket.disconnect", "code": 4000, "reason": "bye"}
    with pytest.raises(OSError):
        socket.send({"type": "websocket.send", "text": "anyone?"})
    with pytest.raises(OSError):
        socket.send({"type": "websocket.close"})
    socket.finish()


@pytest.mark.parametrize("how", ["reset", "send_eof", "close"])
def test_a_client_that_just_goes(serve: Serve, how: str) -> None:
    socket = Open(serve)
    getattr(socket.connection, how)()
    socket.loop.settle()
    assert socket.receive() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert not socket.bench.server.service.site.connections
    socket.finish()


@pytest.mark.parametrize(("problem", "code"), [(None, 1000), (LookupError("secret"), 1011)])
def test_the_socket_closes_when_the_application_ends(
    serve: Serve, problem: Exception | None, code: int
) -> None:
    socket = Open(serve)
    socket.told.finish(0, problem)
    (frame,) = socket.read()
    assert (frame.close_code, frame.close_reason) == (code, "")
    socket.write(close_frame(code))
    assert socket.connection.at_end


def test_a_close_that_is_not_answered(serve: Serve) -> None:
    socket = Open(serve, websocket_handshake_timeout=3)
    socket.send({"type": "websocket.close"})
    socket.loop.advance(2.9)
    assert not socket.connection.ended
    socket.loop.advance(0.2)
    assert socket.connection.was_reset
    assert socket.receive()["code"] == 1006
    socket.finish()


def test_a_close_answered_to_a_client_that_does_not_read(serve: Serve) -> None:
    socket = Open(serve, ping_interval=0)
    socket.connection.stop_reading()
    socket.send({"type": "websocket.send", "bytes": b"x" * 1000})
    socket.write(close_frame())
    socket.loop.advance(60.1)
    assert socket.connection.was_reset
    assert socket.told.cancelled == 1


def test_a_client_that_goes_without_reading_what_is_left(serve: Serve) -> None:
    socket = Open(serve, ping_interval=0)
    socket.connection.stop_reading()
    socket.send({"type": "websocket.send", "bytes": b"x" * 1000})
    socket.connection.send_eof()
    socket.loop.advance(60.1)
    assert socket.connection.was_reset
    assert socket.receive()["code"] == 1006
    socket.finish()


def test_after_a_violation_the_client_may_still_read_why(serve: Serve) -> None:
    socket = Open(serve)
    socket.write(client_frame(3, b""))
    assert socket.connection.at_end and not socket.connection.was_reset
    assert socket.read()[0].close_code == 1002
    assert socket.receive()["code"] == 1006
    socket.write(b"x" * 100_000)
    socket.loop.advance(1.9)
    assert not socket.connection.was_reset
    socket.loop.advance(0.2)
    assert socket.connection.was_reset
    socket.finish()


# ---- what a connection leaves behind, and how it is taken over -----------------------------------------


def websockets() -> list[object]:
    """All of Autobahn's connections in this process."""
    return [thing for thing in gc.get_objects() if issubclass(type(thing), WebSocketServerProtocol)]


def test_a_closed_websocket_does_not_wait_for_the_garbage_collector(serve: Serve) -> None:
    gc.collect()
    before = websockets()  # what other tests have failed to close, for instance
    gc.disable()
    try:
        socket = Open(serve, websocket_max_messages_per_second=100)
        socket.write(client_frame(TEXT, b"hi"))
        assert socket.receive()["text"] == "hi"
        socket.write(close_frame(1000))
        socket.finish()
        assert socket.connection.ended
        left = [one for one in websockets() if not any(one is other for other in before)]
    finally:
        gc.enable()
    assert left == []


@pytest.mark.parametrize(("sizes", "taken_over"), [((1, 1, 1), False), ((1, 1, 1, 1), True), ((5000,), True)])
def test_the_transport_changes_hands_when_it_is_worth_it(
    serve: Serve, sizes: tuple[int, ...], taken_over: bool
) -> None:
    socket = Open(serve)
    (protocol,) = socket.bench.server.service.site.connections
    for size in sizes:
        socket.write(client_frame(BINARY, b"x" * size))
        assert len(socket.receive()["bytes"]) == size
    assert (protocol.transport.protocol is protocol) == taken_over
    socket.write(client_frame(BINARY, b"last"))
    assert socket.receive()["bytes"] == b"last"
    socket.connection.reset()
    assert socket.receive()["type"] == "websocket.disconnect"
    socket.finish()
